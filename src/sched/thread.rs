//! Threads: the interface of `std::thread`, for the kernel.
//!
//! Threads run on all CPUs, preempted by timer interrupts in kernel code as well. The policy decides which thread runs where;
//! see [`sched`](super).
//!
//! ```ignore
//! let worker = thread::spawn(|| 6 * 7);
//! assert_eq!(worker.join(), 42);
//! ```

#[cfg(feature = "shell")]
mod details;
mod listing;
mod scope;

use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;

#[cfg(feature = "shell")]
pub(crate) use details::{Details, details};
#[cfg(feature = "checked")]
pub(in crate::sched) use listing::cpu_of;
pub use listing::{ThreadInfo, ThreadState, list};
pub(crate) use listing::{deepest, list_all, newest_for_panic};
pub use scope::{Scope, ScopedJoinHandle, scope};

use super::blocking::{WakeTimer, begin_block, block_until, deadline_after};
use super::entity::Attributes;
pub use super::entity::{Affinity, Class, ThreadId};
pub use super::local::{AccessError, LocalKey};
use super::mechanism;
pub use super::spawn::SpawnError;
use super::spawn::{self, How, ResultPlace};
use super::stack::DEFAULT_STACK_BYTES;
pub use super::stack::StackUse;
use super::state::Wait;
pub use super::sync;
use super::tcb::{Tcb, ThreadRef};
use super::thread_list;
use crate::apic::ApicError;
use crate::cpu::{CpuId, CpuSet, IrqGuard};
use crate::smp;
use crate::time;

/// A thread, by a counted reference. It may have ended.
#[derive(Clone)]
pub struct Thread(ThreadRef);

impl Thread {
    /// Returns its number.
    pub fn id(&self) -> ThreadId {
        self.0.id()
    }

    /// Returns its name, of at most 24 bytes.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Wakes the thread if it is parked. Otherwise its next [`park`] returns at once.
    ///
    /// **Context:** thread or interrupt; not NMI. May switch to the thread.
    pub fn unpark(&self) {
        mechanism::unpark(&self.0);
    }

    /// Changes the CPUs on which the thread may run. A thread that waits is moved before it runs again; one that runs on a CPU where it
    /// may not run any more is moved from there, by an interrupt. The calling thread has moved on return, if it holds no guard.
    ///
    /// **Context:** thread or interrupt; not NMI.
    ///
    /// # Errors
    /// [`AffinityError`]
    pub fn set_affinity(&self, affinity: Affinity) -> Result<(), AffinityError> {
        let guard = IrqGuard::new();
        thread_list::set_affinity(&guard, &self.0, affinity).map_err(|_| AffinityError::NoCpu)?;
        mechanism::request_change(guard, &self.0).map_err(AffinityError::NotSent)
    }

    /// Returns the CPUs on which the thread may run: as they were set last. **Context:** any.
    pub fn affinity(&self) -> Affinity {
        self.0.affinity()
    }

    /// Returns the class with which it runs: its own, or one that is lent to it. `None` if that has just changed.
    ///
    /// **Context:** any; the result may be old.
    #[cfg(feature = "selftest")]
    pub(crate) fn current_class(&self) -> Option<Class> {
        let entity = self.0.entity();
        let class = entity.urgency().class();
        (!entity.has_change()).then_some(class)
    }

    /// Returns whether it waits for an event, and its CPU has left it. **Context:** any; the result may be old.
    #[cfg(feature = "selftest")]
    pub(crate) fn is_blocked(&self) -> bool {
        self.0.state.phase() == super::state::Phase::Blocked
    }
}

impl From<Thread> for ThreadRef {
    fn from(thread: Thread) -> ThreadRef {
        thread.0
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thread({} {:?})", self.id(), self.name())
    }
}

/// Why the affinity of a thread was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AffinityError {
    /// No CPU that is online is in it, or the only one goes offline. Nothing has changed.
    NoCpu,
    /// The CPU that runs the thread could not be interrupted. It makes the change at its next interrupt.
    NotSent(ApicError),
}

impl fmt::Display for AffinityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AffinityError::NoCpu => f.write_str("a thread may not run on offline CPUs alone"),
            AffinityError::NotSent(error) => write!(f, "the change of a thread's affinity is late: {error}"),
        }
    }
}

impl core::error::Error for AffinityError {}

/// How a thread is spawned.
#[derive(Clone, Debug)]
pub struct Builder<'a> {
    name: &'a str,
    how: How,
}

impl Default for Builder<'_> {
    fn default() -> Self {
        Builder::new()
    }
}

