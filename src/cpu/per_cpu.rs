//! Per-CPU variables, and their declaration by [`per_cpu!`](crate::per_cpu).
//!
//! The section `.percpu` is a template. Each CPU works on a copy of it, its *area*. GS base holds the distance from the
//! template to this CPU's area, so the operand `gs:[rip + VARIABLE]` addresses this CPU's copy in one instruction, on
//! every CPU. The template is not written after rt0. The BSP's area is a copy as well, so each later area starts with the
//! initial values of the source.
//!
//! Access to this CPU's copy:
//! - Integers, as [`Cell`] or atomic, are loaded, stored and added to by one instruction each ([`PerCpuInt`],
//!   [`PerCpuAdd`]). No interrupt can split the instruction, so no guard is required.
//! - Every type can be borrowed under an [`IrqGuard`] by [`PerCpu::with`].
//! - Hot paths access words inside larger types by one instruction ([`RawAccess`], [`RawArrayAccess`]). This is `unsafe`.
//!
//! [`PerCpu::of`] borrows another CPU's copy, if the type is [`Sync`].

mod areas;
mod integers;
mod raw_array;

use core::cell::{Cell, UnsafeCell};

use crate::cpu::IrqGuard;

pub(crate) use areas::areas;
pub use integers::{PerCpuAdd, PerCpuInt};
pub use raw_array::RawArrayAccess;

/// Alignment of an area, in bytes. It is the maximum alignment of a per-CPU variable.
pub const AREA_ALIGN: usize = 128;

/// Storage for the initial value of a per-CPU variable. It lies in the template.
#[repr(transparent)]
pub struct PerCpuStorage<T>(UnsafeCell<T>);

// SAFETY: invariant I3 of docs/invariants.md. The template is only read, by `copy_template`. Code of one CPU accesses
// that CPU's copy (`PerCpu::with`, under a guard), so no two CPUs share a `T`. `PerCpu::of`, which shares it, requires
// `T: Sync`. A value that is moved out of one CPU's copy may be used on another CPU, hence `T: Send`.
unsafe impl<T: Send> Sync for PerCpuStorage<T> {}

impl<T> PerCpuStorage<T> {
    /// Creates storage with the initial value `value`. [`per_cpu!`](crate::per_cpu) calls this.
    ///
    /// # Safety
    /// The storage is a static in the section `.percpu`: code adds GS base to its address.
    pub const unsafe fn new(value: T) -> PerCpuStorage<T> {
        const { assert!(align_of::<T>() <= AREA_ALIGN, "a per-CPU variable needs more than its area's alignment") };
        PerCpuStorage(UnsafeCell::new(value))
    }
}

/// Access to this CPU's copy of a variable by one instruction of a fixed width, independent of the variable's type. The
/// safe form is [`PerCpu::get`] and the other methods of [`PerCpu`], which derive the width from the type.
///
/// **Context:** any.
///
/// # Safety
/// Each function is one instruction of the width in its name on this CPU's copy of one variable in `.percpu`.
pub unsafe trait RawAccess {
    /// Loads 8 bits.
    ///
    /// # Safety
    /// The first 8 bits of the variable are initialised. Concurrently they are changed only by atomic accesses or single
    /// instructions, and no `&mut` to them exists.
    unsafe fn load_8() -> u8;
    /// Stores 8 bits.
    ///
    /// # Safety
    /// As for [`load_8`](Self::load_8). No `&` to the bits exists except to an atomic or a cell, and the value is valid
    /// for the type.
    unsafe fn store_8(value: u8);
    /// Loads 32 bits.
    ///
    /// # Safety
    /// As for [`load_8`](Self::load_8), with 32 bits.
    unsafe fn load_32() -> u32;
    /// Stores 32 bits.
    ///
    /// # Safety
    /// As for [`store_8`](Self::store_8), with 32 bits.
    unsafe fn store_32(value: u32);
    /// Adds to 32 bits in memory, without a lock prefix.
    ///
    /// # Safety
    /// As for [`store_8`](Self::store_8), with 32 bits and the sum.
    unsafe fn add_32(value: u32);
    /// Increments 32 bits in memory, without a lock prefix.
    ///
    /// # Safety
    /// As for [`store_8`](Self::store_8), with 32 bits and the sum.
    unsafe fn increment_32();
    /// Loads 64 bits.
    ///
    /// # Safety
    /// As for [`load_8`](Self::load_8), with 64 bits.
    unsafe fn load_64() -> u64;
    /// Stores 64 bits.
    ///
    /// # Safety
    /// As for [`store_8`](Self::store_8), with 64 bits.
    unsafe fn store_64(value: u64);
    /// Adds to 64 bits in memory, without a lock prefix.
    ///
    /// # Safety
    /// As for [`store_8`](Self::store_8), with 64 bits and the sum.
    unsafe fn add_64(value: u64);
    /// Increments 64 bits in memory, without a lock prefix.
    ///
    /// # Safety
    /// As for [`store_8`](Self::store_8), with 64 bits and the sum.
    unsafe fn increment_64();
}

