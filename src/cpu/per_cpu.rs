//! Per-CPU variables: [`per_cpu!`](crate::per_cpu), and what it expands to.
//!
//! The `.percpu` section is a template; each CPU works on a copy of it, its *area*. GS base holds the distance from
//! the template to this CPU's area, so `gs:[rip + VARIABLE]` is one instruction that reaches this CPU's copy, from
//! whichever CPU it runs on. The template itself is never written after rt0: the boot processor's area is a copy as
//! well, so every later area starts from the values that the source says.
//!
//! Access to this CPU's copy:
//! - integers, as [`Cell`] or atomic, are read, written and added to by one instruction each ([`Word`], [`Add`]), which
//!   no interrupt can split, so they need no guard;
//! - every type can be borrowed under an [`IrqGuard`] by [`PerCpu::with`];
//! - hot paths reach words inside larger types by one instruction ([`RawAccess`], [`Words`]), which is `unsafe`.
//!
//! Another CPU's copy is reached by [`PerCpu::of`], where the type is [`Sync`].

mod areas;
mod integers;
mod words;

use core::cell::{Cell, UnsafeCell};

use crate::cpu::IrqGuard;

pub(crate) use areas::areas;
pub use integers::{Add, Word};
pub use words::Words;

/// Alignment of an area, in bytes, and the greatest that a per-CPU variable may need.
pub const AREA_ALIGN: usize = 128;

/// Storage for a per-CPU variable's initial value in the image.
#[repr(transparent)]
pub struct Template<T>(UnsafeCell<T>);

// SAFETY: invariant I3 of docs/invariants.md. The template is only read, by `copy_template`. Code that runs on one CPU reaches
// that CPU's copy, `PerCpu::with` under a guard; so no two CPUs share a `T`, and `PerCpu::of`, by which they would, demands
// `T: Sync`. A value that is moved out of one CPU's copy may end up on another, hence `Send`.
unsafe impl<T: Send> Sync for Template<T> {}

impl<T> Template<T> {
    /// Storage with that initial value. [`per_cpu!`](crate::per_cpu) calls this.
    ///
    /// # Safety
    /// The storage is a static in the section `.percpu`: code adds GS base to its address.
    pub const unsafe fn new(value: T) -> Template<T> {
        const { assert!(align_of::<T>() <= AREA_ALIGN, "a per-CPU variable needs more than its area's alignment") };
        Template(UnsafeCell::new(value))
    }
}

/// Access to this CPU's copy of a variable by one instruction of a fixed width, whatever the variable's type is.
/// [`PerCpu::get`] and its like, which take the width from the type, are the safe form.
///
/// # Safety
/// Each function is one instruction of the width in its name on this CPU's copy of one variable in `.percpu`.
pub unsafe trait RawAccess {
    /// One 8-bit load.
    ///
    /// # Safety
    /// The variable has 8 bits at its start that are initialised. No other code changes them at the same time but by
    /// atomic accesses or single instructions, and no `&mut` to them lives.
    unsafe fn load_8() -> u8;
    /// One 8-bit store.
    ///
    /// # Safety
    /// As for [`load_8`](Self::load_8), no `&` to them lives but to an atomic or a cell, and the value is valid there.
    unsafe fn store_8(value: u8);
    /// One 32-bit load.
    ///
    /// # Safety
    /// As for [`load_8`](Self::load_8), with 32 bits.
    unsafe fn load_32() -> u32;
    /// One 32-bit store.
    ///
    /// # Safety
    /// As for [`store_8`](Self::store_8), with 32 bits.
    unsafe fn store_32(value: u32);
    /// One 32-bit addition in memory.
    ///
    /// # Safety
    /// As for [`store_8`](Self::store_8), with 32 bits and the sum.
    unsafe fn add_32(value: u32);
    /// One 32-bit increment in memory.
    ///
    /// # Safety
    /// As for [`store_8`](Self::store_8), with 32 bits and the sum.
    unsafe fn increment_32();
    /// One 64-bit load.
    ///
    /// # Safety
    /// As for [`load_8`](Self::load_8), with 64 bits.
    unsafe fn load_64() -> u64;
    /// One 64-bit store.
    ///
    /// # Safety
    /// As for [`store_8`](Self::store_8), with 64 bits.
    unsafe fn store_64(value: u64);
    /// One 64-bit addition in memory.
    ///
    /// # Safety
    /// As for [`store_8`](Self::store_8), with 64 bits and the sum.
    unsafe fn add_64(value: u64);
    /// One 64-bit increment in memory.
    ///
    /// # Safety
    /// As for [`store_8`](Self::store_8), with 64 bits and the sum.
    unsafe fn increment_64();
}

/// A variable of which every CPU has a copy. Implemented by [`per_cpu!`](crate::per_cpu) alone.
///
/// # Safety
/// `template` is the address of a [`Template`] of that type, and [`RawAccess`] is to the same variable.
pub unsafe trait PerCpu: RawAccess {
    /// The variable's type.
    type Value;

