//! Checks what threads wait for: locks, conditions, channels and scopes. Called by the part `threads`.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use super::super::check::{CheckResult, ensure, fail};
use crate::cpu::CpuId;
use crate::interrupts::PreemptGuard;
use crate::thread::sync::channel::{self, RecvTimeoutError, TryRecvError, TrySendError};
use crate::thread::sync::{Barrier, Condvar, Event, Mutex, MutexGuard, RwLock, Semaphore, TimedOut};
use crate::thread::{self, Builder, JoinHandle};
use crate::time::now_ns;
use crate::time::timer;

/// Threads of one check.
const THREADS: u64 = 6;

/// What each of them does so often.
const ROUNDS: u64 = 200;

/// A time-out that passes.
pub(super) const SHORT: Duration = Duration::from_micros(200);

/// Returns a time-out that does not pass: longer than any host delays a machine. Where a fault is injected that makes it pass, it is short.
pub(super) fn long() -> Duration {
    Duration::from_secs(if may_hang() { 10 } else { 600 })
}

/// Returns whether a fault is injected by which a wait may not end.
#[cfg(feature = "faults")]
pub(super) fn may_hang() -> bool {
    crate::sched::faults::may_hang()
}

/// Returns whether a fault is injected by which a wait may not end.
#[cfg(not(feature = "faults"))]
pub(super) const fn may_hang() -> bool {
    false
}

/// Returns the result of a thread that has to end: after twice the time that its own waits take at most.
pub(super) fn ended<T>(handle: JoinHandle<T>) -> CheckResult<T> {
    let limit = 2 * long();
    handle.join_timeout(limit).or_else(|handle| {
        let id = handle.thread().id();
        let state = thread::list().into_iter().find(|thread| thread.id == id).map(|thread| thread.state);
        let state = state.unwrap_or(thread::ThreadState::Ended);
        fail!("threads: {:?} has not ended in {limit:?}: it is {state}", handle.thread())
    })
}

/// Runs all checks. Returns the number of threads.
pub(super) fn run() -> CheckResult<u64> {
    let checks: [fn() -> CheckResult<u64>; 13] = [
        mutex,
        mutex_is_handed_over,
        token_of_a_thread_that_blocks,
        condvar,
        semaphore,
        time_out_against_release,
        event_from_a_handler,
        barrier,
        rwlock,
        bounded_channel,
        unbounded_channel,
        channel_without_other_side,
        scope,
    ];
    checks.into_iter().map(|check| check()).sum()
}

/// Returns the time at which a wait that must end has failed.
pub(super) fn deadline() -> u64 {
    now_ns().saturating_add(long().as_nanos() as u64)
}

/// Runs a function in so many threads, and returns their results.
pub(super) fn in_threads<T: Send + 'static>(
    count: u64,
    run: impl Fn(u64) -> T + Copy + Send + 'static,
) -> CheckResult<Vec<T>> {
    let handles: Vec<_> = (0..count).map(|number| thread::spawn(move || run(number))).collect();
    handles.into_iter().map(ended).collect()
}

/// A value whose halves differ while a thread changes it.
#[derive(Default)]
pub(super) struct Halves(pub(super) u64, pub(super) u64);

impl Halves {
    pub(super) const NEW: Halves = Halves(0, 0);

    /// Adds one to both. Returns whether they were equal before.
    pub(super) fn add_one(&mut self, round: u64) -> bool {
        let is_whole = self.0 == self.1;
        self.0 += 1;
        if round.is_multiple_of(16) {
            thread::yield_now();
        }
        self.1 += 1;
        is_whole
    }
}

/// One thread at a time has the value.
fn mutex() -> CheckResult<u64> {
    static VALUE: Mutex<Halves> = Mutex::new(Halves::NEW);
    let before = VALUE.lock().0;
    let whole = in_threads(THREADS, |_| (0..ROUNDS).all(|round| VALUE.lock().add_one(round)))?;
    ensure!(whole.into_iter().all(|is_so| is_so), "mutex: two threads had it");
    let value = VALUE.lock();
    ensure!(value.0 - before == THREADS * ROUNDS, "mutex: {} additions of {}", value.0, THREADS * ROUNDS);
    ensure!(VALUE.is_locked() && VALUE.try_lock().is_none(), "mutex: locked twice by `try_lock`");
    let other = thread::spawn(|| VALUE.lock_timeout(SHORT).map(drop));
    ensure!(other.join() == Err(TimedOut), "mutex: locked twice with a time-out");
    drop(value);
    let again = thread::spawn(|| VALUE.lock_timeout(long()).is_ok() && VALUE.try_lock().is_some());
    ensure!(again.join(), "mutex: a free one was not locked");
    Ok(THREADS + 2)
}

