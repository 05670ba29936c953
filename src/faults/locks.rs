//! Faults of spin locks: a lock is held for ever or for a while, while other CPUs wait for it, its own holder waits for it, or its
//! holder blocks.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use super::injection::{FAULT_TIMEOUT_MS, Injection, Point, on_last_cpu};
use super::names::Fault;
use super::redirects::is_armed;
use crate::config::LOCK_TIMEOUT_MS;
use crate::cpu::{CpuId, CpuSet, IrqGuard};
use crate::interrupts::PreemptGuard;
use crate::sync::{self, SpinLockIrq, Timeout};
use crate::thread::sync::{Barrier, Mutex, RawMutex, Semaphore};
use crate::thread::{self, JoinHandle};
use crate::time::timer;
use crate::{console, smp, static_call};

pub(super) const INJECTIONS: &[Injection] = &[
    Injection(Point::BeforeTscSync, Fault::HoldLockAtBoot, hold_and_wait),
    Injection(Point::BeforeTscSync, Fault::HoldLockUntilReport, hold_and_wait),
    Injection(Point::BeforeWork, Fault::HoldLock, hold_and_wait),
    Injection(Point::BeforeWork, Fault::HoldLockAtWork, hold_and_wait_at_work),
    Injection(Point::BeforeWork, Fault::HoldConsole, hold_console),
    Injection(Point::BeforeWork, Fault::HoldConsoleAWhile, hold_console_a_while),
    Injection(Point::BeforeWork, Fault::LockTwice, lock_twice),
    Injection(Point::BeforeWork, Fault::InvertMutexes, invert_mutexes),
    Injection(Point::BeforeWork, Fault::InvertSpinLocks, invert_spin_locks),
    Injection(Point::BeforeWork, Fault::Deadlock, deadlock),
    Injection(Point::BeforeWork, Fault::SwitchWithLock, switch_with_lock),
    Injection(Point::BeforeWork, Fault::SwitchWithGuard, switch_with_guard),
    Injection(Point::BeforeWork, Fault::LockWithGuard, lock_with_guard),
    Injection(Point::BeforeWork, Fault::EndWithGuard, end_with_guard),
    Injection(Point::BeforeWork, Fault::EndWithInterruptsOff, end_with_interrupts_off),
];

static_call! {
    sync::lock_timeout_ms() -> u64 => ten_minutes_in_ms, if |_| is_armed(Fault::HoldLockUntilReport);
}

/// [`sync::lock_timeout_ms`] that no run reaches before the launcher's time limit.
extern "C" fn ten_minutes_in_ms() -> u64 {
    600_000
}

static LOCK: SpinLockIrq<()> = SpinLockIrq::new(());
crate::name_lock!(LOCK);

static OTHER_LOCK: SpinLockIrq<()> = SpinLockIrq::new(());
crate::name_lock!(OTHER_LOCK);

/// Whether the last CPU holds the lock.
static IS_HELD: AtomicBool = AtomicBool::new(false);

/// Makes the last CPU hold the lock, in a call, while the BSP waits for it.
fn hold_and_wait() {
    call_last(hold_for_ever);
    wait_for_lock();
}

/// As [`hold_and_wait`], in timer callbacks while the CPUs are at work.
fn hold_and_wait_at_work() {
    const DELAY: Duration = Duration::from_millis(100);
    fn arm(_: usize) {
        timer::after(DELAY, |_| hold_for_ever(0), 0).expect("memory for a timer");
    }
    call_last(arm);
    timer::after(2 * DELAY, |_| wait_for_lock(), 0).expect("memory for a timer");
}

/// Makes the last CPU hold the console, in a call, while the BSP logs.
fn hold_console() {
    call_last(hold_console_for_ever);
    wait_until_held();
    log::info!("a line that is written by the panic alone");
}

/// Makes the last CPU hold the console until all others, which log, have stalled.
fn hold_console_a_while() {
    let last = smp::online().last().map(smp::Cpu::id);
    let others = smp::online().count() as u64 - 1;
    let have_stalled = || smp::lock_stalls() >= others;
    let fault = |cpu: &'static smp::Cpu| {
        if Some(cpu.id()) == last {
            console::with_lock(|| {
                IS_HELD.store(true, Ordering::Release);
                // If a CPU has not stalled by then, the log shows it.
                let _ = Timeout::after_ms(LOCK_TIMEOUT_MS * 3 / 4).wait_until(have_stalled);
            });
        } else {
            wait_until_held();
            log::info!("a line that is written when the console is free");
        }
    };
    smp::on_each_cpu(2 * LOCK_TIMEOUT_MS, &fault).expect("all CPUs run the fault");
}

