//! What a channel holds. Nothing is allocated, freed or dropped by `push` and `pop`, which run with the channel locked.

use alloc::collections::{LinkedList, VecDeque};

/// The values that were sent and not received yet.
pub(super) enum Buffer<T> {
    /// A ring, which never grows.
    Bounded { ring: VecDeque<T>, capacity: usize },
    /// A list, whose nodes the senders allocate.
    Unbounded(LinkedList<T>),
}

/// A value that a sender has prepared for a buffer.
pub(super) enum Slot<T> {
    Value(Option<T>),
    Node(LinkedList<T>),
}

/// A value that was taken from a buffer.
pub(super) enum Item<T> {
    Value(T),
    /// The list has one node.
    Node(LinkedList<T>),
}

impl<T> Buffer<T> {
    /// Allocates a buffer for `capacity` values.
    pub(super) fn bounded(capacity: usize) -> Buffer<T> {
        Buffer::Bounded { ring: VecDeque::with_capacity(capacity), capacity }
    }

    /// Creates a buffer without a limit.
    pub(super) fn unbounded() -> Buffer<T> {
        Buffer::Unbounded(LinkedList::new())
    }

    /// Returns whether it has a limit.
    pub(super) fn is_bounded(&self) -> bool {
        matches!(self, Buffer::Bounded { .. })
    }

    /// Takes the value from the slot if there is room.
    pub(super) fn push(&mut self, slot: &mut Slot<T>) -> bool {
        match (self, slot) {
            (Buffer::Bounded { ring, capacity }, Slot::Value(value)) => {
                let has_room = ring.len() < *capacity;
                if has_room {
                    ring.extend(value.take());
                }
                has_room
            }
            (Buffer::Unbounded(list), Slot::Node(node)) => {
                list.append(node);
                true
            }
            _ => unreachable!("a slot is made for its channel"),
        }
    }

    /// Gives out the value that was sent first.
    pub(super) fn pop(&mut self) -> Option<Item<T>> {
        match self {
            Buffer::Bounded { ring, .. } => ring.pop_front().map(Item::Value),
            Buffer::Unbounded(list) if list.is_empty() => None,
            Buffer::Unbounded(list) => {
                let rest = list.split_off(1);
                Some(Item::Node(core::mem::replace(list, rest)))
            }
        }
    }

    /// Gives out all values. The buffer is not used any more.
    pub(super) fn take(&mut self) -> Buffer<T> {
        core::mem::replace(self, Buffer::unbounded())
    }
}

impl<T> Slot<T> {
    /// Prepares a value for a buffer.
    pub(super) fn new(value: T, is_bounded: bool) -> Slot<T> {
        if is_bounded { Slot::Value(Some(value)) } else { Slot::Node(LinkedList::from([value])) }
    }

    /// Returns the value, which no buffer has taken.
    pub(super) fn into_value(self) -> T {
        let value = match self {
            Slot::Value(value) => value,
            Slot::Node(mut node) => node.pop_front(),
        };
        match value {
            Some(value) => value,
            None => unreachable!("the buffer has not taken the value"),
        }
    }
}

impl<T> Item<T> {
    /// Returns the value.
    pub(super) fn into_value(self) -> T {
        match self {
            Item::Value(value) => value,
            Item::Node(mut node) => match node.pop_front() {
                Some(value) => value,
                None => unreachable!("`pop` makes lists of one node"),
            },
        }
    }
}
