//! Lends a local variable to a thread that may outlive it, or what is not for two threads.
//! refused: E0373 closure may outlive the current function, but it borrows `local`
//! refused: E0277 `Cell<i32>` cannot be shared between threads safely

use core::cell::Cell;

use octopod::thread;

pub fn allowed() -> i32 {
    let local = 1;
    thread::spawn(move || local + 1).join()
}

#[cfg(attempt)]
pub fn outlived() {
    let local = 1;
    thread::spawn(|| local + 1).join();
}

#[cfg(attempt)]
pub fn shared() {
    let cell = Cell::new(1);
    thread::scope(|scope| {
        scope.spawn(|| cell.set(2));
    });
}
