//! The mutex without its value: one word, and the threads that wait for it.
//!
//! The word has the owner, and a bit while threads may wait. Without the bit, the lock and its release are an exchange each. The
//! bit is set under the queue's lock by a thread that is about to wait, and only a release with the queue locked clears it. So the
//! owner finds each thread that waits.
//!
//! A release frees the mutex and wakes the first thread, and until that runs another one may take the mutex: a thread that uses a
//! mutex often does not switch at each use. A woken thread that another one has passed waits again, before all others, and the next
//! release hands the mutex to it.
//!
//! The threads that wait are woken by urgency, and in the order of their arrival among those of one. The word names the owner, to which the
//! urgency of the first one is lent: see [`inheritance`](crate::sched::inheritance).

use core::fmt;
use core::hint::spin_loop;
use core::panic::Location;

use super::const_fn;
use super::platform::{self, Guard, Handle, LockClass, TimedOut};
use super::wait_queue::{Locked, Unwoken, WaitQueue, Waiting};
use crate::sched::class::Urgency;
use crate::sched::inheritance::Donation;
use crate::sync::{AtomicU32, AtomicUsize, Ordering};

/// The word of a mutex that is free and that no thread waits for.
const FREE: usize = 0;

/// Threads may wait.
const CONTENDED: usize = 1;

/// The mutex is free, and the woken thread tries to take it.
const TRY: usize = 1;

/// The mutex belongs to the woken thread.
const HANDED_OVER: usize = 2;

/// The bit of a waiter's kind that says that another thread has passed it. The other bits are its urgency.
const PASSED: usize = 1;

/// Returns the kind of a waiter.
const fn kind(urgency: Urgency, was_passed: bool) -> usize {
    urgency.number() as usize * 2 + was_passed as usize
}

const fn urgency_of(kind: usize) -> Urgency {
    Urgency::from_number(kind as u32 / 2)
}

/// A mutex without a value: the one of [`Mutex`](super::Mutex). By the traits of the crate `lock_api` it is that of a mutex of other code,
/// `lock_api::Mutex<RawMutex, T>`.
///
/// **Context:** as for [`Mutex`](super::Mutex): threads that may block.
pub struct RawMutex {
    word: AtomicUsize,
    /// The call site that last locked it, as the address of a [`Location`].
    #[cfg(target_os = "none")]
    locked_at: core::sync::atomic::AtomicUsize,
    /// How often a contended lock was tried before it was free, as a moving average.
    tries: AtomicU32,
    class: LockClass,
    queue: WaitQueue<()>,
    donation: Donation,
}

impl RawMutex {
    const_fn! {
        /// Creates a free mutex of the class of the caller's place.
        #[cfg_attr(feature = "checked", track_caller)]
        pub(super) fn new() -> RawMutex {
            RawMutex::of(LockClass::here())
        }
    }

    const_fn! {
        /// Creates a free mutex.
        pub(super) fn of(class: LockClass) -> RawMutex {
            RawMutex {
                class,
                word: AtomicUsize::new(FREE),
                #[cfg(target_os = "none")]
                locked_at: core::sync::atomic::AtomicUsize::new(0),
                tries: AtomicU32::new(0),
                queue: WaitQueue::new(()),
                donation: Donation::new(),
            }
        }
    }

    /// Returns whether a thread has it. **Context:** any; the result may be old.
    pub(super) fn is_held(&self) -> bool {
        self.word.load(Ordering::Relaxed) & !CONTENDED != 0
    }

    /// Notes the call site that has locked it. **Context:** the owner.
    #[inline(always)]
    #[track_caller]
    pub(super) fn record_site(&self) {
        #[cfg(target_os = "none")]
        self.locked_at.store(
            core::ptr::from_ref(Location::caller()).expose_provenance(),
            core::sync::atomic::Ordering::Relaxed,
        );
    }

