//! An initialisation that takes place once, and values that are made by one.

use core::cell::{Cell, UnsafeCell};
use core::fmt;
use core::mem::MaybeUninit;
use core::ops::Deref;
use core::panic::Location;
use core::time::Duration;

use super::const_fn;
use super::platform::{self, TimedOut, deadline_after};
use super::wait_queue::{WaitQueue, Waiting};
use crate::sync::{AtomicU32, Ordering};

/// The outcome of a wait that the end of the initialisation has ended.
const ENDED: usize = 1;

/// The caller that initialises.
#[derive(Clone, Copy)]
struct Begun {
    /// Its thread, or 0 where no thread runs.
    by: usize,
    at: &'static Location<'static>,
}

/// An initialisation that the first caller executes, while others wait for its end.
///
/// A caller that has to wait must be a thread that may block. The initialisation itself runs in any context but NMI. If it uses the
/// `Once` itself, the caller panics with the place where it has begun.
pub struct Once {
    /// 1 after the end. Changed with the queue locked.
    is_completed: AtomicU32,
    queue: WaitQueue<Option<Begun>>,
}

impl Once {
    const_fn! {
        /// Creates one that is not initialised.
        pub fn new() -> Once {
            Once { is_completed: AtomicU32::new(0), queue: WaitQueue::new(None) }
        }
    }

    /// Returns whether the initialisation has ended. What it did is visible then. **Context:** any.
    #[inline(always)]
    pub fn is_completed(&self) -> bool {
        self.is_completed.load(Ordering::Acquire) != 0
    }

    /// Calls a function if this is the first call; otherwise waits until that of the first call has returned.
    ///
    /// **Context:** any but NMI. To wait, a thread, interrupts on, no guard or spin lock held.
    ///
    /// # Panics
    /// If the function calls this, and if the caller would have to wait in another context.
    #[inline]
    #[track_caller]
    pub fn call_once(&self, function: impl FnOnce()) {
        if !self.is_completed() {
            self.call_slow("Once::call_once", function);
        }
    }

    /// Waits until the initialisation has ended. It need not have begun.
    ///
    /// **Context:** a thread, interrupts on, no guard or spin lock held: it may block.
    ///
    /// # Panics
    /// In any other context, and in the initialisation itself.
    #[track_caller]
    pub fn wait(&self) {
        // Without a time-out it ends with the initialisation.
        let _ = self.wait_until("Once::wait", None);
    }

    /// As [`wait`](Self::wait), at most for `timeout`.
    ///
    /// **Context:** as for [`wait`](Self::wait).
    ///
    /// # Errors
    /// [`TimedOut`]: it has not ended.
    ///
    /// # Panics
    /// As for [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_timeout(&self, timeout: Duration) -> Result<(), TimedOut> {
        self.wait_until("Once::wait_timeout", Some(deadline_after(timeout)))
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn call_slow(&self, what: &str, function: impl FnOnce()) {
        if !self.begin() {
            let _ = self.wait_until(what, None);
            return;
        }
        function();
        let guard = platform::guard();
        let mut begun = self.queue.lock(&guard);
        *begun = None;
        self.is_completed.store(1, Ordering::Release);
        // From here on no thread waits.
        begun.wake_all(0, ENDED);
        platform::finish(guard);
    }

    /// Begins the initialisation if that has not begun. Returns whether the caller has to execute it.
    #[track_caller]
    fn begin(&self) -> bool {
        let site = Location::caller();
        self.queue.with(|begun| {
            let is_first = begun.is_none() && !self.is_completed();
            if is_first {
                **begun = Some(Begun { by: platform::current_id(), at: site });
            }
            is_first
        })
    }

