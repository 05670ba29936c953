//! The layout of zones: which memory belongs to which NUMA node and zone type, and the zonelist of each node.
//!
//! A **zone** is the memory of one node within one [zone type](ZoneType), as in Linux. A block of 2 MiB lies in exactly one zone, which
//! follows from its address: so a frame is freed by its number alone. A block that contains a border belongs to the zone below it. Holes
//! belong to the zone below them.
//!
//! A [`ZoneLayout`] is pure: it is made once from the firmware's tables, and only read from then on.

use super::block_bits::BLOCKS;
use super::number::{BlockNumber, FRAMES_PER_BLOCK, FrameNumber};
use crate::config::MAX_NODES;
use core::fmt;
use core::mem::MaybeUninit;
use core::ops::Range;
use heapless::Vec;

/// A NUMA node. The numbers are dense and octopod's own; the firmware's are proximity domains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct NodeId(pub u8);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.0)
    }
}

/// Memory by the number of address bits that reach it. A request for a zone type may be served from each lower one as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ZoneType {
    /// Below 1 MiB, accessible in real mode. Its zone is the first block. The frames of that block above 1 MiB serve requests for higher
    /// types.
    Low,
    /// Below 4 GiB, accessible to devices with 32 address bits.
    Dma32,
    /// All memory; as the type of a zone: memory of no other type.
    #[default]
    Normal,
}

impl ZoneType {
    /// All zone types, in ascending order.
    pub const ALL: [ZoneType; 3] = [ZoneType::Low, ZoneType::Dma32, ZoneType::Normal];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            ZoneType::Low => "low",
            ZoneType::Dma32 => "dma32",
            ZoneType::Normal => "normal",
        }
    }
}

/// Where [`ZoneType::Low`] ends: in the middle of the first block.
pub(crate) const LOW_END: FrameNumber = FrameNumber::new(1 << 8);
/// Where the zone of that type ends: at the end of the first block.
pub const LOW_ZONE_END: FrameNumber = FrameNumber::new(FRAMES_PER_BLOCK);
/// Where [`ZoneType::Dma32`] ends.
pub(crate) const DMA32_END: FrameNumber = FrameNumber::new(1 << 20);

const _: () = assert!(LOW_END.get() < FRAMES_PER_BLOCK, "the low zone is one block");

/// The maximum number of zones. Nodes share no block, so only one node has a low zone.
pub const MAX_ZONES: usize = 2 * MAX_NODES + 1;
/// The maximum number of regions. Most nodes have one range; interleaved nodes have several.
pub(in crate::memory) const MAX_REGIONS: usize = 4 * MAX_NODES + ZoneType::ALL.len();

/// The identity of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneId {
    /// Its node.
    pub node: NodeId,
    /// Its type.
    pub zone_type: ZoneType,
}

/// Contiguous blocks of one zone. A region ends where the next one starts.
#[derive(Clone, Copy, Debug)]
struct ZoneRegion {
    start: BlockNumber,
    name: ZoneId,
    /// The index of the zone.
    zone: u8,
    /// The number of the border at its start, of those within gigabytes; `None` if it begins with a gigabyte.
    border: Option<u32>,
}

/// Which zones there are, which blocks they have, and the zonelist of each node.
#[derive(Clone, Debug)]
pub struct ZoneLayout {
    /// In ascending order. The first one starts at block 0.
    regions: Vec<ZoneRegion, MAX_REGIONS>,
    end: BlockNumber,
    zones: Vec<ZoneId, MAX_ZONES>,
    /// For each node, the indices of the zones, nearest first.
    zonelists: Vec<Vec<u8, MAX_ZONES>, MAX_NODES>,
}

/// Why there is no such layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZoneLayoutError {
    /// There must be at least one node, and no more than [`MAX_NODES`].
    Nodes {
        /// The number of nodes.
        count: usize,
    },
    /// A range of a node that does not exist.
    NoSuchNode {
        /// The node.
        node: NodeId,
    },
    /// A range starts before the end of the previous one.
    OutOfOrder {
        /// Its first frame.
        start: FrameNumber,
    },
    /// The nodes are interleaved in more ranges than there is room for.
    TooManyRegions {
        /// The maximum.
        limit: usize,
    },
}

