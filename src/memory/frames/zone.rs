//! The types of zones: [`Zone`], the free blocks of one zone behind their lock, and [`Scope`], the zones that a search may use.

use core::fmt;
use core::ops::Range;

use crossbeam_utils::CachePadded;

use super::buddy::Buddy;
use super::number::{BlockNumber, FrameNumber, Order};
use super::sync::Lock;
use super::zone_layout::{NodeId, ZoneId, ZoneLayout, ZoneType};

/// The data that the lock of a zone protects, in addition to the bits of its free blocks, and to the state words of its blocks while they
/// leave `Blank` or `Huge`.
pub(in crate::memory) struct LockedZone {
    pub(in crate::memory) buddy: Buddy,
}

/// The free blocks of one zone, behind its lock.
pub(crate) struct Zone(pub(in crate::memory) CachePadded<Lock<LockedZone>>);

impl Zone {
    /// A zone without free blocks.
    pub(in crate::memory) fn new() -> Self {
        Self(CachePadded::new(Lock::new(LockedZone { buddy: Buddy::new() })))
    }
}

/// The layout of zones, and each zone's free blocks.
pub(in crate::memory) struct Zones {
    pub(in crate::memory) zone_layout: &'static ZoneLayout,
    /// In the order of [`ZoneLayout::zones`].
    pub(in crate::memory) zones: &'static [Zone],
}

/// The zones that a search may use, and their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::memory) struct Scope {
    /// The node whose zones come first.
    pub(in crate::memory) node: NodeId,
    /// Whether the zones of other nodes are excluded.
    pub(in crate::memory) only_node: bool,
    /// The highest zone type that is allowed.
    pub(in crate::memory) highest: ZoneType,
}

impl Scope {
    /// All zones, in the order of their distance from this node.
    pub(in crate::memory) const fn from(node: NodeId) -> Self {
        Self { node, only_node: false, highest: ZoneType::Normal }
    }

    /// Whether the search may use this zone.
    pub(in crate::memory) fn includes(&self, name: ZoneId) -> bool {
        name.zone_type <= self.highest && (!self.only_node || name.node == self.node)
    }
}

/// Why [`Frames::set_zones`](super::allocator::Frames::set_zones) has failed. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetZonesError {
    /// The zones are set already.
    AlreadySet,
    /// The layout has more zones than the caller has passed.
    TooFewZones {
        /// How many were passed.
        limit: usize,
    },
    /// More borders of zones lie within gigabytes than the metadata has room for.
    TooManyBorders {
        /// How many there may be.
        limit: usize,
    },
    /// An allocated run crosses a zone border.
    AcrossBorder {
        /// The first frame above the border.
        frame: FrameNumber,
        /// The run's order.
        order: Order,
    },
}

impl fmt::Display for SetZonesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::AlreadySet => f.write_str("the zones are set already"),
            Self::TooFewZones { limit } => write!(f, "more than {limit} zones"),
            Self::TooManyBorders { limit } => write!(f, "more than {limit} zone borders within gigabytes"),
            Self::AcrossBorder { frame, order } => {
                write!(f, "an allocated run of {order} crosses the zone border at {frame}")
            }
        }
    }
}

impl core::error::Error for SetZonesError {}

/// A zone, or all memory before the zones are set.
#[derive(Clone, Copy)]
pub(in crate::memory) struct ZoneRef<'a> {
    pub(in crate::memory) locked: &'a Lock<LockedZone>,
    /// The layout and the zone's index. `None`: all memory.
    pub(in crate::memory) within: Option<(&'a ZoneLayout, usize)>,
}

impl<'a> ZoneRef<'a> {
    /// The runs of its blocks, in ascending order. `all` are the blocks of the table.
    #[inline]
    pub(in crate::memory) fn spans(self, all: Range<BlockNumber>) -> Spans<'a> {
        Spans { within: self.within, all: Some(all), region: 0 }
    }

    /// Whether `2^order` frames from `first` on lie in it.
    pub(in crate::memory) fn has(self, first: BlockNumber, order: Order) -> bool {
        self.within.is_none_or(|(zone_layout, zone)| zone_layout.is_within(zone, first, order.blocks()))
    }
}

/// The runs of blocks of a [`ZoneRef`]. A plain loop, because a chain of iterator adapters needs too much of an interrupt stack in
/// debug builds.
pub(in crate::memory) struct Spans<'a> {
    within: Option<(&'a ZoneLayout, usize)>,
    all: Option<Range<BlockNumber>>,
    /// The region to check next.
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
