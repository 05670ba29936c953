//! Queues of threads, linked through their policy words: in the order of their arrival ([`List`]), or by deadline ([`Sorted`]).

mod sorted;

pub(super) use sorted::Sorted;

use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Deref;

use super::entity::{PolicyWords, Runnable};
use super::node::{self, Node};
use super::policy::LentThread;

/// The link to the thread behind. The other links are not used.
const NEXT: usize = 0;

/// A singly linked list that owns its threads.
///
/// Invariant: the threads that `head` and the `NEXT` links lead to are those that came in and did not go out. `tail` is the last
/// of them. Functions of this module and of `sorted` only use a [`Node`] that such a link led to since the list last changed, or that
/// they link themselves.
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
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there is no thread.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Puts a thread behind all others.
    #[inline(always)]
    pub(super) fn push_back(&mut self, mut thread: Runnable) {
        thread.words_mut().links[NEXT] = None;
        let new = thread.into_entity();
        *self.link_behind(self.tail) = Some(new);
        self.tail = Some(new);
        self.len += 1;
    }

    /// Puts a thread before all others.
    #[inline]
    pub(super) fn push_front(&mut self, thread: Runnable) {
        self.insert_behind(None, thread);
    }

    /// Gives out the first thread.
    #[inline]
    pub(super) fn pop_front(&mut self) -> Option<Runnable> {
        let first = self.head?;
        Some(self.unlink(None, first))
    }

    /// Gives out the first thread for which the condition holds. It takes time in proportion to the length.
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

    /// Calls `change` with the first thread for which the condition holds, which stays where it is. Returns what that returned.
    pub(super) fn change_first<T>(
        &mut self,
        mut condition: impl FnMut(&Runnable) -> bool,
        change: impl FnOnce(&mut LentThread<'_>) -> T,
    ) -> Option<T> {
        let mut next = self.head;
        while let Some(member) = next {
            // SAFETY: the list must contain the member and be borrowed: a link led to it, and `self` is borrowed mutably.
            let mut token = unsafe { node::token(member) };
            if condition(&token) {
                return Some(change(&mut LentThread::new(&mut token)));
            }
            next = self.words(member).links[NEXT];
        }
        None
    }

    /// Returns the threads, the first one first.
    pub(super) fn iter(&self) -> impl Iterator<Item = QueuedThread<'_>> {
        let after = |member: &Node| self.words(*member).links[NEXT];
        core::iter::successors(self.head, after).map(|member| {
            // SAFETY: the list must contain the member and be borrowed while the token is used: a link led to it, and the result borrows
            // `self`. The token is not given out: `QueuedThread` lends it alone.
            QueuedThread { token: unsafe { node::token(member) }, _list: PhantomData }
        })
    }

    /// Puts a thread behind a member, or before all others.
    #[inline(always)]
    fn insert_behind(&mut self, previous: Option<Node>, mut thread: Runnable) {
        let next = *self.link_behind(previous);
        thread.words_mut().links[NEXT] = next;
        let new = thread.into_entity();
        *self.link_behind(previous) = Some(new);
        if next.is_none() {
            self.tail = Some(new);
        }
        self.len += 1;
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

/// A thread of a queue, to look at.
#[derive(Debug)]
pub struct QueuedThread<'a> {
    token: ManuallyDrop<Runnable>,
    _list: PhantomData<&'a Runnable>,
}

impl Deref for QueuedThread<'_> {
    type Target = Runnable;

    fn deref(&self) -> &Runnable {
        &self.token
    }
}

impl Drop for List {
    fn drop(&mut self) {
        while self.pop_front().is_some() {}
    }
}
