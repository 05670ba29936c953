//! One thread of a workload.

use core::cell::Cell;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use core::time::Duration;

use fastrand::Rng;

use super::worker::{Shared, ThreadRun};
use crate::memory::frames::{FrameNumber, Order};
use crate::sched::sync::{Event, OnceLock};
use crate::stress::failure::Failure;
use crate::stress::source::AllocContext;
use crate::stress::thread_platform::{self as platform, Spec};

/// One in so many calls of [`Member::goes_on`] reads the clock. Under TCG a CPU that reads its TSC waits for all others that do.
const LOOK: u32 = 8;

/// What other threads know of a thread.
pub(super) struct Slot {
    /// The CPU that runs the thread, plus 1; 0 while it may block.
    owner: AtomicU64,
    /// The steps that it has done.
    steps: AtomicU64,
    thread: OnceLock<platform::Thread>,
}

impl Slot {
    pub(super) fn new() -> Slot {
        Slot { owner: AtomicU64::new(0), steps: AtomicU64::new(0), thread: OnceLock::new() }
    }

    pub(super) fn set_thread(&self, thread: platform::Thread) {
        // It is set once.
        let _ = self.thread.set(thread);
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }
}

/// The threads of one call of [`ThreadRun::run`].
pub(super) struct Team<'a> {
    pub(super) run: &'a ThreadRun<'a>,
    pub(super) body: &'a (dyn Fn(&mut Member<'_>) + Sync),
    pub(super) slots: &'a [Slot],
    /// The number of threads, from `has_begun` on.
    pub(super) threads: AtomicUsize,
    /// Set when all are spawned.
    pub(super) has_begun: Event,
    pub(super) ended: AtomicUsize,
    /// Set by the last thread.
    pub(super) all_ended: Event,
    /// The time, in nanoseconds since the boot, from which on what the workload still waits for is late.
    pub(super) late_ns: u64,
}

/// One thread of a workload. Its methods that block clear the owner word meanwhile.
pub struct Member<'a> {
    team: &'a Team<'a>,
    number: usize,
    ordered: Cell<u64>,
    done: Cell<u64>,
    /// Calls of [`goes_on`](Self::goes_on) until the next that reads the clock.
    until_look: u32,
    /// The thread's random numbers.
    pub rng: Rng,
    /// Its context of the frame allocator.
    context: AllocContext,
}

