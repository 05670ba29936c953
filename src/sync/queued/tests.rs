use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::*;

/// Yields, since there may be fewer cores than threads.
pub(crate) struct Yielding;

// SAFETY: yielding does not panic.
unsafe impl Observer for Yielding {
    fn waiting(&mut self) {
        thread::yield_now();
    }
}

fn acquire(lock: &QueuedLock, me: u64) {
    if !lock.acquire_uncontended(me) {
        lock.acquire_contended(me, &mut Yielding);
    }
}

#[test]
fn a_lock_names_its_holder_and_a_failed_attempt_changes_nothing() {
    let lock = QueuedLock::new();
    assert_eq!(lock.holder(), None);
    assert!(lock.acquire_uncontended(1));
    assert_eq!(lock.holder(), Some(0));
    assert!(!lock.acquire_uncontended(2));
    assert!(!lock.try_acquire(2));
    assert_eq!(lock.holder(), Some(0));
    lock.release();
    assert_eq!(lock.holder(), None);
    assert!(lock.try_acquire(4096));
    assert_eq!(lock.holder(), Some(4095));
}

#[test]
fn contending_cpus_hold_the_lock_one_at_a_time() {
    const ROUNDS: usize = if cfg!(miri) { 20 } else { 5000 };
    let (lock, is_inside, count) = (QueuedLock::new(), AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for cpu in 0..4u64 {
            let (lock, is_inside, count) = (&lock, &is_inside, &count);
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    acquire(lock, cpu + 1);
                    assert!(!is_inside.swap(true, Ordering::AcqRel));
                    assert_eq!(lock.holder(), Some(cpu as u32));
                    // Makes the other threads find the lock held.
                    thread::yield_now();
                    count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                    is_inside.store(false, Ordering::Release);
                    lock.release();
                }
            });
        }
    });
    assert_eq!(count.into_inner(), 4 * ROUNDS);
    assert_eq!((lock.holder(), lock.queue()), (None, (0, false)));
}

/// CPUs that join the queue of a held lock one after the other.
#[test]
fn queued_cpus_get_the_lock_in_the_order_of_their_arrival() {
    const CPUS: u64 = 8;
    let (lock, order) = (QueuedLock::new(), std::sync::Mutex::new(Vec::new()));
    assert!(lock.acquire_uncontended(CPUS + 1));
    thread::scope(|scope| {
        for cpu in 0..CPUS {
            let (lock, order) = (&lock, &order);
            let before = lock.queue().0;
            scope.spawn(move || {
                acquire(lock, cpu + 1);
                order.lock().unwrap().push(cpu);
                lock.release();
            });
            while lock.queue().0 == before {
                thread::yield_now();
            }
        }
        // The first has requested a hand-off when it is passed.
        while !lock.queue().1 {
            thread::yield_now();
        }
        lock.release();
    });
    assert_eq!(*order.lock().unwrap(), (0..CPUS).collect::<Vec<_>>());
}

#[test]
fn no_cpu_passes_the_first_of_the_queue_once_it_has_asked_for_a_hand_off() {
    let (lock, has_it) = (QueuedLock::new(), AtomicBool::new(false));
    assert!(lock.acquire_uncontended(1));
    thread::scope(|scope| {
        let (lock, has_it) = (&lock, &has_it);
        scope.spawn(move || {
            acquire(lock, 2);
            has_it.store(true, Ordering::Release);
            lock.release();
        });
        while !lock.queue().1 {
            thread::yield_now();
        }
        lock.release();
        while !lock.try_acquire(3) {
            thread::yield_now();
        }
        assert!(has_it.load(Ordering::Acquire), "a CPU has passed the first of the queue");
        lock.release();
    });
}

#[test]
fn a_lock_is_freed_on_its_holders_behalf_and_its_queue_stays() {
    let lock = QueuedLock::new();
    assert!(lock.acquire_uncontended(1));
    thread::scope(|scope| {
        let lock = &lock;
        let waiter = scope.spawn(move || acquire(lock, 2));
        while !lock.queue().1 {
            thread::yield_now();
        }
        lock.force_release();
        waiter.join().unwrap();
    });
    assert_eq!(lock.holder(), Some(1));
    lock.force_release();
    assert!(lock.try_acquire(3));
}
