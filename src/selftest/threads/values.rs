//! Checks thread-local variables, and values that are made once. Called by the part `threads`.

use alloc::sync::Arc;
use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};

use super::super::check::{CheckResult, ensure};
use super::blocking::{SHORT, in_threads, long};
use crate::cpu::IrqGuard;
use crate::thread::sync::OnceLock;
use crate::thread::{self, AccessError};
use crate::time::timer;

/// Threads of one check.
const THREADS: u64 = 8;

/// Runs all checks. Returns the number of threads.
pub(super) fn run() -> CheckResult<u64> {
    Ok(thread_locals()? + handlers_are_refused()? + once()?)
}

static DROPPED: AtomicU64 = AtomicU64::new(0);

/// A value that counts its drop.
struct Counted(Cell<u64>);

impl Drop for Counted {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::AcqRel);
    }
}

crate::thread_local! {
    static COUNTED: Counted = Counted(Cell::new(100));
    static PLAIN: Cell<u64> = const { Cell::new(0) };
}

/// Each thread has its own values while it takes turns with others and moves; they are dropped at its end.
fn thread_locals() -> CheckResult<u64> {
    DROPPED.store(0, Ordering::SeqCst);
    let counts = in_threads(THREADS, |number| {
        for _ in 0..100 {
            COUNTED.with(|counted| counted.0.set(counted.0.get() + number));
            PLAIN.set(PLAIN.get() + 1);
            thread::yield_now();
        }
        COUNTED.with(|counted| counted.0.get()) == 100 + 100 * number && PLAIN.get() == 100
    })?;
    ensure!(counts.into_iter().all(|is_so| is_so), "thread-local variables: another thread has changed one");
    let dropped = DROPPED.load(Ordering::Acquire);
    ensure!(dropped == THREADS, "thread-local variables: {dropped} of {THREADS} were dropped");
    Ok(THREADS)
}

/// A handler gets no value of the thread that it interrupts.
fn handlers_are_refused() -> CheckResult<u64> {
    static ANSWER: OnceLock<Result<u64, AccessError>> = OnceLock::new();
    PLAIN.set(5);
    let guard = IrqGuard::new();
    let with_guard = PLAIN.try_with(Cell::get);
    drop(guard);
    ensure!(
        with_guard == Err(AccessError::InterruptsOff),
        "thread-local variables: used with interrupts off"
    );
    let ask = |_: &timer::Expiry| {
        let _ = ANSWER.set(PLAIN.try_with(Cell::get));
    };
    timer::after(SHORT, ask, 0)?;
    let answer = ANSWER.wait_timeout(long());
    ensure!(
        answer == Ok(&Err(AccessError::InterruptsOff)),
        "thread-local variables: a handler has used one: {answer:?}"
    );
    Ok(0)
}

/// One thread makes a value, and the others wait for it.
fn once() -> CheckResult<u64> {
    static MADE: AtomicU64 = AtomicU64::new(0);
    MADE.store(0, Ordering::SeqCst);
    let value = Arc::new(OnceLock::new());
    let handles: alloc::vec::Vec<_> = (0..THREADS)
        .map(|number| {
            let value = value.clone();
            thread::spawn(move || {
                *value.get_or_init(|| {
                    thread::sleep(SHORT);
                    MADE.fetch_add(1, Ordering::AcqRel);
                    number
                })
            })
        })
        .collect();
    let seen: alloc::vec::Vec<_> = handles.into_iter().map(thread::JoinHandle::join).collect();
    let made = MADE.load(Ordering::Acquire);
    let is_same = seen.iter().all(|number| Some(number) == value.get());
    ensure!(made == 1 && is_same, "OnceLock: made {made} times, threads have seen {seen:?}");
    Ok(THREADS)
}