impl<'a> Member<'a> {
    /// The running thread, which begins.
    pub(super) fn new(team: &'a Team<'a>, number: usize) -> Member<'a> {
        // Seeds that differ in one bit give related streams, so the number is multiplied.
        let seed = team.run.seed() ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (ordered, done) = (Cell::new(0), Cell::new(0));
        let rng = Rng::with_seed(seed);
        // SAFETY: a context must be unique. Those of the CPUs and of their handlers have smaller numbers, and each thread has its own.
        let context = unsafe { AllocContext::new(2 * team.run.cpus() + number) };
        let member = Member { team, number, ordered, done, until_look: LOOK, rng, context };
        member.enter();
        member
    }

    /// The thread's function has returned.
    pub(super) fn close(&self) {
        self.leave();
        self.team.run.ordered.fetch_add(self.ordered.get(), Ordering::Relaxed);
        self.team.run.done.fetch_add(self.done.get(), Ordering::Relaxed);
    }

    /// Its number in the workload, from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The number of threads that run.
    pub fn threads(&self) -> usize {
        self.team.threads.load(Ordering::Relaxed)
    }

    /// Whether there is another round: until the workload's time is over. There is at least one.
    pub fn goes_on(&mut self) -> bool {
        // `until_look` is LOOK before the first call, which returns true however slow the host is.
        if self.until_look > 0 {
            self.until_look -= 1;
            return self.until_look + 1 == LOOK || !self.team.run.has_ended.load(Ordering::Relaxed);
        }
        self.until_look = LOOK - 1;
        !self.team.run.looks_at_clock()
    }

    /// Orders steps, of this thread or another.
    pub fn order(&self, steps: u64) {
        self.ordered.set(self.ordered.get() + steps);
    }

    /// Does a step that was ordered.
    pub fn done(&self) {
        self.done.set(self.done.get() + 1);
        self.slot().steps.store(self.done.get(), Ordering::Relaxed);
        self.team.run.platform.count(self.number % self.team.run.cpus(), 1);
    }

    /// A clock for latencies: see [`Platform::cycles`](crate::stress::workloads::Platform::cycles).
    pub fn cycles(&self) -> u64 {
        self.team.run.platform.cycles()
    }

    /// The time in nanoseconds since the boot.
    pub fn now_ns(&self) -> u64 {
        platform::now_ns()
    }

    /// The number of the CPU that runs the caller.
    pub fn cpu(&self) -> u32 {
        platform::cpu()
    }

    /// The number of CPUs of the workload.
    pub fn cpus(&self) -> usize {
        self.team.run.cpus()
    }

    /// The number of the CPU of a rank.
    pub fn cpu_of(&self, rank: usize) -> u32 {
        self.team.run.cpu(rank)
    }

    /// Whether the workload has run for as long as a thread has for a step.
    pub fn is_late(&self) -> bool {
        self.now_ns() > self.team.late_ns
    }

    /// The time since `began`. The clocks of two CPUs may differ by a few cycles.
    pub fn cycles_since(&self, began: u64) -> u64 {
        (self.cycles().wrapping_sub(began) as i64).max(0) as u64
    }

    /// Records the time since `began` as a latency.
    pub fn record_since(&self, began: u64) {
        self.record(self.cycles_since(began));
    }

    /// Records a latency.
    pub fn record(&self, cycles: u64) {
        let histograms = self.team.run.shared.histograms;
        histograms[self.number % histograms.len()].record_from_any(cycles);
    }

    /// Whether to time the next step: one in 16 at random.
    pub fn samples(&mut self) -> bool {
        self.rng.u8(..16) == 0
    }

    /// Notes a failed check. The workload ends.
    pub(in crate::stress) fn note(&self, failure: Failure) {
        self.team.run.note(failure);
    }

    /// Calls a function that may block.
    pub fn blocking<R>(&self, function: impl FnOnce() -> R) -> R {
        self.leave();
        let result = function();
        self.enter();
        result
    }

    /// See [`yield_now`](crate::thread::yield_now).
    pub fn yield_now(&self) {
        self.blocking(platform::yield_now);
    }

    /// See [`park`](crate::thread::park).
    pub fn park(&self) {
        self.blocking(platform::park);
    }

    /// See [`park_timeout`](crate::thread::park_timeout).
    pub fn park_timeout(&self, timeout: Duration) {
        self.blocking(|| platform::park_timeout(timeout));
    }

    /// Pins this thread to a CPU, on which it then runs.
    pub fn pin_to(&self, cpu: u32) {
        self.blocking(|| self.set_affinity_of(self.number, Some(cpu)));
    }

    /// Lets this thread run on any CPU of the workload again.
    pub fn unpin(&self) {
        self.blocking(|| self.set_affinity_of(self.number, None));
    }

    /// Pins another thread of the workload to a CPU.
    pub fn pin_other(&self, number: usize, cpu: u32) {
        self.blocking(|| self.set_affinity_of(number, Some(cpu)));
    }

    /// Lets another thread of the workload run on any CPU of that.
    pub fn unpin_other(&self, number: usize) {
        self.blocking(|| self.set_affinity_of(number, None));
    }

    fn set_affinity_of(&self, number: usize, cpu: Option<u32>) {
        if let Some(thread) = self.team.slots.get(number).and_then(|slot| slot.thread.get()) {
            platform::set_affinity(thread, self.team.run.cpus, cpu);
        }
    }

    /// Spawns up to `count` threads, as many as there is memory for, and joins them. Each calls `function` with its number. Returns how many
    /// there were.
    pub fn spawn_and_join(
        &self,
        count: usize,
        spec: &dyn Fn(usize) -> Spec,
        function: &(dyn Fn(usize) + Sync),
    ) -> usize {
        self.blocking(|| self.team.run.spawn_and_join(count, spec, function))
    }

    /// Takes another CPU offline. Returns whether it is; if not, that is noted.
    pub fn offline_cpu(&self, cpu: u32) -> bool {
        let run = self.team.run;
        match self.blocking(|| run.platform.offline_cpu(cpu)) {
            Ok(()) => {
                run.shared.offline_cycles.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(failure) => {
                run.note(failure);
                false
            }
        }
    }

    /// Brings a CPU online, or notes that it has not come.
    pub fn online_cpu(&self, cpu: u32) {
        if let Err(failure) = self.blocking(|| self.team.run.platform.online_cpu(cpu)) {
            self.note(failure);
        }
    }

    /// See [`sleep`](crate::thread::sleep).
    pub fn sleep(&self, duration: Duration) {
        self.blocking(|| platform::sleep(duration));
    }

    /// Wakes another thread of the workload, by its number: see [`unpark`](crate::thread::Thread::unpark). That may switch to it.
    pub fn unpark(&self, number: usize) {
        if let Some(thread) = self.team.slots.get(number).and_then(|slot| slot.thread.get()) {
            self.blocking(|| thread.unpark());
        }
    }

    /// Allocates frames. `None` if there are none, which is counted.
    pub(in crate::stress) fn alloc(&mut self, order: Order) -> Option<FrameNumber> {
        let frame = self.shared().source.alloc(&mut self.context, order);
        if frame.is_none() {
            self.shared().failed.fetch_add(1, Ordering::Relaxed);
        }
        frame
    }

    /// Frees frames. A refusal is noted.
    ///
    /// # Safety
    /// As for [`FrameSource::free`](crate::stress::source::FrameSource::free).
    pub(in crate::stress) unsafe fn free(&mut self, frame: FrameNumber, order: Order) {
        // SAFETY: the frames must come from this source, at this or a higher order, and be unused: the caller owns them (see # Safety).
        if let Err(error) = unsafe { self.shared().source.free(&mut self.context, frame, order) } {
            self.note(Failure::Rejected(error));
        }
    }

    /// The state that all threads of the workload share.
    pub(in crate::stress) fn shared(&self) -> &'a Shared<'a> {
        self.team.run.shared
    }

    fn slot(&self) -> &Slot {
        &self.team.slots[self.number]
    }

    /// Sets the owner word: this CPU runs the thread.
    fn enter(&self) {
        let cpu = platform::cpu();
        if let Some(other) = self.slot().owner.swap(u64::from(cpu) + 1, Ordering::Relaxed).checked_sub(1) {
            self.fail(cpu, Some(other as u32));
        }
    }

    /// Clears the owner word, before a call that may block.
    fn leave(&self) {
        if self.slot().owner.swap(0, Ordering::Relaxed) == 0 {
            self.fail(platform::cpu(), None);
        }
    }

    /// Two CPUs run this thread, with one stack: what it does from here on is undefined.
    #[cold]
    fn fail(&self, cpu: u32, other: Option<u32>) -> ! {
        let failure = Failure::RanTwice { thread: self.number as u32, cpu, other };
        self.note(failure);
        panic!("{}: {failure}", self.team.run.shared.workload.name);
    }
}
