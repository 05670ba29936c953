//! The fair class: Earliest Eligible Virtual Deadline First (Stoica and Abdel-Wahab, 1995), as Linux has it since 6.6.
//!
//! A thread that runs for t ns gains t × [`MAX_WEIGHT`] / weight of virtual time. The *average* is the mean of the virtual times
//! of all threads of the queue, the running one included, weighted by their weights: where each thread would be if all had
//! run at once, each at the speed of its share. The *lag* of a thread is the average minus its virtual time. A thread with a lag
//! of at least 0 is *eligible*. A thread asks for a slice at a time; the request's *deadline* is the virtual time that the
//! thread will have when it has run for the slice. The eligible thread with the earliest deadline runs.
//!
//! With w the weights, v the virtual times and A a reference near them, the queue knows the sums of w and of w × (v − A). So
//! the average is exact, and no rounding error adds up. A division by the sum of the weights, which moves A to the average, takes
//! place only where the average itself is needed: a thread arrives, or the comparison with A does not decide.
//!
//! Virtual times wrap around. They start shortly before that, so that every run of a second passes it.

use core::num::NonZeroU64;

use super::entity::{DEFAULT_WEIGHT, MAX_WEIGHT, Runnable, ThreadId};
use super::policy::{Enqueue, LentThread};
use super::tree::is_before;
use super::waiting::Waiting;
use crate::cpu::CpuId;

/// The average of a queue that has not had a thread: about one second of a thread of [`DEFAULT_WEIGHT`] before the wrap.
pub(super) const START: u64 = 0u64.wrapping_sub(1 << 40);

/// The longest time that one call charges, 18 minutes: it times [`MAX_WEIGHT`] fits an `u64`.
const MAX_RAN_NS: u64 = 1 << 40;

/// The number of no thread.
const NO_THREAD: ThreadId = ThreadId(u64::MAX);

/// The fair threads of a CPU.
///
/// `virtual_ns` of a thread is its virtual time on the queue on which it ran or waited last. `deadline` is its request's. While
/// the thread does not wait, `aggregate` is the average of that queue when the thread left it, or, if it was picked, a lower
/// bound of the average at that time. So a thread that leaves while it waits takes its exact lag with it, and one that ran takes
/// no more than it has.
///
/// **Context** of all functions: any; they neither block nor allocate.
#[derive(Debug)]
pub(super) struct Eevdf {
    cpu: CpuId,
    waiting: Waiting,
    /// The reference, A.
    average: u64,
    /// The sum of weight × (virtual time − A) of the waiting threads and the running one.
    sum: i64,
    /// The sum of their weights.
    weight: u64,
    /// The running thread, its weight and its virtual time. It is counted until it is known to have left, which is when
    /// another is picked.
    running: ThreadId,
    running_weight: u64,
    running_virtual: u64,
    /// The greatest virtual time at which a thread left. A new thread starts there at the earliest, if that is at most a slice
    /// ahead: threads that start and exit one after the other have the share of one thread, not each a new one.
    start: u64,
}

/// Returns the virtual time that a thread gains in some time, which is at most [`MAX_RAN_NS`].
#[inline(always)]
fn virtual_time(ns: u64, weight: u64) -> u64 {
    if weight == u64::from(DEFAULT_WEIGHT) {
        ns * u64::from(MAX_WEIGHT / DEFAULT_WEIGHT)
    } else {
        // The mechanism sets no weight of 0.
        ns * u64::from(MAX_WEIGHT) / NonZeroU64::new(weight).unwrap_or(NonZeroU64::MIN)
    }
}

/// Returns the shortest time in which the sum of weight × virtual time grows by some amount, saturating.
#[inline(always)]
fn real_time_ns(growth: i128) -> u64 {
    let growth = u128::try_from(growth).unwrap_or(0);
    u64::try_from(growth.div_ceil(u128::from(MAX_WEIGHT))).unwrap_or(u64::MAX)
}

/// Returns the weight of a thread.
#[inline(always)]
fn weight_of(thread: &Runnable) -> u64 {
    u64::from(thread.attributes().weight)
}

/// Returns the slice of a thread of some weight in virtual time.
#[inline(always)]
fn slice_of(thread: &Runnable, weight: u64) -> u64 {
    virtual_time(u64::from(thread.attributes().slice_ns), weight)
}

impl Eevdf {
    /// Returns a class without threads.
    pub(super) const fn new(cpu: CpuId) -> Eevdf {
        Eevdf {
            cpu,
            waiting: Waiting::new(),
            average: START,
            sum: 0,
            weight: 0,
            running: NO_THREAD,
            running_weight: 1,
            running_virtual: 0,
            start: START,
        }
    }

    /// Returns the number of threads that wait.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes a thread that waits.
    #[inline(always)]
    pub(super) fn enqueue(&mut self, mut thread: Runnable, reason: Enqueue) {
        // The slow cases are tail calls, so that the fast one saves no registers.
        if self.is_running(&thread) {
            self.renew(&mut thread, reason);
            self.running = NO_THREAD;
            self.waiting.insert(thread);
        } else {
            self.enqueue_joining(thread, reason);
        }
    }

