//! Checks tasks. Called by the part `threads`.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;

use super::super::check::{CheckResult, ensure};
use super::blocking::{SHORT, deadline, long};
use crate::cpu::{self, CpuId, CpuSet};
use crate::sched;
use crate::smp::{self, hotplug};
use crate::sync::{SpinLockIrq, Timeout};
use crate::task;
use crate::thread::sync::TimedOut;
use crate::thread::sync::channel::{self, RecvError, Sender};
use crate::thread::{self, Builder};
use crate::time::{now_ns, timer};

/// Tasks of one check.
const TASKS: u64 = 64;

/// Rounds of a hand-over between two tasks.
const ROUNDS: u64 = 500;

/// Runs all checks. They use the executors' threads.
pub(super) fn run() -> CheckResult<u64> {
    let is_fair = sched::policy().is_some_and(|policy| policy.is_fair);
    if is_fair {
        without_an_executor()?;
    }
    task::start()?;
    outputs()?;
    ping_pong()?;
    channels_between_tasks_and_threads()?;
    timers()?;
    wake_up_from_a_handler()?;
    cancelled()?;
    if is_fair {
        stolen()?;
    }
    // An executor frees a task after it has woken the thread that waits for it. Later checks count the free frames.
    let until = deadline();
    while !task::are_idle() {
        ensure!(now_ns() < until, "tasks: an executor does not become idle");
        thread::yield_now();
    }
    Ok(0)
}

/// A CPU that has come online after the start has no executor until the next call of [`task::start`]. A task that a thread queues there
/// runs, though the executors' own queues are never empty.
fn without_an_executor() -> CheckResult {
    /// How long the task waits at most, in milliseconds.
    const WAIT_MS: u64 = 30_000;
    static ENDS: AtomicBool = AtomicBool::new(false);
    let last = smp::online().last().map_or(CpuId::BSP, smp::Cpu::id);
    if last == CpuId::BSP {
        return Ok(());
    }
    ENDS.store(false, Ordering::SeqCst);
    hotplug::offline(last)?;
    task::start()?;
    hotplug::online(last)?;
    *RAN_ON.lock() = CpuSet::EMPTY;
    let endless = || async {
        while !ENDS.load(Ordering::Acquire) {
            RAN_ON.lock().insert(cpu::current());
            task::yield_now().await;
        }
    };
    // More than executors, so that each has one all the time.
    let busy: Vec<_> = (0..2 * smp::online().count()).map(|_| task::spawn(endless())).collect();
    let mut limit = Timeout::after_ms(WAIT_MS);
    while RAN_ON.lock().len() + 1 < smp::online().count() && !limit.has_passed() {
        thread::sleep(SHORT);
    }
    let late = Builder::new().pinned(last).spawn(|| {
        task::spawn(async { ENDS.store(true, Ordering::Release) });
    })?;
    late.join();
    while !ENDS.load(Ordering::Acquire) && !limit.has_passed() {
        thread::sleep(SHORT);
    }
    let has_run = ENDS.swap(true, Ordering::AcqRel);
    busy.into_iter().for_each(task::JoinHandle::join);
    ensure!(has_run, "tasks: one on the queue of cpu {last}, which has no executor, does not run");
    Ok(())
}

/// Each task's output reaches its handle, also those that give up the CPU meanwhile.
fn outputs() -> CheckResult {
    let spawn = |number: u64| {
        task::spawn(async move {
            for _ in 0..number % 8 {
                task::yield_now().await;
            }
            number * number
        })
    };
    let tasks: Vec<_> = (0..TASKS).map(spawn).collect();
    let sum = task::block_on(async {
        let mut sum = 0;
        for task in tasks {
            sum += task.await;
        }
        sum
    });
    let expected = (0..TASKS).map(|number| number * number).sum::<u64>();
    ensure!(sum == expected, "tasks: the outputs add up to {sum}, not {expected}");
    Ok(())
}

/// Two tasks hand a number to and fro.
fn ping_pong() -> CheckResult {
    let (there, from_there) = channel::bounded(1);
    let (back, from_back) = channel::bounded(1);
    let other = task::spawn(async move {
        while let Ok(number) = from_there.recv_async().await {
            if back.send_async(number + 1_u64).await.is_err() {
                return false;
            }
        }
        true
    });
    let one = task::spawn(async move {
        let mut number = 0;
        for _ in 0..ROUNDS {
            there.send_async(number).await.ok()?;
            number = from_back.recv_async().await.ok()?;
        }
        Some(number)
    });
    ensure!(one.join() == Some(ROUNDS), "tasks: a hand-over was lost");
    ensure!(other.join(), "tasks: the other side has ended first");
    Ok(())
}