impl<'a> Builder<'a> {
    /// A fair thread without a name, with a stack of 32 KiB, on any CPU.
    pub const fn new() -> Builder<'a> {
        Builder {
            name: "",
            how: How {
                stack_bytes: DEFAULT_STACK_BYTES,
                attributes: Attributes::DEFAULT,
                affinity: Affinity::Any,
                may_leave: false,
            },
        }
    }

    /// Sets the name. What exceeds 24 bytes is cut off.
    pub const fn name(mut self, name: &'a str) -> Self {
        self.name = name;
        self
    }

    /// Sets the size of the stack in bytes.
    pub const fn stack_size(mut self, bytes: usize) -> Self {
        self.how.stack_bytes = bytes;
        self
    }

    /// Sets the class.
    pub const fn class(mut self, class: Class) -> Self {
        self.how.attributes.class = class;
        self
    }

    /// Sets the weight of a fair thread: see [`Attributes::weight`].
    pub const fn weight(mut self, weight: u32) -> Self {
        self.how.attributes.weight = weight;
        self
    }

    /// Sets the slice: how long the thread runs at a time while others wait. At most four seconds.
    pub fn slice(mut self, slice: Duration) -> Self {
        self.how.attributes.slice_ns = u32::try_from(slice.as_nanos()).unwrap_or(u32::MAX);
        self
    }

    /// Runs the thread on one CPU only.
    pub const fn pinned(mut self, cpu: CpuId) -> Self {
        self.how.affinity = Affinity::Pinned(cpu);
        self
    }

    /// Runs the thread on the CPUs of a set only.
    pub const fn affinity(mut self, cpus: &'static CpuSet) -> Self {
        self.how.affinity = Affinity::Set(cpus);
        self
    }

    /// Lets the thread run elsewhere while no CPU of its affinity is online, which then goes offline without it. It returns by
    /// [`return_to`].
    pub(crate) const fn may_leave(mut self) -> Self {
        self.how.may_leave = true;
        self
    }

    /// Spawns the thread. It ends when `function` returns.
    ///
    /// **Context:** thread or interrupt; as for an allocation of frames, it may wait for memory with interrupts on.
    ///
    /// # Errors
    /// [`SpawnError`]
    pub fn spawn<F, T>(self, function: F) -> Result<JoinHandle<T>, SpawnError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY: neither the function nor its result borrows anything.
        unsafe { self.spawn_borrowing(function, || {}) }
    }

    /// As [`spawn`](Self::spawn). `ended` is called by the thread when it has dropped the function and, if its handle is gone, the result.
    ///
    /// # Safety
    /// What the function and its result borrow lives until `ended` is called, and while the handle exists. What `ended` borrows lives
    /// until it is called.
    pub(super) unsafe fn spawn_borrowing<F, T, E>(
        self,
        function: F,
        ended: E,
    ) -> Result<JoinHandle<T>, SpawnError>
    where
        F: FnOnce() -> T + Send,
        T: Send,
        E: FnOnce() + Send,
    {
        // SAFETY: what the function and its result borrow lives until `ended` is called, guaranteed by the caller (see # Safety).
        let spawned = unsafe { spawn::spawn(self.name, &self.how, function, ended) };
        spawned.map(|(thread, result)| JoinHandle {
            thread: Some(Thread(thread)),
            result,
            _result: PhantomData,
        })
    }
}

/// Spawns a fair thread on any CPU.
///
/// **Context:** as for [`Builder::spawn`].
///
/// # Panics
/// Without memory. [`Builder::spawn`] returns an error instead.
#[track_caller]
pub fn spawn<F, T>(function: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new().spawn(function).unwrap_or_else(|error| panic!("{error}"))
}

/// The owner of a thread's result. Its drop detaches the thread, which then runs on without it.
pub struct JoinHandle<T> {
    /// `None` after the result was taken.
    thread: Option<Thread>,
    result: ResultPlace<T>,
    _result: PhantomData<T>,
}

// SAFETY: the handle gives access to the result, which the thread has sent, and to the thread, which any CPU may use.
unsafe impl<T: Send> Send for JoinHandle<T> {}