/// A thread that waits has the mutex as soon as it is unlocked fairly, before it runs.
fn mutex_is_handed_over() -> CheckResult<u64> {
    static MUTEX: Mutex<u64> = Mutex::new(0);
    let mut mine = MUTEX.lock();
    *mine = 0;
    // On this CPU, so that it does not run before the check.
    let other = Builder::new().pinned(CpuId::BSP).spawn(|| *MUTEX.lock() += 1)?;
    let until = deadline();
    while !other.thread().is_blocked() {
        ensure!(now_ns() < until, "mutex: a thread does not wait for a locked one");
        thread::yield_now();
    }
    let stay = PreemptGuard::new();
    MutexGuard::unlock_fair(mine);
    let is_free = MUTEX.try_lock().is_some();
    drop(stay);
    ensure!(!is_free, "mutex: free after it was handed over");
    ensure!(other.join_timeout(long()).is_ok(), "mutex: the thread to which it was handed over does not run");
    ensure!(*MUTEX.lock() == 1, "mutex: not handed over");
    Ok(1)
}

/// An `unpark` of a thread that waits for a mutex stays for its next `park`.
fn token_of_a_thread_that_blocks() -> CheckResult<u64> {
    static MUTEX: Mutex<()> = Mutex::new(());
    let mine = MUTEX.lock();
    let other = thread::spawn(|| {
        drop(MUTEX.lock());
        thread::sleep(SHORT);
        // Would not return without the token.
        thread::park();
    });
    other.thread().unpark();
    thread::sleep(SHORT);
    other.thread().unpark();
    drop(mine);
    let ended = other.join_timeout(long()).is_ok();
    ensure!(ended, "threads: an unpark was used up by a mutex");
    Ok(1)
}

/// A buffer with room for three values.
fn condvar() -> CheckResult<u64> {
    static BUFFER: Mutex<Vec<u64>> = Mutex::new(Vec::new());
    static HAS_ROOM: Condvar = Condvar::new();
    static HAS_VALUE: Condvar = Condvar::new();
    let taken = in_threads(THREADS, |number| {
        (0..ROUNDS)
            .map(|round| {
                if number.is_multiple_of(2) {
                    let mut buffer = HAS_ROOM.wait_while(BUFFER.lock(), |buffer| buffer.len() >= 3);
                    buffer.push(round);
                    drop(buffer);
                    HAS_VALUE.notify_one();
                    0
                } else {
                    let mut buffer = HAS_VALUE.wait_while(BUFFER.lock(), |buffer| buffer.is_empty());
                    let value = buffer.pop().unwrap_or(u64::MAX >> 32);
                    drop(buffer);
                    HAS_ROOM.notify_all();
                    value
                }
            })
            .sum::<u64>()
    })?;
    let (sum, expected) = (taken.into_iter().sum::<u64>(), THREADS / 2 * (ROUNDS * (ROUNDS - 1) / 2));
    ensure!(sum == expected, "condvar: the values add up to {sum}, not {expected}");
    let (buffer, waited) = HAS_VALUE.wait_timeout(BUFFER.lock(), SHORT);
    ensure!(waited == Err(TimedOut) && buffer.is_empty(), "condvar: notified by no thread");
    let (_, waited) = HAS_VALUE.wait_timeout_while(buffer, SHORT, |buffer| buffer.is_empty());
    ensure!(waited == Err(TimedOut), "condvar: the condition does not hold");
    Ok(THREADS)
}

/// No more threads than permits.
fn semaphore() -> CheckResult<u64> {
    static PERMITS: Semaphore = Semaphore::new(2);
    static INSIDE: AtomicU64 = AtomicU64::new(0);
    let in_bounds = in_threads(THREADS, |_| {
        (0..ROUNDS).all(|round| {
            let _permit = PERMITS.access();
            let inside = INSIDE.fetch_add(1, Ordering::AcqRel) + 1;
            if round.is_multiple_of(16) {
                thread::yield_now();
            }
            INSIDE.fetch_sub(1, Ordering::AcqRel);
            inside <= 2
        })
    })?;
    ensure!(in_bounds.into_iter().all(|is_so| is_so), "semaphore: more threads than permits");
    ensure!(PERMITS.available() == 2, "semaphore: {} permits of 2", PERMITS.available());
    ensure!(
        PERMITS.try_acquire() && PERMITS.try_acquire() && !PERMITS.try_acquire(),
        "semaphore: no third one"
    );
    ensure!(PERMITS.acquire_timeout(SHORT) == Err(TimedOut), "semaphore: a third one with a time-out");
    // A handler gives it.
    timer::after(SHORT, |_| PERMITS.release(), 0)?;
    PERMITS.acquire();
    PERMITS.release();
    PERMITS.release();
    Ok(THREADS)
}

