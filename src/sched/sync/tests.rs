//! The same code on threads of the host, and step by step.

mod inheriting;
mod lock_traits;

use std::boxed::Box;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::vec::Vec;

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;

use super::channel::{self, RecvError, SendError, TryRecvError, TrySendError};
use super::platform::{self, TimedOut};
use super::wait_list::{WaitList, Waiter};
use super::work_item::{Defer, WorkItem, WorkList};
use super::{Barrier, Condvar, Event, LazyLock, Mutex, MutexGuard, Once, OnceLock, RwLock, Semaphore};

/// A time-out that passes.
const SHORT: Duration = Duration::from_micros(50);

/// How often a thread does something: seldom in Miri, which is slow.
const ROUNDS: usize = if cfg!(miri) { 5 } else { 500 };

/// A bound that only a test exceeds whose thread was not woken.
const HANGS: Duration = Duration::from_secs(1200);

/// Runs a test whose threads wait for each other. If they do not end, the test fails; its threads are left.
#[track_caller]
fn in_time(test: impl FnOnce() + Send + 'static) {
    in_time_of(HANGS, test);
}

#[track_caller]
fn in_time_of(limit: Duration, test: impl FnOnce() + Send + 'static) {
    let (ended, waits) = mpsc::channel();
    let test = thread::spawn(move || {
        test();
        let _ = ended.send(());
    });
    if waits.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
        panic!("a thread was not woken in {limit:?}");
    }
    if let Err(panic) = test.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
#[should_panic = "a thread was not woken"]
fn a_test_that_hangs_fails() {
    in_time_of(Duration::from_millis(1), thread::park);
}

/// Adds one to both halves of a value, which differ while a thread changes it.
#[track_caller]
fn add_one(halves: &mut [usize; 2]) {
    assert_eq!(halves[0], halves[1]);
    halves[0] += 1;
    thread::yield_now();
    halves[1] += 1;
}

fn waiter(kind: usize) -> Waiter {
    let (_, me) = platform::begin_block("test");
    Waiter::new(platform::handle(&me), kind, kind as u64)
}

#[test]
fn a_list_gives_out_its_entries_in_their_order_without_those_that_were_removed() {
    let waiters: Vec<Waiter> = (0..5).map(waiter).collect();
    let mut list = WaitList::EMPTY;
    for entry in &waiters {
        // SAFETY: the entries stay in the vector until they have left the list, below.
        unsafe { list.push(entry, entry.kind == 3) };
    }
    let first = |list: &mut WaitList| {
        let kind = list.first().map(|entry| entry.kind);
        list.take_first(7).map(|_| kind)
    };
    assert_eq!(first(&mut list), Some(Some(3)), "put before all others");
    for kind in [1, 4] {
        // SAFETY: it was pushed to this list above.
        assert_eq!(unsafe { list.remove(&waiters[kind]) }, None);
    }
    assert_eq!(first(&mut list), Some(Some(0)));
    assert_eq!(first(&mut list), Some(Some(2)));
    assert_eq!(first(&mut list), None);
    // SAFETY: it was pushed to this list above.
    assert_eq!(unsafe { list.remove(&waiters[2]) }, Some(7), "its waker was first");
    let outcomes: Vec<_> = waiters.iter().map(|waiter| waiter.outcome()).collect();
    assert_eq!(outcomes, [Some(7), None, Some(7), Some(7), None]);
}

#[test]
fn a_mutex_that_is_locked_is_not_locked_again() {
    in_time(|| {
        let mutex = Mutex::new(5);
        let guard = mutex.lock();
        assert!(mutex.is_locked() && mutex.try_lock().is_none());
        thread::scope(|scope| {
            let late = scope.spawn(|| mutex.lock_timeout(SHORT).map(drop));
            assert_eq!(late.join().unwrap(), Err(TimedOut));
        });
        MutexGuard::unlock_fair(guard);
        assert!(!mutex.is_locked() && mutex.lock_timeout(SHORT).is_ok());
        assert_eq!(mutex.into_inner(), 5);
    });
}

#[test]
fn threads_use_a_mutex_one_after_the_other() {
    in_time(|| {
        let mutex = Mutex::new([0; 2]);
        thread::scope(|scope| {
            for number in 0..4 {
                let mutex = &mutex;
                scope.spawn(move || {
                    for _ in 0..ROUNDS {
                        let mut halves = mutex.lock();
                        add_one(&mut halves);
                        if number == 0 {
                            MutexGuard::unlock_fair(halves);
                        }
                    }
                });
            }
        });
        assert_eq!(*mutex.lock(), [4 * ROUNDS; 2]);
    });
}

