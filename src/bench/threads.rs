//! Costs of threads. All but the remote ones run on one CPU: the partners are pinned to it.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;

use super::meter::{Meter, repeat};
use crate::cpu::CpuId;
use crate::cpu::registers::read_tsc;
use crate::sched::entity::DEFAULT_SLICE_NS;
use crate::smp::{self, Cpu};
use crate::task;
use crate::thread::sync::{Mutex, MutexGuard, channel};
use crate::thread::{self, Builder, JoinHandle};
use crate::work::{self, Work};

/// The thread that hands over to the benchmark, until it has to end.
struct Partner {
    handle: Option<JoinHandle<()>>,
}

/// The slice of a thread that the timer does not interrupt.
const LONG: Duration = Duration::from_secs(4);

/// Whether the partner has to end.
static ENDS: AtomicBool = AtomicBool::new(false);

impl Partner {
    fn start(cpu: CpuId, body: impl FnOnce() + Send + 'static) -> Partner {
        ENDS.store(false, Ordering::Release);
        Partner { handle: Builder::new().name("partner").pinned(cpu).slice(LONG).spawn(body).ok() }
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        ENDS.store(true, Ordering::Release);
        if let Some(handle) = self.handle.take() {
            handle.thread().unpark();
            handle.join();
        }
    }
}

fn ends() -> bool {
    ENDS.load(Ordering::Acquire)
}

/// Runs a benchmark in a thread of this CPU whose slice does not end.
fn in_thread(meter: &mut Meter, repetitions: u32, run: fn(&mut Meter, u32)) {
    let spawned = Builder::new().pinned(CpuId::BSP).slice(LONG).spawn(move || {
        let mut meter = Meter::default();
        // The slice of a thread before this one ends meanwhile.
        thread::sleep(2 * Duration::from_nanos(DEFAULT_SLICE_NS.into()));
        run(&mut meter, repetitions);
        meter
    });
    if let Ok(handle) = spawned {
        *meter = handle.join();
    }
}

/// `yield_now` without another thread.
pub(super) fn yield_alone(meter: &mut Meter, repetitions: u32) {
    meter.count(|| repeat(repetitions, thread::yield_now));
}

/// `yield_now` with one other thread, which does the same: two switches.
pub(super) fn yield_switch(meter: &mut Meter, repetitions: u32) {
    in_thread(meter, repetitions, yield_to_partner);
}

fn yield_to_partner(meter: &mut Meter, repetitions: u32) {
    let _partner = Partner::start(CpuId::BSP, || {
        while !ends() {
            thread::yield_now();
        }
    });
    // Its first run is not counted.
    thread::yield_now();
    meter.count_many(2 * u64::from(repetitions), || repeat(repetitions, thread::yield_now));
}

/// `park` with a token.
pub(super) fn park_unpark_ready(meter: &mut Meter, repetitions: u32) {
    let me = thread::current();
    meter.count(|| {
        repeat(repetitions, || {
            me.unpark();
            thread::park();
        });
    });
}

/// A parked thread woken, and switched to: there and back.
pub(super) fn wake_switch_same_cpu(meter: &mut Meter, repetitions: u32) {
    in_thread(meter, repetitions, |meter, repetitions| pass_turns(meter, repetitions, CpuId::BSP));
}

/// The same with a thread of another CPU, which is idle. Both CPUs' instructions.
pub(super) fn wake_remote_idle(meter: &mut Meter, repetitions: u32) {
    let other = smp::online().map(Cpu::id).find(|cpu| *cpu != CpuId::BSP);
    pass_turns(meter, repetitions, other.unwrap_or(CpuId::BSP));
}

fn pass_turns(meter: &mut Meter, repetitions: u32, cpu: CpuId) {
    let me = thread::current();
    let partner = Partner::start(cpu, move || {
        loop {
            thread::park();
            if ends() {
                return;
            }
            me.unpark();
        }
    });
    let Some(handle) = &partner.handle else { return };
    let turn = || {
        handle.thread().unpark();
        thread::park();
    };
    // The first turns are not counted.
    repeat(2, turn);
    meter.count_many(2 * u64::from(repetitions), || repeat(repetitions, turn));
}

/// A thread spawned, run and joined, on this CPU.
pub(super) fn spawn_join(meter: &mut Meter, repetitions: u32) {
    in_thread(meter, repetitions, spawn_and_join);
}

