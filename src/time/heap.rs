//! Timers in the order of their deadlines, without hardware: a heap of four children a node, and slots that stay put.
//!
//! A timer's *slot* keeps its payload and where in the heap it stands; the heap's *places* keep deadline and slot, so
//! that four children lie in 64 bytes and comparing them touches nothing else. A [`Key`] names a slot and the sequence
//! number of the timer that was put there; numbers are never used again, so a key that has outlived its timer finds
//! nothing, whoever has the slot now, and storage may come and go. The storage is the caller's: no allocation here.

#[cfg(test)]
mod tests;

/// Children of a node.
const ARITY: usize = 4;

/// The end of the list of free slots.
const NO_SLOT: u32 = u32::MAX;

/// A timer's name, for good: no later timer of the same heap has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    slot: u32,
    sequence: u64,
}

/// A node of the heap.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    deadline_ns: u64,
    slot: u32,
}

/// The deadline of a timer that does not become due until it gets another one. It also stands in the first place of a heap
/// without timers, so that the questions what is due, and when the next timer will be, look at that place alone: a heap
/// without timers and one whose timers have no deadline answer alike.
pub const NEVER_NS: u64 = u64::MAX;

impl Place {
    /// What storage is filled with.
    pub const EMPTY: Place = Place { deadline_ns: NEVER_NS, slot: 0 };
}

/// Where a timer's payload is kept.
#[derive(Clone, Copy, Debug)]
pub struct Slot<T> {
    /// Whose it is; of a free slot, `None`.
    occupant: Option<T>,
    sequence: u64,
    /// Its place in the heap; of a free slot, the next free one or [`NO_SLOT`].
    at: u32,
}

impl<T> Slot<T> {
    /// What storage is filled with.
    pub const EMPTY: Slot<T> = Slot { occupant: None, sequence: 0, at: NO_SLOT };
}

/// Memory for as many timers as the shorter of the two is long.
#[derive(Debug)]
pub struct Storage<'a, T> {
    /// For the heap's order.
    pub places: &'a mut [Place],
    /// For the timers.
    pub slots: &'a mut [Slot<T>],
}

impl<T> Storage<'_, T> {
    /// How many timers it holds.
    pub fn capacity(&self) -> usize {
        self.places.len().min(self.slots.len()).min(NO_SLOT as usize)
    }
}

/// A timer that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due<T> {
    /// Its name.
    pub key: Key,
    /// When it should have been.
    pub deadline_ns: u64,
    /// What was put in.
    pub payload: T,
}

/// The timers.
#[derive(Debug)]
pub struct Heap<'a, T> {
    storage: Storage<'a, T>,
    len: usize,
    /// The first free slot.
    free: u32,
    /// The number of the next timer.
    next: u64,
}

impl<T: Copy> Default for Heap<'_, T> {
    fn default() -> Self {
        Heap::new()
    }
}

