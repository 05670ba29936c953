//! The shared buddies: one for all memory at first, then one for each arena, each behind its own lock.
//!
//! The tables that tell nodes apart lie in memory that must be managed to be read. So the allocator begins undivided, and
//! [`set_zones`](Frames::set_zones) deals what is free in it out to the arenas, once, piece by piece. What is in use then is
//! freed to the arena that its address lies in, as everything is.

use super::allocator::Frames;
use super::buddy::Buddy;
use super::number::{BlockNumber, FrameNumber, Order};
use super::state::Kind;
use super::sync::Lock;
use super::zone_layout::{NodeId, ZoneId, ZoneLayout, ZoneType};
use core::fmt;
use core::ops::Range;
use crossbeam_utils::CachePadded;

/// What an arena's lock guards, besides every state word of its blocks that leaves `Buddy` or `Huge`.
pub(in crate::memory) struct LockedZone {
    pub(in crate::memory) buddy: Buddy,
}

/// An arena's free blocks.
pub struct Zone(CachePadded<Lock<LockedZone>>);

impl Zone {
    pub(in crate::memory) fn new(direct_map_base: usize) -> Self {
        Self(CachePadded::new(Lock::new(LockedZone { buddy: Buddy::new(direct_map_base) })))
    }
}

/// How memory is divided, and the arenas.
pub(in crate::memory) struct Zones {
    zone_layout: &'static ZoneLayout,
    zones: &'static [Zone],
}

/// Where a search may go, and in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::memory) struct Scope {
    /// The node that is asked first.
    pub(in crate::memory) node: NodeId,
    /// Whether no other is asked.
    pub(in crate::memory) only_node: bool,
    /// The highest zone.
    pub(in crate::memory) highest: ZoneType,
}

impl Scope {
    /// All memory, by its distance from this node.
    pub(in crate::memory) const fn from(node: NodeId) -> Self {
        Self { node, only_node: false, highest: ZoneType::Normal }
    }

    fn includes(&self, name: ZoneId) -> bool {
        name.zone_type <= self.highest && (!self.only_node || name.node == self.node)
    }
}

/// Why memory was not divided. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetZonesError {
    /// It is divided already.
    AlreadySet,
    /// There are more arenas in the partition than there is room for.
    TooFewZones {
        /// For how many there is.
        limit: usize,
    },
    /// A run that was handed out lies on both sides of a border.
    AcrossBorder {
        /// The first frame past the border.
        frame: FrameNumber,
        /// The run's order.
        order: Order,
    },
}

impl fmt::Display for SetZonesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::AlreadySet => f.write_str("memory is divided already"),
            Self::TooFewZones { limit } => write!(f, "more than {limit} arenas"),
            Self::AcrossBorder { frame, order } => {
                write!(f, "a run of {order} in use lies on both sides of {frame}")
            }
        }
    }
}

impl core::error::Error for SetZonesError {}

impl Frames {
    /// An arena for [`set_zones`](Self::set_zones).
    pub fn new_zone(&self) -> Zone {
        Zone::new(self.direct_map_base)
    }

