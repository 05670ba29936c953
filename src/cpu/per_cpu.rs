//! Per-CPU variables: [`per_cpu!`](crate::per_cpu), and what it expands to.
//!
//! The `.percpu` section is a template; each CPU works on a copy of it, its *area*. GS base holds the distance from
//! the template to this CPU's area, so `gs:[rip + VARIABLE]` is one instruction that reaches this CPU's copy, from
//! whichever CPU it runs on. The template itself is never written after rt0: the boot processor's area is a copy as
//! well, so every later area starts from the values that the source says.
//!
//! Two ways in:
//! - integers in a [`Cell`] are read, written and added to by one instruction each, which nothing can split, so
//!   they need no guard;
//! - everything else is borrowed under an [`IrqGuard`] by [`PerCpu::with`].

mod words;

use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::{AtomicU32, AtomicU64};

use crate::cpu::IrqGuard;

pub use words::Words;

/// Where a per-CPU variable's initial value lies in the image.
#[repr(transparent)]
pub struct Template<T>(UnsafeCell<T>);

// SAFETY: (1) the template is only read, by the code that copies it; (2) `PerCpu::with` reaches this CPU's copy
// alone, under a guard that keeps the CPU to itself. So no two CPUs ever share a `T`.
unsafe impl<T> Sync for Template<T> {}

impl<T> Template<T> {
    /// For the macro.
    pub const fn new(value: T) -> Template<T> {
        Template(UnsafeCell::new(value))
    }
}

/// A variable that every CPU has a copy of. Implemented by [`per_cpu!`](crate::per_cpu) alone.
///
/// # Safety
/// `template` is the variable's address in `.percpu`, and each of the accessors is one instruction on this CPU's
/// copy, of the width that its name tells.
pub unsafe trait PerCpu {
    /// The variable's type.
    type Value;

    /// The address of the initial value.
    fn template() -> *const Self::Value;
    /// One 8-bit load.
    fn load_8() -> u8;
    /// One 8-bit store.
    fn store_8(value: u8);
    /// One 32-bit load.
    fn load_32() -> u32;
    /// One 32-bit store.
    fn store_32(value: u32);
    /// One 32-bit addition in memory.
    fn add_32(value: u32);
    /// One 32-bit increment in memory.
    fn increment_32();
    /// One 64-bit load.
    fn load_64() -> u64;
    /// One 64-bit store.
    fn store_64(value: u64);
    /// One 64-bit addition in memory.
    fn add_64(value: u64);
    /// One 64-bit increment in memory.
    fn increment_64();

    /// This CPU's copy. The address stays true to this CPU only while the caller stays on it.
    #[inline(always)]
    fn as_ptr(&self) -> *mut Self::Value {
        Self::template().cast_mut().wrapping_byte_add(gs_base())
    }

    /// Borrows this CPU's copy. The guard is the proof that no other code of this CPU comes in between.
    #[inline(always)]
    fn with<R>(&self, _guard: &IrqGuard, f: impl FnOnce(&Self::Value) -> R) -> R {
        // SAFETY: the area of a CPU that runs holds a value of this type (it is a copy of the template) for good;
        // it is shared with nobody else, and `&` excludes writes but through the type's own interior mutability.
        f(unsafe { &*self.as_ptr() })
    }

