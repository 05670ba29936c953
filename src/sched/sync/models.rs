//! Every interleaving of what threads wait for, by loom. A wait with a time-out ends at a moment that loom chooses.

mod deferred;
mod futures;
mod inheriting;

use std::sync::Arc;
use std::vec::Vec;

use core::time::Duration;

use loom::thread::{self, JoinHandle};

use super::channel::{self, RecvTimeoutError};
use super::{Barrier, Condvar, Event, LazyLock, Mutex, MutexGuard, Once, OnceLock, RwLock, Semaphore};
use crate::sync::model_atomics::{Accesses, AtomicUsize, Ordering, explore};

/// A time-out, of whatever length.
const SOME: Duration = Duration::from_millis(1);

fn check(model: impl Fn() + Sync + Send + 'static) {
    explore(Some(3), &[Accesses::Exchanges, Accesses::Plain], model);
}

fn spawn<S: Send + Sync + 'static, T: 'static>(
    shared: &Arc<S>,
    run: impl FnOnce(&S) -> T + 'static,
) -> JoinHandle<T> {
    let shared = shared.clone();
    thread::spawn(move || run(&shared))
}

fn join<T>(handles: impl IntoIterator<Item = JoinHandle<T>>) -> Vec<T> {
    handles.into_iter().map(|handle| handle.join().unwrap()).collect()
}

/// A mutex, and how many threads have it.
struct Counted {
    mutex: Mutex<usize>,
    inside: AtomicUsize,
}

impl Counted {
    fn new() -> Arc<Counted> {
        Arc::new(Counted { mutex: Mutex::new(0), inside: AtomicUsize::new(0) })
    }

    fn use_it(&self, guard: &mut MutexGuard<'_, usize>) {
        assert_eq!(self.inside.fetch_add(1, Ordering::Relaxed), 0, "two threads have the mutex");
        **guard += 1;
        self.inside.fetch_sub(1, Ordering::Relaxed);
    }

    fn add(&self) {
        self.use_it(&mut self.mutex.lock());
    }
}

#[test]
fn loom_one_thread_at_a_time_has_a_mutex_and_each_gets_it() {
    check(|| {
        let counted = Counted::new();
        let others = [0, 1].map(|_| spawn(&counted, Counted::add));
        counted.add();
        join(others);
        assert_eq!(*counted.mutex.lock(), 3);
    });
}

#[test]
fn loom_a_mutex_is_handed_over_or_freed() {
    check(|| {
        let counted = Counted::new();
        let others = [0, 1].map(|_| {
            spawn(&counted, |counted| {
                let mut guard = counted.mutex.lock();
                counted.use_it(&mut guard);
                MutexGuard::unlock_fair(guard);
            })
        });
        join(others);
        assert_eq!(*counted.mutex.lock(), 2);
    });
}

#[test]
fn loom_a_mutex_with_a_time_out_is_locked_or_not() {
    check(|| {
        let counted = Counted::new();
        let patient = spawn(&counted, Counted::add);
        let hasty = spawn(&counted, |counted| match counted.mutex.lock_timeout(SOME) {
            Ok(mut guard) => {
                counted.use_it(&mut guard);
                1
            }
            Err(_) => 0,
        });
        counted.add();
        patient.join().unwrap();
        let late = hasty.join().unwrap();
        assert_eq!(*counted.mutex.lock(), 2 + late);
    });
}

#[test]
fn loom_a_condition_that_holds_is_seen_by_each_waiter() {
    check(|| {
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let waiters = [0, 1].map(|_| {
            spawn(&shared, |(value, changed)| {
                assert!(*changed.wait_while(value.lock(), |is_so| !*is_so));
            })
        });
        *shared.0.lock() = true;
        shared.1.notify_all();
        join(waiters);
    });
}

#[test]
fn loom_a_notification_reaches_a_waiter_whose_time_is_not_over() {
    check(|| {
        let shared = Arc::new((Mutex::new(0), Condvar::new()));
        let take = |(value, changed): &(Mutex<usize>, Condvar), timeout| {
            let mut guard = value.lock();
            while *guard == 0 {
                let (again, waited) = match timeout {
                    None => (changed.wait(guard), Ok(())),
                    Some(timeout) => changed.wait_timeout(guard, timeout),
                };
                guard = again;
                if waited.is_err() {
                    break;
                }
            }
            let taken = *guard;
            *guard = 0;
            taken
        };
        let patient = spawn(&shared, move |shared| take(shared, None));
        let hasty = spawn(&shared, move |shared| take(shared, Some(SOME)));
        let give = || {
            *shared.0.lock() += 1;
            shared.1.notify_one();
        };
        give();
        if hasty.join().unwrap() == 1 {
            // The one value was taken; the patient thread needs another.
            give();
        }
        assert_eq!(patient.join().unwrap(), 1);
    });
}

