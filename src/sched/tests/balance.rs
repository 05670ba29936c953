//! How work is shared by two CPUs: OSv's table of load balance (`misc-loadbalance`), in virtual time. The simulated CPUs do what the mechanism
//! does: a thread is placed by `select_cpu`, a CPU without a thread steals, and no other thread moves.

use std::cell::Cell;

use super::super::fair::{Fair, FairQueue};
use super::super::policy::{Placement, select_cpu};
use super::*;

const CPUS: usize = 2;

/// The work of each thread that is measured.
const WORK_NS: u64 = 1_000 * MS;

/// All CPUs run for so long before one steals: an idle CPU is interrupted that soon.
const STEP_NS: u64 = MS / 20;

thread_local! {
    /// Which CPUs have no thread, for the functions of [`Placement`].
    static IDLE: Cell<[bool; CPUS]> = const { Cell::new([true; CPUS]) };
}

fn is_idle(cpu: CpuId) -> bool {
    IDLE.get()[cpu.index()]
}

fn nearest_idle(near: CpuId, affinity: Affinity) -> Option<CpuId> {
    let from = near.index();
    (0..CPUS).map(|n| CpuId(((from + n) % CPUS) as u32)).find(|cpu| is_idle(*cpu) && affinity.allows(*cpu))
}

/// A thread that runs for a while and sleeps for a while.
struct Intermittent {
    thread: Option<Runnable>,
    id: ThreadId,
    /// When it sleeps, or wakes.
    until_ns: u64,
    ran_at_wake_ns: u64,
}

struct Machine {
    cpus: [Cpu<FairQueue>; CPUS],
    intermittent: Option<Intermittent>,
}

impl Machine {
    fn new() -> Machine {
        let cpus = [0, 1].map(|id| {
            let mut cpu = Cpu::new(Fair::queue(CpuId(id)));
            cpu.id = CpuId(id);
            cpu
        });
        IDLE.set([true; CPUS]);
        Machine { cpus, intermittent: None }
    }

    fn place(&mut self, thread: Runnable, reason: Enqueue) {
        let placement = Placement { waker: CPU, is_idle, nearest_idle };
        let cpu = select_cpu(&thread, &placement);
        self.cpus[cpu.index()].wake(thread, reason);
        self.note_idle();
    }

    fn note_idle(&self) {
        IDLE.set([0, 1].map(|cpu| self.cpus[cpu].running.is_none()));
    }

    fn ran_ns(&self, thread: ThreadId) -> u64 {
        self.cpus.iter().map(|cpu| cpu.ran_ns(thread)).sum()
    }

    /// CPUs without a thread take one of the other.
    fn steal(&mut self) {
        for thief in 0..CPUS {
            if self.cpus[thief].running.is_none()
                && let Some(thread) = self.cpus[1 - thief].queue.steal(CpuId(thief as u32))
            {
                self.cpus[thief].wake(thread, Enqueue::Migrated);
            }
        }
        self.note_idle();
    }

    /// Removes the running thread of some CPU for which the condition holds.
    fn take(&mut self, is_it: impl Fn(&Machine, ThreadId) -> bool) -> Option<Runnable> {
        let cpu = (0..CPUS).find(|cpu| self.cpus[*cpu].running().is_some_and(|id| is_it(self, id)))?;
        let thread = self.cpus[cpu].block();
        self.note_idle();
        thread
    }

    /// The intermittent thread runs for 1 ms and sleeps for 9 ms.
    fn sleep_or_wake(&mut self) {
        let now_ns = self.cpus[0].now_ns;
        let Some(mut one) = self.intermittent.take() else { return };
        match one.thread.take() {
            Some(thread) if now_ns >= one.until_ns => {
                one.ran_at_wake_ns = self.ran_ns(one.id);
                self.place(thread, Enqueue::Woken);
            }
            Some(thread) => one.thread = Some(thread),
            None if self.ran_ns(one.id) - one.ran_at_wake_ns >= MS => {
                one.thread = self.take(|_, id| id == one.id);
                one.until_ns = now_ns + 9 * MS;
            }
            None => {}
        }
        self.intermittent = Some(one);
    }

    /// Runs until that many threads, the first ones, have done their work. Returns how often the time of one alone that took.
    fn run(&mut self, threads: u64) -> f64 {
        let mut left = threads;
        while left > 0 {
            self.cpus.iter_mut().for_each(|cpu| {
                cpu.run(STEP_NS);
            });
            while self.take(|all, id| id.0 < threads && all.ran_ns(id) >= WORK_NS).is_some() {
                left -= 1;
            }
            self.sleep_or_wake();
            self.steal();
            assert!(self.cpus[0].now_ns < 100 * WORK_NS, "{left} of {threads} threads are not done");
        }
        self.cpus[0].now_ns as f64 / WORK_NS as f64
    }
}

/// The time of that many threads with the same work, with and without others, as a multiple of the time of one.
fn time_of(threads: u64, others: impl FnOnce(&mut Machine, &mut Entities)) -> f64 {
    let mut entities = Entities::default();
    let mut machine = Machine::new();
    for _ in 0..threads {
        let thread = entities.fair(1024);
        machine.place(thread, Enqueue::New);
    }
    others(&mut machine, &mut entities);
    machine.run(threads)
}

#[track_caller]
fn assert_within_5_percent(found: f64, expected: f64) {
    assert!((found / expected - 1.0).abs() <= 0.05, "x{found:.3}, not x{expected:.3}");
}

#[test]
#[cfg_attr(miri, ignore = "simulates seconds")]
fn two_three_and_four_threads_take_as_long_as_their_work_on_two_cpus() {
    for (threads, expected) in [(1, 1.0), (2, 1.0), (3, 1.5), (4, 2.0)] {
        assert_within_5_percent(time_of(threads, |_, _| {}), expected);
    }
}

/// A thread of the least share that is always ready takes little time of the others.
#[test]
#[cfg_attr(miri, ignore = "simulates seconds")]
fn a_thread_of_low_priority_in_the_background_costs_little() {
    for (threads, expected) in [(2, 1.0), (3, 1.5), (4, 2.0)] {
        let found = time_of(threads, |machine, entities| {
            let thread = entities.fair(15);
            machine.place(thread, Enqueue::New);
        });
        assert_within_5_percent(found, expected);
    }
}

/// A thread that runs for 1 ms of 10 takes a tenth of a CPU, and no CPU idles beside work for it.
#[test]
#[cfg_attr(miri, ignore = "simulates seconds")]
fn an_intermittent_thread_takes_its_own_time_alone() {
    for threads in [2, 3, 4] {
        let found = time_of(threads, |machine, entities| {
            let thread = entities.fair(1024);
            let id = thread.id();
            machine.intermittent =
                Some(Intermittent { thread: Some(thread), id, until_ns: 0, ran_at_wake_ns: 0 });
        });
        assert_within_5_percent(found, threads.max(2) as f64 / (CPUS as f64 - 0.1));
    }
}
