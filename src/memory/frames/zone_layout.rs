//! Which memory is near to whom and in reach of whom: NUMA nodes, zones, and the arenas that they cut memory into.
//!
//! An **arena** is what one node has of one zone. A block of 2 MiB lies in exactly one, which follows from its address: so
//! a frame is freed by its number alone, wherever it came from. The block in which a border lies belongs to what is below
//! it. Holes count as part of what is below them.
//!
//! A [`ZoneLayout`] is pure: made once of what firmware says, then only read.

use super::number::{BlockNumber, FRAMES_PER_BLOCK, FrameNumber};
use crate::config::MAX_NODES;
use core::fmt;
use core::mem::MaybeUninit;
use core::ops::Range;
use heapless::Vec;

/// A NUMA node: dense, octopod's own number. Firmware's are proximity domains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct NodeId(pub u8);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.0)
    }
}

/// Memory by how many address bits it takes to reach it. A request for a zone may be met from any below as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ZoneType {
    /// Below 1 MiB, in reach of real mode. Its arena is the first block, whose frames past 1 MiB only count for the zones
    /// above.
    Low,
    /// Below 4 GiB, in reach of devices with 32 address bits.
    Dma32,
    /// All memory; for an arena: what the others leave.
    #[default]
    Normal,
}

impl ZoneType {
    /// All zones, in ascending order.
    pub const ALL: [ZoneType; 3] = [ZoneType::Low, ZoneType::Dma32, ZoneType::Normal];

    /// The name by which it is reported.
    pub const fn name(self) -> &'static str {
        match self {
            ZoneType::Low => "low",
            ZoneType::Dma32 => "dma32",
            ZoneType::Normal => "normal",
        }
    }
}

/// Where [`ZoneType::Low`] ends: in the middle of the first block.
pub const LOW_END: FrameNumber = FrameNumber::new(1 << 8);
/// Where its arena ends: with the first block.
pub const LOW_ZONE_END: FrameNumber = FrameNumber::new(FRAMES_PER_BLOCK);
/// Where [`ZoneType::Dma32`] ends.
pub const DMA32_END: FrameNumber = FrameNumber::new(1 << 20);

const _: () = assert!(LOW_END.get() < FRAMES_PER_BLOCK, "the low arena is one block");

/// The most arenas: nodes share no block, so the first block is one node's.
pub const MAX_ZONES: usize = 2 * MAX_NODES + 1;
/// The most regions. Nodes are mostly one range each; where they are interleaved, they are several.
const MAX_REGIONS: usize = 4 * MAX_NODES + ZoneType::ALL.len();

/// Whose the memory of an arena is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneId {
    /// Its node.
    pub node: NodeId,
    /// Its zone.
    pub zone_type: ZoneType,
}

/// Blocks in a row that belong to one arena. It ends where the next one starts.
#[derive(Clone, Copy, Debug)]
struct Region {
    start: BlockNumber,
    name: ZoneId,
    /// The name's place among the arenas.
    zone: u8,
}

/// How memory is cut into arenas, and in which order each node asks them.
#[derive(Clone, Debug)]
pub struct ZoneLayout {
    /// In ascending order; the first starts at block 0.
    regions: Vec<Region, MAX_REGIONS>,
    end: BlockNumber,
    zones: Vec<ZoneId, MAX_ZONES>,
    /// For each node, the arenas from the nearest to the farthest.
    zonelists: Vec<Vec<u8, MAX_ZONES>, MAX_NODES>,
}

/// Why memory cannot be cut like that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZoneLayoutError {
    /// There must be at least one node, and no more than [`MAX_NODES`].
    Nodes {
        /// How many there would be.
        count: usize,
    },
    /// A range of a node that there is not.
    NoSuchNode {
        /// The node.
        node: NodeId,
    },
    /// A range does not start where the one before ends, or later.
    OutOfOrder {
        /// Its first frame.
        start: FrameNumber,
    },
    /// Nodes take turns more often than there is room for.
    TooManyRegions {
        /// For how many there is.
        limit: usize,
    },
}

impl fmt::Display for ZoneLayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Nodes { count } => write!(f, "{count} nodes, where there may be 1 to {MAX_NODES}"),
            Self::NoSuchNode { node } => write!(f, "memory of {node}, which there is not"),
            Self::OutOfOrder { start } => write!(f, "the range from {start} on is out of order"),
            Self::TooManyRegions { limit } => write!(f, "nodes take turns in more than {limit} ranges"),
        }
    }
}

impl core::error::Error for ZoneLayoutError {}

impl ZoneLayout {
    /// To be [filled](Self::fill).
    pub const fn empty() -> Self {
        Self { regions: Vec::new(), end: BlockNumber(0), zones: Vec::new(), zonelists: Vec::new() }
    }

    /// Writes an [`empty`](Self::empty) one, field by field: a partition takes some kilobytes, which shall not lie on the stack.
    pub fn write_empty(place: &mut MaybeUninit<Self>) -> &mut Self {
        let zone_layout = place.as_mut_ptr();
        // SAFETY: `place` is valid for writes of a `ZoneLayout`, and so is each field in it. All four fields are written before
        // the reference is made.
        unsafe {
            (&raw mut (*zone_layout).regions).write(Vec::new());
            (&raw mut (*zone_layout).end).write(BlockNumber(0));
            (&raw mut (*zone_layout).zones).write(Vec::new());
            (&raw mut (*zone_layout).zonelists).write(Vec::new());
            place.assume_init_mut()
        }
    }

