//! The zones of the allocator: one for all memory at first, then one for each zone of the [layout](super::zone_layout).
//!
//! The ACPI tables that describe NUMA nodes can only be read when some memory is managed. The allocator therefore starts with a
//! single zone. [`Frames::set_zones`] moves its free blocks to the zones of the layout, once. Frames that are allocated at that
//! time go to the zone of their address when they are freed, like all frames.

use core::ops::Range;

use super::allocator::Frames;
use super::block_bits::BLOCKS;
use super::buddy::Buddy;
use super::gigabyte::{Border, Gigabyte};
use super::number::BlockNumber;
use super::state::Kind;
use super::sync::Lock;
use super::zone::{LockedZone, Scope, SetZonesError, Zone, ZoneRef, Zones};
use super::zone_layout::{ZoneId, ZoneLayout, ZoneType};

/// The parts of a range of blocks, each in one gigabyte.
pub(in crate::memory) fn parts_by_gigabyte(
    span: Range<BlockNumber>,
) -> impl DoubleEndedIterator<Item = Range<BlockNumber>> {
    let (first, last) = (span.start.0 / BLOCKS, span.end.0.div_ceil(BLOCKS));
    (first..last.max(first)).map(move |gigabyte| {
        let blocks = BlockNumber(gigabyte * BLOCKS)..BlockNumber((gigabyte + 1) * BLOCKS);
        span.start.max(blocks.start)..span.end.min(blocks.end)
    })
}

impl Frames {
    /// A zone to be passed to [`set_zones`](Self::set_zones).
    pub(crate) fn new_zone(&self) -> Zone {
        Zone::new()
    }

    /// Sets the zones. From then on an allocation uses the zones in the order of their distance from the magazine's
    /// [local node](crate::memory::cache::magazine::Magazine::set_local_node), and requests may name a zone type or a node. Once.
    ///
    /// **Context:** interrupts disabled. Takes a time that grows with the number of free pieces.
    ///
    /// # Errors
    /// [`SetZonesError`]; nothing has changed then.
    ///
    /// # Safety
    /// No other CPU calls this allocator until this returns: it would take the lock of another zone for the same block.
    pub(crate) unsafe fn set_zones(
        &self,
        zone_layout: &'static ZoneLayout,
        zones: &'static [Zone],
    ) -> Result<(), SetZonesError> {
        if self.zones.get().is_some() {
            return Err(SetZonesError::AlreadySet);
        }
        if zones.len() < zone_layout.zones().len() {
            return Err(SetZonesError::TooFewZones { limit: zones.len() });
        }
        if zone_layout.inner_borders() > self.table.border_limit() {
            return Err(SetZonesError::TooManyBorders { limit: self.table.border_limit() });
        }
        for border in zone_layout.borders() {
            if let Some((head, state)) = self.run_of(border)
                && head != border
                && let (Kind::Huge | Kind::Cached, Some(order)) = (state.kind(), state.order())
            {
                return Err(SetZonesError::AcrossBorder { frame: border.first_frame(), order });
            }
        }
        let mut single_zone = self.single_zone.0.lock();
        single_zone.buddy = Buddy::new();
        self.table.reset_gigabytes();
        // The highest first, so that each list begins with the lowest gigabyte.
        for (zone, span) in zone_layout.regions().rev() {
            let mut locked = zones[zone].0.lock();
            for part in parts_by_gigabyte(span).rev() {
                let own = self.table.gigabyte_of(part.start);
                let gigabyte = match zone_layout.place_of(part.start) {
                    (_, Some(border)) => {
                        let above = self.table.gigabyte_above(border);
                        if own.border() == Border::NONE {
                            own.set_border(Border::new(part.start, zone, above.index()));
                        }
                        self.table.move_bits(part.clone(), border);
                        above
                    }
                    (_, None) => own,
                };
                if zone_layout.is_in_one_zone(part.start, BLOCKS) {
                    gigabyte.set_entry(gigabyte.entry().with_zone(zone));
                }
                locked.buddy.adopt(&self.table, gigabyte);
            }
        }
        self.zones.call_once(|| Zones { zone_layout, zones });
        Ok(())
    }

