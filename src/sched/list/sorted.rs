//! A short list of threads by virtual deadline. For a few threads it takes fewer instructions than a tree.

use super::{List, NEXT};
use crate::sched::entity::Runnable;
use crate::sched::tree::{is_before, min};

/// A list by deadline, threads of equal deadlines in the order of their arrival. It owns its threads. `virtual_ns` and
/// `deadline` are the caller's, set before it inserts a thread.
///
/// **Context** of all functions: any; they neither block nor allocate. Most take time in proportion to the length. A list
/// that is dropped unlinks its threads and loses them.
#[derive(Debug)]
pub(in crate::sched) struct Sorted(List);

impl Sorted {
    /// Returns an empty list.
    pub(in crate::sched) const fn new() -> Sorted {
        Sorted(List::new())
    }

    /// Returns the number of threads.
    #[inline(always)]
    pub(in crate::sched) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes a thread in. Its `virtual_ns` and `deadline` stay as they are while it is in the list.
    #[inline(always)]
    pub(in crate::sched) fn insert(&mut self, thread: Runnable) {
        let deadline = thread.words().deadline;
        match self.0.tail {
            Some(tail) if is_before(deadline, self.0.words(tail).deadline) => {
                self.insert_before(thread, deadline);
            }
            // Most threads have a later deadline than those that wait.
            _ => self.0.push_back(thread),
        }
    }

    /// Links a thread before the first that has a later deadline. There is one.
    #[inline(never)]
    fn insert_before(&mut self, thread: Runnable, deadline: u64) {
        let (mut previous, mut next) = (None, self.0.head);
        while let Some(member) = next
            && !is_before(deadline, self.0.words(member).deadline)
        {
            previous = next;
            next = self.0.words(member).links[NEXT];
        }
        self.0.insert_behind(previous, thread);
    }

    /// Gives out the first thread if its virtual time meets the condition, with what the condition returned.
    #[inline(always)]
    pub(in crate::sched) fn take_head<T>(
        &mut self,
        condition: impl FnOnce(u64) -> Option<T>,
    ) -> Option<(Runnable, T)> {
        let head = self.0.head?;
        let value = condition(self.0.words(head).virtual_ns)?;
        Some((self.0.unlink(None, head), value))
    }

    /// Gives out the thread with the earliest deadline among those with a virtual time of at most `limit`.
    pub(in crate::sched) fn take_earliest(&mut self, limit: u64) -> Option<Runnable> {
        self.0.take_first(|thread| !is_before(limit, thread.words().virtual_ns))
    }

    /// Returns the earliest deadline of the threads with a virtual time of at most `limit`.
    pub(in crate::sched) fn earliest(&self, limit: u64) -> Option<u64> {
        let mut next = self.0.head;
        loop {
            let words = self.0.words(next?);
            if !is_before(limit, words.virtual_ns) {
                return Some(words.deadline);
            }
            next = words.links[NEXT];
        }
    }

    /// Returns the least virtual time of the threads with a deadline before this one.
    #[inline]
    pub(in crate::sched) fn min_virtual_before(&self, deadline: u64) -> Option<u64> {
        let (mut next, mut least) = (self.0.head, None);
        while let Some(member) = next
            && let words = self.0.words(member)
            && is_before(words.deadline, deadline)
        {
            least = Some(least.map_or(words.virtual_ns, |least| min(least, words.virtual_ns)));
            next = words.links[NEXT];
        }
        least
    }

    /// Gives out the first thread for which the condition holds.
    pub(in crate::sched) fn take_first(
        &mut self,
        condition: impl FnMut(&Runnable) -> bool,
    ) -> Option<Runnable> {
        self.0.take_first(condition)
    }
}
