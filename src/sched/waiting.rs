//! The fair threads that wait: a few in a sorted list, which is fast, and the rest in a tree, which stays fast for many.
//!
//! A thread goes to the list while there is room, else to the tree, and stays where it is. The earliest of both is the earliest.

use super::entity::Runnable;
use super::list::Sorted;
use super::tree::{Tree, is_before, min};

/// How many threads the list takes: with more, the tree takes fewer instructions.
const SHORT: usize = 4;

/// The collection. **Context** of all functions: any; they neither block nor allocate.
#[derive(Debug)]
pub(super) struct Waiting {
    short: Sorted,
    tree: Tree,
}

impl Waiting {
    /// Returns an empty collection.
    pub(super) const fn new() -> Waiting {
        Waiting { short: Sorted::new(), tree: Tree::new() }
    }

    /// Returns the number of threads.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.short.len() + self.tree.len()
    }

    /// Returns whether there is no thread.
    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a thread in. Its `virtual_ns` and `deadline` stay as they are meanwhile.
    #[inline(always)]
    pub(super) fn insert(&mut self, thread: Runnable) {
        if self.short.len() < SHORT {
            self.short.insert(thread);
        } else {
            self.tree.insert(thread);
        }
    }

    /// Gives out the thread with the earliest deadline if it is known and its virtual time meets the condition, with what the
    /// condition returned.
    #[inline(always)]
    pub(super) fn take_head<T>(&mut self, condition: impl FnOnce(u64) -> Option<T>) -> Option<(Runnable, T)> {
        if self.tree.is_empty() { self.short.take_head(condition) } else { None }
    }

    /// Gives out the thread with the earliest deadline among those with a virtual time of at most `limit`, or, if there is
    /// none, some other.
    pub(super) fn take_earliest(&mut self, limit: u64) -> Option<Runnable> {
        if self.tree.is_empty() {
            return self.short.take_earliest(limit).or_else(|| self.take_first(|_| true));
        }
        match (self.short.earliest(limit), self.tree.earliest(limit)) {
            (Some(short), Some(tree)) if is_before(tree, short) => self.tree.take_earliest(limit),
            (Some(_), _) => self.short.take_earliest(limit),
            (None, Some(_)) => self.tree.take_earliest(limit),
            (None, None) => self.take_first(|_| true),
        }
    }

    /// Returns the least virtual time of the threads with a deadline before this one.
    #[inline]
    pub(super) fn min_virtual_before(&self, deadline: u64) -> Option<u64> {
        let short = self.short.min_virtual_before(deadline);
        match self.tree.min_virtual_before(deadline) {
            None => short,
            Some(tree) => Some(short.map_or(tree, |short| min(short, tree))),
        }
    }

    /// Gives out a thread for which the condition holds. In the list and in the tree, that of the earliest deadline is first.
    pub(super) fn take_first(&mut self, mut condition: impl FnMut(&Runnable) -> bool) -> Option<Runnable> {
        self.short.take_first(&mut condition).or_else(|| self.tree.take_first(condition))
    }
}