/// Values go from tasks to a thread, and from a thread to tasks, each to one of them.
fn channels_between_tasks_and_threads() -> CheckResult {
    let (sender, receiver) = channel::bounded(2);
    let senders: Vec<_> = (0..4_u64)
        .map(|number| {
            let sender = sender.clone();
            task::spawn(async move {
                for value in 0..50 {
                    if sender.send_async(4 * value + number).await.is_err() {
                        return;
                    }
                }
            })
        })
        .collect();
    drop(sender);
    let mut received: Vec<u64> = receiver.iter().collect();
    received.sort_unstable();
    ensure!(
        received.iter().copied().eq(0..200),
        "tasks: a thread has received {} of 200 values",
        received.len()
    );
    senders.into_iter().for_each(task::JoinHandle::join);

    let (sender, receiver) = channel::unbounded();
    let receivers: Vec<_> = (0..4)
        .map(|_| {
            let receiver = receiver.clone();
            task::spawn(async move {
                let mut sum = 0;
                while let Ok(value) = receiver.recv_async().await {
                    sum += value;
                }
                sum
            })
        })
        .collect();
    let is_sent = (0..200_u64).all(|value| sender.send(value).is_ok());
    drop(sender);
    let sum: u64 = receivers.into_iter().map(task::JoinHandle::join).sum();
    ensure!(is_sent && sum == 199 * 100, "tasks: received values add up to {sum}");
    ensure!(task::block_on(receiver.recv_async()) == Err(RecvError), "tasks: a value of no sender");
    Ok(())
}

/// No sleep is too short, and a future that takes too long is dropped.
fn timers() -> CheckResult {
    let sleepers: Vec<_> = (0..TASKS)
        .map(|number| {
            task::spawn(async move {
                let (before, delay) = (now_ns(), Duration::from_micros(50 * (number % 8)));
                task::sleep(delay).await;
                u128::from(now_ns() - before) >= delay.as_nanos()
            })
        })
        .collect();
    let short = sleepers.into_iter().map(task::JoinHandle::join).filter(|is_so| !is_so).count();
    ensure!(short == 0, "tasks: {short} of {TASKS} sleeps were too short");
    let (_sender, receiver) = channel::bounded::<u8>(1);
    let late = task::block_on(task::timeout(SHORT, receiver.recv_async()));
    ensure!(late == Err(TimedOut), "tasks: received what was not sent: {late:?}");
    let in_time = task::block_on(task::timeout(long(), async { 3 }));
    ensure!(in_time == Ok(3), "tasks: timed out at once");
    Ok(())
}

static HANDLER: SpinLockIrq<Option<Sender<u64>>> = SpinLockIrq::new(None);
crate::name_lock!(HANDLER);

/// A handler sends to a task that waits.
fn wake_up_from_a_handler() -> CheckResult {
    let (sender, receiver) = channel::bounded(1);
    *HANDLER.lock() = Some(sender);
    let waiting = task::spawn(async move { receiver.recv_async().await });
    let send = |_: &timer::Expiry| {
        let sender = HANDLER.lock().clone();
        let _ = sender.map(|sender| sender.try_send(9));
    };
    timer::after(SHORT, send, 0)?;
    let received = task::block_on(task::timeout(long(), waiting));
    let sender = HANDLER.lock().take();
    drop(sender);
    ensure!(received == Ok(Ok(9)), "tasks: a handler has not woken one: {received:?}");
    Ok(())
}

/// A task that is cancelled drops its future.
fn cancelled() -> CheckResult {
    let held = Arc::new(());
    let (_sender, receiver) = channel::bounded::<u8>(1);
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (held, receiver) = (held.clone(), receiver.clone());
            task::spawn(async move {
                let value = receiver.recv_async().await;
                drop(held);
                value
            })
        })
        .collect();
    let outputs = task::block_on(async {
        let mut outputs = 0;
        for task in tasks {
            outputs += u64::from(task.cancel().await.is_some());
        }
        outputs
    });
    let left = Arc::strong_count(&held) - 1;
    ensure!(outputs == 0 && left == 0, "tasks: {outputs} of 8 cancelled ones have ended, {left} are left");
    Ok(())
}

static RAN_ON: SpinLockIrq<CpuSet> = SpinLockIrq::new(CpuSet::EMPTY);
crate::name_lock!(RAN_ON);

/// Tasks that one CPU has queued, and that keep their executors, are taken by those of all others.
fn stolen() -> CheckResult {
    static CPUS: AtomicU64 = AtomicU64::new(0);
    CPUS.store(0, Ordering::SeqCst);
    *RAN_ON.lock() = CpuSet::EMPTY;
    let cpus = smp::online().count() as u64;
    let until = deadline();
    let spin = move || async move {
        let here = cpu::current();
        let mut ran_on = RAN_ON.lock();
        ran_on.insert(here);
        CPUS.store(ran_on.len() as u64, Ordering::Release);
        drop(ran_on);
        while CPUS.load(Ordering::Acquire) < cpus && now_ns() < until {
            core::hint::spin_loop();
        }
    };
    let tasks: Vec<_> = (0..cpus).map(|_| task::spawn(spin())).collect();
    tasks.into_iter().for_each(task::JoinHandle::join);
    let ran_on = CPUS.load(Ordering::Acquire);
    ensure!(ran_on == cpus, "tasks: {ran_on} of {cpus} CPUs have polled one");
    Ok(())
}