#[test]
fn a_condition_is_waited_for() {
    in_time(|| {
        let (mutex, changed) = (Mutex::new(0), Condvar::new());
        thread::scope(|scope| {
            for turn in 0..2 {
                let (mutex, changed) = (&mutex, &changed);
                scope.spawn(move || {
                    for _ in 0..ROUNDS {
                        let mut value = changed.wait_while(mutex.lock(), |value| *value % 2 != turn);
                        *value += 1;
                        changed.notify_all();
                    }
                });
            }
        });
        assert_eq!(*mutex.lock(), 2 * ROUNDS);
        let (guard, waited) = changed.wait_timeout(mutex.lock(), SHORT);
        assert_eq!(waited, Err(TimedOut));
        assert_eq!(changed.wait_timeout_while(guard, SHORT, |_| true).1, Err(TimedOut));
    });
}

#[test]
fn permits_are_neither_lost_nor_made() {
    in_time(|| {
        let semaphore = Semaphore::new(1);
        let taken = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..ROUNDS).for_each(|_| semaphore.release()));
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        if semaphore.acquire_timeout(Duration::from_nanos(500)).is_ok() {
                            taken.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(semaphore.available() + taken.load(Ordering::Relaxed), 2 * ROUNDS + 1);
        drop(semaphore.access());
    });
}

#[test]
fn an_event_stays_set_until_it_is_reset() {
    in_time(|| {
        let event = Event::new();
        assert_eq!(event.wait_timeout(SHORT), Err(TimedOut));
        thread::scope(|scope| {
            let waits = [0, 1].map(|_| scope.spawn(|| event.wait()));
            event.set();
            waits.into_iter().for_each(|wait| wait.join().unwrap());
        });
        event.wait();
        event.reset();
        assert!(!event.is_set() && event.wait_timeout(SHORT).is_err());
    });
}

#[test]
fn no_thread_passes_a_barrier_alone() {
    in_time(|| {
        let (barrier, come) = (Barrier::new(3), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for round in 1..=ROUNDS {
                        come.fetch_add(1, Ordering::SeqCst);
                        barrier.wait();
                        assert!(come.load(Ordering::SeqCst) >= 3 * round);
                    }
                });
            }
        });
        assert_eq!(barrier.wait_timeout(SHORT), Err(TimedOut));
    });
}

#[test]
fn readers_share_a_lock_and_writers_do_not() {
    in_time(|| {
        let lock = RwLock::new([0; 2]);
        {
            let _reader = lock.read();
            assert!(lock.try_read().is_some() && lock.try_write().is_none());
            assert!(lock.write_timeout(SHORT).is_err() && lock.read_timeout(SHORT).is_ok());
        }
        thread::scope(|scope| {
            for number in 0..4 {
                let lock = &lock;
                scope.spawn(move || {
                    for _ in 0..ROUNDS {
                        if number == 0 {
                            add_one(&mut lock.write());
                        } else {
                            let halves = lock.read();
                            assert_eq!(halves[0], halves[1]);
                        }
                    }
                });
            }
        });
        assert_eq!(lock.into_inner(), [ROUNDS; 2]);
    });
}

#[test]
fn a_bounded_channel_has_room_for_so_many_values() {
    let (sender, receiver) = channel::bounded(2);
    assert_eq!([1, 2].map(|value| sender.try_send(value)), [Ok(()); 2]);
    assert_eq!(sender.try_send(3), Err(TrySendError::Full(3)));
    assert!(sender.send_timeout(3, SHORT).is_err());
    assert_eq!([receiver.recv(), receiver.recv()], [Ok(1), Ok(2)]);
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    assert!(receiver.recv_timeout(SHORT).is_err());
    drop(sender);
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
    assert_eq!(receiver.recv(), Err(RecvError));
}

#[test]
#[should_panic = "without room"]
fn a_channel_without_room_is_refused() {
    let _ = channel::bounded::<u8>(0);
}

#[test]
fn each_value_is_received_once_and_in_order_by_one_receiver() {
    in_time(|| {
        for (sender, receiver) in [channel::bounded(3), channel::unbounded()] {
            thread::scope(|scope| {
                let sums = [0, 1].map(|_| {
                    let receiver = receiver.clone();
                    scope.spawn(move || {
                        let mut last = [0; 2];
                        receiver.iter().fold(0, |sum, (sender, value): (usize, usize)| {
                            assert!(value > last[sender], "values of one sender change places");
                            last[sender] = value;
                            sum + value
                        })
                    })
                });
                for number in 0..2 {
                    let sender = sender.clone();
                    scope.spawn(move || (1..=ROUNDS).for_each(|value| sender.send((number, value)).unwrap()));
                }
                drop(sender);
                drop(receiver);
                let sum: usize = sums.into_iter().map(|sum| sum.join().unwrap()).sum();
                assert_eq!(sum, ROUNDS * (ROUNDS + 1));
            });
        }
    });
}

