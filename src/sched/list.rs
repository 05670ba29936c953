//! A queue of threads in the order of their arrival, linked through their policy words.

use super::entity::{PolicyWords, Runnable};
use super::node::{self, Node};

/// The link to the thread behind.
const NEXT: usize = 0;
/// The link to the thread before.
const PREVIOUS: usize = 1;

/// A doubly linked list that owns its threads. It uses the words' first two links.
///
/// Invariant: the threads that `head` and the `NEXT` links lead to are those that came in and did not go out. `tail` is the last
/// of them, and each `PREVIOUS` link leads to the one before. Functions of this module only use a [`Node`] that such a link
/// led to since the list last changed, or that they link themselves.
///
/// **Context** of all functions: any; they neither block nor allocate. A list that is dropped unlinks its threads and loses them.
#[derive(Debug)]
pub(super) struct List {
    head: Option<Node>,
    tail: Option<Node>,
    len: usize,
}

// SAFETY: a list must be usable by another CPU than the one that filled it. It owns its threads as so many `Runnable`s,
// which are `Send`, and reaches them only through a borrow of itself.
unsafe impl Send for List {}

impl List {
    /// Returns an empty list.
    pub(super) const fn new() -> List {
        List { head: None, tail: None, len: 0 }
    }

    /// Returns the number of threads.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there is no thread.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Puts a thread behind all others.
    #[inline]
    pub(super) fn push_back(&mut self, thread: Runnable) {
        self.link(thread, self.tail, None);
    }

    /// Puts a thread before all others.
    #[inline]
    pub(super) fn push_front(&mut self, thread: Runnable) {
        self.link(thread, None, self.head);
    }

    /// Gives out the first thread.
    #[inline]
    pub(super) fn pop_front(&mut self) -> Option<Runnable> {
        let first = self.head?;
        Some(self.unlink(first))
    }

    /// Gives out the first thread for which the condition holds. It takes time in proportion to the length.
    pub(super) fn take_first(&mut self, mut condition: impl FnMut(&Runnable) -> bool) -> Option<Runnable> {
        let mut next = self.head;
        while let Some(member) = next {
            // SAFETY: the list must contain the member and be borrowed: a link led to it, and `self` is borrowed.
            let token = unsafe { node::token(member) };
            if condition(&token) {
                return Some(self.unlink(member));
            }
            next = self.words(member).links[NEXT];
        }
        None
    }

    #[inline(always)]
    fn link(&mut self, mut thread: Runnable, previous: Option<Node>, next: Option<Node>) {
        thread.words_mut().links = [next, previous, None];
        let member = thread.into_entity();
        *self.next_of(previous) = Some(member);
        *self.previous_of(next) = Some(member);
        self.len += 1;
    }

    #[inline(always)]
    fn unlink(&mut self, member: Node) -> Runnable {
        let [next, previous, _] = core::mem::take(&mut self.words_mut(member).links);
        *self.next_of(previous) = next;
        *self.previous_of(next) = previous;
        self.len -= 1;
        // SAFETY: no other token may exist, and the entity must be valid. The list owned the thread, and no link of the
        // list leads to it any more.
        unsafe { Runnable::new(member) }
    }

    /// Returns the link to what is behind a member, or to the first one.
    #[inline(always)]
    fn next_of(&mut self, member: Option<Node>) -> &mut Option<Node> {
        match member {
            Some(member) => &mut self.words_mut(member).links[NEXT],
            None => &mut self.head,
        }
    }

    /// Returns the link to what is before a member, or to the last one.
    #[inline(always)]
    fn previous_of(&mut self, member: Option<Node>) -> &mut Option<Node> {
        match member {
            Some(member) => &mut self.words_mut(member).links[PREVIOUS],
            None => &mut self.tail,
        }
    }

    #[inline(always)]
    fn words(&self, member: Node) -> &PolicyWords {
        // SAFETY: the list must contain the member and be borrowed: a link led to it (`List`), and the result borrows `self`.
        unsafe { node::words(member) }
    }

    #[inline(always)]
    fn words_mut(&mut self, member: Node) -> &mut PolicyWords {
        // SAFETY: the list must contain the member and be borrowed mutably: a link led to it (`List`), and the result borrows
        // `self` mutably.
        unsafe { node::words_mut(member) }
    }
}

impl Drop for List {
    fn drop(&mut self) {
        while self.pop_front().is_some() {}
    }
}
