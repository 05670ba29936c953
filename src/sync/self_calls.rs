//! The calls of a CPU to itself that wait for an interrupt: a ring that one CPU uses alone, without an atomic operation. A
//! function that it runs may put further calls.

use core::cell::Cell;

/// What is called, with the word that was put with it.
pub type Function = fn(usize);

/// Calls that may wait at once.
pub const ROOM: usize = 16;

fn nothing(_: usize) {}

/// Calls in the order in which they came. Both ends count up and wrap with `usize`.
pub struct SelfCalls {
    first: Cell<usize>,
    end: Cell<usize>,
    calls: [Cell<(Function, usize)>; ROOM],
}

impl SelfCalls {
    /// None.
    pub const fn new() -> SelfCalls {
        SelfCalls { first: Cell::new(0), end: Cell::new(0), calls: [const { Cell::new((nothing, 0)) }; ROOM] }
    }

    /// How many calls wait.
    #[inline]
    fn waiting(&self) -> usize {
        self.end.get().wrapping_sub(self.first.get())
    }

    /// Adds a call at the end. Where [`ROOM`] calls wait, they are run first. Returns whether it is the only one that waits, so
    /// that an interrupt is due; else that of another is still to come.
    #[inline]
    pub fn put(&self, function: Function, data: usize) -> bool {
        let mut end = self.end.get();
        let mut before = end.wrapping_sub(self.first.get());
        if before >= ROOM {
            self.make_room();
            // The calls that were run may have put others.
            end = self.end.get();
            before = end.wrapping_sub(self.first.get());
        }
        self.calls[end % ROOM].set((function, data));
        self.end.set(end.wrapping_add(1));
        before == 0
    }

    /// Takes back the last call, which no interrupt will run.
    pub fn take_back(&self) {
        debug_assert!(self.waiting() > 0);
        self.end.set(self.end.get().wrapping_sub(1));
    }

    #[cold]
    fn make_room(&self) {
        self.run();
    }

    /// Runs all calls that wait, and those that they put.
    #[inline]
    pub fn run(&self) {
        while self.waiting() != 0 {
            let first = self.first.get();
            let (function, data) = self.calls[first % ROOM].get();
            // Before it runs: it may come back here.
            self.first.set(first.wrapping_add(1));
            function(data);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    thread_local! {
        static CALLS: SelfCalls = const { SelfCalls::new() };
        static RUN: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    }

    fn note(data: usize) {
        RUN.with_borrow_mut(|run| run.push(data));
    }

    /// Notes a call and puts another one.
    fn note_and_put(data: usize) {
        note(data);
        CALLS.with(|calls| calls.put(note, data + 1000));
    }

    fn what_ran() -> Vec<usize> {
        CALLS.with(SelfCalls::run);
        assert_eq!(CALLS.with(SelfCalls::waiting), 0);
        RUN.take()
    }

    #[test]
    fn calls_run_in_order_and_the_first_asks_for_an_interrupt() {
        let first = (0..ROOM).map(|data| CALLS.with(|calls| calls.put(note, data))).collect::<Vec<_>>();
        assert_eq!(first.iter().filter(|first| **first).count(), 1);
        assert!(first[0]);
        assert_eq!(what_ran(), (0..ROOM).collect::<Vec<_>>());
        assert!(CALLS.with(|calls| calls.put(note, 7)));
        CALLS.with(SelfCalls::take_back);
        assert_eq!(what_ran(), []);
    }

    #[test]
    fn a_full_ring_is_run_first_with_the_calls_that_its_functions_put() {
        for nested in 0..=ROOM {
            for data in 0..ROOM {
                let function = if data < nested { note_and_put } else { note };
                CALLS.with(|calls| calls.put(function, data));
            }
            // All have run, so this one waits alone.
            assert!(CALLS.with(|calls| calls.put(note, 5000)), "{nested}");
            let mut expected = (0..ROOM).chain((0..nested).map(|data| data + 1000)).collect::<Vec<_>>();
            expected.push(5000);
            assert_eq!(what_ran(), expected, "{nested}");
        }
    }
}
