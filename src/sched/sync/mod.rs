//! What threads wait for: locks, conditions and channels. All of them block on one [`WaitQueue`](wait_queue).
//!
//! | type | for |
//! |---|---|
//! | [`Mutex`] | a value that one thread uses at a time |
//! | [`RwLock`] | a value that many threads read or one writes |
//! | [`Condvar`] | threads that wait until the value of a [`Mutex`] fulfils a condition |
//! | [`Semaphore`] | a number of permits; handlers may release |
//! | [`Event`] | something that happens once, or until it is reset; handlers may set it |
//! | [`Barrier`] | threads that wait for each other |
//! | [`Once`], [`OnceLock`], [`LazyLock`] | an initialisation that takes place once, and values that are made so |
//! | [`RawMutex`], [`RawRwLock`] | values of other crates' locks, by the traits of `lock_api` |
//! | [`channel`](channel::unbounded) | values from threads and handlers to threads |
//!
//! Each wait has a form with a time-out and one that does not wait. A wait is ended once, by a waker or by the time-out, as the
//! queue's lock decides. The spin locks of [`octopod::sync`](crate::sync) are for what handlers use too: the CPU of a thread that holds
//! one takes no interrupts, so such a thread must not block. A thread that does is refused by a panic.
//!
//! A thread that ends the run by a panic poisons nothing: no other thread runs then.

mod barrier;
pub mod channel;
mod condvar;
#[cfg(all(target_os = "none", feature = "checked"))]
mod deadlock;
mod event;
pub(super) mod executing;
mod linked_list;
#[cfg(not(any(loom, shuttle)))]
mod lock_traits;
mod mutex;
mod once;
mod raw_mutex;
mod raw_rwlock;
mod rwlock;
mod semaphore;
#[cfg(any(all(target_os = "none", feature = "checked"), all(test, not(any(loom, shuttle)))))]
mod wait_graph;
mod wait_list;
mod wait_queue;
mod waker_list;
#[cfg(any(target_os = "none", test))]
pub(super) mod work_item;

#[cfg(target_os = "none")]
#[path = "kernel.rs"]
mod platform;
#[cfg(not(target_os = "none"))]
#[path = "host.rs"]
mod platform;

pub use barrier::{Barrier, BarrierWaitResult};
pub use condvar::Condvar;
#[cfg(all(target_os = "none", feature = "checked"))]
pub(crate) use deadlock::check as check_waits;
pub use event::Event;
pub use mutex::{Mutex, MutexGuard};
pub use once::{LazyLock, Once, OnceLock};
pub use platform::TimedOut;
#[cfg(target_os = "none")]
pub(crate) use platform::waits_for;
pub use raw_mutex::RawMutex;
pub use raw_rwlock::RawRwLock;
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{Permit, Semaphore};

/// Declares a function that is `const` in the kernel, and not for a model checker, whose atomics have no constant values.
macro_rules! const_fn {
    ($(#[$attribute:meta])* $visibility:vis fn $name:ident($($argument:ident: $T:ty),*) -> $R:ty $body:block) => {
        $(#[$attribute])*
        #[cfg(not(any(loom, shuttle)))]
        $visibility const fn $name($($argument: $T),*) -> $R $body

        $(#[$attribute])*
        #[cfg(any(loom, shuttle))]
        $visibility fn $name($($argument: $T),*) -> $R $body
    };
}
use const_fn;

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
