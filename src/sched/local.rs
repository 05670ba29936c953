//! Thread-local variables.
//!
//! Each variable has a number, which it takes when it is first used. A thread's control block, which FS base leads to, has a table of
//! the thread's values by that number; each value is an object of the heap. So preemption and moves between CPUs change nothing: the
//! table goes with the thread, and the thread alone uses it. Interrupt handlers, which run in the middle of whatever the thread does,
//! are refused.

use alloc::boxed::Box;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::panic::Location;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

pub use super::locals::AccessError;
use super::locals::Entry;
#[cfg(target_os = "none")]
use super::own_locals::with_locals;
#[cfg(all(test, not(target_os = "none")))]
use tests::with_locals;

/// The number of the next variable. 0 is that of none.
static NEXT_NUMBER: AtomicUsize = AtomicUsize::new(1);

/// A thread ends: drops its values. It gets no others.
///
/// # Safety
/// The thread's function has returned: nothing uses a value.
#[inline]
pub(super) unsafe fn end_thread() {
    // SAFETY: nothing may use a value, guaranteed by the caller (see # Safety); `LocalKey::init` stores each with its own `free`.
    // An access is refused with interrupts off, and so is the end of a thread.
    let _ = with_locals(|locals| unsafe { locals.drop_all() });
}

/// A variable of which each thread has a value of its own: [`thread_local!`](crate::thread_local!) declares it.
///
/// The value is made by the thread's first access. When the thread's function has returned, its values are dropped, in any order, and it gets
/// no others: the drop of a result that no handle takes finds none. A task ([`task`](crate::task)) uses those of the executor that polls
/// it, which never ends.
pub struct LocalKey<T: 'static> {
    number: AtomicUsize,
    init: fn() -> T,
}

impl<T: 'static> LocalKey<T> {
    #[doc(hidden)]
    pub const fn new(init: fn() -> T) -> LocalKey<T> {
        LocalKey { number: AtomicUsize::new(0), init }
    }

    /// Calls a function with the running thread's value, which the first call makes.
    ///
    /// **Context:** a thread, interrupts on. The first access of a thread allocates on the heap.
    ///
    /// # Panics
    /// Where [`try_with`](Self::try_with) returns an error, and without memory.
    #[inline]
    #[track_caller]
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        match self.try_with(f) {
            Ok(result) => result,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`with`](Self::with), with an error instead of most panics.
    ///
    /// **Context:** any but NMI; see the errors.
    ///
    /// # Errors
    /// [`AccessError`]
    ///
    /// # Panics
    /// Without memory for the value.
    #[inline]
    #[track_caller]
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        let number = self.number.load(Ordering::Relaxed);
        let value = match with_locals(|locals| locals.get(number))? {
            Entry::Value(value, _) => value,
            other => self.init(other)?,
        };
        // SAFETY: the value must be a `T` that lives and is not changed until `f` has returned. `init` has stored one under this
        // variable's number, which no other has, and the thread frees it after its function has returned (`end_thread`). `f` runs on
        // this thread, and other accesses make shared references as well.
        Ok(f(unsafe { value.cast::<T>().as_ref() }))
    }

    /// Makes the value. `seen` is what the thread has instead.
    #[cold]
    #[inline(never)]
    #[track_caller]
    fn init(&'static self, seen: Entry) -> Result<NonNull<()>, AccessError> {
        match seen {
            Entry::Dropped => return Err(AccessError::Dropped),
            Entry::Begun(begun_at) => return Err(AccessError::Recursive { begun_at }),
            Entry::Value(value, _) => return Ok(value),
            Entry::Unused => {}
        }
        let number = self.number();
        with_locals(|locals| locals.set(number, Entry::Begun(Location::caller())))?;
        let value = NonNull::from(Box::leak(Box::new((self.init)()))).cast::<()>();
        // The function may have left interrupts off: the value is lost then.
        with_locals(|locals| locals.set(number, Entry::Value(value, free::<T>)))?;
        Ok(value)
    }

    /// Returns the variable's number, which the first call takes.
    fn number(&self) -> usize {
        let known = self.number.load(Ordering::Relaxed);
        if known != 0 {
            return known;
        }
        let mine = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
        match self.number.compare_exchange(0, mine, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => mine,
            Err(earlier) => earlier,
        }
    }
}