fn spawn_and_join(meter: &mut Meter, repetitions: u32) {
    let one = || {
        if let Ok(handle) = Builder::new().pinned(CpuId::BSP).slice(LONG).spawn(|| {}) {
            handle.join();
        }
    };
    // The first one starts the slice timer, and is not counted.
    one();
    meter.count(|| repeat(repetitions, one));
}

/// A free mutex locked and unlocked.
pub(super) fn mutex_pair(meter: &mut Meter, repetitions: u32) {
    static MUTEX: Mutex<u64> = Mutex::new(0);
    meter.count(|| repeat(repetitions, || drop(MUTEX.lock())));
}

/// A mutex handed to the thread that waits for it, until that has it: two threads of this CPU, each of which then waits for it.
pub(super) fn mutex_handoff(meter: &mut Meter, repetitions: u32) {
    in_thread(meter, repetitions, pass_mutex);
}

fn pass_mutex(meter: &mut Meter, repetitions: u32) {
    static MUTEX: Mutex<()> = Mutex::new(());
    let mut mine = Some(MUTEX.lock());
    let _partner = Partner::start(CpuId::BSP, || {
        while !ends() {
            MutexGuard::unlock_fair(MUTEX.lock());
        }
    });
    // The partner begins, and waits.
    thread::yield_now();
    let mut turn = || {
        if let Some(mine) = mine.take() {
            MutexGuard::unlock_fair(mine);
        }
        mine = Some(MUTEX.lock());
    };
    // The first turns are not counted.
    repeat(2, &mut turn);
    meter.count_many(2 * u64::from(repetitions), || repeat(repetitions, &mut turn));
    drop(mine);
}

/// A value sent to another thread of this CPU, which waits for it, and sent back.
pub(super) fn channel_round_trip(meter: &mut Meter, repetitions: u32) {
    in_thread(meter, repetitions, send_and_receive);
}

fn send_and_receive(meter: &mut Meter, repetitions: u32) {
    let (there, other) = channel::bounded(1);
    let (back, mine) = channel::bounded(1);
    // It ends when `there` is dropped.
    let spawned = Builder::new().pinned(CpuId::BSP).slice(LONG).spawn(move || {
        for value in other.iter() {
            if back.send(value).is_err() {
                return;
            }
        }
    });
    let Ok(partner) = spawned else { return };
    let turn = || {
        let _ = there.send(0_u64);
        let _ = mine.recv();
    };
    // The first turns are not counted.
    repeat(2, turn);
    meter.count(|| repeat(repetitions, turn));
    drop(there);
    partner.join();
}

/// Makes the worker of this CPU.
pub(super) fn make_worker() {
    // Without memory the benchmark makes it, and the frames are found missing.
    let _ = work::start();
}

/// Makes the executor of this CPU.
pub(super) fn make_executor() {
    task::spawn(task::yield_now()).join();
}

/// Deferred work, from the call that defers it to its first instruction, on this CPU.
pub(super) fn work_defer_run(meter: &mut Meter, repetitions: u32) {
    in_thread(meter, repetitions, defer_and_run);
}

fn defer_and_run(meter: &mut Meter, repetitions: u32) {
    static WORK: Work = Work::new(|_| ENDED.store(read_tsc(), Ordering::Relaxed), 0);
    static ENDED: AtomicU64 = AtomicU64::new(0);
    let one = || {
        let begun = read_tsc();
        let _ = work::defer(&WORK);
        // The worker runs, and parks.
        thread::yield_now();
        ENDED.load(Ordering::Relaxed).wrapping_sub(begun)
    };
    // The first ones are not counted.
    let _ = (one(), one());
    meter.set_operations(repetitions.into());
    repeat(repetitions, || meter.add(one()));
}

/// A task woken by itself, and polled again.
pub(super) fn task_wake_poll(meter: &mut Meter, repetitions: u32) {
    let polling = task::spawn(async move {
        let mut meter = Meter::default();
        let begun = read_tsc();
        for _ in 0..repetitions {
            task::yield_now().await;
        }
        meter.set_operations(repetitions.into());
        meter.add(read_tsc().wrapping_sub(begun));
        meter
    });
    *meter = polling.join();
}