    #[track_caller]
    fn wait_until(&self, what: &str, deadline_ns: Option<u64>) -> Result<(), TimedOut> {
        if self.is_completed() {
            return Ok(());
        }
        self.refuse_recursion(what);
        let (guard, me) = platform::begin_block(what);
        let begun = self.queue.lock(&guard);
        let result = if self.is_completed() {
            drop(begun);
            Ok(())
        } else {
            begun.wait(&me, Waiting::until(deadline_ns), |_| {}).map(|_| ()).map_err(|_| TimedOut)
        };
        platform::finish(guard);
        result
    }

    /// Panics if the caller is in the initialisation. A handler that interrupts it is refused as well.
    #[track_caller]
    fn refuse_recursion(&self, what: &str) {
        let begun = self.queue.with(|begun| **begun);
        if let Some(Begun { by, at }) = begun
            && by != 0
            && by == platform::current_id()
        {
            panic!("{what} in the initialisation itself, which has begun at {}:{}", at.file(), at.line());
        }
    }
}

impl Default for Once {
    fn default() -> Self {
        Once::new()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("is_completed", &self.is_completed()).finish_non_exhaustive()
    }
}

/// A value that is set once. Then all threads read it without a lock.
pub struct OnceLock<T> {
    once: Once,
    /// The value, once `once` is completed.
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: a shared one moves a value from the thread that sets it to the one that drops it (`T: Send`), and lends it to all (`T: Sync`).
unsafe impl<T: Send + Sync> Sync for OnceLock<T> {}

// SAFETY: it is sent with its value; the queue has no thread then, since those borrow it.
unsafe impl<T: Send> Send for OnceLock<T> {}

impl<T> OnceLock<T> {
    const_fn! {
        /// Creates one without a value.
        pub fn new() -> OnceLock<T> {
            OnceLock { once: Once::new(), value: UnsafeCell::new(MaybeUninit::uninit()) }
        }
    }

    /// Returns the value, if there is one. **Context:** any.
    #[inline(always)]
    pub fn get(&self) -> Option<&T> {
        // SAFETY: the value must be initialised and not change while it is borrowed. `init` has written it before `once` was completed,
        // and after that only functions with `&mut self` change it.
        self.once.is_completed().then(|| unsafe { &*self.value.get().cast::<T>() })
    }

    /// Returns the value to change it, if there is one. **Context:** any.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        if self.once.is_completed() {
            // SAFETY: the value must be initialised: `init` has written it before `once` was completed.
            Some(unsafe { self.value.get_mut().assume_init_mut() })
        } else {
            None
        }
    }

    /// Sets the value. If another caller sets it, waits until that is done.
    ///
    /// **Context:** as for [`Once::call_once`].
    ///
    /// # Errors
    /// `value`, if there was one before.
    ///
    /// # Panics
    /// As for [`Once::call_once`].
    #[track_caller]
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        self.init("OnceLock::set", || value.take());
        value.map_or(Ok(()), Err)
    }

    /// Returns the value; if there is none, sets it to what the function returns. If another caller sets it, waits until that is done.
    ///
    /// **Context:** as for [`Once::call_once`].
    ///
    /// # Panics
    /// If the function uses the `OnceLock`, and as for [`Once::call_once`].
    #[inline(always)]
    #[track_caller]
    pub fn get_or_init(&self, function: impl FnOnce() -> T) -> &T {
        match self.get() {
            Some(value) => value,
            None => self.get_or_init_slow(function),
        }
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn get_or_init_slow(&self, function: impl FnOnce() -> T) -> &T {
        self.init("OnceLock::get_or_init", || Some(function()));
        match self.get() {
            Some(value) => value,
            None => unreachable!("`init` returns when there is a value"),
        }
    }

    /// Waits for a value.
    ///
    /// **Context:** as for [`Once::wait`].
    ///
    /// # Panics
    /// As for [`Once::wait`].
    #[track_caller]
    pub fn wait(&self) -> &T {
        self.once.wait();
        match self.get() {
            Some(value) => value,
            None => unreachable!("the initialisation has ended"),
        }
    }

    /// As [`wait`](Self::wait), at most for `timeout`.
    ///
    /// **Context:** as for [`Once::wait`].
    ///
    /// # Errors
    /// [`TimedOut`]: there is no value.
    ///
    /// # Panics
    /// As for [`Once::wait`].
    #[track_caller]
    pub fn wait_timeout(&self, timeout: Duration) -> Result<&T, TimedOut> {
        self.once.wait_timeout(timeout)?;
        self.get().ok_or(TimedOut)
    }

    /// Takes the value out: there is none then.
    ///
    /// **Context:** any.
    pub fn take(&mut self) -> Option<T> {
        if !self.once.is_completed() {
            return None;
        }
        self.once = Once::new();
        // SAFETY: the value must be initialised and is read once. `init` has written it before `once` was completed, and from here on
        // there is none.
        Some(unsafe { self.value.get_mut().assume_init_read() })
    }

    /// Returns the value, if there is one. **Context:** any.
    pub fn into_inner(mut self) -> Option<T> {
        self.take()
    }

    /// Sets the value to what the function returns, which is `Some` if it is called.
    #[track_caller]
    fn init(&self, what: &str, function: impl FnOnce() -> Option<T>) {
        if self.once.is_completed() {
            return;
        }
        self.once.call_slow(what, || {
            let Some(value) = function() else { unreachable!("the caller's function returns a value") };
            // SAFETY: nothing else may use the place. `once` calls this function once, and others use the place after its end.
            unsafe { self.value.get().write(MaybeUninit::new(value)) };
        });
    }
}