/// Drops a value and frees its memory.
///
/// # Safety
/// The value was made of a `Box<T>`, and is used by nothing else.
unsafe fn free<T>(value: NonNull<()>) {
    // SAFETY: it was made of a box, and nothing else uses it, guaranteed by the caller (see # Safety).
    drop(unsafe { Box::from_raw(value.cast::<T>().as_ptr()) });
}

impl<T: 'static> LocalKey<Cell<T>> {
    /// Sets the running thread's value.
    ///
    /// **Context:** as for [`with`](Self::with).
    ///
    /// # Panics
    /// As for [`with`](Self::with).
    #[track_caller]
    pub fn set(&'static self, value: T) {
        self.with(|cell| cell.set(value));
    }

    /// Returns the running thread's value.
    ///
    /// **Context:** as for [`with`](Self::with).
    ///
    /// # Panics
    /// As for [`with`](Self::with).
    #[track_caller]
    pub fn get(&'static self) -> T
    where
        T: Copy,
    {
        self.with(Cell::get)
    }
}

impl<T: 'static> LocalKey<RefCell<T>> {
    /// Calls a function with the running thread's value.
    ///
    /// **Context:** as for [`with`](Self::with).
    ///
    /// # Panics
    /// As for [`with`](Self::with), and if the value is borrowed mutably.
    #[track_caller]
    pub fn with_borrow<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.with(|cell| f(&cell.borrow()))
    }

    /// Calls a function with the running thread's value, to change it.
    ///
    /// **Context:** as for [`with`](Self::with).
    ///
    /// # Panics
    /// As for [`with`](Self::with), and if the value is borrowed.
    #[track_caller]
    pub fn with_borrow_mut<R>(&'static self, f: impl FnOnce(&mut T) -> R) -> R {
        self.with(|cell| f(&mut cell.borrow_mut()))
    }
}

impl<T: 'static> fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey").finish_non_exhaustive()
    }
}