impl fmt::Display for ZoneLayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Nodes { count } => write!(f, "{count} nodes; 1 to {MAX_NODES} are supported"),
            Self::NoSuchNode { node } => write!(f, "memory of {node}, which does not exist"),
            Self::OutOfOrder { start } => write!(f, "the range from {start} on is out of order"),
            Self::TooManyRegions { limit } => write!(f, "nodes are interleaved in more than {limit} ranges"),
        }
    }
}

impl core::error::Error for ZoneLayoutError {}

impl ZoneLayout {
    /// A layout without zones, to be [filled](Self::fill).
    pub const fn empty() -> Self {
        Self { regions: Vec::new(), end: BlockNumber(0), zones: Vec::new(), zonelists: Vec::new() }
    }

    /// Writes an [`empty`](Self::empty) layout in place, field by field. It takes some kilobytes, too much for a stack.
    #[doc(hidden)]
    pub fn write_empty(place: &mut MaybeUninit<Self>) -> &mut Self {
        // A new field does not compile here before it is written below.
        let _ = |ZoneLayout { regions: _, end: _, zones: _, zonelists: _ }: ZoneLayout| ();
        let zone_layout = place.as_mut_ptr();
        // SAFETY: `place` is a place for a `ZoneLayout`, so the field lies in it.
        let regions = unsafe { &raw mut (*zone_layout).regions };
        // SAFETY: `place` is valid for writes, and so is each field in it.
        unsafe { regions.write(Vec::new()) };
        // SAFETY: `place` is a place for a `ZoneLayout`, so the field lies in it.
        let end = unsafe { &raw mut (*zone_layout).end };
        // SAFETY: `place` is valid for writes, and so is each field in it.
        unsafe { end.write(BlockNumber(0)) };
        // SAFETY: `place` is a place for a `ZoneLayout`, so the field lies in it.
        let zones = unsafe { &raw mut (*zone_layout).zones };
        // SAFETY: `place` is valid for writes, and so is each field in it.
        unsafe { zones.write(Vec::new()) };
        // SAFETY: `place` is a place for a `ZoneLayout`, so the field lies in it.
        let zonelists = unsafe { &raw mut (*zone_layout).zonelists };
        // SAFETY: `place` is valid for writes, and so is each field in it.
        unsafe { zonelists.write(Vec::new()) };
        // SAFETY: all fields are written above; the pattern at the start names all that there are.
        unsafe { place.assume_init_mut() }
    }

    /// A [filled](Self::fill) layout, for callers whose stack has room for it.
    ///
    /// # Errors
    /// As for [`fill`](Self::fill).
    pub fn new(
        end: FrameNumber,
        nodes: usize,
        ranges: impl Iterator<Item = (Range<FrameNumber>, NodeId)>,
        distance: impl Fn(NodeId, NodeId) -> u8,
    ) -> Result<Self, ZoneLayoutError> {
        let mut zone_layout = Self::empty();
        zone_layout.fill(end, nodes, ranges, distance)?;
        Ok(zone_layout)
    }

    /// Lays out the zones of the memory below `end`.
    ///
    /// `ranges` are the memory of each node, in ascending order and disjoint. Memory that they leave out belongs to the node below it, or
    /// to the node of the first range. `distance(a, b)` is the distance of memory of node `b` from CPUs of node `a`. A node is always
    /// nearest to itself; of nodes at the same distance, the next one by number is the nearest.
    ///
    /// # Errors
    /// [`ZoneLayoutError`]; the layout cannot be used then.
    #[doc(hidden)]
    pub fn fill(
        &mut self,
        end: FrameNumber,
        nodes: usize,
        ranges: impl Iterator<Item = (Range<FrameNumber>, NodeId)>,
        distance: impl Fn(NodeId, NodeId) -> u8,
    ) -> Result<(), ZoneLayoutError> {
        self.fill_with(end, nodes, ranges, distance, DMA32_END)
    }