static FIRST: Mutex<()> = Mutex::new(());
static SECOND: Mutex<()> = Mutex::new(());
static THIRD: Mutex<()> = Mutex::new(());
static MUTEXES: [&Mutex<()>; 3] = [&FIRST, &SECOND, &THIRD];

/// Starts a thread that takes one of the mutexes and then another one.
fn take_in_thread(name: &str, first: usize, then: usize, between: &'static Barrier) -> JoinHandle<()> {
    let thread = thread::Builder::new().name(name).spawn(move || {
        let _first = MUTEXES[first].lock();
        between.wait();
        drop(MUTEXES[then].lock());
    });
    thread.expect("there is memory for a thread")
}

/// Takes two mutexes in one thread, and, when that has ended, in the other order in another.
fn invert_mutexes() {
    static ALONE: Barrier = Barrier::new(1);
    take_in_thread("forward", 0, 1, &ALONE).join();
    take_in_thread("backward", 1, 0, &ALONE).join();
}

/// Makes three threads wait for each other's mutexes.
fn deadlock() {
    static ALL_HAVE_ONE: Barrier = Barrier::new(3);
    let names = ["left", "middle", "right"];
    let threads = [0, 1, 2].map(|first| take_in_thread(names[first], first, (first + 1) % 3, &ALL_HAVE_ONE));
    threads.into_iter().for_each(JoinHandle::join);
}

/// Takes two spin locks on the last CPU, and, when that has released them, in the other order on this one.
fn invert_spin_locks() {
    on_last_cpu(&|| {
        let _first = LOCK.lock();
        drop(OTHER_LOCK.lock());
    });
    let _first = OTHER_LOCK.lock();
    drop(LOCK.lock());
}

/// A permit that no thread gives.
static PERMIT: Semaphore = Semaphore::new(0);

/// Blocks with a spin lock held.
fn switch_with_lock() {
    let _held = LOCK.lock();
    PERMIT.acquire();
}

/// Blocks with a `PreemptGuard`.
fn switch_with_guard() {
    let _guard = PreemptGuard::new();
    PERMIT.acquire();
}

/// Locks a mutex of the crate `lock_api`, which is free, with a `PreemptGuard`.
fn lock_with_guard() {
    static MUTEX: lock_api::Mutex<RawMutex, ()> = lock_api::Mutex::new(());
    let _guard = PreemptGuard::new();
    drop(MUTEX.lock());
}

/// Ends a thread that has leaked a `PreemptGuard`.
fn end_with_guard() {
    thread::spawn(|| core::mem::forget(PreemptGuard::new())).join();
}

/// Ends a thread whose result, which no handle has, leaks an `IrqGuard` when it is dropped.
fn end_with_interrupts_off() {
    struct Leaks;
    impl Drop for Leaks {
        fn drop(&mut self) {
            core::mem::forget(IrqGuard::new());
        }
    }
    let handle = thread::spawn(|| {
        thread::park();
        Leaks
    });
    let thread = handle.thread().clone();
    drop(handle);
    thread.unpark();
}

/// Makes the last CPU wait for a lock that it holds.
fn lock_twice() {
    on_last_cpu(&|| {
        let _held = LOCK.lock();
        lock_again();
    });
}

fn call_last(function: fn(usize)) {
    let last = smp::online().last().map_or(CpuId::BSP, smp::Cpu::id);
    smp::call_async(&CpuSet::of(last), function, 0).expect("the last CPU takes calls");
}

#[inline(never)]
fn lock_again() {
    drop(LOCK.lock());
}

#[inline(never)]
fn hold_for_ever(_: usize) {
    let _held = LOCK.lock();
    spin_for_ever();
}

#[inline(never)]
fn hold_console_for_ever(_: usize) {
    console::with_lock(spin_for_ever);
}

#[inline(never)]
fn spin_for_ever() {
    IS_HELD.store(true, Ordering::Release);
    loop {
        core::hint::spin_loop();
    }
}

#[inline(never)]
fn wait_for_lock() {
    wait_until_held();
    drop(LOCK.lock());
}

fn wait_until_held() {
    let is_held = Timeout::after_ms(FAULT_TIMEOUT_MS).wait_until(|| IS_HELD.load(Ordering::Acquire));
    is_held.expect("the last CPU runs");
}
