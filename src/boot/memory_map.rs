//! The memory map: sorted, disjoint, of fixed capacity, built from the loader's table.
//!
//! The loader's table is untrusted: entries overlap, are unsorted or empty, or end past the end of the address space.
//! [`RegionMap::from_entries`] accepts all of these. Where entries overlap, the more restrictive one wins. The [`MapReport`]
//! counts the corrections. The operation cannot fail: a full map drops reserved regions first (a hole is as little usable),
//! then the smallest usable region.
//!
//! Each boot protocol (`pvh`, `multiboot1`, `multiboot2`) converts its table to [`RawEntry`]s. The boot then reserves used
//! ranges by [`RegionMap::reserve`], and the stage `memory` gets its frames from [`RegionMap::usable_frames`]. This module uses
//! neither heap nor hardware, and runs on the host too.

use core::ops::Range;

mod region;
mod report;
#[cfg(test)]
mod tests;

pub use region::{
    FRAME_BYTES, Owner, PHYSICAL_LIMIT, PhysRange, RawEntry, Region, RegionKind, ReservedReason,
};
pub use report::{MapReport, Truncated};

/// The capacity of the kernel's map. E820 rarely has more than 128 entries; UEFI's maps are longer, and reservations split
/// regions.
pub const MAX_REGIONS: usize = 256;

/// The kernel's map.
pub type MemoryMap = RegionMap<MAX_REGIONS>;

/// A sorted, disjoint map of at most `N - 2` regions. Adjacent regions with the same owner are merged. Addresses outside all
/// regions are holes, which are not usable.
#[derive(Clone, Debug)]
pub struct RegionMap<const N: usize> {
    regions: [Region; N],
    count: usize,
}

impl<const N: usize> RegionMap<N> {
    /// Returns a map without regions.
    pub const fn empty() -> Self {
        const { assert!(N > 2, "a split needs two spare slots") };
        let nothing = Region { range: PhysRange::new(0, 0), owner: Owner::USABLE };
        RegionMap { regions: [nothing; N], count: 0 }
    }

    /// Returns the map of the loader's entries, and the corrections.
    pub fn from_entries<I>(entries: I) -> (Self, MapReport)
    where
        I: IntoIterator<Item = RawEntry>,
        I::IntoIter: Clone,
    {
        let mut map = Self::empty();
        let report = map.fill(entries);
        (map, report)
    }

    /// Replaces the map by that of the loader's entries. Works in place, because a map is too large for the boot stack.
    pub fn fill<I>(&mut self, entries: I) -> MapReport
    where
        I: IntoIterator<Item = RawEntry>,
        I::IntoIter: Clone,
    {
        self.count = 0;
        let mut report = MapReport::default();
        let mut previous_base = 0;
        let entries = entries.into_iter();
        for entry in entries.clone() {
            report.entries += 1;
            report.unsorted += u32::from(entry.base < previous_base);
            previous_base = entry.base;
        }
        // Usable entries first. No usable entry follows the others, so a reserved region that is dropped from then on cannot
        // become usable memory.
        for usable in [true, false] {
            for entry in entries.clone().filter(|entry| (entry.kind == RegionKind::Usable) == usable) {
                if let Some(range) = checked_range(entry, &mut report) {
                    report.overlapping += u32::from(self.overlaps(range));
                    let truncated = self.reassign(range, Owner::Firmware(entry.kind), |old| match old {
                        None => true,
                        Some(Owner::Firmware(old)) => entry.kind > old,
                        Some(Owner::Kernel(_)) => false,
                    });
                    report.truncated.regions += truncated.regions;
                    report.truncated.usable_bytes += truncated.usable_bytes;
                }
            }
        }
        report
    }

    /// Reserves the usable memory of a range, rounded outward to whole frames. Memory that is not usable keeps its owner, so the
    /// first reason remains.
    pub fn reserve(&mut self, range: PhysRange, reason: ReservedReason) -> Truncated {
        let end = range.end.min(PHYSICAL_LIMIT);
        let range = PhysRange::new(range.start, end);
        if range.is_empty() {
            return Truncated::default();
        }
        self.reassign(range.rounded_out(), Owner::Kernel(reason), |old| old == Some(Owner::USABLE))
    }

    /// Removes all regions at or above `limit`. Returns the number of bytes of memory removed.
    pub fn limit(&mut self, limit: u64) -> u64 {
        let mut memory_bytes = 0;
        while let Some(last) = self.count.checked_sub(1) {
            let Region { range, owner } = self.regions[last];
            if range.end <= limit {
                break;
            }
            let beyond = PhysRange::new(range.start.max(limit), range.end);
            memory_bytes += if owner.is_memory() { beyond.len() } else { 0 };
            if range.start >= limit {
                self.remove(last);
            } else {
                self.regions[last].range.end = limit;
            }
        }
        memory_bytes
    }

    /// Returns the regions in ascending order.
    pub fn regions(&self) -> &[Region] {
        &self.regions[..self.count]
    }