/// Each permit reaches a thread, or is left when the thread's time is over first.
fn time_out_against_release() -> CheckResult<u64> {
    static PERMITS: Semaphore = Semaphore::new(0);
    let taken = in_threads(THREADS, |number| {
        (0..ROUNDS)
            .filter(|round| {
                if number.is_multiple_of(2) {
                    if round.is_multiple_of(4) {
                        thread::yield_now();
                    }
                    PERMITS.release();
                    false
                } else {
                    PERMITS.acquire_timeout(Duration::from_nanos(500 * (round % 8))).is_ok()
                }
            })
            .count() as u64
    })?;
    let taken: u64 = taken.into_iter().sum();
    let mut left = 0;
    while PERMITS.try_acquire() {
        left += 1;
    }
    let given = THREADS / 2 * ROUNDS;
    ensure!(taken + left == given, "semaphore: {taken} permits taken and {left} left of {given}");
    Ok(THREADS)
}

/// A timer's callback sets an event that several threads wait for.
fn event_from_a_handler() -> CheckResult<u64> {
    static EVENT: Event = Event::new();
    for _ in 0..8 {
        EVENT.reset();
        ensure!(EVENT.wait_timeout(SHORT) == Err(TimedOut), "event: set by no handler");
        let waiters: Vec<_> =
            (0..THREADS).map(|_| thread::spawn(|| EVENT.wait_timeout(long()).is_ok())).collect();
        timer::after(SHORT, |_| EVENT.set(), 0)?;
        EVENT.wait();
        ensure!(EVENT.is_set(), "event: a wait has ended before it was set");
        let ended = waiters.into_iter().map(JoinHandle::join).filter(|is_so| *is_so).count() as u64;
        ensure!(ended == THREADS, "event: {ended} of {THREADS} waits have ended");
    }
    Ok(8 * THREADS)
}

/// No thread is a round ahead of another, and one leads in each.
fn barrier() -> CheckResult<u64> {
    static BARRIER: Barrier = Barrier::new(THREADS as usize);
    static COME: AtomicU64 = AtomicU64::new(0);
    COME.store(0, Ordering::SeqCst);
    let led = in_threads(THREADS, |_| {
        (0..ROUNDS)
            .filter(|round| {
                COME.fetch_add(1, Ordering::AcqRel);
                let leads = BARRIER.wait().is_leader();
                let come = COME.load(Ordering::Acquire);
                if come < (round + 1) * THREADS || come >= (round + 2) * THREADS {
                    COME.store(u64::MAX / 2, Ordering::Release);
                }
                leads
            })
            .count() as u64
    })?;
    let led: u64 = led.into_iter().sum();
    ensure!(COME.load(Ordering::Acquire) == THREADS * ROUNDS, "barrier: a thread was in another round");
    ensure!(led == ROUNDS, "barrier: {led} leaders in {ROUNDS} rounds");
    ensure!(BARRIER.wait_timeout(SHORT) == Err(TimedOut), "barrier: complete with one thread");
    Ok(THREADS)
}

/// Readers see whole values.
fn rwlock() -> CheckResult<u64> {
    static VALUE: RwLock<Halves> = RwLock::new(Halves::NEW);
    let before = VALUE.read().0;
    let whole = in_threads(THREADS, |number| {
        (0..ROUNDS).all(|round| {
            if number < 2 {
                return VALUE.write().add_one(round);
            }
            let value = VALUE.read();
            if round.is_multiple_of(16) {
                thread::yield_now();
            }
            value.0 == value.1
        })
    })?;
    ensure!(whole.into_iter().all(|is_so| is_so), "rwlock: a reader beside a writer");
    let value = VALUE.read();
    ensure!(value.0 - before == 2 * ROUNDS, "rwlock: {} writes of {}", value.0 - before, 2 * ROUNDS);
    ensure!(VALUE.try_read().is_some() && VALUE.try_write().is_none(), "rwlock: a writer beside a reader");
    let writer = thread::spawn(|| VALUE.write_timeout(SHORT).is_err());
    ensure!(writer.join(), "rwlock: a writer beside a reader, with a time-out");
    drop(value);
    let _value = VALUE.write();
    ensure!(VALUE.try_read().is_none(), "rwlock: a reader beside a writer");
    let reader = thread::spawn(|| VALUE.read_timeout(SHORT).is_err());
    ensure!(reader.join(), "rwlock: a reader beside a writer, with a time-out");
    Ok(THREADS + 2)
}

