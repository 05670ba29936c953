//! The locks of the crate `lock_api`, with the raw locks of threads.

use std::sync::mpsc;
use std::thread;

use super::super::{RawMutex, RawRwLock};
use super::{ROUNDS, SHORT, add_one, in_time};

type Mutex<T> = lock_api::Mutex<RawMutex, T>;
type RwLock<T> = lock_api::RwLock<RawRwLock, T>;

#[test]
fn threads_use_a_foreign_mutex_one_after_the_other() {
    in_time(|| {
        static VALUE: Mutex<[usize; 2]> = Mutex::new([0; 2]);
        thread::scope(|scope| {
            for number in 0..4 {
                scope.spawn(move || {
                    for _ in 0..ROUNDS {
                        let mut halves = VALUE.lock();
                        add_one(&mut halves);
                        if number == 0 {
                            lock_api::MutexGuard::unlock_fair(halves);
                        }
                    }
                });
            }
        });
        assert_eq!(*VALUE.lock(), [4 * ROUNDS; 2]);
    });
}

#[test]
fn a_foreign_mutex_is_tried_and_waited_for_until_a_time() {
    in_time(|| {
        let mutex = Mutex::new(());
        let mine = mutex.lock();
        assert!(mutex.is_locked() && mutex.try_lock().is_none());
        thread::scope(|scope| {
            let late =
                scope.spawn(|| mutex.try_lock_for(SHORT).is_none() && mutex.try_lock_until(0).is_none());
            assert!(late.join().unwrap(), "locked twice");
        });
        drop(mine);
        assert!(!mutex.is_locked() && mutex.try_lock_for(SHORT).is_some() && mutex.try_lock().is_some());
    });
}

#[test]
fn a_foreign_lock_has_one_writer_or_many_readers() {
    in_time(|| {
        static VALUE: RwLock<[usize; 2]> = RwLock::new([0; 2]);
        thread::scope(|scope| {
            for number in 0..4 {
                scope.spawn(move || {
                    for _ in 0..ROUNDS {
                        if number % 2 == 0 {
                            add_one(&mut VALUE.write());
                        } else {
                            let halves = VALUE.read();
                            assert_eq!(halves[0], halves[1]);
                        }
                    }
                });
            }
        });
        assert_eq!(*VALUE.read(), [2 * ROUNDS; 2]);
    });
}

#[test]
fn a_foreign_lock_is_tried_and_waited_for_until_a_time() {
    in_time(|| {
        let lock = RwLock::new(());
        let reading = lock.read();
        assert!(lock.is_locked() && !lock.is_locked_exclusive());
        assert!(lock.try_read().is_some() && lock.try_write().is_none());
        let is_late = |is_late: fn(&RwLock<()>) -> bool| {
            thread::scope(|scope| scope.spawn(|| is_late(&lock)).join().unwrap())
        };
        assert!(is_late(|lock| lock.try_write_for(SHORT).is_none() && lock.try_write_until(0).is_none()));
        drop(reading);
        let writing = lock.write();
        assert!(lock.is_locked_exclusive() && lock.try_read().is_none());
        assert!(is_late(|lock| lock.try_read_for(SHORT).is_none() && lock.try_read_until(0).is_none()));
        drop(writing);
        assert!(!lock.is_locked() && lock.try_write_for(SHORT).is_some());
        assert!(lock.try_read_for(SHORT).is_some());
    });
}

/// A writer that becomes a reader lets the readers in that wait next, and no writer before it has ended.
#[test]
fn a_writer_becomes_a_reader() {
    in_time(|| {
        static VALUE: RwLock<usize> = RwLock::new(0);
        let mut writing = VALUE.write();
        *writing = 1;
        let (came, comes) = mpsc::channel();
        let waits = thread::spawn(move || {
            let value = VALUE.read();
            came.send(*value).unwrap();
        });
        let reading = lock_api::RwLockWriteGuard::downgrade(writing);
        assert_eq!(comes.recv(), Ok(1));
        waits.join().unwrap();
        assert!(VALUE.is_locked() && !VALUE.is_locked_exclusive() && VALUE.try_write().is_none());
        drop(reading);
        *VALUE.write() = 2;
        assert_eq!(*VALUE.read(), 2);
    });
}
