//! Keeps the scope or a handle of one of its threads after the scope's end.
//! refused: E0521 borrowed data escapes outside of closure

use octopod::thread;

pub fn allowed() -> u32 {
    thread::scope(|scope| scope.spawn(|| 1).join())
}

#[cfg(attempt)]
pub fn handle() {
    let mut kept = None;
    thread::scope(|scope| kept = Some(scope.spawn(|| 1)));
    drop(kept);
}

#[cfg(attempt)]
pub fn the_scope() {
    let mut kept = None;
    thread::scope(|scope| kept = Some(scope));
    drop(kept);
}
