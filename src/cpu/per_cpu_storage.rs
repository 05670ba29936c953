//! The storage of per-CPU variables, and access to it by single instructions. [`per_cpu`](crate::cpu::per_cpu) has the variables
//! themselves; the interrupt guard, on which these depend, has its count here.

use core::cell::UnsafeCell;

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
/// safe form is [`PerCpu::get`](crate::cpu::per_cpu::PerCpu::get) and the other methods of that trait, which derive the width from
/// the type.
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

/// Implements [`RawAccess`](crate::cpu::per_cpu_storage::RawAccess) for a type whose variable is a [`PerCpuStorage`].
///
/// [`PerCpuStorage`]: crate::cpu::per_cpu_storage::PerCpuStorage
#[doc(hidden)]
#[macro_export]
macro_rules! raw_per_cpu {
    ($NAME:ident, $TEMPLATE:ident) => {
        const _: () = {
            const fn is_storage<T>(_: *const $crate::cpu::per_cpu_storage::PerCpuStorage<T>) {}
            is_storage(&raw const $TEMPLATE)
        };

        // SAFETY: a `PerCpuStorage` lies in .percpu (`PerCpuStorage::new`), and each function is one instruction of its
        // width on the copy that GS base addresses.
        unsafe impl $crate::cpu::per_cpu_storage::RawAccess for $NAME {
            $crate::raw_per_cpu!(@load load_8, u8, reg_byte, "mov {value}, gs:[rip + {variable}]", $TEMPLATE);
            $crate::raw_per_cpu!(@load load_32, u32, reg, "mov {value:e}, gs:[rip + {variable}]", $TEMPLATE);
            $crate::raw_per_cpu!(@load load_64, u64, reg, "mov {value}, gs:[rip + {variable}]", $TEMPLATE);
            $crate::raw_per_cpu!(@store store_8, u8, reg_byte, "mov gs:[rip + {variable}], {value}", $TEMPLATE);
            $crate::raw_per_cpu!(@store store_32, u32, reg, "mov gs:[rip + {variable}], {value:e}", $TEMPLATE);
            $crate::raw_per_cpu!(@store store_64, u64, reg, "mov gs:[rip + {variable}], {value}", $TEMPLATE);
            $crate::raw_per_cpu!(@store add_32, u32, reg, "add gs:[rip + {variable}], {value:e}", $TEMPLATE);
            $crate::raw_per_cpu!(@store add_64, u64, reg, "add gs:[rip + {variable}], {value}", $TEMPLATE);
            $crate::raw_per_cpu!(@increment increment_32, "inc dword ptr gs:[rip + {variable}]", $TEMPLATE);
            $crate::raw_per_cpu!(@increment increment_64, "inc qword ptr gs:[rip + {variable}]", $TEMPLATE);
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