    #[inline(never)]
    fn enqueue_joining(&mut self, mut thread: Runnable, reason: Enqueue) {
        self.join(&mut thread, reason);
        self.waiting.insert(thread);
    }

    /// Returns whether a thread is the running one, and counted with the weight that it has now.
    #[inline(always)]
    fn is_running(&self, thread: &Runnable) -> bool {
        thread.id() == self.running && weight_of(thread) == self.running_weight
    }

    /// Gives the running thread a new request if its last one is done or is given up.
    #[inline(always)]
    fn renew(&mut self, thread: &mut Runnable, reason: Enqueue) {
        let slice = slice_of(thread, self.running_weight);
        let words = thread.words_mut();
        let left = words.deadline.wrapping_sub(words.virtual_ns) as i64;
        if left > 0 {
            if reason != Enqueue::Yielded {
                return;
            }
            // A thread that yields gives up the rest of its slice, as if it had run. So those that wait run before it.
            words.virtual_ns = words.deadline;
            self.grow((left as u64).wrapping_mul(self.running_weight) as i64);
        }
        words.deadline = words.virtual_ns.wrapping_add(slice);
    }

    /// Counts a thread in, and gives it a virtual time of this queue and a new request.
    ///
    /// A thread that comes from another queue keeps its lag, up to the length of a slice. One that ran here last keeps its
    /// virtual time, so that the average passes it while it sleeps, but it starts at the average at the earliest: time that it
    /// slept is no credit.
    #[inline]
    fn join(&mut self, thread: &mut Runnable, reason: Enqueue) {
        if thread.id() == self.running {
            self.forget_running();
        }
        self.settle();
        let weight = weight_of(thread);
        let slice = slice_of(thread, weight);
        let is_home = thread.last_cpu() == self.cpu;
        let words = thread.words_mut();
        let limit = slice as i64;
        let ahead_of = |average: u64| words.virtual_ns.wrapping_sub(average) as i64;
        let ahead = match reason {
            Enqueue::New => (self.start.wrapping_sub(self.average) as i64).clamp(0, limit),
            Enqueue::Woken if is_home => ahead_of(self.average).clamp(0, limit),
            _ => ahead_of(words.aggregate).clamp(-limit, limit),
        };
        let virtual_ns = self.average.wrapping_add(ahead as u64);
        words.virtual_ns = virtual_ns;
        words.deadline = virtual_ns.wrapping_add(slice);
        if self.weight == 0 {
            self.average = virtual_ns;
        } else {
            self.grow(ahead.wrapping_mul(weight as i64));
        }
        self.weight += weight;
    }

    /// Counts a thread out.
    #[inline]
    fn leave(&mut self, weight: u64, virtual_ns: u64) {
        let ahead = virtual_ns.wrapping_sub(self.average) as i64;
        if is_before(self.start, virtual_ns) {
            self.start = virtual_ns;
        }
        self.weight -= weight;
        if self.weight == 0 {
            self.sum = 0;
        } else {
            self.grow(ahead.wrapping_mul(weight as i64).wrapping_neg());
        }
    }

    /// Counts the running thread out, if there is one: it has blocked, or is on another queue, or a thread of another class
    /// was picked.
    #[inline]
    pub(super) fn forget_running(&mut self) {
        if self.running != NO_THREAD {
            self.running = NO_THREAD;
            self.leave(self.running_weight, self.running_virtual);
        }
    }

    /// Adds to the sum of weight × (virtual time − A). It wraps if threads wait for hours while no other is picked.
    #[inline(always)]
    fn grow(&mut self, change: i64) {
        self.sum = self.sum.wrapping_add(change);
    }

    /// Moves the reference to the average, rounded down.
    #[inline]
    fn settle(&mut self) {
        if (self.sum as u64) < self.weight {
            return;
        }
        let Some(weight) = NonZeroU64::new(self.weight) else { return };
        if self.sum >= 0 {
            let sum = self.sum as u64;
            self.average = self.average.wrapping_add(sum / weight);
            self.sum = (sum % weight) as i64;
        } else {
            let back = self.sum.unsigned_abs().div_ceil(weight.get());
            self.average = self.average.wrapping_sub(back);
            self.grow(back.wrapping_mul(weight.get()) as i64);
        }
    }

    /// Gives out the eligible thread with the earliest deadline. It is then the running one.
    #[inline(always)]
    pub(super) fn pick(&mut self) -> Option<Runnable> {
        if self.running == NO_THREAD { self.pick_waiting() } else { self.pick_after_leave() }
    }

    #[inline(never)]
    fn pick_after_leave(&mut self) -> Option<Runnable> {
        self.forget_running();
        self.pick_waiting()
    }