    /// [`fill`](Self::fill)ed, where the stack has room for it.
    ///
    /// # Errors
    /// As there.
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

    /// Cuts the memory below `end`. In place: a partition takes some kilobytes.
    ///
    /// `ranges` say which memory is which node's: in ascending order, and apart. Memory that they leave out belongs to
    /// what is below it, or to the first range's node. `distance(a, b)` is how far memory of `b` is from CPUs of `a`. Every
    /// node asks itself first, whatever that says, and of equally far ones the next by number.
    ///
    /// # Errors
    /// What is wrong with the ranges or the nodes. The partition is of no use then.
    pub fn fill(
        &mut self,
        end: FrameNumber,
        nodes: usize,
        ranges: impl Iterator<Item = (Range<FrameNumber>, NodeId)>,
        distance: impl Fn(NodeId, NodeId) -> u8,
    ) -> Result<(), ZoneLayoutError> {
        self.fill_with(end, nodes, ranges, distance, DMA32_END)
    }

    /// The same with another border between [`ZoneType::Dma32`] and [`ZoneType::Normal`]: host tests have little memory.
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

    /// From here on memory is that node's.
    fn add_node(
        &mut self,
        start: BlockNumber,
        node: NodeId,
        dma32_end: FrameNumber,
    ) -> Result<(), ZoneLayoutError> {
        // What was to begin in a higher zone does not, and a node that has only a part of a block has nothing.
        self.regions.retain(|region| region.start < start);
        let borders = [BlockNumber(0), above(LOW_END), above(dma32_end)];
        for (index, (zone, border)) in ZoneType::ALL.into_iter().zip(borders).enumerate() {
            let zone_end = borders.get(index + 1).copied().unwrap_or(self.end);
            if zone_end <= start || border >= self.end {
                continue;
            }
            let region = Region { start: start.max(border), name: ZoneId { node, zone_type: zone }, zone: 0 };
            self.regions.push(region).map_err(|_| ZoneLayoutError::TooManyRegions { limit: MAX_REGIONS })?;
        }
        Ok(())
    }

    /// Gives each name that has come of it a number.
    fn number_zones(&mut self) {
        let mut before = None;
        self.regions.retain(|region| before.replace(region.name) != Some(region.name));
        for region in &mut self.regions {
            let known = self.zones.iter().position(|name| *name == region.name);
            region.zone = known.unwrap_or(self.zones.len()) as u8;
            if known.is_none() {
                // Never without room: a name for each node in two zones, and one node has the first block.
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
            // Never without room: each arena once.
            zonelist.extend(zone.map(|zone| zone as u8));
        };
        for &node in &by_distance {
            add(ZoneType::Normal, node);
            add(ZoneType::Dma32, node);
        }
        // Last, wherever it lies: nothing else can stand in for it.
        by_distance.iter().for_each(|&node| add(ZoneType::Low, node));
        // Never without room: the nodes have been counted.
        let _ = self.zonelists.push(zonelist);
    }

    /// How many nodes there are, with memory or without.
    pub fn nodes(&self) -> usize {
        self.zonelists.len()
    }

    /// The arenas' names. Those of a node or zone without addresses of its own are left out.
    pub fn zones(&self) -> &[ZoneId] {
        &self.zones
    }

    /// Which arena a block lies in.
    #[inline]
    pub(in crate::memory) fn zone_of(&self, block: BlockNumber) -> usize {
        let after = self.regions.iter().rposition(|region| region.start <= block);
        after.map_or(0, |index| usize::from(self.regions[index].zone))
    }

    /// The node whose memory this frame is.
    pub fn node_of(&self, frame: FrameNumber) -> NodeId {
        self.zones[self.zone_of(frame.block())].node
    }

    /// The arenas from which a request of this node's is met, in the order in which they are asked. A node that there is not
    /// asks as the first one does.
    #[inline]
    pub(in crate::memory) fn zonelist(&self, home: NodeId) -> &[u8] {
        self.zonelists.get(usize::from(home.0)).or(self.zonelists.first()).map_or(&[], |zonelist| zonelist)
    }

    /// The blocks of a region, by its place among all, and their arena.
    pub(in crate::memory) fn region(&self, index: usize) -> Option<(usize, Range<BlockNumber>)> {
        let region = self.regions.get(index)?;
        let end = self.regions.get(index + 1).map_or(self.end, |next| next.start);
        Some((usize::from(region.zone), region.start..end))
    }

    /// Whether a piece lies in this arena, as far as it reaches.
    pub(in crate::memory) fn is_within(&self, zone: usize, first: BlockNumber, blocks: usize) -> bool {
        self.zone_of(first) == zone && blocks <= self.blocks_in_zone_from(first)
    }

    /// How many blocks there are from this one on before the next border.
    pub(in crate::memory) fn blocks_in_zone_from(&self, block: BlockNumber) -> usize {
        self.borders().find(|border| *border > block).map_or(usize::MAX, |border| border.0 - block.0)
    }

    /// Where one arena ends and another begins.
    pub(in crate::memory) fn borders(&self) -> impl Iterator<Item = BlockNumber> {
        self.regions.iter().skip(1).map(|region| region.start)
    }
}

/// The first block of which nothing lies below this frame.
fn above(frame: FrameNumber) -> BlockNumber {
    BlockNumber(frame.get().div_ceil(FRAMES_PER_BLOCK))
}