#[test]
fn loom_each_permit_goes_to_one_thread() {
    check(|| {
        let shared = Arc::new(Semaphore::new(0));
        let takers = [0, 1].map(|_| spawn(&shared, Semaphore::acquire));
        shared.release();
        shared.release();
        join(takers);
        assert!(!shared.try_acquire());
    });
}

#[test]
fn loom_a_permit_goes_to_a_thread_or_its_time_is_over_and_the_permit_is_left() {
    check(|| {
        let shared = Arc::new(Semaphore::new(0));
        let hasty = [0, 1].map(|_| spawn(&shared, |shared| shared.acquire_timeout(SOME).is_ok()));
        shared.release();
        let taken = join(hasty).into_iter().filter(|is_so| *is_so).count();
        assert_eq!(taken + usize::from(shared.try_acquire()), 1);
    });
}

#[test]
fn loom_an_event_ends_all_waits() {
    check(|| {
        let shared = Arc::new((Event::new(), AtomicUsize::new(0)));
        let waiters = [0, 1].map(|_| {
            spawn(&shared, |(event, before)| {
                event.wait();
                assert_eq!(before.load(Ordering::Relaxed), 1, "what was done before the event is seen");
            })
        });
        shared.1.store(1, Ordering::Relaxed);
        shared.0.set();
        join(waiters);
    });
}

#[test]
fn loom_an_event_that_was_reset_ends_no_later_wait() {
    check(|| {
        let shared = Arc::new(Event::new());
        let others = [spawn(&shared, |event| event.wait()), spawn(&shared, |event| event.set())];
        if shared.is_set() {
            // The waiter may not be woken yet.
            shared.reset();
            assert!(shared.wait_timeout(SOME).is_err(), "no event since the reset");
            // The waiter may have come after the reset.
            shared.set();
        }
        join(others);
    });
}

#[test]
fn loom_a_barrier_has_one_leader_in_each_round() {
    check(|| {
        let shared = Arc::new(Barrier::new(2));
        let other = spawn(&shared, |barrier| [0, 1].map(|_| barrier.wait().is_leader()));
        let mine = [0, 1].map(|_| shared.wait().is_leader());
        let theirs = other.join().unwrap();
        assert!(mine.iter().zip(theirs).all(|(mine, theirs)| *mine != theirs));
    });
}

#[test]
fn loom_a_thread_that_leaves_a_barrier_does_not_count() {
    check(|| {
        let shared = Arc::new(Barrier::new(2));
        let others = [0, 1].map(|_| spawn(&shared, |barrier| barrier.wait_timeout(SOME)));
        let results = join(others);
        let leaders = results.iter().flatten().filter(|result| result.is_leader()).count();
        let followers = results.iter().flatten().count() - leaders;
        assert_eq!(leaders, followers, "a round takes both");
        assert!(shared.wait_timeout(SOME).is_err(), "one that has left counts");
    });
}

/// A lock, and who has it: 1 for each reader, 16 for a writer.
struct Shared {
    lock: RwLock<()>,
    inside: AtomicUsize,
}

impl Shared {
    fn new() -> Arc<Shared> {
        Arc::new(Shared { lock: RwLock::new(()), inside: AtomicUsize::new(0) })
    }

    fn read(&self) {
        let _guard = self.lock.read();
        assert!(self.inside.fetch_add(1, Ordering::Relaxed) < 16, "a reader beside a writer");
        self.inside.fetch_sub(1, Ordering::Relaxed);
    }

    fn write(&self) {
        let _guard = self.lock.write();
        assert_eq!(self.inside.fetch_add(16, Ordering::Relaxed), 0, "a writer beside another thread");
        self.inside.fetch_sub(16, Ordering::Relaxed);
    }
}

#[test]
fn loom_a_writer_is_alone_and_each_thread_gets_the_lock() {
    check(|| {
        let shared = Shared::new();
        let others = [spawn(&shared, Shared::write), spawn(&shared, Shared::read)];
        shared.read();
        join(others);
        assert!(shared.lock.try_write().is_some());
    });
}

