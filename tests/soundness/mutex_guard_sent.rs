//! Unlocks a mutex in another thread than has locked it, or shares a mutex or a channel of what must stay in one thread.
//! refused: E0277 `*mut ()` cannot be sent between threads safely
//! refused: E0277 `*const u8` cannot be sent between threads safely

use octopod::thread::sync::channel::Sender;
use octopod::thread::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard};

pub fn to_another_thread<T: Send>(_: T) {}

pub fn for_all_threads<T: Sync>() {}

pub fn allowed(mutex: &Mutex<u32>) {
    to_another_thread(mutex);
    for_all_threads::<RwLock<u32>>();
    for_all_threads::<MutexGuard<'static, u32>>();
}

#[cfg(attempt)]
pub fn guard(mutex: &Mutex<u32>) {
    to_another_thread(mutex.lock());
}

#[cfg(attempt)]
pub fn reader(guard: RwLockReadGuard<'_, u32>) {
    to_another_thread(guard);
}

#[cfg(attempt)]
pub fn pointers() {
    for_all_threads::<Mutex<*const u8>>();
    to_another_thread::<Option<Sender<*const u8>>>(None);
}
