//! Lends a variable of the scope's function to a thread of the scope, which may run longer than the function.
//! refused: E0597 `inside` does not live long enough
//! refused: E0373 closure may outlive the current function, but it borrows `inside`

use octopod::thread;

pub fn allowed() -> usize {
    let mut outside = 1;
    thread::scope(|scope| {
        scope.spawn(|| outside += 1);
    });
    outside
}

#[cfg(attempt)]
pub fn by_reference() {
    thread::scope(|scope| {
        let inside = 1;
        let borrow = &inside;
        scope.spawn(move || *borrow);
    });
}

#[cfg(attempt)]
pub fn by_closure() {
    thread::scope(|scope| {
        let inside = 1;
        scope.spawn(|| inside + 1);
    });
}