/// Declares variables of which each thread has a value of its own, as `std::thread_local!` does.
///
/// ```ignore
/// octopod::thread_local! {
///     static DEPTH: Cell<u32> = const { Cell::new(0) };
///     static NAMES: RefCell<Vec<String>> = RefCell::new(Vec::new());
/// }
///
/// DEPTH.set(DEPTH.get() + 1);
/// NAMES.with_borrow_mut(|names| names.push("first".into()));
/// ```
#[macro_export]
macro_rules! thread_local {
    () => {};
    ($(#[$about:meta])* $vis:vis static $name:ident: $T:ty = const $init:block $(; $($rest:tt)*)?) => {
        $crate::thread_local!(@one ($(#[$about])*) ($vis) $name $T, const { $init });
        $($crate::thread_local!($($rest)*);)?
    };
    ($(#[$about:meta])* $vis:vis static $name:ident: $T:ty = $init:expr $(; $($rest:tt)*)?) => {
        $crate::thread_local!(@one ($(#[$about])*) ($vis) $name $T, $init);
        $($crate::thread_local!($($rest)*);)?
    };
    (@one ($(#[$about:meta])*) ($vis:vis) $name:ident $T:ty, $init:expr) => {
        $(#[$about])*
        $vis static $name: $crate::thread::LocalKey<$T> = {
            fn init() -> $T {
                $init
            }
            $crate::thread::LocalKey::new(init)
        };
    };
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::rc::Rc;
    use std::sync::{Arc, Mutex};
    use std::vec::Vec;

    use super::*;
    use crate::sched::locals::Locals;

    std::thread_local! {
        static LOCALS: Locals = const { Locals::new() };
    }

    pub(super) fn with_locals<R>(f: impl FnOnce(&Locals) -> R) -> Result<R, AccessError> {
        Ok(LOCALS.with(f))
    }

    /// Runs a thread, with the end that the kernel's threads have.
    fn in_thread<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
        let run = || {
            let result = f();
            // SAFETY: nothing may use a value of the thread: its function has returned.
            unsafe { end_thread() };
            result
        };
        std::thread::spawn(run).join().unwrap()
    }

    /// What was dropped, in that order.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<&'static str>>>);

    struct Noted(&'static str, Log, fn());

    impl Drop for Noted {
        fn drop(&mut self) {
            self.2();
            self.1.0.lock().unwrap().push(self.0);
        }
    }

    #[test]
    fn each_thread_has_a_value_of_its_own_which_the_first_access_makes() {
        static COUNT: LocalKey<Cell<u32>> = LocalKey::new(|| Cell::new(7));
        static OTHER: LocalKey<RefCell<Vec<u8>>> = LocalKey::new(|| RefCell::new(Vec::new()));
        let in_turn = || {
            assert_eq!(COUNT.get(), 7);
            COUNT.set(COUNT.get() + 1);
            OTHER.with_borrow_mut(|other| other.push(1));
            (COUNT.get(), OTHER.with_borrow(Vec::len))
        };
        assert_eq!([(); 3].map(|()| in_thread(in_turn)), [(8, 1); 3]);
        let both: Vec<_> = (0..2).map(|_| std::thread::spawn(move || in_thread(in_turn))).collect();
        assert!(both.into_iter().all(|thread| thread.join().unwrap() == (8, 1)));
    }

    #[test]
    fn values_are_dropped_at_the_end_and_so_are_those_that_drops_make() {
        static FIRST: LocalKey<RefCell<Option<Noted>>> = LocalKey::new(|| RefCell::new(None));
        static SECOND: LocalKey<RefCell<Option<Noted>>> = LocalKey::new(|| RefCell::new(None));
        let log = Log::default();
        let shared = log.clone();
        in_thread(move || {
            let late = |name| Noted(name, shared.clone(), || ());
            let make_second = {
                fn make() {
                    // The one that is dropped is gone, another can be made.
                    assert_eq!(FIRST.try_with(|_| ()), Err(AccessError::Dropped));
                    SECOND.with(|_| ());
                }
                make
            };
            FIRST.with_borrow_mut(|first| *first = Some(Noted("first", shared.clone(), make_second)));
            drop(late("before the end"));
        });
        assert_eq!(*log.0.lock().unwrap(), ["before the end", "first"]);
    }

    #[test]
    fn a_thread_has_no_values_after_its_end() {
        static KEY: LocalKey<u8> = LocalKey::new(|| 1);
        for has_used_it in [false, true] {
            let late = move || {
                if has_used_it {
                    KEY.with(|_| ());
                }
                // SAFETY: nothing may use a value of the thread: no access is under way.
                unsafe { end_thread() };
                KEY.try_with(|_| ())
            };
            assert_eq!(std::thread::spawn(late).join().unwrap(), Err(AccessError::Dropped));
        }
    }

    #[test]
    fn values_that_cannot_be_sent_stay_on_their_thread() {
        static LOCAL: LocalKey<Rc<Cell<u8>>> = LocalKey::new(|| Rc::new(Cell::new(0)));
        in_thread(|| {
            let mine = LOCAL.with(Rc::clone);
            mine.set(3);
            assert_eq!(LOCAL.with(|local| local.get()), 3);
        });
    }

    #[test]
    fn an_initialisation_within_itself_is_refused_with_its_place() {
        static LOOP: LocalKey<u8> = LocalKey::new(|| match LOOP.try_with(|value| *value) {
            Err(AccessError::Recursive { begun_at }) => {
                assert!(begun_at.file().ends_with("local.rs"));
                5
            }
            other => panic!("{other:?}"),
        });
        assert_eq!(in_thread(|| LOOP.with(|value| *value)), 5);
    }
}
