//! What the workloads of the scheduler have in common: threads, where others have CPUs.
//!
//! The thread that runs the stress spawns the threads of a workload ([`ThreadRun::run`]) and waits until all have ended. Then it compares
//! its counts: as many threads have ended as were spawned, and none is listed any more; each step that was ordered was done; and as many
//! frames are free as before.
//!
//! Each thread has an *owner word*, which names the CPU that runs it. The thread sets the word when it begins to run and after each
//! call that may block, and clears it before each such call. So if two CPUs run one thread, one of them finds a word that is set where it must be
//! clear, or the reverse. Such a thread has one stack for both, so the run ends with that.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use core::time::Duration;

use super::member::{Member, Slot, Team};
use super::worker::{Platform, Shared, ThreadRun};
use crate::sched::sync::Event;
use crate::stress::failure::Failure;
use crate::stress::stall::{StallDetector, Stalled};
use crate::stress::thread_platform::{self as platform, Cpus, Spec};

/// Runs a workload of the scheduler, on these CPUs. Notes in `shared` what it has found.
///
/// **Context:** a thread, interrupts on.
pub(in crate::stress) fn run(
    platform: &dyn Platform,
    shared: &Shared<'_>,
    cpus: Cpus,
    body: fn(&ThreadRun<'_>),
) {
    let before = platform::scheduling();
    let run = ThreadRun {
        platform,
        shared,
        cpus,
        has_ended: AtomicBool::new(false),
        spawned: AtomicU64::new(0),
        ended: AtomicU64::new(0),
        ordered: AtomicU64::new(0),
        done: AtomicU64::new(0),
    };
    body(&run);
    run.check_counts();
    if let Some(scheduling) = platform::since(before) {
        shared.scheduling.call_once(|| scheduling);
    }
}

impl<'a> ThreadRun<'a> {
    /// The number of CPUs.
    pub fn cpus(&self) -> usize {
        self.shared.ids.len()
    }

    /// The number of a CPU, by its rank, or by a greater number: the ranks come again and again.
    pub fn cpu(&self, rank: usize) -> u32 {
        self.shared.ids[rank % self.cpus()]
    }

    /// The seed of the random numbers.
    pub fn seed(&self) -> u64 {
        self.shared.seed
    }

    /// Runs up to `count` threads, as many as there is memory for. Each calls `body`, when all are spawned. Returns when all have ended, how
    /// many there were.
    ///
    /// # Panics
    /// If no thread does a step for [`STRESS_GRACE_MS`](crate::config::STRESS_GRACE_MS).
    pub fn run(
        &self,
        count: usize,
        spec: &dyn Fn(usize) -> Spec,
        body: &(dyn Fn(&mut Member<'_>) + Sync),
    ) -> usize {
        let slots: Vec<Slot> = (0..count).map(|_| Slot::new()).collect();
        let team = Team {
            run: self,
            body,
            slots: &slots,
            threads: AtomicUsize::new(0),
            has_begun: Event::new(),
            ended: AtomicUsize::new(0),
            all_ended: Event::new(),
            late_ns: platform::now_ns() + platform::grace_ms() * 1_000_000,
        };
        platform::scope(|scope| {
            let team = &team;
            let spawn = |number: usize| {
                let name = self.shared.workload.name;
                platform::spawn(scope, name, self.cpus, spec(number), move || team.thread(number))
            };
            let mut handles = Vec::with_capacity(count);
            for handle in (0..count).map_while(spawn) {
                slots[handles.len()].set_thread(handle.thread().clone());
                handles.push(handle);
            }
            let threads = handles.len();
            self.shared.refused.fetch_add((count - threads) as u64, Ordering::Relaxed);
            self.spawned.fetch_add(threads as u64, Ordering::Relaxed);
            team.threads.store(threads, Ordering::Release);
            team.has_begun.set();
            team.wait();
            // A thread that is joined is listed no more.
            handles.into_iter().for_each(platform::join);
            threads
        })
    }

    /// Spawns up to `count` threads, as many as there is memory for, and joins them. Returns how many there were.
    pub(super) fn spawn_and_join(
        &self,
        count: usize,
        spec: &dyn Fn(usize) -> Spec,
        function: &(dyn Fn(usize) + Sync),
    ) -> usize {
        platform::scope(|scope| {
            let spawn = |number: usize| {
                let body = move || {
                    function(number);
                    self.ended.fetch_add(1, Ordering::AcqRel);
                };
                platform::spawn(scope, self.shared.workload.name, self.cpus, spec(number), body)
            };
            let mut handles = Vec::with_capacity(count);
            handles.extend((0..count).map_while(spawn));
            let threads = handles.len();
            self.shared.refused.fetch_add((count - threads) as u64, Ordering::Relaxed);
            self.spawned.fetch_add(threads as u64, Ordering::Relaxed);
            handles.into_iter().for_each(platform::join);
            threads
        })
    }

    /// Whether the workload's time is over. Reads the clock, until it is.
    pub(super) fn looks_at_clock(&self) -> bool {
        let is_over = self.has_ended.load(Ordering::Relaxed) || self.platform.has_ended();
        if is_over {
            self.has_ended.store(true, Ordering::Relaxed);
        }
        is_over
    }

    /// Notes a failed check. The workload ends.
    pub(in crate::stress) fn note(&self, failure: Failure) {
        self.has_ended.store(true, Ordering::Relaxed);
        if self.shared.failures.note(failure) {
            self.platform.report(&failure);
        }
    }

    fn check_counts(&self) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Acquire);
        let (spawned, ended) = (count(&self.spawned), count(&self.ended));
        let listed = platform::listed(self.shared.workload.name);
        if listed != 0 || spawned != ended {
            self.note(Failure::ThreadsLeft { spawned, ended, listed });
        }
        let (ordered, done) = (count(&self.ordered), count(&self.done));
        if ordered != done {
            self.note(Failure::StepsDiffer { ordered, done });
        }
        self.shared.allocations.fetch_add(spawned, Ordering::Relaxed);
    }
}

impl Team<'_> {
    /// The code of one thread.
    fn thread(&self, number: usize) {
        self.has_begun.wait();
        let mut member = Member::new(self, number);
        (self.body)(&mut member);
        member.close();
        self.run.ended.fetch_add(1, Ordering::AcqRel);
        if self.ended.fetch_add(1, Ordering::AcqRel) + 1 == self.threads.load(Ordering::Acquire) {
            self.all_ended.set();
        }
    }

    /// Waits until all threads have ended. The time has no limit of its own while they do steps: see [`stall`](crate::stress::stall).
    fn wait(&self) {
        if self.threads.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut detector = StallDetector::new(platform::grace_ms());
        let interval = Duration::from_millis(detector.interval_ms());
        while self.all_ended.wait_timeout(interval).is_err() {
            if let Err(stalled) = detector.check(self.progress()) {
                self.panic_stalled(stalled);
            }
        }
    }

    /// A number that changes whenever a thread does a step or ends.
    fn progress(&self) -> u64 {
        let ended = self.ended.load(Ordering::Relaxed) as u64;
        self.slots.iter().map(Slot::steps).fold(ended, u64::wrapping_add)
    }

    fn panic_stalled(&self, Stalled { idle_ms }: Stalled) -> ! {
        let (name, threads) = (self.run.shared.workload.name, self.threads.load(Ordering::Relaxed));
        let left = threads - self.ended.load(Ordering::Relaxed);
        panic!(
            "{name}: no thread did a step for {idle_ms} ms: {left} of {threads} have not ended{}",
            platform::Waiting(name)
        );
    }
}