    /// The layout of zones, once it is set.
    pub(crate) fn zone_layout(&self) -> Option<&ZoneLayout> {
        self.zones.get().map(|zones| zones.zone_layout)
    }

    /// The owners of the allocator's locks, for a report of the locks that a CPU holds.
    #[cfg(target_os = "none")]
    pub(crate) fn lock_owners(&self) -> impl Iterator<Item = &crate::sync::LockOwner> {
        let with_zones = self.zones.get().map_or(&[][..], |zones| zones.zones);
        let zones = core::iter::once(&self.single_zone).chain(with_zones);
        zones.map(|zone| zone.0.owner()).chain([self.insert_state.owner()])
    }

    /// The lock of the zone in which a block lies.
    #[inline(always)]
    pub(in crate::memory) fn zone_lock(&self, block: BlockNumber) -> &Lock<LockedZone> {
        self.place_of(block).0
    }

    /// The lock of the zone in which a block lies, and its gigabyte in that zone. Blocks beyond the end have any.
    #[inline(always)]
    pub(in crate::memory) fn place_of(&self, block: BlockNumber) -> (&Lock<LockedZone>, &'static Gigabyte) {
        let gigabyte = self.table.gigabyte_of(block);
        match (self.zones.get(), gigabyte.entry().zone()) {
            (Some(Zones { zones, .. }), Some(zone)) => (&zones[zone].0, gigabyte),
            _ => self.place_by_layout(block),
        }
    }

    /// [`place_of`](Self::place_of) for a block whose gigabyte has several zones, and before the zones are set.
    #[cold]
    #[inline(never)]
    fn place_by_layout(&self, block: BlockNumber) -> (&Lock<LockedZone>, &'static Gigabyte) {
        let Some(Zones { zone_layout, zones }) = self.zones.get() else {
            return (&self.single_zone.0, self.table.gigabyte_of(block));
        };
        if let Some((zone, above)) = self.table.gigabyte_of(block).border().place_above(block) {
            return (&zones[zone].0, self.table.gigabyte(above));
        }
        let (zone, border) = zone_layout.place_of(block);
        let above = border.map(|border| self.table.gigabyte_above(border));
        (&zones[zone].0, above.unwrap_or_else(|| self.table.gigabyte_of(block)))
    }

    /// Calls `f` with the zones of the scope, nearest first, until it returns `Some`.
    #[inline(always)]
    pub(in crate::memory) fn find_in_zones<R>(
        &self,
        scope: Scope,
        mut f: impl FnMut(ZoneRef<'_>) -> Option<R>,
    ) -> Option<R> {
        let Some(Zones { zone_layout, zones }) = self.zones.get() else {
            // Nothing is known about zone types and nodes yet.
            let everywhere = scope.highest == ZoneType::Normal && !scope.only_node;
            return everywhere.then(|| ZoneRef { locked: &self.single_zone.0, within: None }).and_then(f);
        };
        for zone in zone_layout.zonelist(scope.node).iter().map(|&zone| usize::from(zone)) {
            if scope.includes(zone_layout.zones()[zone])
                && let Some(found) = f(ZoneRef { locked: &zones[zone].0, within: Some((zone_layout, zone)) })
            {
                return Some(found);
            }
        }
        None
    }

    /// Every zone, or all memory as one before the zones are set.
    pub(in crate::memory) fn all_zones(&self) -> impl Iterator<Item = (Option<ZoneId>, ZoneRef<'_>)> {
        let zones = self.zones.get();
        let single_zone =
            zones.is_none().then(|| (None, ZoneRef { locked: &self.single_zone.0, within: None }));
        let zones = zones.into_iter().flat_map(|Zones { zone_layout, zones }| {
            zone_layout.zones().iter().zip(*zones).enumerate().map(move |(zone, (name, Zone(locked)))| {
                (Some(*name), ZoneRef { locked, within: Some((zone_layout, zone)) })
            })
        });
        single_zone.into_iter().chain(zones)
    }
}
