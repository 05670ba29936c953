//! Threads that borrow from the thread that spawns them: `std::thread::scope`.
//!
//! [`scope`] returns when all threads of the scope have ended, and have dropped their functions and the results that no handle has.
//! So what they borrow outlives them, also if a handle was leaked.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::{Builder, JoinHandle, SpawnError, Thread};
use crate::cpu::IrqGuard;
use crate::sched::blocking::{begin_block, block_until};
use crate::sched::mechanism;
use crate::sched::state::Wait;
use crate::sched::tcb::ThreadRef;

/// What the threads of a scope share, on the stack of the thread that waits for them.
struct Running {
    threads: AtomicUsize,
    waiter: ThreadRef,
}

impl Running {
    /// A thread has ended.
    ///
    /// # Safety
    /// `this` is valid until this has counted the thread: [`scope`] does not return before.
    unsafe fn end_one(this: *const Running) {
        let guard = IrqGuard::new();
        // SAFETY: valid until the thread is counted (see # Safety).
        let waiter = unsafe { &(*this).waiter }.clone();
        // SAFETY: valid until the thread is counted, which this does.
        let threads = unsafe { &(*this).threads };
        // From here on the scope may be gone.
        if threads.fetch_sub(1, Ordering::AcqRel) == 1 {
            // This thread leaves the CPU next.
            mechanism::wake_under(&guard, &waiter, Wait::Event);
        }
    }
}

/// The scope in which threads are spawned that borrow what lives for `'env`. See [`scope`].
pub struct Scope<'scope, 'env: 'scope> {
    running: Running,
    // Both invariant: a shorter scope must not be taken for a longer one, nor what it borrows.
    _scope: PhantomData<&'scope mut &'scope ()>,
    _environment: PhantomData<&'env mut &'env ()>,
}

/// Runs a function that can spawn threads which borrow local variables. Returns when all of them have ended.
///
/// ```ignore
/// let mut squares = [1, 2, 3];
/// thread::scope(|scope| {
///     for number in &mut squares {
///         scope.spawn(|| *number *= *number);
///     }
/// });
/// assert_eq!(squares, [1, 4, 9]);
/// ```
///
/// **Context:** a thread, interrupts on, no guard or spin lock held: it blocks.
///
/// # Panics
/// In any other context.
#[track_caller]
pub fn scope<'env, F, R>(function: F) -> R
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R,
{
    let (guard, me) = begin_block("scope");
    let running = Running { threads: AtomicUsize::new(0), waiter: ThreadRef::to(me) };
    mechanism::switch_after(guard);
    let scope = Scope { running, _scope: PhantomData, _environment: PhantomData };
    let result = function(&scope);
    // The function may not have left a guard behind either.
    let (guard, me) = begin_block("the end of a scope");
    block_until(&guard, me, None, || scope.running.threads.load(Ordering::Acquire) == 0);
    mechanism::switch_after(guard);
    result
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Spawns a fair thread on any CPU, which may borrow what lives longer than the scope.
    ///
    /// **Context:** as for [`Builder::spawn`].
    ///
    /// # Panics
    /// Without memory. [`Builder::spawn_scoped`] returns an error instead.
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, function: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        Builder::new().spawn_scoped(self, function).unwrap_or_else(|error| panic!("{error}"))
    }
}

impl Builder<'_> {
    /// Spawns the thread in a scope: it may borrow what lives longer than that.
    ///
    /// **Context:** as for [`spawn`](Self::spawn).
    ///
    /// # Errors
    /// [`SpawnError`]
    pub fn spawn_scoped<'scope, 'env, F, T>(
        self,
        scope: &'scope Scope<'scope, 'env>,
        function: F,
    ) -> Result<ScopedJoinHandle<'scope, T>, SpawnError>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let running = SharedRunning(&raw const scope.running);
        scope.running.threads.fetch_add(1, Ordering::Relaxed);
        // SAFETY: valid until the thread is counted: `scope` waits for each thread that was added above.
        let ended = move || unsafe { Running::end_one(running.get()) };
        // SAFETY: what the function and the result borrow lives for `'scope`, which lasts until `scope` returns: it waits until `ended`
        // was called. The handle lives for `'scope` at most. `ended` borrows `running`, which `scope` keeps until then.
        let spawned = unsafe { self.spawn_borrowing(function, ended) };
        if spawned.is_err() {
            // No thread waits for this: the caller is inside the scope's function or one of its threads.
            scope.running.threads.fetch_sub(1, Ordering::Relaxed);
        }
        spawned.map(|handle| ScopedJoinHandle { handle, _scope: PhantomData })
    }
}

/// The address of what the threads of a scope share.
struct SharedRunning(*const Running);

impl SharedRunning {
    fn get(self) -> *const Running {
        self.0
    }
}

// SAFETY: it is used as a shared reference, and `Running` is `Sync`: an atomic, and a reference to a thread.
unsafe impl Send for SharedRunning {}

/// The owner of the result of a thread in a scope. Its drop detaches the thread, for which the scope waits nevertheless.
#[derive(Debug)]
pub struct ScopedJoinHandle<'scope, T> {
    handle: JoinHandle<T>,
    _scope: PhantomData<&'scope mut &'scope ()>,
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Returns the thread.
    pub fn thread(&self) -> &Thread {
        self.handle.thread()
    }

    /// Returns whether the thread has ended. **Context:** any.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Waits until the thread has ended, and returns its result.
    ///
    /// **Context:** a thread, interrupts on, no guard or lock held: it blocks.
    ///
    /// # Panics
    /// In any other context.
    #[track_caller]
    pub fn join(self) -> T {
        self.handle.join()
    }
}
