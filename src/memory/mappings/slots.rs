//! Slots: the pieces of the region that mappings get, and the lists that link them. Pure.
//!
//! A *page* here is a page's number in the region. A *segment* is [`SEGMENT_PAGES`] pages, the span of one page table. A small mapping
//! has a slot of a power of two of pages in one segment; a large one has whole segments. The last page of a slot is its *guard*: it is
//! never mapped. Its entry, which is not present, holds the slot's [`Word`]: the slot's own size, and the next slot of the list that
//! it is in. So lists of slots need no memory, and have no bound.

use core::fmt;

/// The pages of a segment.
pub(super) const SEGMENT_PAGES: u32 = 512;

/// The largest order of a small slot: a whole segment.
pub(super) const MAX_ORDER: u8 = 9;

/// The number of orders, with the unused order 0.
pub(super) const ORDERS: usize = MAX_ORDER as usize + 1;

/// The entries of the region's pages, as far as no page is mapped by them.
pub(super) trait Entries {
    /// Returns where the entry of a page is. The answer holds while the page's slot is in use or in a list.
    fn place(&self, page: u32) -> usize;
    /// Reads the entry of a page that is not mapped.
    fn get(&self, place: usize) -> u64;
    /// Writes the entry of a page that is not mapped. Bit 0 is clear.
    fn set(&self, place: usize, word: u64);
}

/// Contiguous pages of the region, for one mapping and its guard.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    /// The first page.
    pub first: u32,
    /// The pages that are mapped, or may be: at least one.
    pub pages: u32,
    /// The order of a small slot; 0 for a large one.
    pub order: u8,
    /// Where the entry of its guard is ([`Entries::place`]).
    pub place: usize,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({:#x}+{}, order {})", self.first, self.pages, self.order)
    }
}

/// The order of the slot of a mapping of `pages` pages; 0 if it needs whole segments.
#[inline(always)]
pub(super) const fn order_for(pages: u32) -> u8 {
    // The smallest order with 2^order > pages.
    let order = (u32::BITS - pages.leading_zeros()) as u8;
    if order > MAX_ORDER { 0 } else { order }
}

/// The segments of a large mapping. The last one is its guard.
pub(super) const fn segments_for(pages: u32) -> u32 {
    pages.div_ceil(SEGMENT_PAGES) + 1
}

impl Slot {
    /// Pages that are in use from now on.
    #[inline(always)]
    pub(super) fn new(entries: &impl Entries, first: u32, pages: u32, order: u8) -> Slot {
        let slot = Slot { first, pages, order, place: 0 };
        Slot { place: entries.place(slot.guard()), ..slot }
    }

    /// Whether it has whole segments.
    #[inline(always)]
    pub(super) const fn is_large(self) -> bool {
        self.order == 0
    }

    /// The number of its pages, its guard included.
    #[inline(always)]
    pub(super) const fn span(self) -> u32 {
        if self.is_large() { segments_for(self.pages) * SEGMENT_PAGES } else { 1 << self.order }
    }

    /// Its last page, whose entry holds its word.
    #[inline(always)]
    pub(super) const fn guard(self) -> u32 {
        self.first + self.span() - 1
    }
}

/// The content of a guard's entry. Bit 0, with which the processor would read the entry as present, is always clear.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(u64);

const ORDER_SHIFT: u32 = 1;
const PAGES_SHIFT: u32 = 6;
const PAGES_BITS: u32 = 28;
const NEXT_SHIFT: u32 = PAGES_SHIFT + PAGES_BITS;

/// The most pages of the region: what a word can hold.
pub(super) const MAX_PAGES: u32 = 1 << (PAGES_BITS - 1);

impl Word {
    #[inline(always)]
    fn new(slot: Slot, next: u32) -> Word {
        Word(
            u64::from(slot.order) << ORDER_SHIFT
                | u64::from(slot.pages) << PAGES_SHIFT
                | u64::from(next) << NEXT_SHIFT,
        )
    }

    /// The slot whose guard has this word.
    #[inline(always)]
    fn slot(self, guard: u32, place: usize) -> Slot {
        let order = (self.0 >> ORDER_SHIFT) as u8 & 0x1f;
        let pages = (self.0 >> PAGES_SHIFT) as u32 & ((1 << PAGES_BITS) - 1);
        let slot = Slot { first: 0, pages, order, place };
        Slot { first: guard + 1 - slot.span(), ..slot }
    }