    /// Borrows the copy of the CPU whose area lies `gs_base` above the template.
    ///
    /// # Safety
    /// `gs_base` is that of an area that was made by [`copy_template`] and lives for good.
    unsafe fn of(&self, gs_base: usize) -> &'static Self::Value
    where
        Self::Value: Sync,
    {
        // SAFETY: the caller vouches for the area; `Sync` makes the value fit for sharing between CPUs.
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

/// Types that one instruction reads and one writes.
pub trait Word {
    /// The integer inside.
    type Int: Copy;
    /// Loads this CPU's copy of `P`.
    fn load<P: PerCpu>() -> Self::Int;
    /// Stores to this CPU's copy of `P`.
    fn store<P: PerCpu>(value: Self::Int);
}

/// Words that one instruction adds to.
pub trait Add: Word {
    /// Adds to this CPU's copy of `P`.
    fn add<P: PerCpu>(value: Self::Int);
    /// Adds one to this CPU's copy of `P`.
    fn increment<P: PerCpu>();
}

macro_rules! word {
    ($int:ty, $raw:ty, $load:ident, $store:ident $(, $add:ident, $increment:ident)?) => {
        impl Word for Cell<$int> {
            type Int = $int;
            #[inline(always)]
            fn load<P: PerCpu>() -> $int {
                P::$load() as $int
            }
            #[inline(always)]
            fn store<P: PerCpu>(value: $int) {
                P::$store(value as $raw);
            }
        }
        $(impl Add for Cell<$int> {
            #[inline(always)]
            fn add<P: PerCpu>(value: $int) {
                P::$add(value as $raw);
            }
            #[inline(always)]
            fn increment<P: PerCpu>() {
                P::$increment();
            }
        })?
    };
}

word!(u8, u8, load_8, store_8);
word!(u32, u32, load_32, store_32, add_32, increment_32);
word!(u64, u64, load_64, store_64, add_64, increment_64);
word!(usize, u64, load_64, store_64, add_64, increment_64);

macro_rules! counter {
    ($atomic:ty, $int:ty, $load:ident, $store:ident, $add:ident, $increment:ident) => {
        /// A counter that its own CPU adds to, without a locked instruction, and that others may read.
        impl Word for $atomic {
            type Int = $int;
            #[inline(always)]
            fn load<P: PerCpu>() -> $int {
                P::$load()
            }
            #[inline(always)]
            fn store<P: PerCpu>(value: $int) {
                P::$store(value);
            }
        }
        impl Add for $atomic {
            #[inline(always)]
            fn add<P: PerCpu>(value: $int) {
                P::$add(value);
            }
            #[inline(always)]
            fn increment<P: PerCpu>() {
                P::$increment();
            }
        }
    };
}

counter!(AtomicU32, u32, load_32, store_32, add_32, increment_32);
counter!(AtomicU64, u64, load_64, store_64, add_64, increment_64);

impl Word for Cell<bool> {
    type Int = bool;
    #[inline(always)]
    fn load<P: PerCpu>() -> bool {
        P::load_8() != 0
    }
    #[inline(always)]
    fn store<P: PerCpu>(value: bool) {
        P::store_8(u8::from(value));
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
            // By the variable's own name, which debuggers show.
            #[unsafe(link_section = ".percpu")]
            static $NAME: $crate::cpu::per_cpu::Template<$T> = $crate::cpu::per_cpu::Template::new($initial);

            $crate::per_cpu!(@variable $NAME, $T, $NAME);
        };
    )+};
    (@variable $NAME:ident, $T:ty, $TEMPLATE:ident) => {
        // SAFETY: the template lies in .percpu, and each accessor is one instruction of its width on the copy that GS base
        // leads to. The instructions touch only this CPU's area, which is nobody else's.
        unsafe impl $crate::cpu::per_cpu::PerCpu for $NAME {
            type Value = $T;
            #[inline(always)]
            fn template() -> *const $T {
                (&raw const $TEMPLATE).cast()
            }
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
        fn $name() -> $int {
            let value: $int;
            // SAFETY: see the impl.
            unsafe {
                core::arch::asm!($instruction, value = out($class) value, variable = sym $TEMPLATE,
                    options(nostack, preserves_flags));
            }
            value
        }
    };
    (@increment $name:ident, $instruction:literal, $TEMPLATE:ident) => {
        #[inline(always)]
        fn $name() {
            // SAFETY: see the impl.
            unsafe { core::arch::asm!($instruction, variable = sym $TEMPLATE, options(nostack)) }
        }
    };
    (@store $name:ident, $int:ty, $class:ident, $instruction:literal, $TEMPLATE:ident) => {
        #[inline(always)]
        fn $name(value: $int) {
            // SAFETY: see the impl.
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
pub(crate) static GS_BASE: Template<Cell<usize>> = Template::new(Cell::new(0));

per_cpu!(@variable GsBase, Cell<usize>, GS_BASE);

unsafe extern "C" {
    // From the linker script.
    static percpu_start: u8;
    static percpu_end: u8;
}

/// The size of an area, in bytes: a multiple of 128, so that no two CPUs' areas share a cache line or a pair of
/// lines that is fetched together (Intel Optimization Manual, 3.7.3).
pub fn area_bytes() -> usize {
    (&raw const percpu_end).addr() - (&raw const percpu_start).addr()
}

/// Makes a new area at `area` and returns the GS base that leads to it.
///
/// # Safety
/// `area` is writable for [`area_bytes`] bytes, aligned to 128, unused, and stays so for good.
pub unsafe fn copy_template(area: *mut u8) -> usize {
    // SAFETY: the template is `area_bytes` long and is never written; the caller vouches for the target.
    unsafe { area.copy_from_nonoverlapping(&raw const percpu_start, area_bytes()) };
    let gs_base = area.addr().wrapping_sub((&raw const percpu_start).addr());
    // SAFETY: the new area's own copy of the variable, which nobody uses yet.
    unsafe { GsBase::template().cast_mut().wrapping_byte_add(gs_base).write(Cell::new(gs_base)) };
    gs_base
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