    /// Returns the regions that are not usable.
    pub fn reserved(&self) -> impl Iterator<Item = Region> + '_ {
        self.regions().iter().copied().filter(|region| region.owner != Owner::USABLE)
    }

    /// Returns the usable ranges in ascending order, not rounded.
    pub fn usable(&self) -> impl DoubleEndedIterator<Item = PhysRange> + Clone + '_ {
        self.regions().iter().filter(|region| region.owner == Owner::USABLE).map(|region| region.range)
    }

    /// Returns the numbers of the frames that are usable as a whole, as ascending ranges that are not empty.
    pub fn usable_frames(&self) -> impl DoubleEndedIterator<Item = Range<u64>> + Clone + '_ {
        self.usable().map(PhysRange::whole_frames).filter(|frames| !frames.is_empty())
    }

    /// Returns the number of frames of [`usable_frames`](Self::usable_frames).
    pub fn usable_frame_count(&self) -> u64 {
        self.usable_frames().map(|frames| frames.end - frames.start).sum()
    }

    /// Whether every byte of the range is usable; `false` for an empty range.
    pub fn contains_usable(&self, range: PhysRange) -> bool {
        !range.is_empty()
            && self.usable().any(|usable| usable.start <= range.start && range.end <= usable.end)
    }

    /// Returns the highest usable range of `size` bytes that begins at a multiple of `align` (a power of two) and ends at or
    /// below `limit`. The highest, to keep low memory free.
    pub fn find_usable_below(&self, limit: u64, size: u64, align: u64) -> Option<PhysRange> {
        if size == 0 || !align.is_power_of_two() {
            return None;
        }
        self.usable().rev().find_map(|usable| {
            let start = usable.end.min(limit).checked_sub(size)? & !(align - 1);
            (start >= usable.start).then(|| PhysRange::new(start, start + size))
        })
    }

    /// Returns the end of the last usable range (exclusive).
    pub fn highest_usable(&self) -> Option<u64> {
        self.usable().next_back().map(|range| range.end)
    }

    /// Returns the end of the last region (exclusive).
    pub fn highest_address(&self) -> Option<u64> {
        self.regions().last().map(|region| region.range.end)
    }

    fn overlaps(&self, range: PhysRange) -> bool {
        let next = self.first_ending_after(range.start);
        self.regions().get(next).is_some_and(|region| region.range.start < range.end)
    }

    /// Returns the index of the first region that ends above `address`.
    fn first_ending_after(&self, address: u64) -> usize {
        self.regions().partition_point(|region| region.range.end <= address)
    }

    /// Assigns to `owner` each part of the range for whose present owner (`None` for a hole) `yields` returns true.
    fn reassign(
        &mut self,
        range: PhysRange,
        owner: Owner,
        yields: impl Fn(Option<Owner>) -> bool,
    ) -> Truncated {
        let mut dropped = Truncated::default();
        let mut at = range.start;
        while at < range.end {
            // The part up to the next change of owner. It is looked up by address in each pass, because the previous pass can
            // have merged or dropped regions.
            let index = self.first_ending_after(at);
            let (end, old) = match self.regions().get(index) {
                Some(region) if region.range.start <= at => (region.range.end, Some(region.owner)),
                Some(region) => (region.range.start, None),
                None => (range.end, None),
            };
            let end = end.min(range.end);
            if yields(old) {
                self.assign(index, PhysRange::new(at, end), old.is_some(), owner);
                self.drop_excess_regions(&mut dropped);
            }
            at = end;
        }
        dropped
    }

    /// Assigns to `owner` a part of region `index` if `inside`, else a part of the hole before that region.
    fn assign(&mut self, mut index: usize, part: PhysRange, inside: bool, owner: Owner) {
        if inside {
            let whole = self.regions[index];
            self.remove(index);
            if whole.range.start < part.start {
                self.insert(index, PhysRange::new(whole.range.start, part.start), whole.owner);
                index += 1;
            }
            if part.end < whole.range.end {
                self.insert(index, PhysRange::new(part.end, whole.range.end), whole.owner);
            }
        }
        let mut range = part;
        if index < self.count
            && self.regions[index].owner == owner
            && self.regions[index].range.start == range.end
        {
            range.end = self.regions[index].range.end;
            self.remove(index);
        }
        if index > 0
            && self.regions[index - 1].owner == owner
            && self.regions[index - 1].range.end == range.start
        {
            self.regions[index - 1].range.end = range.end;
        } else {
            self.insert(index, range, owner);
        }
    }

    /// Drops regions until two entries are free, which a split in the middle of a region needs.
    fn drop_excess_regions(&mut self, dropped: &mut Truncated) {
        while self.count > N - 2 {
            let cost = |index: &usize| {
                (self.regions[*index].owner.drop_priority(), self.regions[*index].range.len())
            };
            let Some(index) = (0..self.count).min_by_key(cost) else { return };
            match self.regions[index].owner {
                Owner::USABLE => dropped.usable_bytes += self.regions[index].range.len(),
                _ => dropped.regions += 1,
            }
            self.remove(index);
        }
    }

    fn insert(&mut self, index: usize, range: PhysRange, owner: Owner) {
        self.regions.copy_within(index..self.count, index + 1);
        self.regions[index] = Region { range, owner };
        self.count += 1;
    }

    fn remove(&mut self, index: usize) {
        self.regions.copy_within(index + 1..self.count, index);
        self.count -= 1;
    }
}

/// Returns the part of an entry below [`PHYSICAL_LIMIT`], if there is one.
fn checked_range(entry: RawEntry, report: &mut MapReport) -> Option<PhysRange> {
    if entry.len == 0 {
        report.zero_length += 1;
        return None;
    }
    if entry.base >= PHYSICAL_LIMIT {
        report.out_of_range += 1;
        return None;
    }
    let last = entry.base.checked_add(entry.len - 1);
    match last {
        None => report.wrapping += 1,
        Some(last) if last >= PHYSICAL_LIMIT => report.clamped += 1,
        Some(_) => {}
    }
    let last = last.unwrap_or(u64::MAX).min(PHYSICAL_LIMIT - 1);
    Some(PhysRange::new(entry.base, last + 1))
}
