//! NUMA nodes, from the SRAT and the SLIT: the memory of each node, and the distances. Pure.
//!
//! Nodes are the proximity domains that have CPUs or memory, in ascending order, with dense numbers. Only memory in the
//! memory map counts: a range of the SRAT without memory claims nothing. If two ranges overlap, installed memory has
//! priority over a hot-plug window, and the window over non-volatile memory, as in Linux's `numa_cleanup_meminfo`. An
//! overlap of two ranges of the same kind and different domains is a contradiction. [`Numa::fill`] then rejects the SRAT
//! as a whole and creates one node.
//!
//! Each pass over the table takes time in proportion to its entries, however many domains they name.

use core::fmt;
use core::ops::Range;

use heapless::Vec;

use super::cpu_list::CpuEntry;
use super::describe::report_entry;
use super::entries::EntryError;
use super::id_index::IdIndex;
use super::slit::{LOCAL, REMOTE, Slit};
use super::srat::{Affinity, MemoryKind, Srat};
use crate::boot::defect::{Defect, DefectSink};
use crate::boot::memory_map::{PhysRange, Region};
use crate::config::MAX_NODES;
use crate::memory::frames::{FRAME_BYTES, FrameNumber, NodeId};

#[cfg(test)]
mod tests;

/// The maximum number of ranges.
const MAX_RANGES: usize = 4 * MAX_NODES;

/// The machine's NUMA nodes.
#[derive(Clone, Debug)]
pub struct Numa<'a> {
    /// Each node's proximity domain, in ascending order.
    domains: Vec<u32, MAX_NODES>,
    /// In ascending order, disjoint.
    ranges: Vec<NodeRange, MAX_RANGES>,
    srat: Option<Srat<'a>>,
    slit: Option<Slit<'a>>,
    /// The number of entries for domains beyond the limit. Their memory and CPUs belong to node 0.
    pub left_out: u32,
    /// The number of ranges that end past the end of the address space. They are truncated there.
    pub past_end: u32,
}

/// A node's range of physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NodeRange {
    range: PhysRange,
    node: NodeId,
    kind: MemoryKind,
}

/// The reason why a SRAT is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumaError {
    /// An entry is invalid.
    Entry(EntryError),
    /// Two domains claim the same memory.
    Overlap {
        /// Its first physical address.
        address: u64,
        /// The domains, in the order of their nodes' ranges.
        domains: [u32; 2],
    },
    /// The SRAT has too many separate ranges.
    TooManyRanges {
        /// The maximum number of ranges.
        limit: usize,
    },
}

impl fmt::Display for NumaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            NumaError::Entry(error) => error.fmt(f),
            NumaError::Overlap { address, domains: [first, second] } => {
                write!(f, "domains {first} and {second} both claim memory at {address:#x}")
            }
            NumaError::TooManyRanges { limit } => write!(f, "more than {limit} separate ranges of memory"),
        }
    }
}

impl core::error::Error for NumaError {}

impl<'a> Numa<'a> {
    /// Returns a machine of one node.
    pub fn one_node() -> Self {
        let mut domains = Vec::new();
        // `MAX_NODES` is at least 1.
        let _ = domains.push(0);
        Self { domains, ranges: Vec::new(), srat: None, slit: None, left_out: 0, past_end: 0 }
    }

    /// Replaces the nodes by those of these tables. It works in place, because two copies do not fit on a boot stack.
    /// Without a SLIT, or for a domain that it lacks, all other nodes have the same distance. `regions` is the memory
    /// map.
    ///
    /// # Errors
    /// [`NumaError`]: the SRAT is rejected, and there is one node.
    pub fn fill(
        &mut self,
        srat: Srat<'a>,
        slit: Option<Slit<'a>>,
        regions: &[Region],
    ) -> Result<(), NumaError> {
        let result = self.find_domains(srat, regions).and_then(|()| self.find_ranges(srat, regions));
        if result.is_err() || self.domains.is_empty() {
            self.domains.clear();
            // `MAX_NODES` is at least 1.
            let _ = self.domains.push(0);
            self.ranges.clear();
            return result;
        }
        (self.srat, self.slit) = (Some(srat), slit);
        Ok(())
    }