#[test]
fn loom_readers_behind_a_writer_whose_time_is_over_get_the_lock() {
    check(|| {
        let shared = Shared::new();
        let mine = shared.lock.read();
        let writer = spawn(&shared, |shared| shared.lock.write_timeout(SOME).map(drop).is_ok());
        let reader = spawn(&shared, Shared::read);
        // The reader waits for the writer at most.
        assert!(!writer.join().unwrap(), "a writer beside a reader");
        reader.join().unwrap();
        drop(mine);
        assert!(shared.lock.try_write().is_some());
    });
}

#[test]
fn loom_each_value_of_a_full_channel_is_received_once() {
    check(|| {
        let (sender, receiver) = channel::bounded(1);
        let senders = [1, 2].map(|value| {
            let sender = sender.clone();
            thread::spawn(move || sender.send(value).is_ok())
        });
        drop(sender);
        let sum: usize = receiver.iter().sum();
        assert_eq!(sum, 3);
        assert!(join(senders).into_iter().all(|is_sent| is_sent));
    });
}

#[test]
fn loom_two_receivers_get_a_value_or_the_end() {
    check(|| {
        let (sender, receiver) = channel::unbounded();
        let receivers = [0, 1].map(|_| {
            let receiver = receiver.clone();
            thread::spawn(move || receiver.recv().unwrap_or(0))
        });
        drop(receiver);
        assert!(sender.send(7).is_ok());
        drop(sender);
        assert_eq!(join(receivers).into_iter().sum::<usize>(), 7);
    });
}

#[test]
fn loom_a_value_is_received_or_left_when_the_time_is_over() {
    check(|| {
        let (sender, receiver) = channel::bounded(1);
        let hasty = thread::spawn({
            let receiver = receiver.clone();
            move || receiver.recv_timeout(SOME)
        });
        assert!(sender.send(7).is_ok());
        match hasty.join().unwrap() {
            Ok(7) => assert!(receiver.try_recv().is_err()),
            Err(RecvTimeoutError::Timeout) => assert_eq!(receiver.try_recv(), Ok(7)),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn loom_a_sender_gets_its_value_back_when_the_last_receiver_is_gone() {
    check(|| {
        let (sender, receiver) = channel::bounded(1);
        assert!(sender.send(1).is_ok());
        let waits = thread::spawn(move || sender.send(2));
        drop(receiver);
        assert!(waits.join().unwrap().is_err_and(|error| error.0 == 2));
    });
}

#[test]
fn loom_an_initialisation_runs_once_and_all_callers_see_what_it_did() {
    check(|| {
        let shared = Arc::new((OnceLock::new(), AtomicUsize::new(0)));
        let get = |(value, made): &(OnceLock<usize>, AtomicUsize)| {
            *value.get_or_init(|| 7 + made.fetch_add(1, Ordering::Relaxed))
        };
        let others = [0, 1].map(|_| spawn(&shared, get));
        assert_eq!(get(&shared), 7);
        assert_eq!(join(others), [7, 7]);
    });
}

#[test]
fn loom_a_value_is_set_by_one_caller_and_ends_the_wait_of_others() {
    check(|| {
        let value = Arc::new(OnceLock::new());
        let patient = spawn(&value, |value| *value.wait());
        let setter = spawn(&value, |value| value.set(1).is_ok());
        let hasty = value.wait_timeout(SOME).copied();
        let has_set = value.set(2).is_ok();
        assert_ne!(setter.join().unwrap(), has_set, "two values, or none");
        let expected = if has_set { 2 } else { 1 };
        assert_eq!(patient.join().unwrap(), expected);
        assert!(hasty.is_err() || hasty == Ok(expected) && expected == 1);
    });
}

#[test]
fn loom_the_first_use_makes_a_value() {
    check(|| {
        let value = Arc::new(LazyLock::new(|| 3));
        let other = spawn(&value, |value| **value);
        assert_eq!((**value, other.join().unwrap()), (3, 3));
    });
}

#[test]
fn loom_a_thread_waits_for_the_end_of_an_initialisation() {
    check(|| {
        let shared = Arc::new((Once::new(), AtomicUsize::new(0)));
        let call = |(once, count): &(Once, AtomicUsize)| {
            once.call_once(|| count.store(1, Ordering::Relaxed));
            assert_eq!(count.load(Ordering::Relaxed), 1);
        };
        let other = spawn(&shared, call);
        shared.0.wait();
        assert_eq!(shared.1.load(Ordering::Relaxed), 1);
        other.join().unwrap();
    });
}