    #[inline(always)]
    fn pick_waiting(&mut self) -> Option<Runnable> {
        let (average, sum, weight) = (self.average, self.sum, self.weight as i64);
        // The first is eligible if A can be its virtual time without a negative sum. If it is alone, that is so.
        let eligible = self.waiting.take_head(|virtual_ns| {
            let ahead = virtual_ns.wrapping_sub(average) as i64;
            let sum = sum.wrapping_sub(ahead.checked_mul(weight)?);
            (sum >= 0).then_some((virtual_ns, sum))
        });
        match eligible {
            Some((mut thread, (average, sum))) => {
                self.average = average;
                self.sum = sum;
                self.set_running(&mut thread);
                Some(thread)
            }
            None => self.pick_eligible(),
        }
    }

    #[inline(never)]
    fn pick_eligible(&mut self) -> Option<Runnable> {
        self.settle();
        // Some thread is at or before the average of all, so it is eligible.
        let mut thread = self.waiting.take_earliest(self.average)?;
        self.set_running(&mut thread);
        Some(thread)
    }

    #[inline(always)]
    fn set_running(&mut self, thread: &mut Runnable) {
        self.running = thread.id();
        self.running_weight = weight_of(thread);
        let words = thread.words_mut();
        words.aggregate = self.average;
        self.running_virtual = words.virtual_ns;
    }

    /// Accounts for time that a thread has run.
    #[inline(always)]
    pub(super) fn charge(&mut self, running: &mut LentThread<'_>, ran_ns: u64) {
        if running.id() == self.running {
            self.charge_running(running, ran_ns);
        } else {
            self.charge_adopted(running, ran_ns);
        }
    }

    #[inline(always)]
    fn charge_running(&mut self, running: &mut LentThread<'_>, ran_ns: u64) {
        let weight = self.running_weight;
        let gained = virtual_time(ran_ns.min(MAX_RAN_NS), weight);
        let words = running.words_mut();
        words.virtual_ns = words.virtual_ns.wrapping_add(gained);
        self.running_virtual = words.virtual_ns;
        if self.weight == weight {
            // The average of one.
            self.average = words.virtual_ns;
            self.sum = 0;
            words.aggregate = words.virtual_ns;
        } else {
            self.grow(gained.wrapping_mul(weight) as i64);
        }
    }

    /// Makes a thread the running one that this queue did not pick, and charges it.
    #[cold]
    #[inline(never)]
    fn charge_adopted(&mut self, thread: &mut LentThread<'_>, ran_ns: u64) {
        self.forget_running();
        self.join(thread.thread_mut(), Enqueue::Migrated);
        self.set_running(thread.thread_mut());
        self.charge_running(thread, ran_ns);
    }

    /// Returns whether a waiting thread should run instead of the running one: its request is done, or one that is eligible
    /// has an earlier deadline.
    #[inline]
    pub(super) fn is_preempted(&self, running: &Runnable) -> bool {
        if self.waiting.is_empty() {
            return false;
        }
        let words = running.words();
        let earliest = || self.waiting.min_virtual_before(words.deadline);
        !is_before(words.virtual_ns, words.deadline)
            || earliest().is_some_and(|virtual_ns| self.growth_until(virtual_ns) <= 0)
    }

    /// Returns by how much the sum has to grow until the average reaches a virtual time.
    #[inline(always)]
    fn growth_until(&self, virtual_ns: u64) -> i128 {
        let ahead = virtual_ns.wrapping_sub(self.average) as i64;
        i128::from(ahead) * i128::from(self.weight) - i128::from(self.sum)
    }

    /// Returns after how long of the running thread [`is_preempted`](Self::is_preempted) holds: when its request is done, or
    /// the average reaches a thread that has an earlier deadline.
    #[inline]
    pub(super) fn slice_ns(&self, running: &Runnable) -> Option<u64> {
        if self.waiting.is_empty() {
            return None;
        }
        let words = running.words();
        let weight = i128::from(self.running_weight);
        let left = words.deadline.wrapping_sub(words.virtual_ns) as i64;
        let slice_ns = real_time_ns(i128::from(left) * weight);
        let Some(earliest) = self.waiting.min_virtual_before(words.deadline) else { return Some(slice_ns) };
        let growth = self.growth_until(earliest);
        // The running thread gains whole units of virtual time: the sum may lag by less than one times its weight.
        Some(slice_ns.min(real_time_ns(if growth > 0 { growth + weight } else { 0 })))
    }

    /// Gives out the first thread, in the order of deadlines, for which the condition holds. It leaves the queue.
    pub(super) fn take_first(&mut self, condition: impl FnMut(&Runnable) -> bool) -> Option<Runnable> {
        let mut thread = self.waiting.take_first(condition)?;
        self.settle();
        let weight = weight_of(&thread);
        let words = thread.words_mut();
        words.aggregate = self.average;
        self.leave(weight, words.virtual_ns);
        Some(thread)
    }
}

#[cfg(test)]
impl Eevdf {
    /// Returns the average, rounded down, relative to that of a new queue.
    pub(super) fn average(&self) -> i64 {
        let ahead = self.sum.div_euclid(self.weight.max(1) as i64);
        self.average.wrapping_sub(START).wrapping_add(ahead as u64) as i64
    }

    /// Returns the sum of the weights that are counted.
    pub(super) fn weight(&self) -> u64 {
        self.weight
    }
}