    #[inline(always)]
    fn next(self) -> u32 {
        (self.0 >> NEXT_SHIFT) as u32
    }
}

/// A list of slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// One more than the guard of the first slot, or 0.
    head: u32,
    /// The number of slots.
    pub count: u32,
}

impl Chain {
    /// A list without slots.
    pub(super) const EMPTY: Chain = Chain { head: 0, count: 0 };

    /// Adds a slot, which is in no list.
    #[inline(always)]
    pub(super) fn push(&mut self, entries: &impl Entries, slot: Slot) {
        entries.set(slot.place, Word::new(slot, self.head).0);
        self.head = slot.guard() + 1;
        self.count += 1;
    }

    /// Adds a slot, which is in no list, behind the last one, whose guard's entry is at `last`.
    #[inline(always)]
    pub(super) fn append(&mut self, entries: &impl Entries, slot: Slot, last: usize) {
        entries.set(slot.place, Word::new(slot, 0).0);
        let next = slot.guard() + 1;
        if self.count == 0 {
            self.head = next;
        } else {
            entries.set(last, entries.get(last) | u64::from(next) << NEXT_SHIFT);
        }
        self.count += 1;
    }

    /// Removes the first slot: the one that was pushed last, or appended first.
    #[inline(always)]
    pub(super) fn pop(&mut self, entries: &impl Entries) -> Option<Slot> {
        let guard = self.head.checked_sub(1)?;
        let place = entries.place(guard);
        let word = Word(entries.get(place));
        self.head = word.next();
        self.count -= 1;
        Some(word.slot(guard, place))
    }

    /// As [`pop`](Self::pop), from a list of free slots of this order, for a mapping of so many pages.
    #[inline(always)]
    pub(super) fn pop_free(&mut self, entries: &impl Entries, order: u8, pages: u32) -> Option<Slot> {
        let guard = self.head.checked_sub(1)?;
        let place = entries.place(guard);
        let first = self.head.wrapping_sub(1 << order);
        self.head = Word(entries.get(place)).next();
        self.count -= 1;
        Some(Slot { first, pages, order, place })
    }

    /// The first slot.
    fn first(&self, entries: &impl Entries) -> Option<Slot> {
        let guard = self.head.checked_sub(1)?;
        let place = entries.place(guard);
        Some(Word(entries.get(place)).slot(guard, place))
    }
}

/// Full chains that CPUs share, one stack of chains for each order. The entry of the first page of a chain's first slot links the chain.
#[derive(Debug)]
pub(super) struct Depot {
    stacks: [Chain; ORDERS],
}

impl Depot {
    /// A depot without chains.
    pub(super) const fn new() -> Depot {
        Depot { stacks: [Chain::EMPTY; ORDERS] }
    }

    /// Adds a chain of slots of this order.
    pub(super) fn push(&mut self, entries: &impl Entries, order: u8, chain: Chain) {
        let Some(slot) = chain.first(entries) else { return };
        let top = &mut self.stacks[usize::from(order)];
        // The chain below: its head and its length, as a chain itself.
        let below = Slot { first: 0, pages: top.count, order: 0, place: 0 };
        entries.set(entries.place(slot.first), Word::new(below, top.head).0);
        *top = chain;
    }

    /// Removes all chains of this order.
    pub(super) fn take(&mut self, order: u8) -> Depot {
        let mut taken = Depot::new();
        core::mem::swap(&mut taken.stacks[usize::from(order)], &mut self.stacks[usize::from(order)]);
        taken
    }

    /// Removes a chain.
    pub(super) fn pop(&mut self, entries: &impl Entries, order: u8) -> Option<Chain> {
        let top = &mut self.stacks[usize::from(order)];
        let slot = top.first(entries)?;
        let below = Word(entries.get(entries.place(slot.first)));
        let chain = *top;
        *top = Chain { head: below.next(), count: (below.0 >> PAGES_SHIFT) as u32 & ((1 << PAGES_BITS) - 1) };
        Some(chain)
    }
}
