//! The atomics and locks of the allocator: the real ones, loom's, which try every interleaving of a small model, or shuttle's, which try
//! random ones of a larger model.
//!
//! The rest of the allocator names none of these crates and has no statics, so a model can build a new allocator for each execution.
//! A model's atomics are objects and cannot lie in raw memory. Hence [`place`] and [`place_as_is`], which alone lay out the metadata.

/// Whether a model checker runs this: its atomics are larger, and a model must be small.
pub(crate) const MODELLED: bool = cfg!(any(loom, shuttle));

/// Set once and then only read. Models do not set it while other threads look.
pub(in crate::memory) use spin::Once;

#[cfg(any(loom, shuttle))]
pub(crate) use modelled::*;
#[cfg(not(any(loom, shuttle)))]
pub(crate) use real::*;

#[cfg(not(any(loom, shuttle)))]
mod real {
    pub(crate) use core::hint::spin_loop;
    pub(crate) use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};

    use core::ptr::NonNull;

    /// A spin lock of the host's, where there are no interrupts.
    #[cfg(not(target_os = "none"))]
    pub struct Lock<T>(spin::Mutex<T>);

    #[cfg(not(target_os = "none"))]
    impl<T> Lock<T> {
        pub const fn new(value: T) -> Self {
            Self(spin::Mutex::new(value))
        }

        pub fn lock(&self) -> spin::MutexGuard<'_, T> {
            self.0.lock()
        }
    }

    /// In the kernel, one that turns interrupts off: a handler may allocate as well.
    #[cfg(target_os = "none")]
    pub(crate) use crate::sync::SpinLockIrq as Lock;

    /// `count` values made by `make`, laid out at `at`.
    ///
    /// # Safety
    /// `at` is aligned for `T`; from there, `count` of them fit into memory that is valid for reads and writes and used
    /// by nothing else for as long as the slice is.
    pub(crate) unsafe fn place<T>(at: NonNull<u8>, count: usize, make: impl Fn() -> T) -> &'static [T] {
        let first = at.cast::<T>();
        for index in 0..count {
            // SAFETY: `index` is below `count`, and as many values fit, guaranteed by the caller (see # Safety).
            let place = unsafe { first.add(index) };
            // SAFETY: the place is aligned, valid for writes and used by nothing else, guaranteed by the caller (see # Safety).
            unsafe { place.write(make()) };
        }
        // SAFETY: the memory is valid and nothing else's, guaranteed by the caller (see # Safety), and the loop above has initialised
        // every element.
        unsafe { core::slice::from_raw_parts(first.as_ptr(), count) }
    }

    /// `count` values as the memory at `at` happens to hold them, so that start-up need not touch it.
    ///
    /// # Safety
    /// As for [`place`]; besides, the memory is initialised, with no matter what, and any content is a valid `T`.
    pub(crate) unsafe fn place_as_is<T>(
        at: NonNull<u8>,
        count: usize,
        _make: impl Fn() -> T,
    ) -> &'static [T] {
        // SAFETY: the memory is valid, nothing else's, and holds valid elements, guaranteed by the caller (see # Safety).
        unsafe { core::slice::from_raw_parts(at.cast::<T>().as_ptr(), count) }
    }
}

#[cfg(any(loom, shuttle))]
mod modelled {
    extern crate std;

    #[cfg(loom)]
    use loom as checker;
    #[cfg(shuttle)]
    use shuttle as checker;

    #[cfg(loom)]
    pub use crate::sync::model_atomics::{AtomicU64, AtomicUsize};
    #[cfg(shuttle)]
    pub use checker::sync::atomic::{AtomicU64, AtomicUsize};

    pub use checker::hint::spin_loop;
    pub use checker::sync::atomic::{Ordering, fence};

    use core::cell::RefCell;
    use core::ptr::NonNull;
    use std::boxed::Box;
    use std::vec::Vec;

    pub struct Lock<T>(checker::sync::Mutex<T>);

    impl<T> Lock<T> {
        pub fn new(value: T) -> Self {
            Self(checker::sync::Mutex::new(value))
        }

        pub fn lock(&self) -> checker::sync::MutexGuard<'_, T> {
            self.0.lock().expect("no model panics with the lock held")
        }
    }

    std::thread_local! {
        /// The destructors of the values that were placed on this thread, on which all of an execution runs.
        static PLACED: RefCell<Vec<Box<dyn FnOnce()>>> = const { RefCell::new(Vec::new()) };
    }

    /// As the real one, but in memory of its own, until [`forget_placed`].
    ///
    /// # Safety
    /// None of its own: it has the signature of the real function.
    pub unsafe fn place<T: 'static>(_at: NonNull<u8>, count: usize, make: impl Fn() -> T) -> &'static [T] {
        let values = Box::into_raw((0..count).map(|_| make()).collect::<Vec<T>>().into_boxed_slice());
        // SAFETY: made by `into_raw` above; the only owner, and called once.
        let end = move || drop(unsafe { Box::from_raw(values) });
        PLACED.with_borrow_mut(|placed| placed.push(Box::new(end)));
        // SAFETY: valid until `end` is called, of which its caller takes care.
        unsafe { &*values }
    }

    /// As [`place`].
    ///
    /// # Safety
    /// None of its own: it has the signature of the real function.
    pub unsafe fn place_as_is<T: 'static>(
        at: NonNull<u8>,
        count: usize,
        make: impl Fn() -> T,
    ) -> &'static [T] {
        // SAFETY: it asks for nothing.
        unsafe { place(at, count, make) }
    }

    /// Ends everything that was placed on this thread: a million executions would fill the host's memory.
    ///
    /// # Safety
    /// None of it is used any more.
    pub unsafe fn forget_placed() {
        let placed = PLACED.take();
        placed.into_iter().for_each(|end| end());
    }
}
