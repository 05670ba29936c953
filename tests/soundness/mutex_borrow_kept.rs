//! Uses the value of a mutex after its guard is gone, or while the guard is lent to a condition variable.
//! refused: E0505 cannot move out of `guard` because it is borrowed
//! refused: E0382 borrow of moved value: `waiting`

use octopod::thread::sync::{Condvar, Mutex};

pub fn allowed(mutex: &Mutex<u32>) -> u32 {
    *mutex.lock()
}

#[cfg(attempt)]
pub fn dropped(mutex: &Mutex<u32>) -> u32 {
    let guard = mutex.lock();
    let value = &*guard;
    drop(guard);
    *value
}

#[cfg(attempt)]
pub fn lent(mutex: &Mutex<u32>, condvar: &Condvar) -> u32 {
    let waiting = mutex.lock();
    let _again = condvar.wait(waiting);
    *waiting
}
