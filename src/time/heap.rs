//! Timers ordered by deadline: a 4-ary heap with stable slots. Pure: nothing here accesses hardware or allocates memory.
//!
//! A timer's *slot* holds its payload and its position in the heap. A heap *node* holds the deadline and the slot, so four
//! children fit in 64 bytes, and a comparison reads nothing else. A [`Key`] names a slot and the sequence number of its timer.
//! Sequence numbers are never reused, so the key of a timer that has expired matches no later timer, even in other storage. The
//! caller provides the storage.

#[cfg(test)]
mod tests;

/// Children of a node.
const ARITY: usize = 4;

/// Ends the list of free slots.
const NO_SLOT: u32 = u32::MAX;

/// Identifies a timer. No other timer of the same heap ever has the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    slot: u32,
    sequence: u64,
}

/// A node of the heap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeapNode {
    deadline_ns: u64,
    slot: u32,
}

/// The deadline of a timer that is not due until it is given another deadline. The first node of an empty heap also has it, so
/// that checking for due timers and finding the first deadline read only that node.
pub(crate) const NEVER_NS: u64 = u64::MAX;

impl HeapNode {
    /// The initial value of storage.
    pub(crate) const EMPTY: HeapNode = HeapNode { deadline_ns: NEVER_NS, slot: 0 };
}

/// Holds a timer's payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimerSlot<T> {
    /// The payload; `None` if the slot is free.
    payload: Option<T>,
    sequence: u64,
    /// The timer's position in the heap; in a free slot the next free slot or [`NO_SLOT`].
    at: u32,
}

impl<T> TimerSlot<T> {
    /// The initial value of storage.
    pub(crate) const EMPTY: TimerSlot<T> = TimerSlot { payload: None, sequence: 0, at: NO_SLOT };
}

/// Memory for timers: as many as the shorter of the two slices is long.
#[derive(Debug)]
pub(crate) struct Storage<'a, T> {
    /// The nodes of the heap.
    pub nodes: &'a mut [HeapNode],
    /// The slots of the timers.
    pub slots: &'a mut [TimerSlot<T>],
}

impl<T> Storage<'_, T> {
    /// How many timers fit.
    pub(crate) fn capacity(&self) -> usize {
        self.nodes.len().min(self.slots.len()).min(NO_SLOT as usize)
    }
}

/// A due timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due<T> {
    /// Its key.
    pub key: Key,
    /// Its deadline in nanoseconds.
    pub deadline_ns: u64,
    /// Its payload.
    pub payload: T,
}

/// A heap of timers.
#[derive(Debug)]
pub(crate) struct Heap<'a, T> {
    storage: Storage<'a, T>,
    len: usize,
    /// The first free slot.
    free: u32,
    /// The sequence number of the next timer.
    next: u64,
}

impl<T: Copy> Default for Heap<'_, T> {
    fn default() -> Self {
        Heap::new()
    }
}

