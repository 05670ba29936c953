//! Which thread waits for which mutex, and whether threads wait for each other. It compiles on any host, where tests compare it with a naive
//! search.
//!
//! A thread that waits is entered before it blocks, and is removed before it returns from its wait. So while the graph is locked, the mutexes of
//! all waits are there, and no thread of the graph gives up a mutex. The last thread that blocks finds the cycle that it closes.

use heapless::Vec;

/// The most threads of a cycle that a report shows.
pub(super) const MAX_CYCLE: usize = 8;

/// A thread's wait for a mutex.
pub(super) struct Wait<M> {
    /// The number of the thread.
    pub(super) waiter: usize,
    /// Whether it has a deadline, so that it ends in any case.
    pub(super) is_timed: bool,
    /// The mutex.
    pub(super) mutex: M,
}

/// At most `N` waits; more are forgotten, and so are the cycles that they close.
pub(super) struct WaitGraph<M, const N: usize>(Vec<Wait<M>, N>);

impl<M, const N: usize> WaitGraph<M, N> {
    pub(super) const fn new() -> WaitGraph<M, N> {
        WaitGraph(Vec::new())
    }

    /// Adds the wait of a thread that has none.
    pub(super) fn enter(&mut self, wait: Wait<M>) {
        let _ = self.0.push(wait);
    }

    /// Removes the wait of a thread, if there is one.
    pub(super) fn leave(&mut self, waiter: usize) {
        if let Some(index) = self.0.iter().position(|wait| wait.waiter == waiter) {
            self.0.swap_remove(index);
        }
    }

    /// Returns the wait of a thread, if there is one.
    pub(super) fn wait_of(&self, waiter: usize) -> Option<&Wait<M>> {
        self.0.iter().find(|wait| wait.waiter == waiter)
    }

    /// Calls `f` with each wait of the cycle that a thread's wait closes, beginning with that one. Returns the number of its threads, or 0 if
    /// there is no cycle. `owner` returns the number of the thread that has a mutex, or 0.
    ///
    /// A wait with a deadline is in no cycle: it ends. Nor is one of a thread that has its mutex already, and is about to return.
    pub(super) fn cycle(
        &self,
        waiter: usize,
        owner: impl Fn(&M) -> usize,
        mut f: impl FnMut(&Wait<M>),
    ) -> usize {
        let next = |thread| {
            let wait = self.0.iter().find(|wait| wait.waiter == thread && !wait.is_timed)?;
            let owner = owner(&wait.mutex);
            (owner != 0 && owner != thread).then_some((wait, owner))
        };
        let mut thread = waiter;
        let mut length = 0;
        // A walk that is longer goes round in a cycle without the thread, which another one has closed.
        while length < self.0.len() {
            let Some((_, owner)) = next(thread) else { return 0 };
            length += 1;
            thread = owner;
            if thread == waiter {
                break;
            }
        }
        if thread != waiter {
            return 0;
        }
        for _ in 0..length {
            let Some((wait, owner)) = next(thread) else { break };
            f(wait);
            thread = owner;
        }
        length
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::collections::BTreeMap;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    type Graph = WaitGraph<usize, 16>;

    fn wait(waiter: usize, mutex: usize) -> Wait<usize> {
        Wait { waiter, is_timed: false, mutex }
    }

    fn cycle(graph: &Graph, waiter: usize, owners: &[(usize, usize)]) -> Vec<usize> {
        let owner = |mutex: &usize| owners.iter().find(|owned| owned.0 == *mutex).map_or(0, |owned| owned.1);
        let mut threads = Vec::new();
        let length = graph.cycle(waiter, owner, |wait| threads.push(wait.waiter));
        assert_eq!(length, threads.len());
        threads
    }

    #[test]
    fn the_last_thread_that_waits_closes_the_cycle() {
        let mut graph = Graph::new();
        let owners = [(10, 1), (20, 2), (30, 3)];
        graph.enter(wait(1, 20));
        graph.enter(wait(2, 30));
        assert_eq!(cycle(&graph, 2, &owners), [0; 0]);
        graph.enter(wait(3, 10));
        assert_eq!(cycle(&graph, 3, &owners), [3, 1, 2]);
        // A thread that waits for one of them is in no cycle itself.
        graph.enter(wait(4, 10));
        assert_eq!(cycle(&graph, 4, &owners), [0; 0]);
        graph.leave(2);
        assert_eq!(cycle(&graph, 3, &owners), [0; 0]);
    }

    #[test]
    fn a_wait_that_ends_by_itself_is_in_no_cycle() {
        let owners = [(10, 1), (20, 2)];
        for is_timed in [false, true] {
            let mut graph = Graph::new();
            graph.enter(Wait { is_timed, ..wait(1, 20) });
            graph.enter(wait(2, 10));
            assert_eq!(cycle(&graph, 2, &owners).is_empty(), is_timed);
        }
        // The mutex was handed to the first thread, which has not returned yet; or it is free.
        for owner in [1, 0] {
            let mut graph = Graph::new();
            graph.enter(wait(1, 20));
            graph.enter(wait(2, 10));
            assert_eq!(cycle(&graph, 2, &[(10, 1), (20, owner)]), [0; 0]);
        }
    }

    #[test]
    fn a_full_graph_forgets_waits() {
        let mut graph = WaitGraph::<usize, 1>::new();
        graph.enter(wait(1, 20));
        graph.enter(wait(2, 10));
        assert_eq!(graph.cycle(2, |mutex| if *mutex == 10 { 1 } else { 2 }, |_| ()), 0);
    }

    proptest! {
        #[test]
        fn a_cycle_is_one_that_a_naive_walk_finds(
            waits in prop::collection::btree_map(1..9_usize, (0..8_usize, 0..4_u8), 0..8),
            owners in prop::collection::vec(0..9_usize, 8),
        ) {
            let mut graph = Graph::new();
            for (waiter, (mutex, timed)) in &waits {
                graph.enter(Wait { waiter: *waiter, is_timed: *timed == 0, mutex: *mutex });
            }
            let blocked: BTreeMap<usize, usize> = waits
                .iter()
                .filter(|(waiter, (mutex, timed))| *timed != 0 && owners[*mutex] != **waiter)
                .map(|(waiter, (mutex, _))| (*waiter, owners[*mutex]))
                .collect();
            for waiter in 1..9 {
                let mut expected = Vec::new();
                let mut thread = waiter;
                while let Some(owner) = blocked.get(&thread)
                    && expected.len() < 20
                {
                    expected.push(thread);
                    thread = *owner;
                    if thread == waiter {
                        break;
                    }
                }
                if thread != waiter {
                    expected.clear();
                }
                let mut found = Vec::new();
                graph.cycle(waiter, |mutex| owners[*mutex], |wait| found.push(wait.waiter));
                prop_assert_eq!(found, expected);
            }
        }
    }
}
