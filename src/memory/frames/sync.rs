//! Where atomics and locks come from: the real ones, or loom's, which try every interleaving.
//!
//! The rest of the allocator names neither crate, and needs no statics, so a loom model can build a new allocator for
//! each execution. loom's atomics are objects and cannot lie in raw memory, hence [`place`] and [`place_as_is`]: all that
//! knows how metadata gets its shape.

#![allow(unexpected_cfgs, reason = "`loom` is set by hand, for model runs only")]

/// Whether loom runs this: its atomics are larger, and a model must be small.
pub(super) const MODELLED: bool = cfg!(loom);

#[cfg(loom)]
pub(super) use modelled::*;
#[cfg(not(loom))]
pub(super) use real::*;

#[cfg(not(loom))]
mod real {
    pub use core::hint::spin_loop;
    pub use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use core::ptr::NonNull;

    /// A spin lock. It does not mask interrupts: the allocator's callers run with them off.
    pub struct Lock<T>(spin::Mutex<T>);

    impl<T> Lock<T> {
        pub const fn new(value: T) -> Self {
            Self(spin::Mutex::new(value))
        }

        #[inline(always)]
        pub fn lock(&self) -> spin::MutexGuard<'_, T> {
            self.0.lock()
        }
    }

    /// `count` values made by `make`, laid out at `at`.
    ///
    /// # Safety
    /// `at` is aligned for `T`; from there, `count` of them fit into memory that is valid for reads and writes and used
    /// by nothing else for as long as the slice is.
    pub unsafe fn place<T>(at: NonNull<u8>, count: usize, make: impl Fn() -> T) -> &'static [T] {
        let first = at.cast::<T>();
        for index in 0..count {
            // SAFETY: the caller gives `count` places for a `T`, aligned and writable; `index` is below that.
            unsafe { first.add(index).write(make()) };
        }
        // SAFETY: the caller's conditions, and the loop above has initialised every element.
        unsafe { core::slice::from_raw_parts(first.as_ptr(), count) }
    }

    /// `count` values as the memory at `at` happens to hold them, so that start-up need not touch it.
    ///
    /// # Safety
    /// As for [`place`]; besides, the memory is initialised, with no matter what, and any content is a valid `T`.
    pub unsafe fn place_as_is<T>(at: NonNull<u8>, count: usize, _make: impl Fn() -> T) -> &'static [T] {
        // SAFETY: the caller's conditions are those of the call.
        unsafe { core::slice::from_raw_parts(at.cast::<T>().as_ptr(), count) }
    }
}

#[cfg(loom)]
mod modelled {
    extern crate std;

    pub use loom::hint::spin_loop;
    pub use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use core::ptr::NonNull;
    use std::boxed::Box;
    use std::vec::Vec;

    pub struct Lock<T>(loom::sync::Mutex<T>);

    impl<T> Lock<T> {
        pub fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().expect("no model panics with the lock held")
        }
    }

    /// As the real one, but in memory of its own, which is leaked.
    ///
    /// # Safety
    /// None of its own: it has the real one's signature.
    pub unsafe fn place<T>(_at: NonNull<u8>, count: usize, make: impl Fn() -> T) -> &'static [T] {
        Box::leak((0..count).map(|_| make()).collect::<Vec<T>>().into_boxed_slice())
    }

    /// As [`place`].
    ///
    /// # Safety
    /// None of its own: it has the real one's signature.
    pub unsafe fn place_as_is<T>(at: NonNull<u8>, count: usize, make: impl Fn() -> T) -> &'static [T] {
        // SAFETY: it asks for nothing.
        unsafe { place(at, count, make) }
    }
}