impl<T> Drop for OnceLock<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        OnceLock::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnceLock").field(&self.get()).finish()
    }
}

/// A value that its first use makes.
///
/// ```ignore
/// static NAMES: LazyLock<Mutex<Vec<String>>> = LazyLock::new(|| Mutex::new(vec!["first".into()]));
///
/// NAMES.lock().push("second".into());
/// ```
pub struct LazyLock<T, F = fn() -> T> {
    value: OnceLock<T>,
    init: Cell<Option<F>>,
}

// SAFETY: a shared one must be usable by all threads. `init` is taken by the one caller that makes the value, by `OnceLock::get_or_init`, on
// whichever thread that is (`F: Send`); the value is behind the `OnceLock`, which is `Sync` (`T: Send + Sync`).
unsafe impl<T: Send + Sync, F: Send> Sync for LazyLock<T, F> {}

impl<T, F: FnOnce() -> T> LazyLock<T, F> {
    /// Creates one whose value `init` makes.
    #[cfg(not(any(loom, shuttle)))]
    pub const fn new(init: F) -> LazyLock<T, F> {
        LazyLock { value: OnceLock::new(), init: Cell::new(Some(init)) }
    }

    /// Creates one whose value `init` makes.
    #[cfg(any(loom, shuttle))]
    pub fn new(init: F) -> LazyLock<T, F> {
        LazyLock { value: OnceLock::new(), init: Cell::new(Some(init)) }
    }

    /// Returns the value, and makes it if this is its first use. If another caller makes it, waits until that is done.
    ///
    /// **Context:** as for [`Once::call_once`].
    ///
    /// # Panics
    /// If the function that makes the value uses it, and as for [`Once::call_once`].
    #[inline(always)]
    #[track_caller]
    pub fn force(this: &LazyLock<T, F>) -> &T {
        this.value.get_or_init(|| match this.init.take() {
            Some(init) => init(),
            None => unreachable!("the function is taken once, by the caller that makes the value"),
        })
    }
}

impl<T, F: FnOnce() -> T> Deref for LazyLock<T, F> {
    type Target = T;

    #[inline(always)]
    #[track_caller]
    fn deref(&self) -> &T {
        LazyLock::force(self)
    }
}

impl<T: fmt::Debug, F> fmt::Debug for LazyLock<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LazyLock").field(&self.value.get()).finish()
    }
}
