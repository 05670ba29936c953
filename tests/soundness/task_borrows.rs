//! Lends a local variable to a task that may outlive it, or what must stay on one thread.
//! refused: E0373 async block may outlive the current function, but it borrows `local`
//! refused: future cannot be sent between threads safely

use core::cell::Cell;

use octopod::task;

pub fn allowed() -> i32 {
    let local = 1;
    task::block_on(async { local + 1 })
}

#[cfg(attempt)]
pub fn outlived() {
    let local = 1;
    task::spawn(async { local + 1 });
}

#[cfg(attempt)]
pub fn sent(cell: &'static Cell<i32>) {
    task::spawn(async move { cell.set(2) });
}
