//! The pending calls of a CPU to itself: a ring that one CPU uses alone, without atomic operations. A function that it
//! runs may add further calls.

use core::cell::Cell;

/// The function of a call, which receives the call's data.
pub(crate) type Function = fn(usize);

/// The most pending calls of one CPU.
pub const ROOM: usize = 16;

fn nothing(_: usize) {}

/// A ring of calls, in order. Both indices count up and wrap with `usize`.
pub(crate) struct SelfCalls {
    first: Cell<usize>,
    end: Cell<usize>,
    calls: [Cell<(Function, usize)>; ROOM],
}

impl SelfCalls {
    /// Creates an empty ring.
    pub(crate) const fn new() -> SelfCalls {
        SelfCalls { first: Cell::new(0), end: Cell::new(0), calls: [const { Cell::new((nothing, 0)) }; ROOM] }
    }

    /// Returns the number of pending calls.
    #[inline]
    fn pending(&self) -> usize {
        self.end.get().wrapping_sub(self.first.get())
    }

    /// Appends a call. If [`ROOM`] calls are pending, runs them first. Returns whether it is the only pending call, so
    /// that the caller must request an interrupt; otherwise one is pending already.
    #[inline]
    pub(crate) fn push(&self, function: Function, data: usize) -> bool {
        let mut end = self.end.get();
        let mut before = end.wrapping_sub(self.first.get());
        if before >= ROOM {
            self.make_room();
            // The calls that were run may have added others.
            end = self.end.get();
            before = end.wrapping_sub(self.first.get());
        }
        self.calls[end % ROOM].set((function, data));
        self.end.set(end.wrapping_add(1));
        before == 0
    }

    /// Removes the last call.
    pub(crate) fn withdraw_last(&self) {
        debug_assert!(self.pending() > 0);
        self.end.set(self.end.get().wrapping_sub(1));
    }

    #[cold]
    fn make_room(&self) {
        self.run();
    }

    /// Runs all pending calls, and those that they add.
    #[inline]
    pub(crate) fn run(&self) {
        while self.pending() != 0 {
            let first = self.first.get();
            let (function, data) = self.calls[first % ROOM].get();
            // Before the call: it may call this function again.
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

    /// Notes a call and adds another one.
    fn note_and_push(data: usize) {
        note(data);
        CALLS.with(|calls| calls.push(note, data + 1000));
    }

    fn what_ran() -> Vec<usize> {
        CALLS.with(SelfCalls::run);
        assert_eq!(CALLS.with(SelfCalls::pending), 0);
        RUN.take()
    }

    #[test]
    fn calls_run_in_order_and_the_first_asks_for_an_interrupt() {
        let first = (0..ROOM).map(|data| CALLS.with(|calls| calls.push(note, data))).collect::<Vec<_>>();
        assert_eq!(first.iter().filter(|first| **first).count(), 1);
        assert!(first[0]);
        assert_eq!(what_ran(), (0..ROOM).collect::<Vec<_>>());
        assert!(CALLS.with(|calls| calls.push(note, 7)));
        CALLS.with(SelfCalls::withdraw_last);
        assert!(what_ran().is_empty());
    }

    #[test]
    fn a_full_ring_is_run_first_with_the_calls_that_its_functions_put() {
        for nested in 0..=ROOM {
            for data in 0..ROOM {
                let function = if data < nested { note_and_push } else { note };
                CALLS.with(|calls| calls.push(function, data));
            }
            // All have run, so this is the only pending call.
            assert!(CALLS.with(|calls| calls.push(note, 5000)), "{nested}");
            let mut expected = (0..ROOM).chain((0..nested).map(|data| data + 1000)).collect::<Vec<_>>();
            expected.push(5000);
            assert_eq!(what_ran(), expected, "{nested}");
        }
    }
}