impl<'a, T: Copy> Heap<'a, T> {
    /// No timers, and no room for any.
    pub const fn new() -> Heap<'a, T> {
        Heap { storage: Storage { places: &mut [], slots: &mut [] }, len: 0, free: NO_SLOT, next: 1 }
    }

    /// How many timers there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many there is room for.
    pub fn capacity(&self) -> usize {
        self.storage.capacity()
    }

    /// The earliest deadline; `None` if no timer has one.
    #[inline]
    pub fn first_deadline_ns(&self) -> Option<u64> {
        self.storage.places.first().map(|place| place.deadline_ns).filter(|first_ns| *first_ns != NEVER_NS)
    }

    /// The timers with their deadlines, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, T)> + '_ {
        let places = self.storage.places.iter().take(self.len);
        places.filter_map(|place| {
            Some((place.deadline_ns, self.storage.slots.get(place.slot as usize)?.occupant?))
        })
    }

    /// Puts a timer in; with [`NEVER_NS`] it only keeps its place. `None` if there is no room.
    pub fn insert(&mut self, deadline_ns: u64, payload: T) -> Option<Key> {
        let slot = self.free;
        // The list ends in a number that no slot has.
        let entry = self.storage.slots.get_mut(slot as usize)?;
        self.free = entry.at;
        let sequence = self.next;
        self.next += 1;
        entry.occupant = Some(payload);
        entry.sequence = sequence;
        let at = self.len;
        self.len += 1;
        self.rise(at, Place { deadline_ns, slot });
        Some(Key { slot, sequence })
    }

    /// The earliest timer, taken out, if it is due.
    pub fn take_due(&mut self, now_ns: u64) -> Option<Due<T>> {
        let place = self.due_place(now_ns)?;
        let due = self.due(place)?;
        self.remove_at(0);
        Some(due)
    }

    /// The earliest timer, if it is due. It stays.
    #[inline]
    pub fn peek_due(&self, now_ns: u64) -> Option<Due<T>> {
        self.due(self.due_place(now_ns)?)
    }

    #[inline]
    fn due_place(&self, now_ns: u64) -> Option<Place> {
        let place = *self.storage.places.first()?;
        // Of a heap without timers, whose first place says so, no slot has an occupant either.
        (place.deadline_ns <= now_ns).then_some(place)
    }

    #[inline]
    fn due(&self, place: Place) -> Option<Due<T>> {
        let slot = self.storage.slots.get(place.slot as usize)?;
        let key = Key { slot: place.slot, sequence: slot.sequence };
        Some(Due { key, deadline_ns: place.deadline_ns, payload: slot.occupant? })
    }

    /// Gives the earliest timer a later deadline; its key stays good.
    #[inline]
    pub fn postpone_first(&mut self, deadline_ns: u64) {
        let Some(first) = self.storage.places.first_mut() else { return };
        if self.len == 1 {
            // Most CPUs have one timer, which has nothing to be compared with.
            first.deadline_ns = deadline_ns;
        } else {
            self.postpone_first_of_many(deadline_ns);
        }
    }

    /// [`postpone_first`](Self::postpone_first) where there is not exactly one timer. Out of line, so that one compare on the
    /// common path decides.
    #[inline(never)]
    fn postpone_first_of_many(&mut self, deadline_ns: u64) {
        if self.len > 1 {
            let slot = self.storage.places[0].slot;
            self.sink(0, Place { deadline_ns, slot });
        }
    }

    /// Takes a timer out, whenever it is due. `None` if it is not there, or no more.
    pub fn cancel(&mut self, key: Key) -> Option<T> {
        let slot = self.storage.slots.get(key.slot as usize)?;
        if slot.sequence != key.sequence {
            return None;
        }
        let payload = slot.occupant?;
        self.remove_at(slot.at as usize);
        Some(payload)
    }

    /// Moves all timers to other storage, and gives back what they were in; their keys stay good. If the new storage
    /// has no room for them, or not for the slots that they are in, it is given back instead.
    pub fn move_to(&mut self, new: Storage<'a, T>) -> Result<Storage<'a, T>, Storage<'a, T>> {
        let capacity = new.capacity();
        let places = self.storage.places.get(..self.len).unwrap_or_default();
        if self.len > capacity || places.iter().any(|place| place.slot as usize >= capacity) {
            return Err(new);
        }
        new.places[..self.len].copy_from_slice(places);
        new.slots.fill(Slot::EMPTY);
        for place in places {
            new.slots[place.slot as usize] = self.storage.slots[place.slot as usize];
        }
        // Free slots in ascending order: low ones are used again first, so that small storage will do again later.
        let mut free = NO_SLOT;
        for number in (0..capacity).rev() {
            let slot = &mut new.slots[number];
            if slot.occupant.is_none() {
                slot.at = free;
                free = number as u32;
            }
        }
        self.free = free;
        if let Some(first) = new.places.first_mut().filter(|_| self.len == 0) {
            *first = Place::EMPTY;
        }
        Ok(core::mem::replace(&mut self.storage, new))
    }

    fn remove_at(&mut self, at: usize) {
        let slot = self.storage.places[at].slot;
        let entry = &mut self.storage.slots[slot as usize];
        entry.occupant = None;
        entry.at = self.free;
        self.free = slot;
        self.len -= 1;
        if self.len == 0 {
            self.storage.places[0] = Place::EMPTY;
        }
        if at == self.len {
            return;
        }
        // The last takes its place, and from there goes where it belongs.
        let last = self.storage.places[self.len];
        if at > 0 && last.deadline_ns < self.storage.places[(at - 1) / ARITY].deadline_ns {
            self.rise(at, last);
        } else {
            self.sink(at, last);
        }
    }

    #[inline]
    fn put(&mut self, at: usize, place: Place) {
        self.storage.places[at] = place;
        self.storage.slots[place.slot as usize].at = at as u32;
    }

    /// Puts a node in at `at` or above.
    fn rise(&mut self, mut at: usize, place: Place) {
        while at > 0 {
            let parent = (at - 1) / ARITY;
            let above = self.storage.places[parent];
            if above.deadline_ns <= place.deadline_ns {
                break;
            }
            self.put(at, above);
            at = parent;
        }
        self.put(at, place);
    }

    /// Puts a node in at `at` or below.
    fn sink(&mut self, mut at: usize, place: Place) {
        loop {
            let first = at * ARITY + 1;
            let Some(children) = self.storage.places[..self.len].get(first..) else { break };
            let children = &children[..children.len().min(ARITY)];
            let least = children.iter().enumerate().min_by_key(|(_, child)| child.deadline_ns);
            let Some((number, child)) = least.map(|(number, child)| (number, *child)) else { break };
            if place.deadline_ns <= child.deadline_ns {
                break;
            }
            self.put(at, child);
            at = first + number;
        }
        self.put(at, place);
    }

    /// Whether every rule holds that the functions here rely on.
    #[cfg(test)]
    fn is_sound(&self) -> bool {
        let places = &self.storage.places[..self.len];
        let ordered = (1..self.len).all(|at| places[(at - 1) / ARITY].deadline_ns <= places[at].deadline_ns);
        let linked = places.iter().enumerate().all(|(at, place)| {
            let slot = &self.storage.slots[place.slot as usize];
            slot.occupant.is_some() && slot.at as usize == at
        });
        let mut free = 0;
        let mut next = self.free;
        while next != NO_SLOT {
            free += 1;
            if free > self.capacity() || self.storage.slots[next as usize].occupant.is_some() {
                return false;
            }
            next = self.storage.slots[next as usize].at;
        }
        let first = self.storage.places.first();
        let says_so = first.is_none_or(|first| self.len > 0 || first.deadline_ns == NEVER_NS);
        ordered && linked && says_so && free + self.len == self.capacity()
    }
}