    /// [`fill`](Self::fill) with another border between [`ZoneType::Dma32`] and [`ZoneType::Normal`]: host tests have little memory.
    pub(in crate::memory) fn fill_with(
        &mut self,
        end: FrameNumber,
        nodes: usize,
        ranges: impl Iterator<Item = (Range<FrameNumber>, NodeId)>,
        distance: impl Fn(NodeId, NodeId) -> u8,
        dma32_end: FrameNumber,
    ) -> Result<(), ZoneLayoutError> {
        if nodes == 0 || nodes > MAX_NODES {
            return Err(ZoneLayoutError::Nodes { count: nodes });
        }
        self.regions.clear();
        self.zones.clear();
        self.zonelists.clear();
        self.end = above(end);
        let mut last_end = FrameNumber::new(0);
        let mut before = None;
        for (range, node) in ranges {
            if usize::from(node.0) >= nodes {
                return Err(ZoneLayoutError::NoSuchNode { node });
            }
            if range.start < last_end || range.end < range.start {
                return Err(ZoneLayoutError::OutOfOrder { start: range.start });
            }
            last_end = range.end;
            let start = if before.is_none() { BlockNumber(0) } else { above(range.start) };
            if before != Some(node) && start < self.end {
                self.add_node(start, node, dma32_end)?;
            }
            before = Some(node);
        }
        if before.is_none() {
            self.add_node(BlockNumber(0), NodeId(0), dma32_end)?;
        }
        self.number_zones();
        for home in 0..nodes {
            self.add_zonelist(home, nodes, &distance);
        }
        Ok(())
    }

    /// Adds the regions of a node whose memory begins at `start`.
    fn add_node(
        &mut self,
        start: BlockNumber,
        node: NodeId,
        dma32_end: FrameNumber,
    ) -> Result<(), ZoneLayoutError> {
        // Regions that begin at `start` or above it are replaced. A node that has only a part of a block gets none.
        self.regions.retain(|region| region.start < start);
        let borders = [BlockNumber(0), above(LOW_END), above(dma32_end)];
        for (index, (zone, border)) in ZoneType::ALL.into_iter().zip(borders).enumerate() {
            let zone_end = borders.get(index + 1).copied().unwrap_or(self.end);
            if zone_end <= start || border >= self.end {
                continue;
            }
            let region = ZoneRegion {
                start: start.max(border),
                name: ZoneId { node, zone_type: zone },
                zone: 0,
                border: None,
            };
            self.regions.push(region).map_err(|_| ZoneLayoutError::TooManyRegions { limit: MAX_REGIONS })?;
        }
        Ok(())
    }

    /// Numbers the zones of the regions.
    fn number_zones(&mut self) {
        let mut before = None;
        self.regions.retain(|region| before.replace(region.name) != Some(region.name));
        let mut borders = 0;
        for region in &mut self.regions {
            region.border = (region.start.0 % BLOCKS != 0).then_some(borders);
            borders += u32::from(region.border.is_some());
            let known = self.zones.iter().position(|name| *name == region.name);
            region.zone = known.unwrap_or(self.zones.len()) as u8;
            if known.is_none() {
                // There is room: each node has at most two zones, and one node has the low zone.
                let _ = self.zones.push(region.name);
            }
        }
    }

    fn add_zonelist(&mut self, home: usize, nodes: usize, distance: &impl Fn(NodeId, NodeId) -> u8) {
        let mut by_distance: Vec<usize, MAX_NODES> = (0..nodes).collect();
        by_distance.sort_unstable_by_key(|&node| {
            let steps = (node + nodes - home) % nodes;
            (steps != 0, distance(NodeId(home as u8), NodeId(node as u8)), steps)
        });
        let mut zonelist = Vec::new();
        let mut add = |zone, node| {
            let zone =
                self.zones.iter().position(|name| name.zone_type == zone && usize::from(name.node.0) == node);
            // There is room: each zone once.
            zonelist.extend(zone.map(|zone| zone as u8));
        };
        for &node in &by_distance {
            add(ZoneType::Normal, node);
            add(ZoneType::Dma32, node);
        }
        // Last, whatever its node: no other zone can replace it.
        by_distance.iter().for_each(|&node| add(ZoneType::Low, node));
        // There is room: the number of nodes was checked.
        let _ = self.zonelists.push(zonelist);
    }

