//! A balanced search tree of threads by virtual deadline, linked through their policy words.
//!
//! It is a treap: a search tree by deadline and arrival, and a heap by a random rank, which makes its expected depth
//! logarithmic. Each node has the least virtual time of its subtree, so that "the earliest deadline among the threads whose
//! virtual time is at most this" is one descent.
//!
//! Virtual times and deadlines wrap around: of two, the one is less whose difference to the other is negative as a signed
//! number. All that are in a tree at a time lie within 2^63 of each other.

use super::entity::{PolicyWords, Runnable};
use super::node::{self, Node};

/// The link to the subtree of earlier deadlines.
const LEFT: usize = 0;
/// The link to the subtree of later deadlines.
const RIGHT: usize = 1;
/// The link to the node above.
const PARENT: usize = 2;

/// Returns whether `one` is before `other` in virtual time.
#[inline(always)]
pub(super) fn is_before(one: u64, other: u64) -> bool {
    (one.wrapping_sub(other) as i64) < 0
}

/// Returns which of two is before the other in virtual time.
#[inline(always)]
pub(super) fn min(one: u64, other: u64) -> u64 {
    if is_before(other, one) { other } else { one }
}

/// The tree. It owns its threads, and uses of their words the links, `aggregate` (the least `virtual_ns` of the subtree) and
/// `slice_left_ns` (the rank). `virtual_ns` and `deadline` are the caller's, set before it inserts a thread.
///
/// Invariant: the threads that `root` and the `LEFT` and `RIGHT` links lead to are those that came in and did not go out. A
/// `PARENT` link leads to the node whose link leads here; the root has none. Functions of this module only use a [`Node`] that
/// such a link led to since that node last left, or that they link themselves.
///
/// **Context** of all functions: any; they neither block nor allocate. A tree that is dropped unlinks its threads and loses them.
#[derive(Debug)]
pub(super) struct Tree {
    root: Option<Node>,
    len: usize,
    /// The state of the generator of ranks.
    random: u64,
}

// SAFETY: a tree must be usable by another CPU than the one that filled it. It owns its threads as so many `Runnable`s,
// which are `Send`, and reaches them only through a borrow of itself.
unsafe impl Send for Tree {}

impl Tree {
    /// Returns an empty tree.
    pub(super) const fn new() -> Tree {
        Tree { root: None, len: 0, random: 1 }
    }

    /// Returns the number of threads.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there is no thread.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// Takes a thread in. Its `virtual_ns` and `deadline` stay as they are while it is in the tree.
    #[inline(never)]
    pub(super) fn insert(&mut self, mut thread: Runnable) {
        // A linear congruential generator with Knuth's constants. Its high bits, which decide comparisons, are its good ones.
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let rank = self.random;
        let words = thread.words_mut();
        let (virtual_ns, deadline) = (words.virtual_ns, words.deadline);
        words.links = [None; 3];
        words.aggregate = virtual_ns;
        words.slice_left_ns = rank;
        let new = thread.into_entity();
        self.len += 1;
        let Some(mut above) = self.root else {
            self.root = Some(new);
            return;
        };
        let side = loop {
            let words = self.words_mut(above);
            words.aggregate = min(words.aggregate, virtual_ns);
            let side = if is_before(deadline, words.deadline) { LEFT } else { RIGHT };
            match words.links[side] {
                Some(below) => above = below,
                None => break side,
            }
        };
        self.words_mut(above).links[side] = Some(new);
        self.words_mut(new).links[PARENT] = Some(above);
        while let Some(parent) = self.words(new).links[PARENT]
            && self.words(parent).slice_left_ns < rank
        {
            self.rotate_up(new, parent);
        }
    }

    /// Gives out the thread with the earliest deadline among those with a virtual time of at most `limit`.
    pub(super) fn take_earliest(&mut self, limit: u64) -> Option<Runnable> {
        let earliest = self.find_earliest(limit)?;
        Some(self.unlink(earliest))
    }

    /// Returns the earliest deadline of the threads with a virtual time of at most `limit`.
    pub(super) fn earliest(&self, limit: u64) -> Option<u64> {
        Some(self.words(self.find_earliest(limit)?).deadline)
    }

    fn find_earliest(&self, limit: u64) -> Option<Node> {
        let mut node = self.root?;
        // A thread within the limit is in a subtree exactly if its aggregate is.
        loop {
            let words = self.words(node);
            if let Some(left) = words.links[LEFT]
                && !is_before(limit, self.words(left).aggregate)
            {
                node = left;
            } else if !is_before(limit, words.virtual_ns) {
                return Some(node);
            } else {
                node = words.links[RIGHT]?;
            }
        }
    }

    /// Returns the least virtual time of the threads with a deadline before this one.
    pub(super) fn min_virtual_before(&self, deadline: u64) -> Option<u64> {
        let (mut next, mut least) = (self.root, None);
        while let Some(node) = next {
            let words = self.words(node);
            if !is_before(words.deadline, deadline) {
                next = words.links[LEFT];
                continue;
            }
            let mut candidate = words.virtual_ns;
            if let Some(left) = words.links[LEFT] {
                candidate = min(candidate, self.words(left).aggregate);
            }
            least = Some(least.map_or(candidate, |least| min(least, candidate)));
            next = words.links[RIGHT];
        }
        least
    }

    /// Gives out the first thread, in the order of deadlines, for which the condition holds.
    pub(super) fn take_first(&mut self, mut condition: impl FnMut(&Runnable) -> bool) -> Option<Runnable> {
        let mut next = self.root.map(|root| self.leftmost(root));
        while let Some(node) = next {
            // SAFETY: the tree must contain the node and be borrowed: a link led to it, and `self` is borrowed.
            let token = unsafe { node::token(node) };
            if condition(&token) {
                return Some(self.unlink(node));
            }
            next = self.successor(node);
        }
        None
    }