impl<'a, T: Copy> Heap<'a, T> {
    /// Creates a heap without timers and without storage.
    pub(crate) const fn new() -> Heap<'a, T> {
        Heap { storage: Storage { nodes: &mut [], slots: &mut [] }, len: 0, free: NO_SLOT, next: 1 }
    }

    /// The number of timers.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no timer.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many timers the storage holds.
    pub(crate) fn capacity(&self) -> usize {
        self.storage.capacity()
    }

    /// The earliest deadline in nanoseconds; `None` if no timer has one.
    #[inline]
    pub(crate) fn first_deadline_ns(&self) -> Option<u64> {
        self.storage.nodes.first().map(|node| node.deadline_ns).filter(|first_ns| *first_ns != NEVER_NS)
    }

    /// Iterates over deadlines and payloads, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, T)> + '_ {
        let nodes = self.storage.nodes.iter().take(self.len);
        nodes
            .filter_map(|node| Some((node.deadline_ns, self.storage.slots.get(node.slot as usize)?.payload?)))
    }

    /// Inserts a timer. With [`NEVER_NS`] it never becomes due. `None` if the storage is full.
    pub(crate) fn insert(&mut self, deadline_ns: u64, payload: T) -> Option<Key> {
        let slot = self.free;
        // No slot has the number `NO_SLOT`.
        let entry = self.storage.slots.get_mut(slot as usize)?;
        self.free = entry.at;
        let sequence = self.next;
        self.next += 1;
        entry.payload = Some(payload);
        entry.sequence = sequence;
        let at = self.len;
        self.len += 1;
        self.sift_up(at, HeapNode { deadline_ns, slot });
        Some(Key { slot, sequence })
    }

    /// Removes and returns the earliest timer if it is due.
    pub(crate) fn take_due(&mut self, now_ns: u64) -> Option<Due<T>> {
        let node = self.due_node(now_ns)?;
        let due = self.due(node)?;
        self.remove_at(0);
        Some(due)
    }

    /// Returns the earliest timer if it is due, without removing it.
    #[inline]
    pub(crate) fn peek_due(&self, now_ns: u64) -> Option<Due<T>> {
        self.due(self.due_node(now_ns)?)
    }

    #[inline]
    fn due_node(&self, now_ns: u64) -> Option<HeapNode> {
        let node = *self.storage.nodes.first()?;
        // In an empty heap the deadline is `NEVER_NS`, and no slot has a payload.
        (node.deadline_ns <= now_ns).then_some(node)
    }

    #[inline]
    fn due(&self, node: HeapNode) -> Option<Due<T>> {
        let slot = self.storage.slots.get(node.slot as usize)?;
        let key = Key { slot: node.slot, sequence: slot.sequence };
        Some(Due { key, deadline_ns: node.deadline_ns, payload: slot.payload? })
    }

    /// Sets a later deadline for the earliest timer. Its key stays valid.
    #[inline]
    pub(crate) fn postpone_first(&mut self, deadline_ns: u64) {
        let Some(first) = self.storage.nodes.first_mut() else { return };
        if self.len == 1 {
            // The common case: one timer, so nothing to compare with.
            first.deadline_ns = deadline_ns;
        } else {
            self.postpone_first_of_many(deadline_ns);
        }
    }

    /// [`postpone_first`](Self::postpone_first) for other numbers of timers than one. Not inlined, so that the common path
    /// has one comparison.
    #[inline(never)]
    fn postpone_first_of_many(&mut self, deadline_ns: u64) {
        if self.len > 1 {
            let slot = self.storage.nodes[0].slot;
            self.sift_down(0, HeapNode { deadline_ns, slot });
        }
    }

    /// Removes a timer, due or not. `None` if it has expired or was cancelled.
    pub(crate) fn cancel(&mut self, key: Key) -> Option<T> {
        let slot = self.storage.slots.get(key.slot as usize)?;
        if slot.sequence != key.sequence {
            return None;
        }
        let payload = slot.payload?;
        self.remove_at(slot.at as usize);
        Some(payload)
    }

    /// Moves all timers to other storage and returns the old storage. Keys stay valid.
    ///
    /// # Errors
    /// Returns the new storage if it is too small for the timers or for their slot numbers. The heap is unchanged.
    pub(crate) fn move_to(&mut self, new: Storage<'a, T>) -> Result<Storage<'a, T>, Storage<'a, T>> {
        let capacity = new.capacity();
        let nodes = self.storage.nodes.get(..self.len).unwrap_or_default();
        if self.len > capacity || nodes.iter().any(|node| node.slot as usize >= capacity) {
            return Err(new);
        }
        new.nodes[..self.len].copy_from_slice(nodes);
        new.slots.fill(TimerSlot::EMPTY);
        for node in nodes {
            new.slots[node.slot as usize] = self.storage.slots[node.slot as usize];
        }
        // Free slots in ascending order: low ones are reused first, so that the timers can move to small storage later.
        let mut free = NO_SLOT;
        for number in (0..capacity).rev() {
            let slot = &mut new.slots[number];
            if slot.payload.is_none() {
                slot.at = free;
                free = number as u32;
            }
        }
        self.free = free;
        if let Some(first) = new.nodes.first_mut().filter(|_| self.len == 0) {
            *first = HeapNode::EMPTY;
        }
        Ok(core::mem::replace(&mut self.storage, new))
    }

    fn remove_at(&mut self, at: usize) {
        let slot = self.storage.nodes[at].slot;
        let entry = &mut self.storage.slots[slot as usize];
        entry.payload = None;
        entry.at = self.free;
        self.free = slot;
        self.len -= 1;
        if self.len == 0 {
            self.storage.nodes[0] = HeapNode::EMPTY;
        }
        if at == self.len {
            return;
        }
        // The last node fills the gap and moves to its position from there.
        let last = self.storage.nodes[self.len];
        if at > 0 && last.deadline_ns < self.storage.nodes[(at - 1) / ARITY].deadline_ns {
            self.sift_up(at, last);
        } else {
            self.sift_down(at, last);
        }
    }

    #[inline]
    fn set_node(&mut self, at: usize, node: HeapNode) {
        self.storage.nodes[at] = node;
        self.storage.slots[node.slot as usize].at = at as u32;
    }

    /// Inserts a node at `at` or closer to the root.
    fn sift_up(&mut self, mut at: usize, node: HeapNode) {
        while at > 0 {
            let parent = (at - 1) / ARITY;
            let above = self.storage.nodes[parent];
            if above.deadline_ns <= node.deadline_ns {
                break;
            }
            self.set_node(at, above);
            at = parent;
        }
        self.set_node(at, node);
    }

    /// Inserts a node at `at` or farther from the root.
    fn sift_down(&mut self, mut at: usize, node: HeapNode) {
        loop {
            let first = at * ARITY + 1;
            let Some(children) = self.storage.nodes[..self.len].get(first..) else { break };
            let children = &children[..children.len().min(ARITY)];
            let least = children.iter().enumerate().min_by_key(|(_, child)| child.deadline_ns);
            let Some((number, child)) = least.map(|(number, child)| (number, *child)) else { break };
            if node.deadline_ns <= child.deadline_ns {
                break;
            }
            self.set_node(at, child);
            at = first + number;
        }
        self.set_node(at, node);
    }

    /// Whether the heap's invariants hold.
    #[cfg(test)]
    fn is_sound(&self) -> bool {
        let nodes = &self.storage.nodes[..self.len];
        let ordered = (1..self.len).all(|at| nodes[(at - 1) / ARITY].deadline_ns <= nodes[at].deadline_ns);
        let linked = nodes.iter().enumerate().all(|(at, node)| {
            let slot = &self.storage.slots[node.slot as usize];
            slot.payload.is_some() && slot.at as usize == at
        });
        let mut free = 0;
        let mut next = self.free;
        while next != NO_SLOT {
            free += 1;
            if free > self.capacity() || self.storage.slots[next as usize].payload.is_some() {
                return false;
            }
            next = self.storage.slots[next as usize].at;
        }
        let first = self.storage.nodes.first();
        let empty_is_never_due = first.is_none_or(|first| self.len > 0 || first.deadline_ns == NEVER_NS);
        ordered && linked && empty_is_never_due && free + self.len == self.capacity()
    }
}