    /// The number of nodes, with memory or without.
    pub fn nodes(&self) -> usize {
        self.zonelists.len()
    }

    /// The zones. A node has no zone of a type of which it has no addresses.
    pub fn zones(&self) -> &[ZoneId] {
        &self.zones
    }

    /// The index of the zone in which a block lies.
    #[inline]
    pub(in crate::memory) fn zone_of(&self, block: BlockNumber) -> usize {
        let after = self.regions.iter().rposition(|region| region.start <= block);
        after.map_or(0, |index| usize::from(self.regions[index].zone))
    }

    /// The index of the zone in which a block lies, and, if its gigabyte has a border below it, the number of the last such border.
    pub(in crate::memory) fn place_of(&self, block: BlockNumber) -> (usize, Option<usize>) {
        // The first region begins at block 0.
        let Some(region) = self.regions.iter().rfind(|region| region.start <= block) else {
            return (0, None);
        };
        let is_near = region.start.0 / BLOCKS == block.0 / BLOCKS;
        (usize::from(region.zone), region.border.filter(|_| is_near).map(|border| border as usize))
    }

    /// Fault injection: the last border at or below this block, if it is within the block's gigabyte, but not that of the low zone.
    #[cfg(feature = "faults")]
    pub(in crate::memory) fn border_in_gigabyte(&self, block: BlockNumber) -> Option<BlockNumber> {
        let last = self.borders().take_while(|border| *border <= block).last()?;
        (last.0 > 1 && last.0 % BLOCKS != 0 && last.0 / BLOCKS == block.0 / BLOCKS).then_some(last)
    }

    /// How many borders lie within gigabytes.
    pub(in crate::memory) fn inner_borders(&self) -> usize {
        self.regions.iter().filter(|region| region.border.is_some()).count()
    }

    /// The node to which this frame belongs.
    pub fn node_of(&self, frame: FrameNumber) -> NodeId {
        self.zones[self.zone_of(frame.block())].node
    }

    /// The zonelist of a node: the indices of the zones, in the order in which its allocations use them. A node that does not exist has
    /// the zonelist of node 0.
    #[inline]
    pub(in crate::memory) fn zonelist(&self, home: NodeId) -> &[u8] {
        self.zonelists.get(usize::from(home.0)).or(self.zonelists.first()).map_or(&[], |zonelist| zonelist)
    }

    /// A region by its index: its zone and its blocks.
    pub(in crate::memory) fn region(&self, index: usize) -> Option<(usize, Range<BlockNumber>)> {
        let region = self.regions.get(index)?;
        let end = self.regions.get(index + 1).map_or(self.end, |next| next.start);
        Some((usize::from(region.zone), region.start..end))
    }

    /// All regions, in ascending order: the zone and the blocks of each.
    pub(in crate::memory) fn regions(&self) -> impl DoubleEndedIterator<Item = (usize, Range<BlockNumber>)> {
        (0..self.regions.len()).filter_map(|index| self.region(index))
    }

    /// Whether all blocks of a naturally aligned run lie in one region. `block` is one of them.
    pub(in crate::memory) fn is_in_one_zone(&self, block: BlockNumber, blocks: usize) -> bool {
        let head = block.0 / blocks * blocks;
        !self.borders().any(|border| head < border.0 && border.0 < head + blocks)
    }

    /// Whether a run of blocks lies in this zone.
    pub(in crate::memory) fn is_within(&self, zone: usize, first: BlockNumber, blocks: usize) -> bool {
        self.zone_of(first) == zone && blocks <= self.blocks_in_zone_from(first)
    }

    /// How many blocks there are from this one to the next border.
    pub(in crate::memory) fn blocks_in_zone_from(&self, block: BlockNumber) -> usize {
        self.borders().find(|border| *border > block).map_or(usize::MAX, |border| border.0 - block.0)
    }

    /// The first blocks of all regions but the first one.
    pub(in crate::memory) fn borders(&self) -> impl Iterator<Item = BlockNumber> {
        self.regions.iter().skip(1).map(|region| region.start)
    }
}

/// The first block that is not below this frame.
fn above(frame: FrameNumber) -> BlockNumber {
    BlockNumber(frame.get().div_ceil(FRAMES_PER_BLOCK))
}
