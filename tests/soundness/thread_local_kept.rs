//! Uses a thread-local value after its access, when its thread may have ended.
//! refused: lifetime may not live long enough

use core::cell::Cell;

octopod::thread_local! {
    static VALUE: Cell<u32> = const { Cell::new(0) };
}

pub fn allowed() -> u32 {
    VALUE.get()
}

#[cfg(attempt)]
pub fn kept() -> &'static Cell<u32> {
    VALUE.with(|value| value)
}