    /// The address of the initial value.
    fn template() -> *const Self::Value;

    /// The address of this CPU's copy. It is this CPU's only while the caller stays on it.
    #[inline(always)]
    fn as_ptr(&self) -> *mut Self::Value {
        Self::template().cast_mut().wrapping_byte_add(gs_base())
    }

    /// Borrows this CPU's copy for one call. The guard keeps this CPU's interrupt handlers out.
    ///
    /// **Context:** thread or interrupt. In a handler of NMI, #MC, #DB or #DF only if the type is [`Sync`]: the guard does
    /// not keep those out of code that borrows the same copy (invariant I4).
    #[inline(always)]
    fn with<R>(&self, _guard: &IrqGuard, f: impl FnOnce(&Self::Value) -> R) -> R {
        // SAFETY: invariant I3: GS base leads to an area of this CPU that is never freed, a copy of the template, so a value
        // of this type lies there. It is shared with no other CPU unless it is `Sync` (`of`). The guard keeps handlers out
        // (I2), and `&` excludes writes other than through the type's own interior mutability.
        f(unsafe { &*self.as_ptr() })
    }

    /// Borrows the copy of the CPU whose area lies `gs_base` above the template.
    ///
    /// # Safety
    /// `gs_base` was returned by [`copy_template`] or is the BSP's: an area that is never freed.
    unsafe fn of(&self, gs_base: usize) -> &'static Self::Value
    where
        Self::Value: Sync,
    {
        // SAFETY: the caller guarantees the area (see # Safety), which holds a value of this type as every area does
        // (`copy_template`); `Sync` makes it fit for sharing between CPUs.
        unsafe { &*Self::template().wrapping_byte_add(gs_base) }
    }

    /// This CPU's value.
    #[inline(always)]
    fn get(&self) -> <Self::Value as Word>::Int
    where
        Self: Sized,
        Self::Value: Word,
    {
        <Self::Value as Word>::load::<Self>()
    }

    /// Sets this CPU's value.
    #[inline(always)]
    fn set(&self, value: <Self::Value as Word>::Int)
    where
        Self: Sized,
        Self::Value: Word,
    {
        <Self::Value as Word>::store::<Self>(value);
    }

    /// Adds to this CPU's value, wrapping around.
    #[inline(always)]
    fn add(&self, value: <Self::Value as Word>::Int)
    where
        Self: Sized,
        Self::Value: Add,
    {
        <Self::Value as Add>::add::<Self>(value);
    }

    /// Adds one to this CPU's value, wrapping around: one instruction, and no register.
    #[inline(always)]
    fn increment(&self)
    where
        Self: Sized,
        Self::Value: Add,
    {
        <Self::Value as Add>::increment::<Self>();
    }
}

