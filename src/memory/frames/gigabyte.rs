//! The free blocks of a gigabyte, and its entry in the lists of the buddy.
//!
//! A gigabyte that has blocks of several zones has a [`Gigabyte`] for each range of them between two borders. So no free run has blocks
//! of two zones, and each is protected by the lock of one zone.

use super::bitmap::{Bitmap, WORD_BITS};
use super::block_bits::{BLOCKS, BlockBits, index_of, order_at};
use super::number::{BlockNumber, Order};
use super::state::Field;
use super::sync::{AtomicU64, Ordering};
use super::zone_layout::MAX_ZONES;

/// The index of a [`Gigabyte`]. Up to the number of gigabytes, it is that of the gigabyte, for the zone of its first block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::memory) struct GigabyteIndex(pub(in crate::memory) usize);

/// The free blocks of a gigabyte that belong to one zone, under the lock of that zone.
#[repr(C)]
pub(in crate::memory) struct Gigabyte {
    /// 1 = free.
    free: Bitmap,
    entry: AtomicU64,
    links: AtomicU64,
    index: AtomicU64,
    border: AtomicU64,
}

impl Gigabyte {
    pub(in crate::memory) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self { free: Bitmap::new(), entry: zero(), links: zero(), index: zero(), border: zero() }
    }

    /// Removes it from all lists, as the one with this index, of the gigabyte with this number, and without a zone. The bits stay.
    pub(in crate::memory) fn reset(&self, index: GigabyteIndex, number: usize) {
        self.index.store(index.0 as u64, Ordering::Relaxed);
        self.set_entry(Entry::new(number));
        self.set_links(Links::NONE);
        self.set_border(Border::NONE);
    }

    /// Its index.
    pub(in crate::memory) fn index(&self) -> GigabyteIndex {
        GigabyteIndex(self.index.load(Ordering::Relaxed) as usize)
    }

    /// The bits of its free blocks.
    #[inline(always)]
    pub(in crate::memory) fn free(&self) -> &Bitmap {
        &self.free
    }

    /// The same at this moment.
    #[inline(always)]
    pub(in crate::memory) fn free_now(&self) -> BlockBits {
        BlockBits(self.free.load())
    }

    #[inline(always)]
    pub(in crate::memory) fn entry(&self) -> Entry {
        Entry(self.entry.load(Ordering::Relaxed))
    }

    pub(in crate::memory) fn set_entry(&self, entry: Entry) {
        self.entry.store(entry.0, Ordering::Relaxed);
    }

    /// The last border within it.
    #[inline(always)]
    pub(in crate::memory) fn border(&self) -> Border {
        Border(self.border.load(Ordering::Relaxed))
    }

    pub(in crate::memory) fn set_border(&self, border: Border) {
        self.border.store(border.0, Ordering::Relaxed);
    }

    pub(in crate::memory) fn links(&self) -> Links {
        Links(self.links.load(Ordering::Relaxed))
    }

    pub(in crate::memory) fn set_links(&self, links: Links) {
        self.links.store(links.0, Ordering::Relaxed);
    }
}

/// 0 if no block is free, else one more than the index of the order of the largest free run.
type LargestField = Field<0, 8>;
type ZoneField = Field<8, 8>;
/// The blocks of a run of the least order of which none is free, or those of a word if these are fewer.
type NextSizeField = Field<16, 8>;
/// The number of the gigabyte.
type NumberField = Field<32, 32>;

/// The zone of a gigabyte that has blocks of several zones, and of one before the zones are set.
const NO_ZONE: u64 = ZoneField::MAX;

const _: () = assert!((MAX_ZONES as u64) < NO_ZONE && WORD_BITS as u64 <= NextSizeField::MAX);

/// What a gigabyte has, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(in crate::memory) struct Entry(u64);

impl Entry {
    /// That of the gigabyte with this number, without a free block.
    pub(in crate::memory) fn new(number: usize) -> Self {
        Self(ZoneField::set(NumberField::set(0, number as u64), NO_ZONE)).with_largest(None)
    }

    /// The first block of the gigabyte.
    #[inline(always)]
    pub(in crate::memory) const fn first_block(self) -> BlockNumber {
        BlockNumber(NumberField::get(self.0) as usize * BLOCKS)
    }

    /// The order of the largest free run; `None` if no block is free.
    #[inline(always)]
    pub(in crate::memory) fn largest(self) -> Option<Order> {
        (LargestField::get(self.0) as usize).checked_sub(1).map(order_at)
    }

    /// The blocks of a run of the least order of which none is free, or those of a word if these are fewer.
    #[inline(always)]
    pub(in crate::memory) const fn next_size(self) -> usize {
        NextSizeField::get(self.0) as usize
    }

    /// With another largest free run.
    pub(in crate::memory) fn with_largest(self, largest: Option<Order>) -> Self {
        let larger = largest.map_or(0, |order| index_of(order) as u64 + 1);
        let size = (1 << larger).min(WORD_BITS as u64);
        Self(NextSizeField::set(LargestField::set(self.0, larger), size))
    }