    /// Cuts memory into arenas: from here on each CPU is served from where its magazine's
    /// [home](super::Magazine::set_local_node) is nearest to, and requests may name a zone or a node. Once. Interrupts are off.
    /// Takes a time that grows with the number of free pieces.
    ///
    /// # Errors
    /// What speaks against it.
    ///
    /// # Safety
    /// No other CPU is in a call on this allocator, nor comes to one, until this has returned: it would look for blocks
    /// under another lock.
    pub unsafe fn set_zones(
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
            let state = self.table.state(border);
            if let (Kind::Huge, Some(order)) = (state.kind(), state.order())
                && border.head(order) != border
            {
                return Err(SetZonesError::AcrossBorder { frame: border.first_frame(), order });
            }
        }
        let mut single_zone = self.single_zone.0.lock();
        for order in (Order::BLOCK.get()..=Order::MAX.get()).rev().filter_map(Order::new) {
            while let Some(first) = single_zone.buddy.take(order) {
                let mut blocks = first.0..first.0 + order.blocks();
                let is_cut = zone_layout.blocks_in_zone_from(first) < blocks.len();
                while !blocks.is_empty() {
                    let first = BlockNumber(blocks.start);
                    let within = zone_layout.blocks_in_zone_from(first).min(blocks.len());
                    let order = Order::largest_at(first, within);
                    let mut locked = zones[zone_layout.zone_of(first)].0.lock();
                    // The order in a state must not reach across a border.
                    if is_cut {
                        self.table.mark_in_buddy(first, order);
                    }
                    // SAFETY: the piece was in the other buddy, so it is aligned, mapped and free; the caller keeps everything else
                    // from it meanwhile. Pieces of one buddy have been merged as far as they go.
                    unsafe { locked.buddy.push(first, order) };
                    blocks.start += order.blocks();
                }
            }
        }
        self.zones.call_once(|| Zones { zone_layout, zones });
        Ok(())
    }

    /// How memory is divided, once it is.
    pub fn zone_layout(&self) -> Option<&ZoneLayout> {
        self.zones.get().map(|zones| zones.zone_layout)
    }

    /// The words that tell which CPU holds a lock of the allocator's.
    #[cfg(target_os = "none")]
    pub fn lock_owners(&self) -> impl Iterator<Item = &crate::sync::LockOwner> {
        let with_zones = self.zones.get().map_or(&[][..], |zones| zones.zones);
        let zones = core::iter::once(&self.single_zone).chain(with_zones);
        zones.map(|zone| zone.0.owner()).chain([self.insert_state.owner()])
    }

    /// The lock of the buddy that this block goes to when it is free.
    #[inline(always)]
    pub(in crate::memory) fn locked(&self, block: BlockNumber) -> &Lock<LockedZone> {
        match self.zones.get() {
            None => &self.single_zone.0,
            Some(zones) => &zones.zones[zones.zone_layout.zone_of(block)].0,
        }
    }

    /// Calls `f` with one arena after the other, the nearest first, until it returns something.
    #[inline(always)]
    pub(in crate::memory) fn find_in_zones<R>(
        &self,
        scope: Scope,
        mut f: impl FnMut(ZoneRef<'_>) -> Option<R>,
    ) -> Option<R> {
        let Some(Zones { zone_layout, zones }) = self.zones.get() else {
            // Nothing is known of zones and nodes yet.
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

    /// Every arena, or all memory as one.
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

/// An arena, or all memory while it is not divided.
#[derive(Clone, Copy)]
pub(in crate::memory) struct ZoneRef<'a> {
    pub(in crate::memory) locked: &'a Lock<LockedZone>,
    within: Option<(&'a ZoneLayout, usize)>,
}

impl<'a> ZoneRef<'a> {
    /// Its blocks, in ascending order. `all` are those of the table.
    #[inline]
    pub(in crate::memory) fn spans(self, all: Range<BlockNumber>) -> Spans<'a> {
        Spans { within: self.within, all: Some(all), region: 0 }
    }

    /// Whether a piece lies in it, as far as it reaches.
    pub(in crate::memory) fn has(self, first: BlockNumber, order: Order) -> bool {
        self.within.is_none_or(|(zone_layout, zone)| zone_layout.is_within(zone, first, order.blocks()))
    }
}

/// The runs of blocks of a [`ZoneRef`]. A plain loop: in checked builds a chain of adapters costs an interrupt's stack.
pub(in crate::memory) struct Spans<'a> {
    within: Option<(&'a ZoneLayout, usize)>,
    all: Option<Range<BlockNumber>>,
    /// The next region to look at.
    region: usize,
}

impl Iterator for Spans<'_> {
    type Item = Range<BlockNumber>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some((zone_layout, zone)) = self.within else { return self.all.take() };
        while let Some((owner, span)) = zone_layout.region(self.region) {
            self.region += 1;
            if owner == zone {
                return Some(span);
            }
        }
        None
    }
}
