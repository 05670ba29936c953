//! Uses a variable while a thread of a scope has it, or lends it to two threads that change it.
//! refused: E0499 cannot borrow `both` as mutable more than once at a time
//! refused: E0503 cannot use `mine` because it was mutably borrowed

use octopod::thread;

pub fn allowed() -> u32 {
    let (mut one, mut other) = (1, 2);
    thread::scope(|scope| {
        scope.spawn(|| one += 1);
        scope.spawn(|| other += 1);
    });
    one + other
}

#[cfg(attempt)]
pub fn twice() {
    let mut both = 1;
    thread::scope(|scope| {
        scope.spawn(|| both += 1);
        scope.spawn(|| both += 1);
    });
}

#[cfg(attempt)]
pub fn meanwhile() {
    let mut mine = 1;
    thread::scope(|scope| {
        scope.spawn(|| mine += 1);
        let _ = mine + 1;
    });
}