/// Declares per-CPU variables: `per_cpu! { static RUNS: Cell<u64> = Cell::new(0); }`, then
/// `RUNS.increment()`.
///
/// The name stands for a type without data whose only value leads to this CPU's copy; see
/// [`PerCpu`](crate::cpu::per_cpu::PerCpu) for what it can do.
#[macro_export]
macro_rules! per_cpu {
    ($($(#[$attribute:meta])* $visibility:vis static $NAME:ident: $T:ty = $initial:expr;)+) => {$(
        $(#[$attribute])*
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        #[derive(Clone, Copy)]
        $visibility struct $NAME;

        const _: () = {
            // Evaluated outside the unsafe block.
            const fn octopod_initial_value() -> $T {
                $initial
            }

            // By the variable's own name, which debuggers show.
            #[unsafe(link_section = ".percpu")]
            static $NAME: $crate::cpu::per_cpu::Template<$T> = {
                // SAFETY: the static lies in .percpu.
                unsafe { $crate::cpu::per_cpu::Template::new(octopod_initial_value()) }
            };

            $crate::per_cpu!(@variable $NAME, $T, $NAME);
        };
    )+};
    (@variable $NAME:ident, $T:ty, $TEMPLATE:ident) => {
        // SAFETY: the template is one of that type, as its own type says.
        unsafe impl $crate::cpu::per_cpu::PerCpu for $NAME {
            type Value = $T;
            #[inline(always)]
            fn template() -> *const $T {
                let template: *const $crate::cpu::per_cpu::Template<$T> = &raw const $TEMPLATE;
                template.cast()
            }
        }

        // SAFETY: a `Template` lies in .percpu (`Template::new`), and each function is one instruction of its width on the
        // copy to which GS base leads.
        unsafe impl $crate::cpu::per_cpu::RawAccess for $NAME {
            $crate::per_cpu!(@load load_8, u8, reg_byte, "mov {value}, gs:[rip + {variable}]", $TEMPLATE);
            $crate::per_cpu!(@load load_32, u32, reg, "mov {value:e}, gs:[rip + {variable}]", $TEMPLATE);
            $crate::per_cpu!(@load load_64, u64, reg, "mov {value}, gs:[rip + {variable}]", $TEMPLATE);
            $crate::per_cpu!(@store store_8, u8, reg_byte, "mov gs:[rip + {variable}], {value}", $TEMPLATE);
            $crate::per_cpu!(@store store_32, u32, reg, "mov gs:[rip + {variable}], {value:e}", $TEMPLATE);
            $crate::per_cpu!(@store store_64, u64, reg, "mov gs:[rip + {variable}], {value}", $TEMPLATE);
            $crate::per_cpu!(@store add_32, u32, reg, "add gs:[rip + {variable}], {value:e}", $TEMPLATE);
            $crate::per_cpu!(@store add_64, u64, reg, "add gs:[rip + {variable}], {value}", $TEMPLATE);
            $crate::per_cpu!(@increment increment_32, "inc dword ptr gs:[rip + {variable}]", $TEMPLATE);
            $crate::per_cpu!(@increment increment_64, "inc qword ptr gs:[rip + {variable}]", $TEMPLATE);
        }
    };
    (@load $name:ident, $int:ty, $class:ident, $instruction:literal, $TEMPLATE:ident) => {
        #[inline(always)]
        unsafe fn $name() -> $int {
            let value: $int;
            // SAFETY: reads this CPU's copy, whose bits the caller guarantees.
            unsafe {
                core::arch::asm!($instruction, value = out($class) value, variable = sym $TEMPLATE,
                    options(nostack, preserves_flags));
            }
            value
        }
    };
    (@increment $name:ident, $instruction:literal, $TEMPLATE:ident) => {
        #[inline(always)]
        unsafe fn $name() {
            // SAFETY: changes this CPU's copy, whose bits and new value the caller guarantees.
            unsafe { core::arch::asm!($instruction, variable = sym $TEMPLATE, options(nostack)) }
        }
    };
    (@store $name:ident, $int:ty, $class:ident, $instruction:literal, $TEMPLATE:ident) => {
        #[inline(always)]
        unsafe fn $name(value: $int) {
            // SAFETY: changes this CPU's copy, whose bits and new value the caller guarantees.
            unsafe {
                core::arch::asm!($instruction, value = in($class) value, variable = sym $TEMPLATE,
                    options(nostack));
            }
        }
    };
}

/// GS base, where one instruction reads it. Written by hand, for rt0 names the template.
#[derive(Clone, Copy)]
struct GsBase;

#[unsafe(link_section = ".percpu")]
// SAFETY: it lies in .percpu.
pub(crate) static GS_BASE: Template<Cell<usize>> = unsafe { Template::new(Cell::new(0)) };

per_cpu!(@variable GsBase, Cell<usize>, GS_BASE);

unsafe extern "C" {
    // From the linker script.
    static percpu_start: u8;
    static percpu_end: u8;
}

/// The size of an area, in bytes: a multiple of [`AREA_ALIGN`], so that no two CPUs' areas share a cache line or a pair of
/// lines that is fetched together (Intel Optimization Manual, 3.7.3).
pub fn area_bytes() -> usize {
    (&raw const percpu_end).addr() - (&raw const percpu_start).addr()
}

/// Makes a new area at `area` and returns the GS base that leads to it.
///
/// # Safety
/// `area` is writable for [`area_bytes`] bytes, aligned to [`AREA_ALIGN`], unused, and never freed.
pub unsafe fn copy_template(area: *mut u8) -> usize {
    // SAFETY: the template is `area_bytes` long and is never written; the target is as long, writable and unused, guaranteed by the
    // caller (see # Safety).
    unsafe { area.copy_from_nonoverlapping(&raw const percpu_start, area_bytes()) };
    let gs_base = area.addr().wrapping_sub((&raw const percpu_start).addr());
    // SAFETY: the new area's own copy of the variable, which nobody uses yet.
    unsafe { GsBase::template().cast_mut().wrapping_byte_add(gs_base).write(Cell::new(gs_base)) };
    // SAFETY: the area is complete, is new, and by this function's contract is never freed.
    unsafe { areas::enter(gs_base) };
    gs_base
}

/// Writes a variable in an area.
///
/// # Safety
/// `gs_base` is that of an area that [`copy_template`] made, and whose CPU does not run yet.
pub(super) unsafe fn write<P: PerCpu>(_: P, gs_base: usize, value: P::Value) {
    // SAFETY: the area holds a copy of the variable, which nobody else uses as long as its CPU does not run.
    unsafe { P::template().cast_mut().wrapping_byte_add(gs_base).write(value) };
}

/// This CPU's GS base.
#[inline(always)]
pub fn gs_base() -> usize {
    GsBase.get()
}

/// A counter increment as the compiler makes it, for the test that looks at the machine code.
#[unsafe(no_mangle)]
extern "C" fn octopod_probe_per_cpu_add() {
    per_cpu! { static PROBE: Cell<u64> = Cell::new(0); }
    PROBE.increment();
}