    /// Takes the mutex if it is free and no thread waits. An owner also releases: who lends to it sees its inheritance by the word.
    #[inline(always)]
    pub(super) fn take_free(&self) -> bool {
        let me = platform::current_id();
        me != 0 && self.word.compare_exchange(FREE, me, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Takes the mutex; blocks while another thread has it. `what` is for the message of a panic. **Context:** a thread, which may block.
    #[inline(always)]
    #[track_caller]
    pub(super) fn acquire(
        &self,
        what: &str,
        deadline_ns: impl FnOnce() -> Option<u64>,
    ) -> Result<(), TimedOut> {
        let deadline_ns = platform::expect_lock(self, &self.class, deadline_ns);
        if !platform::may_block() || !self.take_free() {
            self.lock_slow(what, deadline_ns())?;
        }
        self.record_site();
        platform::took_lock(self, &self.class);
        Ok(())
    }

    /// Takes the mutex if it is free, before the threads that wait. **Context:** a thread.
    #[inline]
    #[track_caller]
    pub(super) fn acquire_if_free(&self, what: &str) -> bool {
        let me = platform::current_id();
        assert!(me != 0, "{what} where no thread runs");
        let is_taken = self.take_if_free(me);
        if is_taken {
            self.record_site();
            platform::took_lock(self, &self.class);
        }
        is_taken
    }

    /// Unlocks the mutex, and with `hands_over` gives it to the thread that waits first. **Context:** the owner.
    #[inline(always)]
    pub(super) fn release(&self, hands_over: bool) {
        platform::released_lock(self);
        if !self.release_uncontended() {
            self.unlock_slow(hands_over);
        }
    }

    /// Takes the mutex if it is free, before the threads that wait.
    pub(super) fn take_if_free(&self, me: usize) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        while word & !CONTENDED == FREE {
            match self.word.compare_exchange(word, word | me, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => {
                    if word & CONTENDED != 0 {
                        self.inherit();
                    }
                    return true;
                }
                Err(now) => word = now,
            }
        }
        false
    }

    /// The caller has taken the mutex before threads that wait for it. What was lent to the last owner is lent to the caller.
    #[cold]
    #[inline(never)]
    fn inherit(&self) {
        let guard = platform::guard();
        let changed = self.lend(&guard, &self.queue.lock(&guard), Urgency::FAIR);
        reclassify(&guard, changed);
        platform::finish(guard);
    }

    /// Lends the owner the urgency of the first waiter, or `urgency` if that is greater, instead of what was lent to it before. Returns the
    /// owner if its urgency has changed. **Context:** the queue is locked, as `locked`, and the word has `CONTENDED`.
    #[inline(always)]
    fn lend(&self, guard: &Guard, locked: &Locked<'_, ()>, urgency: Urgency) -> Option<Handle> {
        let urgency = locked.first_kind(0).map_or(urgency, |kind| urgency_of(kind).max(urgency));
        if urgency == Urgency::FAIR && !self.donation.is_given() {
            None
        } else {
            self.lend_to_owner(guard, urgency)
        }
    }

    #[cold]
    #[inline(never)]
    fn lend_to_owner(&self, guard: &Guard, urgency: Urgency) -> Option<Handle> {
        let owner = self.word.load(Ordering::Acquire) & !CONTENDED;
        if owner == FREE || platform::inverts_priority() {
            return None;
        }
        // SAFETY: the donation must stay until it ends, and the owner must be one: the mutex is borrowed by each thread that waits, the last of
        // which ends the donation, here or in `release_contended`; the word has what `current_id` has returned for its owner.
        unsafe { self.donation.give(guard, platform::inheritance_of(owner), urgency, platform::handle_of) }
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    pub(super) fn lock_slow(&self, what: &str, deadline_ns: Option<u64>) -> Result<(), TimedOut> {
        let at = Location::caller();
        let (guard, me) = platform::begin_block(what);
        let id = platform::current_id();
        if self.word.load(Ordering::Relaxed) & !CONTENDED == id {
            self.refuse(what);
        }
        platform::finish(guard);
        if self.spin(id) {
            return Ok(());
        }
        let guard = platform::guard();
        let mine = platform::inheritance(&me);
        let mut was_passed = false;
        let result = loop {
            let locked = self.queue.lock(&guard);
            if self.take_or_mark(id) {
                let changed = self.lend(&guard, &locked, Urgency::FAIR);
                locked.unlock();
                reclassify(&guard, changed);
                break Ok(());
            }
            let urgency = mine.urgency();
            let changed = self.lend(&guard, &locked, urgency);
            let how = Waiting {
                kind: kind(urgency, was_passed),
                ahead_of: kind(urgency, false) + 2 * usize::from(was_passed),
                ..Waiting::until(deadline_ns)
            };
            let before = |guard: &Guard| {
                reclassify(guard, changed);
                self.begin_wait(guard, &me, deadline_ns, at);
            };
            // A thread whose urgency changes waits in another place, and lends the other one.
            let waited = locked.wait_while(&me, how, before, || mine.urgency() == urgency);
            platform::end_wait(&guard, &me);
            match waited {
                Ok(HANDED_OVER) => break Ok(()),
                Ok(_) => was_passed = true,
                Err(Unwoken { locked, has_time }) => {
                    let changed = self.lend(&guard, &locked, Urgency::FAIR);
                    locked.unlock();
                    reclassify(&guard, changed);
                    if !has_time {
                        break Err(TimedOut);
                    }
                }
            }
        };
        platform::finish(guard);
        result
    }

    /// Notes that the thread is about to block, for the report of threads that wait for each other.
    #[inline(always)]
    fn begin_wait(
        &self,
        guard: &Guard,
        me: &platform::Me,
        deadline_ns: Option<u64>,
        at: &'static Location<'static>,
    ) {
        #[cfg(all(target_os = "none", feature = "checked"))]
        platform::begin_wait(
            guard,
            me,
            &platform::MutexWait {
                word: &self.word,
                locked_at: &self.locked_at,
                made_at: self.class.place(),
                at: crate::sync::Site::of(at),
                is_timed: deadline_ns.is_some(),
            },
        );
        #[cfg(not(all(target_os = "none", feature = "checked")))]
        let _ = (guard, me, deadline_ns, at);
    }

    #[cold]
    #[track_caller]
    fn refuse(&self, what: &str) -> ! {
        match self.site() {
            Some(at) => panic!(
                "{what} of a mutex that this thread has locked already, at {}:{}",
                at.file(),
                at.line()
            ),
            None => panic!("{what} of a mutex that this thread has locked already"),
        }
    }

    /// Returns the call site that last locked the mutex. Just after it was locked, this may still be the previous one.
    fn site(&self) -> Option<&'static Location<'static>> {
        #[cfg(target_os = "none")]
        {
            let address = self.locked_at.load(core::sync::atomic::Ordering::Relaxed);
            let site = core::ptr::with_exposed_provenance::<Location<'static>>(address);
            // SAFETY: the address is 0 or that of a location that lives for ever: only `record_site` stores it.
            unsafe { site.as_ref() }
        }
        #[cfg(not(target_os = "none"))]
        None
    }

    /// Tries to take the mutex for a short time: for up to about twice the usual time, as the mutexes of glibc that are called adaptive.
    fn spin(&self, me: usize) -> bool {
        let average = self.tries.load(Ordering::Relaxed);
        let limit = platform::spins(platform::guard()).min(2 * average + 10);
        let mut tries = 0;
        let mut is_taken = false;
        while tries < limit && !is_taken {
            match self.word.load(Ordering::Relaxed) {
                FREE => is_taken = self.take_if_free(me),
                // Others wait, and they have come first.
                word if word & CONTENDED != 0 => break,
                _ => spin_loop(),
            }
            tries += 1;
        }
        if tries > 0 {
            let average = average as i32;
            self.tries.store((average + (tries as i32 - average) / 8) as u32, Ordering::Relaxed);
        }
        is_taken
    }

    /// Takes the mutex if it is free, or notes that a thread waits. **Context:** the queue is locked.
    fn take_or_mark(&self, me: usize) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let is_free = word & !CONTENDED == FREE;
            let next = if is_free { word | me } else { word | CONTENDED };
            match self.word.compare_exchange(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return is_free,
                Err(now) => word = now,
            }
        }
    }

