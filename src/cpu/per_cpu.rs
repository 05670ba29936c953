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

use core::cell::Cell;

use crate::cpu::IrqGuard;

#[doc(hidden)]
pub use crate::cpu::per_cpu_storage::{PerCpuStorage, RawAccess};
pub(crate) use areas::{area_bytes, areas, copy_template, write};
pub use integers::{PerCpuAdd, PerCpuInt};
#[doc(hidden)]
pub use raw_array::RawArrayAccess;

/// A per-CPU variable. Only [`per_cpu!`](crate::per_cpu) implements this trait.
///
/// # Safety
/// `template` returns the address of a [`PerCpuStorage`] of type `Value`, and [`RawAccess`] accesses the same variable.
pub unsafe trait PerCpu: RawAccess {
    /// The variable's type.
    type Value;

    /// Returns the address of the initial value in the template.
    #[doc(hidden)]
    fn template() -> *const Self::Value;

    /// Returns the address of this CPU's copy. It is this CPU's only while the caller stays on this CPU.
    #[inline(always)]
    #[doc(hidden)]
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
    #[doc(hidden)]
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
        // SAFETY: the variable has this type, by the trait's contract.
        unsafe { <Self::Value as PerCpuInt>::load::<Self>() }
    }

    /// Stores this CPU's value. **Context:** any.
    #[inline(always)]
    fn set(&self, value: <Self::Value as PerCpuInt>::Int)
    where
        Self: Sized,
        Self::Value: PerCpuInt,
    {
        // SAFETY: the variable has this type, by the trait's contract.
        unsafe { <Self::Value as PerCpuInt>::store::<Self>(value) };
    }

    /// Adds to this CPU's value, wrapping around. **Context:** any.
    #[inline(always)]
    fn add(&self, value: <Self::Value as PerCpuInt>::Int)
    where
        Self: Sized,
        Self::Value: PerCpuAdd,
    {
        // SAFETY: the variable has this type, by the trait's contract.
        unsafe { <Self::Value as PerCpuAdd>::add::<Self>(value) };
    }

    /// Adds one to this CPU's value, wrapping around, in one instruction without a register. **Context:** any.
    #[inline(always)]
    fn increment(&self)
    where
        Self: Sized,
        Self::Value: PerCpuAdd,
    {
        // SAFETY: the variable has this type, by the trait's contract.
        unsafe { <Self::Value as PerCpuAdd>::increment::<Self>() };
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

        $crate::raw_per_cpu!($NAME, $TEMPLATE);
    };
}

/// This CPU's GS base. `per_cpu!` is not used, because rt0 names the storage.
#[derive(Clone, Copy)]
struct GsBase;

#[unsafe(link_section = ".percpu")]
// SAFETY: it lies in .percpu.
pub(crate) static GS_BASE: PerCpuStorage<Cell<usize>> = unsafe { PerCpuStorage::new(Cell::new(0)) };

per_cpu!(@variable GsBase, Cell<usize>, GS_BASE);

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