/// A per-CPU variable. Only [`per_cpu!`](crate::per_cpu) implements this trait.
///
/// # Safety
/// `template` returns the address of a [`PerCpuStorage`] of type `Value`, and [`RawAccess`] accesses the same variable.
pub unsafe trait PerCpu: RawAccess {
    /// The variable's type.
    type Value;

    /// Returns the address of the initial value in the template.
    fn template() -> *const Self::Value;

    /// Returns the address of this CPU's copy. It is this CPU's only while the caller stays on this CPU.
    #[inline(always)]
    fn as_ptr(&self) -> *mut Self::Value {
        Self::template().cast_mut().wrapping_byte_add(gs_base())
    }

    /// Borrows this CPU's copy for one call. The guard excludes this CPU's maskable interrupt handlers.
    ///
    /// **Context:** thread or interrupt. In a handler of NMI, #MC, #DB or #DF only if the type is [`Sync`]: the guard
    /// does not exclude these handlers from code that borrows the same copy (invariant I4).
    #[inline(always)]
    fn with<R>(&self, _guard: &IrqGuard, f: impl FnOnce(&Self::Value) -> R) -> R {
        // SAFETY: invariant I3: GS base addresses an area of this CPU that is a copy of the template and never freed, so
        // a value of this type lies there. Another CPU shares it only if it is `Sync` (`of`). The guard excludes handlers
        // (I2), and `&` permits no writes except through the type's own interior mutability.
        f(unsafe { &*self.as_ptr() })
    }

    /// Borrows the copy in the area with GS base `gs_base`.
    ///
    /// **Context:** any.
    ///
    /// # Safety
    /// `gs_base` was returned by [`copy_template`] or is the BSP's: its area is never freed.
    unsafe fn of(&self, gs_base: usize) -> &'static Self::Value
    where
        Self::Value: Sync,
    {
        // SAFETY: the area is never freed and holds a value of this type (`copy_template`), guaranteed by the caller (see
        // # Safety). `Sync` permits CPUs to share it.
        unsafe { &*Self::template().wrapping_byte_add(gs_base) }
    }

    /// Loads this CPU's value. **Context:** any.
    #[inline(always)]
    fn get(&self) -> <Self::Value as PerCpuInt>::Int
    where
        Self: Sized,
        Self::Value: PerCpuInt,
    {
        <Self::Value as PerCpuInt>::load::<Self>()
    }

    /// Stores this CPU's value. **Context:** any.
    #[inline(always)]
    fn set(&self, value: <Self::Value as PerCpuInt>::Int)
    where
        Self: Sized,
        Self::Value: PerCpuInt,
    {
        <Self::Value as PerCpuInt>::store::<Self>(value);
    }

    /// Adds to this CPU's value, wrapping around. **Context:** any.
    #[inline(always)]
    fn add(&self, value: <Self::Value as PerCpuInt>::Int)
    where
        Self: Sized,
        Self::Value: PerCpuAdd,
    {
        <Self::Value as PerCpuAdd>::add::<Self>(value);
    }

    /// Adds one to this CPU's value, wrapping around, in one instruction without a register. **Context:** any.
    #[inline(always)]
    fn increment(&self)
    where
        Self: Sized,
        Self::Value: PerCpuAdd,
    {
        <Self::Value as PerCpuAdd>::increment::<Self>();
    }
}

