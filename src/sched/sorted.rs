//! A short list of threads by virtual deadline, linked through their policy words.
//!
//! For a few threads it takes fewer instructions than a tree.

use super::entity::{PolicyWords, Runnable};
use super::node::{self, Node};
use super::tree::{is_before, min};

/// The link to the thread behind. The other links are not used.
const NEXT: usize = 0;

/// A list by deadline, threads of equal deadlines in the order of their arrival. It owns its threads. `virtual_ns` and
/// `deadline` are the caller's, set before it inserts a thread.
///
/// Invariant: the threads that `head` and the `NEXT` links lead to are those that came in and did not go out. `tail` is the last
/// of them. Functions of this module only use a [`Node`] that such a link led to since the list last changed, or that they
/// link themselves.
///
/// **Context** of all functions: any; they neither block nor allocate. Most take time in proportion to the length. A list
/// that is dropped unlinks its threads and loses them.
#[derive(Debug)]
pub(super) struct Sorted {
    head: Option<Node>,
    /// The last of them.
    tail: Option<Node>,
    len: usize,
}

// SAFETY: a list must be usable by another CPU than the one that filled it. It owns its threads as so many `Runnable`s,
// which are `Send`, and reaches them only through a borrow of itself.
unsafe impl Send for Sorted {}

impl Sorted {
    /// Returns an empty list.
    pub(super) const fn new() -> Sorted {
        Sorted { head: None, tail: None, len: 0 }
    }

    /// Returns the number of threads.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Takes a thread in. Its `virtual_ns` and `deadline` stay as they are while it is in the list.
    #[inline(always)]
    pub(super) fn insert(&mut self, mut thread: Runnable) {
        self.len += 1;
        let words = thread.words_mut();
        let deadline = words.deadline;
        words.links[NEXT] = None;
        match self.tail {
            None => {
                let new = thread.into_entity();
                self.head = Some(new);
                self.tail = Some(new);
            }
            // Most threads have a later deadline than those that wait.
            Some(tail) if !is_before(deadline, self.words(tail).deadline) => {
                let new = thread.into_entity();
                self.words_mut(tail).links[NEXT] = Some(new);
                self.tail = Some(new);
            }
            Some(_) => self.insert_before(thread, deadline),
        }
    }

    /// Links a thread before the first that has a later deadline. There is one.
    #[inline(never)]
    fn insert_before(&mut self, thread: Runnable, deadline: u64) {
        let (mut previous, mut next) = (None, self.head);
        while let Some(member) = next
            && !is_before(deadline, self.words(member).deadline)
        {
            previous = next;
            next = self.words(member).links[NEXT];
        }
        let new = thread.into_entity();
        self.words_mut(new).links[NEXT] = next;
        *self.link_behind(previous) = Some(new);
    }

    /// Gives out the first thread if its virtual time meets the condition, with what the condition returned.
    #[inline(always)]
    pub(super) fn take_head<T>(&mut self, condition: impl FnOnce(u64) -> Option<T>) -> Option<(Runnable, T)> {
        let head = self.head?;
        let value = condition(self.words(head).virtual_ns)?;
        Some((self.unlink(None, head), value))
    }

    /// Gives out the thread with the earliest deadline among those with a virtual time of at most `limit`.
    pub(super) fn take_earliest(&mut self, limit: u64) -> Option<Runnable> {
        let (mut previous, mut next) = (None, self.head);
        while is_before(limit, self.words(next?).virtual_ns) {
            previous = next;
            next = self.words(next?).links[NEXT];
        }
        Some(self.unlink(previous, next?))
    }

    /// Returns the earliest deadline of the threads with a virtual time of at most `limit`.
    pub(super) fn earliest(&self, limit: u64) -> Option<u64> {
        let mut next = self.head;
        loop {
            let words = self.words(next?);
            if !is_before(limit, words.virtual_ns) {
                return Some(words.deadline);
            }
            next = words.links[NEXT];
        }
    }

    /// Returns the least virtual time of the threads with a deadline before this one.
    #[inline]
    pub(super) fn min_virtual_before(&self, deadline: u64) -> Option<u64> {
        let (mut next, mut least) = (self.head, None);
        while let Some(member) = next
            && let words = self.words(member)
            && is_before(words.deadline, deadline)
        {
            least = Some(least.map_or(words.virtual_ns, |least| min(least, words.virtual_ns)));
            next = words.links[NEXT];
        }
        least
    }

    /// Gives out the first thread for which the condition holds.
    pub(super) fn take_first(&mut self, mut condition: impl FnMut(&Runnable) -> bool) -> Option<Runnable> {
        let (mut previous, mut next) = (None, self.head);
        while let Some(member) = next {
            // SAFETY: the list must contain the member and be borrowed: a link led to it, and `self` is borrowed.
            let token = unsafe { node::token(member) };
            if condition(&token) {
                return Some(self.unlink(previous, member));
            }
            previous = next;
            next = self.words(member).links[NEXT];
        }
        None
    }

    /// Takes a member out, which is behind `previous` or the first.
    #[inline(always)]
    fn unlink(&mut self, previous: Option<Node>, member: Node) -> Runnable {
        let next = self.words_mut(member).links[NEXT].take();
        *self.link_behind(previous) = next;
        if next.is_none() {
            self.tail = previous;
        }
        self.len -= 1;
        // SAFETY: no other token may exist, and the entity must be valid. The list owned the thread, and no link of the
        // list leads to it any more.
        unsafe { Runnable::new(member) }
    }

    /// Returns the link to what is behind a member, or to the first one.
    #[inline(always)]
    fn link_behind(&mut self, member: Option<Node>) -> &mut Option<Node> {
        match member {
            Some(member) => &mut self.words_mut(member).links[NEXT],
            None => &mut self.head,
        }
    }

    #[inline(always)]
    fn words(&self, member: Node) -> &PolicyWords {
        // SAFETY: the list must contain the member and be borrowed: a link led to it (`Sorted`), and the result borrows `self`.
        unsafe { node::words(member) }
    }

    #[inline(always)]
    fn words_mut(&mut self, member: Node) -> &mut PolicyWords {
        // SAFETY: the list must contain the member and be borrowed mutably: a link led to it (`Sorted`), and the result borrows
        // `self` mutably.
        unsafe { node::words_mut(member) }
    }
}

impl Drop for Sorted {
    fn drop(&mut self) {
        while self.take_first(|_| true).is_some() {}
    }
}