    #[inline(always)]
    pub(super) fn release_uncontended(&self) -> bool {
        let me = platform::current_id();
        self.word.compare_exchange(me, FREE, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// Unlocks the mutex. A thread that was woken runs when the caller switches.
    pub(super) fn unlock_under(&self, guard: &Guard) {
        platform::released_lock(self);
        if !self.release_uncontended() {
            self.release_contended(guard, false);
        }
    }

    /// Frees the mutex for the first thread that waits, or hands it over.
    fn release_contended(&self, guard: &Guard, hands_over: bool) {
        let mut locked = self.queue.lock(guard);
        let ended =
            if self.donation.is_given() { self.donation.end(guard, platform::handle_of) } else { None };
        // The owner has the queue locked: no thread sets the bit, and no thread takes the mutex. So the word stays.
        let next = match locked.first_kind(0) {
            None => FREE,
            Some(kind) if hands_over || kind & PASSED != 0 => {
                locked.take_first(0, HANDED_OVER).unwrap_or(FREE)
            }
            Some(_) => {
                locked.wake_first(0, TRY);
                FREE
            }
        };
        let others = if locked.has_waiters(0) { CONTENDED } else { 0 };
        self.word.store(next | others, Ordering::Release);
        // The next owner has others that wait for it already. It cannot release the mutex before the queue is unlocked.
        let changed = self.lend(guard, &locked, Urgency::FAIR);
        locked.unlock();
        reclassify(guard, changed);
        reclassify(guard, ended);
    }

    #[cold]
    #[inline(never)]
    pub(super) fn unlock_slow(&self, hands_over: bool) {
        let guard = platform::guard();
        self.release_contended(&guard, hands_over);
        platform::finish(guard);
    }
}

/// Gives a thread its changed urgency, if there is one. **Context:** the queue is not locked.
#[inline(always)]
fn reclassify(guard: &Guard, changed: Option<Handle>) {
    if let Some(thread) = changed {
        platform::reclassify(guard, thread);
    }
}

impl fmt::Debug for RawMutex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawMutex").field("is_locked", &self.is_held()).finish_non_exhaustive()
    }
}