// SAFETY: a shared handle gives no access to the result.
unsafe impl<T> Sync for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    /// Returns the thread.
    pub fn thread(&self) -> &Thread {
        match &self.thread {
            Some(thread) => thread,
            None => unreachable!("only `join` takes the thread, and the handle with it"),
        }
    }

    /// Returns whether the thread has ended. **Context:** any.
    pub fn is_finished(&self) -> bool {
        self.thread().0.joining.has_ended()
    }

    /// Waits until the thread has ended, and returns its result.
    ///
    /// **Context:** a thread, interrupts on, no guard or lock held: it blocks.
    ///
    /// # Panics
    /// In any other context.
    #[track_caller]
    pub fn join(mut self) -> T {
        self.wait(None);
        self.take()
    }

    /// Waits until the thread has ended, at most for `timeout`.
    ///
    /// **Context:** as for [`join`](Self::join).
    ///
    /// # Errors
    /// The handle, if the time has passed.
    ///
    /// # Panics
    /// As for [`join`](Self::join).
    #[track_caller]
    pub fn join_timeout(mut self, timeout: Duration) -> Result<T, JoinHandle<T>> {
        if self.wait(Some(timeout)) { Ok(self.take()) } else { Err(self) }
    }

    #[track_caller]
    fn wait(&self, timeout: Option<Duration>) -> bool {
        let ended = self.wait_for_end(timeout);
        if ended {
            // The CPU switches away from the thread with interrupts off, and then frees nothing of it any more.
            while !self.thread().0.has_left() {
                core::hint::spin_loop();
            }
        }
        ended
    }

    #[track_caller]
    fn wait_for_end(&self, timeout: Option<Duration>) -> bool {
        let joining = &self.thread().0.joining;
        if joining.has_ended() {
            return true;
        }
        let (guard, me) = begin_block("join");
        let raw = ThreadRef::to(me).into_raw();
        let address = raw.as_ptr().expose_provenance();
        // SAFETY: the reference was given up above; the code that revokes it uses it once.
        let release = || drop(unsafe { ThreadRef::from_raw(raw) });
        let has_ended = if joining.wait(address) {
            let has_ended = block_until(&guard, me, timeout.map(deadline_after), || joining.has_ended());
            // A thread that has ended has taken the reference to wake this one.
            if !has_ended && joining.stop_waiting(address) {
                release();
                false
            } else {
                true
            }
        } else {
            release();
            true
        };
        mechanism::switch_after(guard);
        has_ended
    }

    fn take(&mut self) -> T {
        // SAFETY: the thread has ended (`wait`), so it has written its result. It is taken once: the handle is consumed, and its
        // drop leaves a result without a thread alone. The reference lives until after the read.
        let result = unsafe { self.result.take() };
        self.thread = None;
        result
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        if let Some(thread) = &self.thread
            && !thread.0.joining.detach()
        {
            // SAFETY: the thread has ended and its result was not taken.
            drop(unsafe { self.result.take() });
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JoinHandle").field(&self.thread).finish()
    }
}

/// Returns the running thread, or `None` where no thread runs: in the code that a CPU runs for itself, as in work for all
/// CPUs.
///
/// **Context:** any but NMI. In an interrupt handler it is the interrupted thread.
pub fn try_current() -> Option<Thread> {
    let guard = IrqGuard::new();
    Tcb::current(&guard).map(|tcb| Thread(ThreadRef::to(tcb)))
}

/// Returns the running thread.
///
/// **Context:** a thread.
///
/// # Panics
/// Where no thread runs: see [`try_current`].
#[track_caller]
pub fn current() -> Thread {
    match try_current() {
        Some(thread) => thread,
        None => panic!("no thread runs here: this is the code of a CPU"),
    }
}

/// Waits until another thread or a handler calls [`Thread::unpark`] for this one. Returns at once if that has happened since
/// the last time. It may also return without a reason, so the caller checks its condition again.
///
/// **Context:** a thread, interrupts on, no guard or lock held: it blocks.
///
/// # Panics
/// In any other context.
#[track_caller]
pub fn park() {
    let (guard, me) = begin_block("park");
    if me.state.begin(Wait::Unpark) {
        mechanism::leave_and_return(guard, me);
    }
}

/// As [`park`], but returns when `timeout` has passed, at the latest.
///
/// **Context:** as for [`park`].
///
/// # Panics
/// As for [`park`].
#[track_caller]
pub fn park_timeout(timeout: Duration) {
    let (guard, me) = begin_block("park_timeout");
    if !me.state.take_token() {
        WakeTimer::arm(me, deadline_after(timeout), Wait::Unpark).leave(&guard, me);
    }
    mechanism::switch_after(guard);
}

/// Waits for at least `duration`. Where no thread runs, the CPU halts meanwhile.
///
/// **Context:** interrupts on, no guard or lock held: it blocks.
///
/// # Panics
/// In any other context.
#[track_caller]
pub fn sleep(duration: Duration) {
    if crate::cpu::thread::current_scheduled() == 0 {
        return time::sleep(duration);
    }
    sleep_until(deadline_after(duration));
}

/// Waits until a time, in nanoseconds of [`now_ns`](crate::time::now_ns): for loops with a period, whose steps it does not delay.
/// Returns at once if it has passed.
///
/// **Context:** a thread, interrupts on, no guard or lock held: it blocks.
///
/// # Panics
/// In any other context.
#[track_caller]
pub fn sleep_until(deadline_ns: u64) {
    let (guard, me) = begin_block("sleep");
    block_until(&guard, me, Some(deadline_ns), || false);
    mechanism::switch_after(guard);
}

/// Lets another thread of this CPU run, if there is one and the policy agrees.
///
/// **Context:** a thread, interrupts on, no guard or lock held: it may block.
///
/// # Panics
/// In any other context.
#[track_caller]
pub fn yield_now() {
    let (guard, me) = begin_block("yield_now");
    if mechanism::yield_cpu(&guard, me) {
        mechanism::switch_now(guard);
    }
}

/// Moves the calling thread, which was pinned to a CPU, back to it, if that was offline and is online again.
///
/// **Context:** a thread, interrupts on, no guard held.
#[inline]
pub(super) fn return_to(home: CpuId) {
    if crate::cpu::current() != home && smp::cpus().get(home.index()).is_some_and(smp::Cpu::is_online) {
        // If it goes offline again, the thread stays where it is.
        let _ = current().set_affinity(Affinity::Pinned(home));
    }
}