    fn leftmost(&self, mut node: Node) -> Node {
        while let Some(left) = self.words(node).links[LEFT] {
            node = left;
        }
        node
    }

    fn successor(&self, mut node: Node) -> Option<Node> {
        if let Some(right) = self.words(node).links[RIGHT] {
            return Some(self.leftmost(right));
        }
        loop {
            let parent = self.words(node).links[PARENT]?;
            if self.words(parent).links[LEFT] == Some(node) {
                return Some(parent);
            }
            node = parent;
        }
    }

    /// Takes a node out of the tree.
    #[inline(always)]
    fn unlink(&mut self, node: Node) -> Runnable {
        if let [Some(_), Some(_), _] = self.words(node).links {
            self.sink(node);
        }
        let [left, right, parent] = core::mem::take(&mut self.words_mut(node).links);
        let child = left.or(right);
        if let Some(child) = child {
            self.words_mut(child).links[PARENT] = parent;
        }
        match parent {
            None => self.root = child,
            Some(parent) => {
                *self.link_from(parent, node) = child;
                self.refresh_up(parent);
            }
        }
        self.len -= 1;
        // SAFETY: no other token may exist, and the entity must be valid. The tree owned the thread, and no link of the
        // tree leads to it any more.
        unsafe { Runnable::new(node) }
    }

    /// Moves a node down until it has one child at most.
    #[inline(never)]
    fn sink(&mut self, node: Node) {
        while let [Some(left), Some(right), _] = self.words(node).links {
            let is_left = self.words(left).slice_left_ns >= self.words(right).slice_left_ns;
            self.rotate_up(if is_left { left } else { right }, node);
        }
    }

    /// Computes the aggregates from a node upwards, up to the first that does not change.
    #[inline(always)]
    fn refresh_up(&mut self, mut node: Node) {
        loop {
            let old = self.words(node).aggregate;
            self.refresh(node);
            let words = self.words(node);
            match words.links[PARENT] {
                Some(parent) if words.aggregate != old => node = parent,
                _ => return,
            }
        }
    }

    /// Computes the aggregate of a node from those of its children.
    #[inline(always)]
    fn refresh(&mut self, node: Node) {
        let words = self.words(node);
        let mut least = words.virtual_ns;
        for child in [words.links[LEFT], words.links[RIGHT]].into_iter().flatten() {
            least = min(least, self.words(child).aggregate);
        }
        self.words_mut(node).aggregate = least;
    }

    /// Exchanges the places of a node and of its parent in the heap's order. The order of deadlines stays.
    fn rotate_up(&mut self, node: Node, parent: Node) {
        let side = if self.words(parent).links[LEFT] == Some(node) { LEFT } else { RIGHT };
        let other = LEFT + RIGHT - side;
        let PolicyWords { aggregate, links: [.., grandparent], .. } = *self.words(parent);
        let words = self.words_mut(node);
        let inner = words.links[other].replace(parent);
        words.links[PARENT] = grandparent;
        words.aggregate = aggregate;
        let words = self.words_mut(parent);
        words.links[side] = inner;
        words.links[PARENT] = Some(node);
        if let Some(inner) = inner {
            self.words_mut(inner).links[PARENT] = Some(parent);
        }
        match grandparent {
            Some(grandparent) => *self.link_from(grandparent, parent) = Some(node),
            None => self.root = Some(node),
        }
        self.refresh(parent);
    }

    /// Returns the link by which a parent leads to a child.
    #[inline(always)]
    fn link_from(&mut self, parent: Node, child: Node) -> &mut Option<Node> {
        let links = &mut self.words_mut(parent).links;
        let side = if links[LEFT] == Some(child) { LEFT } else { RIGHT };
        &mut links[side]
    }

    #[inline(always)]
    fn words(&self, node: Node) -> &PolicyWords {
        // SAFETY: the tree must contain the node and be borrowed: a link led to it (`Tree`), and the result borrows `self`.
        unsafe { node::words(node) }
    }

    #[inline(always)]
    fn words_mut(&mut self, node: Node) -> &mut PolicyWords {
        // SAFETY: the tree must contain the node and be borrowed mutably: a link led to it (`Tree`), and the result borrows
        // `self` mutably.
        unsafe { node::words_mut(node) }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        while let Some(root) = self.root {
            let _ = self.unlink(root);
        }
    }
}

#[cfg(test)]
impl Tree {
    /// Returns the number of nodes on the longest way down.
    pub(super) fn depth(&self) -> usize {
        self.checked_depth(self.root, None)
    }

    /// Checks all links, ranks and aggregates.
    pub(super) fn check(&self) {
        self.depth();
    }

    fn checked_depth(&self, node: Option<Node>, parent: Option<Node>) -> usize {
        let Some(node) = node else { return 0 };
        let words = self.words(node);
        assert_eq!(words.links[PARENT], parent);
        let mut least = words.virtual_ns;
        for child in [words.links[LEFT], words.links[RIGHT]].into_iter().flatten() {
            assert!(self.words(child).slice_left_ns <= words.slice_left_ns, "a child has a greater rank");
            least = min(least, self.words(child).aggregate);
        }
        assert_eq!(words.aggregate, least);
        let depth = |side: usize| self.checked_depth(words.links[side], Some(node));
        1 + depth(LEFT).max(depth(RIGHT))
    }
}