/// Three threads send, three receive: each value arrives once.
fn pass_values(channel: (channel::Sender<u64>, channel::Receiver<u64>)) -> CheckResult<u64> {
    let (sender, receiver) = channel;
    let senders: Vec<_> = (0..THREADS / 2)
        .map(|number| {
            let sender = sender.clone();
            thread::spawn(move || (0..ROUNDS).all(|round| sender.send(number * ROUNDS + round).is_ok()))
        })
        .collect();
    drop(sender);
    let receivers: Vec<_> = (0..THREADS / 2)
        .map(|_| {
            let receiver = receiver.clone();
            thread::spawn(move || {
                receiver.iter().fold((0, 0), |(count, sum), value| (count + 1, sum + value))
            })
        })
        .collect();
    drop(receiver);
    let sent = senders.into_iter().all(JoinHandle::join);
    ensure!(sent, "channel: a value was refused");
    let add = |(count, sum): (u64, u64), (more, value)| (count + more, sum + value);
    let (count, sum) = receivers.into_iter().map(JoinHandle::join).fold((0, 0), add);
    let total = THREADS / 2 * ROUNDS;
    ensure!(count == total, "channel: {count} values received of {total}");
    ensure!(sum == total * (total - 1) / 2, "channel: a value was received twice");
    Ok(THREADS)
}

fn bounded_channel() -> CheckResult<u64> {
    let (sender, receiver) = channel::bounded(1);
    ensure!(sender.try_send(1).is_ok(), "channel: no room for one value");
    ensure!(sender.try_send(2) == Err(TrySendError::Full(2)), "channel: room for two values");
    ensure!(sender.send_timeout(2, SHORT).is_err(), "channel: room for two values with a time-out");
    ensure!(receiver.try_recv() == Ok(1), "channel: the value does not arrive");
    ensure!(receiver.try_recv() == Err(TryRecvError::Empty), "channel: the value arrives twice");
    ensure!(receiver.recv_timeout(SHORT) == Err(RecvTimeoutError::Timeout), "channel: a value of no sender");
    pass_values(channel::bounded(2))
}

fn unbounded_channel() -> CheckResult<u64> {
    pass_values(channel::unbounded())
}

/// A wait ends when the other side is gone.
fn channel_without_other_side() -> CheckResult<u64> {
    let (sender, receiver) = channel::bounded::<u64>(1);
    let waits = thread::spawn(move || receiver.recv().is_err());
    thread::sleep(SHORT);
    drop(sender);
    ensure!(waits.join(), "channel: a value of no sender");
    let (sender, receiver) = channel::bounded::<u64>(1);
    ensure!(sender.send(1).is_ok(), "channel: no room for one value");
    let waits = thread::spawn(move || sender.send(2).is_err_and(|error| error.0 == 2));
    thread::sleep(SHORT);
    drop(receiver);
    ensure!(waits.join(), "channel: a value to no receiver");
    let (sender, receiver) = channel::unbounded::<u64>();
    ensure!(sender.send(3).is_ok(), "channel: a value was refused");
    drop(sender);
    ensure!(
        receiver.recv() == Ok(3) && receiver.recv().is_err(),
        "channel: what was sent before the end is lost"
    );
    Ok(2)
}

/// Threads borrow from this one.
fn scope() -> CheckResult<u64> {
    let mut values = [0; THREADS as usize];
    let sum = thread::scope(|scope| {
        let handles: Vec<_> = values
            .iter_mut()
            .zip(1..)
            .map(|(value, number)| {
                scope.spawn(move || {
                    // The dropped one is not the first to end.
                    (number..=THREADS).for_each(|_| thread::yield_now());
                    *value = number;
                    number
                })
            })
            .collect();
        // One handle is dropped: the scope waits for its thread nevertheless.
        handles.into_iter().skip(1).map(thread::ScopedJoinHandle::join).sum::<u64>()
    });
    let expected = THREADS * (THREADS + 1) / 2;
    ensure!(sum == expected - 1, "scope: the results add up to {sum}, not {}", expected - 1);
    ensure!(values.iter().sum::<u64>() == expected, "scope: a thread has not ended");
    let until = now_ns() + 100_000;
    thread::sleep_until(until);
    ensure!(now_ns() >= until, "threads: a sleep was too short");
    Ok(THREADS)
}