#[test]
fn a_channel_without_receivers_drops_what_it_holds_and_gives_values_back() {
    for (sender, receiver) in [channel::bounded(2), channel::unbounded()] {
        let value = Arc::new(());
        sender.send(value.clone()).unwrap();
        let second = receiver.clone();
        drop(receiver);
        sender.send(value.clone()).unwrap();
        assert_eq!(Arc::strong_count(&value), 3);
        drop(second);
        assert_eq!(Arc::strong_count(&value), 1, "what no receiver gets is dropped");
        let refused = sender.send(value.clone());
        assert_eq!(refused, Err(SendError(value.clone())));
        assert_eq!(sender.try_send(value.clone()), Err(TrySendError::Disconnected(value)));
    }
}

#[test]
fn a_value_is_made_by_its_first_use_and_dropped_once() {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    static VALUE: LazyLock<usize> = LazyLock::new(|| MADE.fetch_add(1, Ordering::Relaxed) + 40);
    in_time(|| {
        let threads: Vec<_> = (0..8).map(|_| thread::spawn(|| *VALUE)).collect();
        assert!(threads.into_iter().all(|thread| thread.join().unwrap() == 40));
        assert_eq!(MADE.load(Ordering::Relaxed), 1);
    });
    let counted = Arc::new(());
    let mut once = OnceLock::new();
    assert_eq!(once.get(), None);
    assert!(once.wait_timeout(SHORT).is_err());
    assert!(once.set(counted.clone()).is_ok());
    assert_eq!(once.set(counted.clone()), Err(counted.clone()));
    assert_eq!(Arc::strong_count(&counted), 2);
    assert!(once.get_mut().is_some() && once.wait_timeout(SHORT).is_ok());
    assert_eq!(once.take(), Some(counted.clone()));
    assert_eq!(once.get(), None);
    once.get_or_init(|| counted.clone());
    assert_eq!(Arc::strong_count(&counted), 2);
    drop(once);
    assert_eq!(Arc::strong_count(&counted), 1);
    let set = OnceLock::new();
    assert_eq!(*set.get_or_init(|| 5), 5);
    assert_eq!(set.into_inner(), Some(5));
}

#[test]
fn an_initialisation_within_itself_is_refused_with_its_place() {
    static LOOP: LazyLock<usize> = LazyLock::new(|| *LOOP + 1);
    let refused = |attempt: fn()| {
        let message = *thread::spawn(attempt).join().unwrap_err().downcast::<std::string::String>().unwrap();
        assert!(
            message.contains("in the initialisation itself, which has begun at src/sched/sync/tests.rs:"),
            "{message}"
        );
    };
    refused(|| {
        let _ = *LOOP;
    });
    refused(|| {
        let once = Once::new();
        once.call_once(|| once.wait());
    });
}

/// Work that flushes other work.
struct Flushing {
    flushes: WorkItem,
    other: WorkItem,
    outcome: Mutex<Option<Result<(), TimedOut>>>,
}

impl Flushing {
    fn new() -> &'static Flushing {
        fn flush(data: usize) {
            // SAFETY: the address must be that of a value that lives: `new` has leaked it.
            let flushing: &Flushing = unsafe { &*core::ptr::with_exposed_provenance(data) };
            *flushing.outcome.lock() = Some(flushing.other.flush("flush", Some(SHORT)));
        }
        let place = Box::leak(Box::new(core::mem::MaybeUninit::<Flushing>::uninit()));
        let data = place.as_ptr().expose_provenance();
        place.write(Flushing {
            flushes: WorkItem::new(flush, data),
            other: WorkItem::new(|_| {}, 0),
            outcome: Mutex::new(None),
        })
    }

    fn list() -> &'static WorkList {
        let list = Box::leak(Box::new(WorkList::new()));
        list.set_worker();
        list
    }

    fn defer(list: &'static WorkList, item: &'static WorkItem) {
        // SAFETY: the item must live until it has run, and the list while the item is used: both are never freed.
        assert!(matches!(unsafe { list.defer(item) }, Defer::Added { .. }));
    }

    /// Runs the work. Returns the outcome of its flush.
    fn run(&self, list: &WorkList) -> Option<Result<(), TimedOut>> {
        list.run_all();
        *self.outcome.lock()
    }
}

#[test]
#[should_panic = "flush in the function of other work, behind which the work waits for the same worker"]
fn a_flush_of_work_behind_its_caller_is_refused() {
    let (flushing, list) = (Flushing::new(), Flushing::list());
    for item in [&flushing.flushes, &flushing.other] {
        Flushing::defer(list, item);
    }
    list.run_all();
}

#[test]
fn a_flush_in_a_worker_waits_for_work_of_another_worker_alone() {
    let (flushing, list) = (Flushing::new(), Flushing::list());
    let other = thread::spawn(Flushing::list).join().unwrap();
    // On the same list before, and at rest.
    for item in [&flushing.other, &flushing.flushes] {
        Flushing::defer(list, item);
    }
    assert_eq!(flushing.run(list), Some(Ok(())));
    Flushing::defer(other, &flushing.other);
    Flushing::defer(list, &flushing.flushes);
    assert_eq!(flushing.run(list), Some(Err(TimedOut)));
}
