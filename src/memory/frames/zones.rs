//! The zones of the allocator: one for all memory at first, then one for each zone of the [layout](super::zone_layout).
//!
//! The ACPI tables that describe NUMA nodes can only be read when some memory is managed. The allocator therefore starts with a
//! single zone. [`Frames::set_zones`] moves its free blocks to the zones of the layout, once. Frames that are allocated at that
//! time go to the zone of their address when they are freed, like all frames.

use super::allocator::Frames;
use super::buddy::Buddy;
use super::number::{BlockNumber, Order};
use super::state::Kind;
use super::sync::Lock;
use super::zone::{LockedZone, Scope, SetZonesError, Zone, ZoneRef, Zones};
use super::zone_layout::{ZoneId, ZoneLayout, ZoneType};

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
        for border in zone_layout.borders() {
            if let Some((head, state)) = self.table.run_of(border)
                && head != border
                && let (Kind::Huge | Kind::Cached, Some(order)) = (state.kind(), state.order())
            {
                return Err(SetZonesError::AcrossBorder { frame: border.first_frame(), order });
            }
        }
        for (zone, locked) in zones.iter().take(zone_layout.zones().len()).enumerate() {
            locked.0.lock().least_border = zone_layout.least_border(zone);
        }
        let mut single_zone = self.single_zone.0.lock();
        // The largest first, so that no run is split.
        for order in Buddy::orders().rev() {
            while let Some(first) = single_zone.buddy.take(&self.table, order) {
                let mut blocks = first.0..first.0 + order.blocks();
                while !blocks.is_empty() {
                    let first = BlockNumber(blocks.start);
                    let within = zone_layout.blocks_in_zone_from(first).min(blocks.len());
                    let order = Order::largest_at(first, within);
                    let mut locked = zones[zone_layout.zone_of(first)].0.lock();
                    // Runs of one buddy are merged as far as possible.
                    locked.buddy.give(&self.table, first, order, |_, _, _| false);
                    blocks.start += order.blocks();
                }
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
        match self.zones.get() {
            None => &self.single_zone.0,
            Some(zones) => &zones.zones[zones.zone_layout.zone_of(block)].0,
        }
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
