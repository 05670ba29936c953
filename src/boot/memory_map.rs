//! The machine's memory map: sorted, disjoint, of fixed capacity, and built from whatever the loader handed over.
//!
//! Loaders pass on what firmware told them, and firmware contradicts itself: entries overlap, come unsorted, are
//! empty, or end past the end of the address space. [`RegionMap::from_entries`] takes all of that, lets the more
//! restrictive claim win, and says in its [`MapReport`] what it had to put right. It cannot fail: where the map is
//! too small, what is given up is knowledge of what nobody may touch anyway, and then the smallest usable region.
//!
//! Each door (`pvh`, later the Multiboots) turns its own table into [`RawEntry`]s. Boot code then takes away what
//! is in use with [`RegionMap::reserve`], and the memory stage draws its frames from [`RegionMap::usable_frames`].
//! Everything here is pure: no heap, no hardware, the same file on the host.

use core::ops::Range;

mod region;
mod report;
#[cfg(test)]
mod tests;

pub use region::{
    FRAME_BYTES, Owner, PHYSICAL_LIMIT, PhysRange, RawEntry, Region, RegionKind, ReservedReason,
};
pub use report::{MapReport, Truncated};

/// The capacity of the kernel's own map. The BIOS interface rarely gives more than 128 entries; reservations split
/// regions, and UEFI's maps are longer.
pub const MAX_REGIONS: usize = 256;

/// The kernel's map.
pub type MemoryMap = RegionMap<MAX_REGIONS>;

/// A sorted, disjoint map of at most `N - 2` regions. Neighbours with the same owner are one region; what no region
/// covers is a hole, and as little usable as a reserved one.
#[derive(Clone, Debug)]
pub struct RegionMap<const N: usize> {
    regions: [Region; N],
    count: usize,
}

impl<const N: usize> RegionMap<N> {
    /// A map without a region, to be filled by [`fill`](Self::fill).
    pub const fn empty() -> Self {
        const { assert!(N > 2, "a split needs two spare slots") };
        let nothing = Region { range: PhysRange::new(0, 0), owner: Owner::USABLE };
        RegionMap { regions: [nothing; N], count: 0 }
    }

    /// The map of the loader's entries.
    pub fn from_entries<I>(entries: I) -> (Self, MapReport)
    where
        I: IntoIterator<Item = RawEntry>,
        I::IntoIter: Clone,
    {
        let mut map = Self::empty();
        let report = map.fill(entries);
        (map, report)
    }

    /// Replaces the map by that of the loader's entries, in place: a map is some kilobytes, which a boot stack need
    /// not hold.
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
        // Usable entries first, so that when the others come nothing usable can follow them: from then on a reserved
        // region may be forgotten without its memory being handed out.
        for usable in [true, false] {
            for entry in entries.clone().filter(|entry| (entry.kind == RegionKind::Usable) == usable) {
                if let Some(range) = checked_range(entry, &mut report) {
                    report.overlapping += u32::from(self.overlaps(range));
                    let truncated = self.paint(range, Owner::Firmware(entry.kind), |old| match old {
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

    /// Takes a range, rounded outward to whole frames, out of the usable memory. What in it is not usable keeps its
    /// owner, so the reason that came first stays.
    pub fn reserve(&mut self, range: PhysRange, reason: ReservedReason) -> Truncated {
        let end = range.end.min(PHYSICAL_LIMIT);
        let range = PhysRange::new(range.start, end);
        if range.is_empty() {
            return Truncated::default();
        }
        self.paint(range.rounded_out(), Owner::Kernel(reason), |old| old == Some(Owner::USABLE))
    }

    /// Forgets what lies at or above `limit`, which cannot be reached. Returns how many bytes of memory that were.
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

    /// The regions in ascending order.
    pub fn regions(&self) -> &[Region] {
        &self.regions[..self.count]
    }

    /// The regions that are not usable, each with its reason.
    pub fn reserved(&self) -> impl Iterator<Item = Region> + '_ {
        self.regions().iter().copied().filter(|region| region.owner != Owner::USABLE)
    }

    /// The usable ranges in ascending order, to the byte.
    pub fn usable(&self) -> impl DoubleEndedIterator<Item = PhysRange> + Clone + '_ {
        self.regions().iter().filter(|region| region.owner == Owner::USABLE).map(|region| region.range)
    }

    /// The numbers of the frames that are usable to their last byte, as ascending runs that are not empty.
    pub fn usable_frames(&self) -> impl DoubleEndedIterator<Item = Range<u64>> + Clone + '_ {
        self.usable().map(PhysRange::whole_frames).filter(|frames| !frames.is_empty())
    }

    /// How many frames [`usable_frames`](Self::usable_frames) gives.
    pub fn usable_frame_count(&self) -> u64 {
        self.usable_frames().map(|frames| frames.end - frames.start).sum()
    }

    /// Whether every byte of the range is usable. An empty range is not.
    pub fn contains_usable(&self, range: PhysRange) -> bool {
        !range.is_empty()
            && self.usable().any(|usable| usable.start <= range.start && range.end <= usable.end)
    }

    /// The highest usable range of `size` bytes that begins at a multiple of `align` (a power of two) and ends at or
    /// below `limit`. The highest, because low memory is what others may need.
    pub fn find_usable_below(&self, limit: u64, size: u64, align: u64) -> Option<PhysRange> {
        if size == 0 || !align.is_power_of_two() {
            return None;
        }
        self.usable().rev().find_map(|usable| {
            let start = usable.end.min(limit).checked_sub(size)? & !(align - 1);
            (start >= usable.start).then(|| PhysRange::new(start, start + size))
        })
    }

    /// One past the last usable address.
    pub fn highest_usable(&self) -> Option<u64> {
        self.usable().next_back().map(|range| range.end)
    }

    /// One past the last address of any region.
    pub fn highest_address(&self) -> Option<u64> {
        self.regions().last().map(|region| region.range.end)
    }

    fn overlaps(&self, range: PhysRange) -> bool {
        let next = self.first_ending_after(range.start);
        self.regions().get(next).is_some_and(|region| region.range.start < range.end)
    }

    /// The index of the first region that ends past `address`.
    fn first_ending_after(&self, address: u64) -> usize {
        self.regions().partition_point(|region| region.range.end <= address)
    }

    /// Gives `owner` each part of the range whose present owner (`None` for a hole) `yields`.
    fn paint(&mut self, range: PhysRange, owner: Owner, yields: impl Fn(Option<Owner>) -> bool) -> Truncated {
        let mut dropped = Truncated::default();
        let mut at = range.start;
        while at < range.end {
            // The part from here to where the owner changes. Looked up by address each time, since what was painted
            // before may have merged regions or forgotten some.
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

    /// Gives `owner` a part of region `index` if `inside`, else a part of the hole before it.
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

    /// Two slots stay free between calls, since a split in the middle of a region needs them.
    fn drop_excess_regions(&mut self, dropped: &mut Truncated) {
        while self.count > N - 2 {
            let cost = |index: &usize| (self.regions[*index].owner.worth(), self.regions[*index].range.len());
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

/// The part of an entry that can be addressed, if there is any.
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