    /// The index of the zone of all blocks of the gigabyte. `None` if that is not known.
    #[inline(always)]
    pub(in crate::memory) const fn zone(self) -> Option<usize> {
        let zone = ZoneField::get(self.0);
        if zone == NO_ZONE { None } else { Some(zone as usize) }
    }

    /// With the zone of all blocks of the gigabyte.
    pub(in crate::memory) const fn with_zone(self, zone: usize) -> Self {
        Self(ZoneField::set(self.0, zone as u64))
    }
}

/// A border of zones within a gigabyte, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(in crate::memory) struct Border(u64);

type BorderBlockField = Field<0, 16>;
type BorderZoneField = Field<16, 8>;
type BorderIndexField = Field<32, 32>;

impl Border {
    /// Above all blocks.
    pub(in crate::memory) const NONE: Self = Self(BorderBlockField::MAX);

    /// The border below this block, and the zone and the [`Gigabyte`] above it.
    pub(in crate::memory) const fn new(block: BlockNumber, zone: usize, above: GigabyteIndex) -> Self {
        let word = BorderBlockField::set(0, (block.0 % BLOCKS) as u64);
        Self(BorderIndexField::set(BorderZoneField::set(word, zone as u64), above.0 as u64))
    }

    /// The zone of a block of the gigabyte, and its part there, if the block is above the border.
    #[inline(always)]
    pub(in crate::memory) const fn place_above(self, block: BlockNumber) -> Option<(usize, GigabyteIndex)> {
        if (block.0 % BLOCKS) < BorderBlockField::get(self.0) as usize {
            return None;
        }
        let index = GigabyteIndex(BorderIndexField::get(self.0) as usize);
        Some((BorderZoneField::get(self.0) as usize, index))
    }
}

type NextField = Field<0, 32>;
type PreviousField = Field<32, 32>;

/// The end of a list.
const NO_LINK: u64 = NextField::MAX;

/// The neighbours in the list of a gigabyte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(in crate::memory) struct Links(u64);

impl Links {
    /// Those of a gigabyte that is alone in its list.
    pub(in crate::memory) const NONE: Self = Self(u64::MAX);

    /// The next gigabyte of the list.
    pub(in crate::memory) const fn next(self) -> Option<GigabyteIndex> {
        linked(NextField::get(self.0))
    }

    /// The previous gigabyte of the list; `None` for the first one.
    pub(in crate::memory) const fn previous(self) -> Option<GigabyteIndex> {
        linked(PreviousField::get(self.0))
    }

    /// With another next gigabyte.
    pub(in crate::memory) const fn with_next(self, next: Option<GigabyteIndex>) -> Self {
        Self(NextField::set(self.0, link(next)))
    }

    /// With another previous gigabyte.
    pub(in crate::memory) const fn with_previous(self, previous: Option<GigabyteIndex>) -> Self {
        Self(PreviousField::set(self.0, link(previous)))
    }
}

/// An index in a link.
const fn link(index: Option<GigabyteIndex>) -> u64 {
    match index {
        Some(index) => index.0 as u64,
        None => NO_LINK,
    }
}

/// The index of a link.
const fn linked(link: u64) -> Option<GigabyteIndex> {
    if link == NO_LINK { None } else { Some(GigabyteIndex(link as usize)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::frames::block_bits::RUN_ORDERS;

    #[test]
    fn the_fields_of_an_entry_are_independent() {
        for number in [0, 1, u32::MAX as usize] {
            let entry = Entry::new(number);
            assert_eq!((entry.largest(), entry.zone(), entry.next_size()), (None, None, 1));
            for index in 0..RUN_ORDERS {
                for zone in [0, 1, MAX_ZONES - 1] {
                    let entry = entry.with_zone(zone).with_largest(Some(order_at(index)));
                    assert_eq!((entry.largest(), entry.zone()), (Some(order_at(index)), Some(zone)));
                    assert_eq!(entry.next_size(), (2 << index).min(64));
                    assert_eq!(entry.first_block(), BlockNumber(number * BLOCKS));
                    assert_eq!(entry.with_largest(None), Entry::new(number).with_zone(zone));
                }
            }
        }
    }

    #[test]
    fn a_border_has_a_place_for_the_blocks_above_it() {
        let place = (MAX_ZONES - 1, GigabyteIndex(7));
        for at in 1..BLOCKS {
            let border = Border::new(BlockNumber(5 * BLOCKS + at), place.0, place.1);
            for block in 0..BLOCKS {
                let found = border.place_above(BlockNumber(5 * BLOCKS + block));
                assert_eq!(found, (block >= at).then_some(place));
            }
        }
        assert!((0..BLOCKS).all(|block| Border::NONE.place_above(BlockNumber(block)).is_none()));
    }

    #[test]
    fn the_links_are_independent() {
        let ends = [None, Some(GigabyteIndex(0)), Some(GigabyteIndex(1 << 18))];
        for (next, previous) in ends.iter().flat_map(|next| ends.map(|previous| (*next, previous))) {
            let links = Links::NONE.with_next(next).with_previous(previous);
            assert_eq!((links.next(), links.previous()), (next, previous));
            assert_eq!(links.with_next(None).with_previous(None), Links::NONE);
        }
    }
}
