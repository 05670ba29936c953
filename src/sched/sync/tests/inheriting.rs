//! Priority inheritance on threads of the host.

use std::sync::mpsc;
use std::thread;
use std::vec::Vec;

use super::super::platform;
use super::super::wait_list::WaitList;
use super::super::{Mutex, MutexGuard};
use super::{HANGS, SHORT, in_time, waiter};
use crate::sched::class::Urgency;
use crate::sched::entity::{Class, MAX_PRIORITY};

fn real_time(priority: u8) -> Urgency {
    Urgency::of(Class::RealTime { priority })
}

fn urgency() -> Urgency {
    let (_, me) = platform::begin_block("test");
    platform::inheritance(&me).urgency()
}

/// Waits until this thread has an urgency. It is unparked when that changes.
fn wait_until_it_is(expected: Urgency) {
    while urgency() != expected {
        thread::park();
    }
}

#[test]
fn an_urgency_orders_classes_and_is_the_class() {
    let classes = [0, 1, MAX_PRIORITY].map(|priority| Class::RealTime { priority });
    let all: Vec<_> = [Class::Fair].into_iter().chain(classes).collect();
    assert!(all.windows(2).all(|pair| Urgency::of(pair[0]) < Urgency::of(pair[1])));
    for class in all {
        let urgency = Urgency::of(class);
        assert_eq!((urgency.class(), Urgency::from_number(urgency.number())), (class, urgency));
    }
    assert_eq!(Urgency::of(Class::RealTime { priority: 255 }), real_time(MAX_PRIORITY));
}

#[test]
fn an_entry_is_added_before_those_of_a_lesser_kind() {
    let waiters: Vec<_> = [4, 2, 4, 0, 0, 2, 6].map(waiter).into();
    // As a mutex adds them; the last two were passed.
    let ahead_of = [4, 2, 4, 0, 0, 4, 8];
    let mut list = WaitList::EMPTY;
    for (entry, ahead_of) in waiters.iter().zip(ahead_of) {
        // SAFETY: the entries stay in the vector until they have left the list, below.
        unsafe { list.add(entry, ahead_of) };
    }
    let place = |list: &WaitList| {
        let first = list.first().map(core::ptr::from_ref);
        waiters.iter().position(|entry| Some(core::ptr::from_ref(entry)) == first)
    };
    let order: Vec<_> = core::iter::from_fn(|| {
        let first = place(&list);
        list.take_first(7).and(first)
    })
    .collect();
    assert_eq!(order, [6, 0, 2, 5, 1, 3, 4]);
}

#[test]
fn an_owner_has_the_greatest_urgency_of_the_waiters_of_all_its_mutexes() {
    in_time(|| {
        let mutexes = [const { Mutex::new(()) }; 2];
        let [first, second] = mutexes.each_ref().map(Mutex::lock);
        thread::scope(|scope| {
            let wait = |mutex, priority| {
                scope.spawn(move || {
                    platform::set_urgency(real_time(priority));
                    drop(Mutex::lock(mutex));
                    assert_eq!(urgency(), real_time(priority));
                })
            };
            wait(&mutexes[0], 5);
            wait_until_it_is(real_time(5));
            wait(&mutexes[1], 9);
            wait_until_it_is(real_time(9));
            wait(&mutexes[0], 7);
            wait(&mutexes[0], 12);
            wait_until_it_is(real_time(12));
            // In the order in which they were locked.
            drop(first);
            assert_eq!(urgency(), real_time(9));
            drop(second);
            assert_eq!(urgency(), Urgency::FAIR);
        });
    });
}

#[test]
fn a_mutex_goes_to_the_most_urgent_waiter_and_so_do_the_donations() {
    in_time(|| {
        let order = Mutex::new(Vec::new());
        let mine = order.lock();
        let (waits, begun) = mpsc::channel();
        thread::scope(|scope| {
            for priority in [None, Some(3), Some(8)] {
                let (order, waits) = (&order, waits.clone());
                let handle = scope.spawn(move || {
                    platform::set_urgency(priority.map_or(Urgency::FAIR, real_time));
                    waits.send(()).unwrap();
                    let mut order = order.lock();
                    order.push(priority);
                    MutexGuard::unlock_fair(order);
                });
                begun.recv_timeout(HANGS).unwrap();
                match priority {
                    Some(priority) => wait_until_it_is(real_time(priority)),
                    // It lends nothing, so its wait cannot be seen; the others pass it in any case.
                    None => drop(handle),
                }
            }
            MutexGuard::unlock_fair(mine);
        });
        let order = order.into_inner();
        assert_eq!(order.iter().flatten().collect::<Vec<_>>(), [&8, &3]);
        assert_eq!(order.len(), 3);
    });
}

#[test]
fn what_is_lent_ends_when_the_wait_is_given_up() {
    in_time(|| {
        let mutex = Mutex::new(());
        let guard = mutex.lock();
        thread::scope(|scope| {
            let late = scope.spawn(|| {
                platform::set_urgency(real_time(5));
                mutex.lock_timeout(SHORT).is_err()
            });
            assert!(late.join().unwrap());
        });
        assert_eq!(urgency(), Urgency::FAIR);
        drop(guard);
        assert!(!mutex.is_locked());
    });
}