    /// Calls [`fill`](Self::fill) with the SRAT at `address`, and reports its errors to `defects`.
    pub fn fill_or_report(
        &mut self,
        srat: Srat<'a>,
        address: u64,
        slit: Option<Slit<'a>>,
        regions: &[Region],
        defects: DefectSink<'_>,
    ) {
        let result = self.fill(srat, slit, regions);
        if let Err(NumaError::Entry(error)) = &result {
            report_entry(error, address, defects);
        }
        let mut report = |reason: fmt::Arguments<'_>| {
            defects(&Defect { table: "SRAT", address: Some(address), offset: None, reason });
        };
        match result {
            Ok(()) => {}
            Err(NumaError::Entry(_)) => report(format_args!("invalid entry: falling back to one node")),
            Err(error) => report(format_args!("{error}: falling back to one node")),
        }
        if let count @ 1.. = self.left_out {
            report(format_args!(
                "{count} entries for domains beyond the lowest {MAX_NODES}: assigned to node 0"
            ));
        }
        if let count @ 1.. = self.past_end {
            report(format_args!("{count} memory ranges exceed the address space"));
        }
    }

    /// Collects the lowest domains, at most `MAX_NODES`.
    fn find_domains(&mut self, srat: Srat<'a>, regions: &[Region]) -> Result<(), NumaError> {
        self.domains.clear();
        self.left_out = 0;
        let mut is_full = false;
        for affinity in srat.affinities() {
            let Some(domain) = domain_of(affinity.map_err(NumaError::Entry)?, regions) else { continue };
            let Err(place) = self.domains.binary_search(&domain) else { continue };
            if self.domains.is_full() {
                is_full = true;
                if place == self.domains.len() {
                    continue;
                }
                self.domains.pop();
            }
            // There is room: a full vector has lost its last element above.
            let _ = self.domains.insert(place, domain);
        }
        if is_full {
            let named = srat.affinities().flatten().filter_map(|affinity| domain_of(affinity, regions));
            self.left_out = named.filter(|domain| self.domains.binary_search(domain).is_err()).count() as u32;
        }
        Ok(())
    }

    fn find_ranges(&mut self, srat: Srat<'a>, regions: &[Region]) -> Result<(), NumaError> {
        self.ranges.clear();
        self.past_end = 0;
        for wanted in MemoryKind::ALL {
            for affinity in srat.affinities().flatten() {
                if let Affinity::Memory { base, bytes, domain, kind } = affinity
                    && kind == wanted
                    && bytes > 0
                {
                    self.past_end += u32::from(base.checked_add(bytes).is_none());
                    let range = PhysRange::new(base, base.saturating_add(bytes));
                    self.claim(NodeRange { range, node: self.node_of_domain(domain), kind }, regions)?;
                }
            }
        }
        Ok(())
    }

    /// Adds the parts of a claim that have memory and are not claimed yet.
    fn claim(&mut self, claim: NodeRange, regions: &[Region]) -> Result<(), NumaError> {
        let mut at = claim.range.start;
        while at < claim.range.end {
            let next = self.ranges.partition_point(|known| known.range.end <= at);
            let known = self.ranges.get(next).copied().filter(|known| known.range.start < claim.range.end);
            let end = match known {
                Some(known) if known.range.start <= at => {
                    let end = known.range.end.min(claim.range.end);
                    let is_equal = known.node != claim.node && known.kind == claim.kind;
                    if is_equal && let Some(address) = first_memory(regions, PhysRange::new(at, end)) {
                        let domains = [known.node, claim.node].map(|node| self.domain(node).unwrap_or(0));
                        return Err(NumaError::Overlap { address, domains });
                    }
                    end
                }
                known => {
                    let end = known.map_or(claim.range.end, |known| known.range.start);
                    let range = PhysRange::new(at, end);
                    if first_memory(regions, range).is_some() {
                        self.enter(next, NodeRange { range, ..claim })?;
                    }
                    end
                }
            };
            at = end;
        }
        Ok(())
    }

    /// Inserts a claim before the one at `next`, or merges it with its neighbours.
    fn enter(&mut self, next: usize, claim: NodeRange) -> Result<(), NumaError> {
        let is_same = |known: &NodeRange| known.node == claim.node && known.kind == claim.kind;
        let mut range = claim.range;
        if let Some(after) = self.ranges.get(next)
            && is_same(after)
            && after.range.start == range.end
        {
            range.end = after.range.end;
            self.ranges.remove(next);
        }
        if let Some(before) = next.checked_sub(1).and_then(|before| self.ranges.get_mut(before))
            && is_same(before)
            && before.range.end == range.start
        {
            before.range.end = range.end;
            return Ok(());
        }
        let full = |_| NumaError::TooManyRanges { limit: MAX_RANGES };
        self.ranges.insert(next, NodeRange { range, ..claim }).map_err(full)
    }

    /// Returns the number of nodes, at least one.
    pub fn nodes(&self) -> usize {
        self.domains.len()
    }

    /// Returns the proximity domain of a node; `None` if there is no such node.
    pub fn domain(&self, node: NodeId) -> Option<u32> {
        self.domains.get(usize::from(node.0)).copied()
    }

    /// Returns the page frames of each range, in ascending order and disjoint. A frame in which two ranges meet belongs
    /// to the lower one.
    pub fn ranges(&self) -> impl Iterator<Item = (Range<FrameNumber>, NodeId)> {
        let frame = |address: u64| FrameNumber::new(address.div_ceil(FRAME_BYTES as u64) as usize);
        self.ranges.iter().map(move |claim| (frame(claim.range.start)..frame(claim.range.end), claim.node))
    }

    /// Sets the nodes of `cpus`, which `index` finds by their APIC IDs. A CPU that the SRAT does not list belongs to node
    /// 0, and a CPU that it lists twice to the node of the last entry.
    pub fn assign(&self, cpus: &mut [CpuEntry], index: &IdIndex<'_>) {
        for affinity in self.srat.iter().flat_map(|srat| srat.affinities().flatten()) {
            if let Affinity::Cpu { apic_id, domain } = affinity
                && let Some(place) = index.find(apic_id.0, |place| cpus[place].apic_id.0)
            {
                cpus[place].node = self.node_of_domain(domain);
            }
        }
    }

    /// Returns the distance of memory of node `to` from CPUs of node `from`.
    pub fn distance(&self, from: NodeId, to: NodeId) -> u8 {
        let domains = (self.domain(from), self.domain(to));
        let said =
            self.slit.zip(domains.0.zip(domains.1)).and_then(|(slit, (from, to))| slit.distance(from, to));
        said.unwrap_or(if from == to { LOCAL } else { REMOTE })
    }

    fn node_of_domain(&self, domain: u32) -> NodeId {
        NodeId(self.domains.binary_search(&domain).unwrap_or(0) as u8)
    }
}

/// Returns the domain of an entry that names a CPU or existing memory.
fn domain_of(affinity: Affinity, regions: &[Region]) -> Option<u32> {
    match affinity {
        Affinity::Cpu { domain, .. } => Some(domain),
        Affinity::Memory { base, bytes, domain, .. } => {
            let range = PhysRange::new(base, base.saturating_add(bytes));
            first_memory(regions, range).map(|_| domain)
        }
    }
}

/// Returns the first address in a range at which the memory map has memory.
fn first_memory(regions: &[Region], range: PhysRange) -> Option<u64> {
    let first = regions.partition_point(|region| region.range.end <= range.start);
    let mut inside = regions[first..].iter().take_while(|region| region.range.start < range.end);
    let memory = inside.find(|region| region.owner.is_memory() && !range.is_empty())?;
    Some(memory.range.start.max(range.start))
}
