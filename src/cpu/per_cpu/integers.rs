//! Integers as per-CPU variables: the type determines the width of the instruction.

use core::cell::Cell;
use core::sync::atomic::{AtomicU32, AtomicU64};

use crate::cpu::per_cpu_storage::RawAccess;

/// A type that one instruction loads and one stores: an integer in a [`Cell`], or an atomic, which other CPUs may read as
/// well.
pub trait PerCpuInt: Sized {
    /// The integer.
    type Int: Copy;
    /// Loads this CPU's copy of `P`.
    ///
    /// # Safety
    /// The variable of `P` is of this type.
    unsafe fn load<P: RawAccess>() -> Self::Int;
    /// Stores to this CPU's copy of `P`.
    ///
    /// # Safety
    /// The variable of `P` is of this type.
    unsafe fn store<P: RawAccess>(value: Self::Int);
}

/// A [`PerCpuInt`] that one instruction adds to. The instruction has no lock prefix: only the variable's own CPU may add.
pub trait PerCpuAdd: PerCpuInt {
    /// Adds to this CPU's copy of `P`, wrapping around.
    ///
    /// # Safety
    /// The variable of `P` is of this type.
    unsafe fn add<P: RawAccess>(value: Self::Int);
    /// Adds one to this CPU's copy of `P`, wrapping around.
    ///
    /// # Safety
    /// The variable of `P` is of this type.
    unsafe fn increment<P: RawAccess>();
}

macro_rules! per_cpu_int {
    ($type:ty, $int:ty, $raw:ty, $load:ident, $store:ident $(, $add:ident, $increment:ident)?) => {
        const _: () = assert!(size_of::<$type>() == size_of::<$raw>());

        impl PerCpuInt for $type {
            type Int = $int;
            #[inline(always)]
            unsafe fn load<P: RawAccess>() -> $int {
                // SAFETY: the variable has this type (see # Safety), whose width is that of the instruction (the assertion above).
                // Code of this CPU changes it through a cell or an atomic, other CPUs only if it is an atomic.
                (unsafe { P::$load() }) as $int
            }
            #[inline(always)]
            unsafe fn store<P: RawAccess>(value: $int) {
                // SAFETY: the variable has this type (see # Safety), with the width of the instruction, and every value of that width is valid. The variable is a
                // cell or an atomic, so that a shared copy may be written; other CPUs see it only if it is an atomic.
                unsafe { P::$store(value as $raw) };
            }
        }
        $(impl PerCpuAdd for $type {
            #[inline(always)]
            unsafe fn add<P: RawAccess>(value: $int) {
                // SAFETY: the variable has this type (see # Safety), with the width of the instruction, and every sum of that width is valid. The variable is a
                // cell or an atomic, so that a shared copy may be written; other CPUs see it only if it is an atomic.
                unsafe { P::$add(value as $raw) };
            }
            #[inline(always)]
            unsafe fn increment<P: RawAccess>() {
                // SAFETY: the variable has this type (see # Safety), with the width of the instruction, and every sum of that width is valid. The variable is a
                // cell or an atomic, so that a shared copy may be written; other CPUs see it only if it is an atomic.
                unsafe { P::$increment() };
            }
        })?
    };
}

per_cpu_int!(Cell<u8>, u8, u8, load_8, store_8);
per_cpu_int!(Cell<u32>, u32, u32, load_32, store_32, add_32, increment_32);
per_cpu_int!(Cell<u64>, u64, u64, load_64, store_64, add_64, increment_64);
per_cpu_int!(Cell<usize>, usize, u64, load_64, store_64, add_64, increment_64);
per_cpu_int!(AtomicU32, u32, u32, load_32, store_32, add_32, increment_32);
per_cpu_int!(AtomicU64, u64, u64, load_64, store_64, add_64, increment_64);

impl PerCpuInt for Cell<bool> {
    type Int = bool;
    #[inline(always)]
    unsafe fn load<P: RawAccess>() -> bool {
        // SAFETY: the variable is one byte. Only code of this CPU changes it, through the cell.
        (unsafe { P::load_8() }) != 0
    }
    #[inline(always)]
    unsafe fn store<P: RawAccess>(value: bool) {
        // SAFETY: the variable is one byte, of which 0 and 1 are valid.
        unsafe { P::store_8(u8::from(value)) };
    }
}