/// The name is a zero-sized type, and its only value represents this CPU's copy. [`PerCpu`](crate::cpu::per_cpu::PerCpu)
/// has the operations.
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

            // The static has the variable's name, because debuggers show it.
            #[unsafe(link_section = ".percpu")]
            static $NAME: $crate::cpu::per_cpu::PerCpuStorage<$T> = {
                // SAFETY: the static lies in .percpu.
                unsafe { $crate::cpu::per_cpu::PerCpuStorage::new(octopod_initial_value()) }
            };

            $crate::per_cpu!(@variable $NAME, $T, $NAME);
        };
    )+};
    (@variable $NAME:ident, $T:ty, $TEMPLATE:ident) => {
        // SAFETY: the storage has this type, by the declaration of the static.
        unsafe impl $crate::cpu::per_cpu::PerCpu for $NAME {
            type Value = $T;
            #[inline(always)]
            fn template() -> *const $T {
                let template: *const $crate::cpu::per_cpu::PerCpuStorage<$T> = &raw const $TEMPLATE;
                template.cast()
            }
        }

        // SAFETY: a `PerCpuStorage` lies in .percpu (`PerCpuStorage::new`), and each function is one instruction of its
        // width on the copy that GS base addresses.
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
            // SAFETY: the instruction reads this CPU's copy; the caller guarantees its width and content (see # Safety of
            // the trait's method).
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
            // SAFETY: the instruction writes this CPU's copy; the caller guarantees its width and the new value (see #
            // Safety of the trait's method).
            unsafe { core::arch::asm!($instruction, variable = sym $TEMPLATE, options(nostack)) }
        }
    };
    (@store $name:ident, $int:ty, $class:ident, $instruction:literal, $TEMPLATE:ident) => {
        #[inline(always)]
        unsafe fn $name(value: $int) {
            // SAFETY: the instruction writes this CPU's copy; the caller guarantees its width and the new value (see #
            // Safety of the trait's method).
            unsafe {
                core::arch::asm!($instruction, value = in($class) value, variable = sym $TEMPLATE,
                    options(nostack));
            }
        }
    };
}

/// This CPU's GS base. `per_cpu!` is not used, because rt0 names the storage.
#[derive(Clone, Copy)]
struct GsBase;

#[unsafe(link_section = ".percpu")]
// SAFETY: it lies in .percpu.
pub(crate) static GS_BASE: PerCpuStorage<Cell<usize>> = unsafe { PerCpuStorage::new(Cell::new(0)) };

per_cpu!(@variable GsBase, Cell<usize>, GS_BASE);

unsafe extern "C" {
    // Defined by the linker script.
    static percpu_start: u8;
    static percpu_end: u8;
}

/// Returns the size of an area in bytes. It is a multiple of [`AREA_ALIGN`], so that the areas of two CPUs share neither
/// a cache line nor an adjacent pair of lines (Intel Optimization Manual, 3.7.3).
pub fn area_bytes() -> usize {
    (&raw const percpu_end).addr() - (&raw const percpu_start).addr()
}

/// Creates a new area at `area` and returns its GS base.
///
/// # Safety
/// `area` is writable for [`area_bytes`] bytes, aligned to [`AREA_ALIGN`], unused, and never freed.
pub unsafe fn copy_template(area: *mut u8) -> usize {
    // SAFETY: the template is `area_bytes` long and is never written; the target is as long, writable and unused, guaranteed by the
    // caller (see # Safety).
    unsafe { area.copy_from_nonoverlapping(&raw const percpu_start, area_bytes()) };
    let gs_base = area.addr().wrapping_sub((&raw const percpu_start).addr());
    // SAFETY: this is the new area's own copy of the variable, which no CPU uses yet.
    unsafe { GsBase::template().cast_mut().wrapping_byte_add(gs_base).write(Cell::new(gs_base)) };
    // SAFETY: the area is complete and new, and this function's contract forbids freeing it.
    unsafe { areas::register(gs_base) };
    gs_base
}

/// Writes a variable in the area with GS base `gs_base`.
///
/// # Safety
/// [`copy_template`] made the area, and its CPU does not run yet.
pub(super) unsafe fn write<P: PerCpu>(_: P, gs_base: usize, value: P::Value) {
    // SAFETY: the area holds a copy of the variable. No other code uses it, because its CPU does not run yet (see #
    // Safety).
    unsafe { P::template().cast_mut().wrapping_byte_add(gs_base).write(value) };
}

/// Returns this CPU's GS base. **Context:** any.
#[inline(always)]
pub fn gs_base() -> usize {
    GsBase.get()
}

/// A counter increment as compiled. A test checks its machine code.
#[unsafe(no_mangle)]
extern "C" fn octopod_probe_per_cpu_add() {
    per_cpu! { static PROBE: Cell<u64> = Cell::new(0); }
    PROBE.increment();
}
