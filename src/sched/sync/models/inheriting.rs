//! Priority inheritance: the owner of a mutex has the urgency of the most urgent thread that waits for it, and only as long.

use std::sync::Arc;

use loom::thread;

use super::{SOME, check, spawn};
use crate::sched::class::Urgency;
use crate::sched::entity::Class;
use crate::sched::sync::{Mutex, platform};
use crate::sync::model_atomics::{AtomicUsize, Ordering};

const HIGH: Urgency = Urgency::of(Class::RealTime { priority: 20 });

/// Returns the urgency of the running thread.
fn urgency() -> Urgency {
    let (_, me) = platform::begin_block("model");
    platform::inheritance(&me).urgency()
}

/// Waits until this thread has inherited an urgency. It is woken when its urgency changes; if that does not happen, the model ends with
/// a deadlock.
fn wait_until_it_is(expected: Urgency) {
    while urgency() != expected {
        thread::park();
    }
}

#[test]
fn loom_an_owner_inherits_the_urgency_of_a_waiter_until_it_unlocks() {
    check(|| {
        let mutex = Arc::new(Mutex::new(()));
        let guard = mutex.lock();
        let waiter = spawn(&mutex, |mutex| {
            platform::set_urgency(HIGH);
            drop(mutex.lock());
            urgency()
        });
        wait_until_it_is(HIGH);
        drop(guard);
        assert_eq!(urgency(), Urgency::FAIR, "inherited for ever");
        assert_eq!(waiter.join().unwrap(), HIGH);
    });
}

/// A waits for a mutex of B, which waits for one of C: C inherits the urgency of A.
#[test]
fn loom_an_urgency_is_inherited_along_a_chain_of_two() {
    check(|| {
        let mutexes = Arc::new((Mutex::new(()), Mutex::new(())));
        let guard = mutexes.0.lock();
        let b = spawn(&mutexes, {
            let shared = mutexes.clone();
            move |(of_c, of_b)| {
                let mine = of_b.lock();
                let a = spawn(&shared, |(_, of_b)| {
                    platform::set_urgency(HIGH);
                    drop(of_b.lock());
                    assert_eq!(urgency(), HIGH);
                });
                drop(of_c.lock());
                drop(mine);
                assert_eq!(urgency(), Urgency::FAIR, "B has inherited for ever");
                a
            }
        });
        wait_until_it_is(HIGH);
        drop(guard);
        assert_eq!(urgency(), Urgency::FAIR, "C has inherited for ever");
        b.join().unwrap().join().unwrap();
    });
}

/// Something that a thread does, and the thread that waits for it. That does not join: an owner is unparked when its urgency changes.
struct Step {
    is_done: AtomicUsize,
    waiter: thread::Thread,
}

impl Step {
    /// The running thread waits for it.
    fn new() -> Step {
        Step { is_done: AtomicUsize::new(0), waiter: thread::current() }
    }

    fn done(&self) {
        self.is_done.store(1, Ordering::Release);
        self.waiter.unpark();
    }

    fn wait(&self) {
        while self.is_done.load(Ordering::Acquire) == 0 {
            thread::park();
        }
    }
}

#[test]
fn loom_what_a_waiter_lends_ends_with_its_time() {
    check(|| {
        let shared = Arc::new((Mutex::new(()), Step::new()));
        let guard = shared.0.lock();
        let hasty = spawn(&shared, |(mutex, is_late)| {
            platform::set_urgency(HIGH);
            assert!(mutex.lock_timeout(SOME).is_err(), "two threads have the mutex");
            assert_eq!(urgency(), HIGH);
            is_late.done();
        });
        shared.1.wait();
        assert_eq!(urgency(), Urgency::FAIR, "inherited for ever");
        drop(guard);
        hasty.join().unwrap();
    });
}

/// What a thread inherits while it waits comes and goes: it waits on until it has the mutex.
#[test]
fn loom_a_waiter_whose_urgency_returns_waits_on() {
    check(|| {
        let shared = Arc::new((Mutex::new(false), Mutex::new(()), Step::new()));
        let mut guard = shared.0.lock();
        let waiter = spawn(&shared, |(awaited, own, _)| {
            let mine = own.lock();
            assert!(*awaited.lock(), "two threads have the mutex");
            drop(mine);
            assert_eq!(urgency(), Urgency::FAIR, "inherited for ever");
        });
        let hasty = spawn(&shared, |(_, own, is_late)| {
            platform::set_urgency(HIGH);
            drop(own.lock_timeout(SOME));
            is_late.done();
        });
        shared.2.wait();
        *guard = true;
        drop(guard);
        assert_eq!(urgency(), Urgency::FAIR, "inherited for ever");
        waiter.join().unwrap();
        hasty.join().unwrap();
    });
}

/// The owner unlocks while the wait of another thread ends, and a third one takes the mutex between.
#[test]
fn loom_no_urgency_is_left_where_owners_and_waiters_change() {
    check(|| {
        let mutex = Arc::new(Mutex::new(()));
        let hasty = spawn(&mutex, |mutex| {
            platform::set_urgency(HIGH);
            drop(mutex.lock_timeout(SOME));
            assert_eq!(urgency(), HIGH);
        });
        let taking = spawn(&mutex, |mutex| {
            drop(mutex.try_lock());
            assert_eq!(urgency(), Urgency::FAIR, "inherited for ever");
        });
        drop(mutex.lock());
        assert_eq!(urgency(), Urgency::FAIR, "inherited for ever");
        hasty.join().unwrap();
        taking.join().unwrap();
    });
}
