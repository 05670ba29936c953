//! Checks the locks of the crate `lock_api` on the raw locks of threads. Called by the part `threads`.

use super::super::check::{CheckResult, ensure};
use super::blocking::{Halves, SHORT, in_threads, long};
use crate::thread;
use crate::thread::sync::{RawMutex, RawRwLock};

/// The threads of a check.
const THREADS: u64 = 6;

/// What each of them does so often.
const ROUNDS: u64 = 100;

/// Runs all checks. Returns the number of threads.
pub(super) fn run() -> CheckResult<u64> {
    Ok(mutex()? + rwlock()?)
}

/// One thread at a time has the value, and no wait outlasts its time-out.
fn mutex() -> CheckResult<u64> {
    static VALUE: lock_api::Mutex<RawMutex, Halves> = lock_api::Mutex::new(Halves::NEW);
    let before = VALUE.lock().0;
    let whole = in_threads(THREADS, |number| {
        (0..ROUNDS).all(|round| {
            let mut halves = VALUE.lock();
            let is_whole = halves.add_one(round);
            if number == 0 {
                lock_api::MutexGuard::unlock_fair(halves);
            }
            is_whole
        })
    })?;
    ensure!(whole.into_iter().all(|is_so| is_so), "lock_api: two threads had a mutex");
    let value = VALUE.lock();
    let added = value.0 - before;
    ensure!(added == THREADS * ROUNDS, "lock_api: {added} additions of {}", THREADS * ROUNDS);
    ensure!(VALUE.is_locked() && VALUE.try_lock().is_none(), "lock_api: a mutex was locked twice");
    let late = thread::spawn(|| VALUE.try_lock_for(SHORT).is_none());
    ensure!(late.join(), "lock_api: a mutex was locked twice, with a time-out");
    drop(value);
    let free = thread::spawn(|| VALUE.try_lock_for(long()).is_some());
    ensure!(free.join(), "lock_api: a free mutex was not locked");
    Ok(THREADS + 2)
}

/// Readers see whole values, also from a writer that becomes a reader.
fn rwlock() -> CheckResult<u64> {
    static VALUE: lock_api::RwLock<RawRwLock, Halves> = lock_api::RwLock::new(Halves::NEW);
    let whole = in_threads(THREADS, |number| {
        (0..ROUNDS).all(|round| {
            let value = if number < 2 {
                let mut value = VALUE.write();
                value.add_one(round);
                lock_api::RwLockWriteGuard::downgrade(value)
            } else {
                VALUE.read()
            };
            value.0 == value.1
        })
    })?;
    ensure!(whole.into_iter().all(|is_so| is_so), "lock_api: a reader beside a writer");
    let reading = VALUE.read();
    ensure!(VALUE.try_write().is_none(), "lock_api: a writer beside a reader");
    let late = thread::spawn(|| VALUE.try_write_for(SHORT).is_none());
    ensure!(late.join(), "lock_api: a writer beside a reader, with a time-out");
    drop(reading);
    ensure!(VALUE.try_write().is_some(), "lock_api: a free lock was not locked");
    Ok(THREADS + 1)
}
