//! From the SRAT and the SLIT to NUMA nodes: which memory is whose, and how far they are apart. Pure.
//!
//! Nodes are the proximity domains of what is in use, in ascending order, numbered densely. Firmware that contradicts itself
//! is not believed in part: [`Numa::fill`] refuses a SRAT as a whole, and then there is one node.

use core::fmt;
use core::ops::Range;

use heapless::Vec;

use super::entries::Fault;
use super::slit::{LOCAL, REMOTE, Slit};
use super::srat::{Affinity, Srat};
use crate::config::MAX_NODES;
use crate::cpu::id::ApicId;
use crate::memory::frames::{FRAME_BYTES, FrameNumber, NodeId};

#[cfg(test)]
mod tests;

/// The most ranges of memory.
const MAX_RANGES: usize = 4 * MAX_NODES;

/// The machine's nodes.
#[derive(Clone, Debug)]
pub struct Numa<'a> {
    /// Each node's proximity domain, in ascending order.
    domains: Vec<u32, MAX_NODES>,
    /// In ascending order, and apart.
    ranges: Vec<(Range<u64>, NodeId), MAX_RANGES>,
    srat: Option<Srat<'a>>,
    slit: Option<Slit<'a>>,
    /// Domains beyond the limit, whose memory and CPUs count as the first node's.
    pub left_out: u32,
}

/// Why a SRAT is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumaError {
    /// An entry is broken.
    Entry(Fault),
    /// A range ends past the end of all addresses.
    PastEnd {
        /// Its first address.
        base: u64,
    },
    /// Two domains claim the same memory.
    Overlap {
        /// Its first address.
        address: u64,
    },
    /// There are more ranges than there is room for.
    TooManyRanges {
        /// For how many there is.
        limit: usize,
    },
}

impl fmt::Display for NumaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            NumaError::Entry(fault) => fault.fmt(f),
            NumaError::PastEnd { base } => write!(f, "SRAT: memory at {base:#x} has no end"),
            NumaError::Overlap { address } => write!(f, "SRAT: two domains claim memory at {address:#x}"),
            NumaError::TooManyRanges { limit } => write!(f, "SRAT: more than {limit} ranges of memory"),
        }
    }
}

impl core::error::Error for NumaError {}

impl<'a> Numa<'a> {
    /// A machine of one node.
    pub fn one_node() -> Self {
        let mut domains = Vec::new();
        // Never without room: there may be at least one.
        let _ = domains.push(0);
        Self { domains, ranges: Vec::new(), srat: None, slit: None, left_out: 0 }
    }

    /// Makes them the nodes of these tables: in place, for they are too large for a boot stack to hold twice. Without a
    /// SLIT, or where it lacks a domain, all others are equally far.
    ///
    /// # Errors
    /// Why the SRAT is not believed. There is one node then.
    pub fn fill(&mut self, srat: Srat<'a>, slit: Option<Slit<'a>>) -> Result<(), NumaError> {
        let result = self.find_domains(srat).and_then(|()| self.find_ranges(srat));
        if result.is_err() || self.domains.is_empty() {
            self.domains.clear();
            // Never without room: there may be at least one.
            let _ = self.domains.push(0);
            self.ranges.clear();
            return result;
        }
        (self.srat, self.slit) = (Some(srat), slit);
        Ok(())
    }

    fn find_domains(&mut self, srat: Srat<'a>) -> Result<(), NumaError> {
        self.domains.clear();
        self.left_out = 0;
        // The lowest domain above the last one, again and again: so they come out in order, each once.
        let mut next = Some(0);
        while let Some(least) = next {
            let mut lowest = None;
            for affinity in srat.affinities() {
                let domain = match affinity.map_err(NumaError::Entry)? {
                    Affinity::Cpu { domain, .. } => Some(domain),
                    Affinity::Memory { bytes, domain, .. } => (bytes > 0).then_some(domain),
                };
                lowest = [lowest, domain.filter(|domain| *domain >= least)].into_iter().flatten().min();
            }
            let Some(domain) = lowest else { break };
            self.left_out += u32::from(self.domains.push(domain).is_err());
            next = domain.checked_add(1);
        }
        Ok(())
    }

    fn find_ranges(&mut self, srat: Srat<'a>) -> Result<(), NumaError> {
        self.ranges.clear();
        for affinity in srat.affinities().flatten() {
            if let Affinity::Memory { base, bytes, domain } = affinity
                && bytes > 0
            {
                let end = base.checked_add(bytes).ok_or(NumaError::PastEnd { base })?;
                let node = self.node_of_domain(domain);
                let full = |_| NumaError::TooManyRanges { limit: MAX_RANGES };
                self.ranges.push((base..end, node)).map_err(full)?;
            }
        }
        self.ranges.sort_unstable_by_key(|(range, _)| range.start);
        match self.ranges.windows(2).find(|pair| pair[1].0.start < pair[0].0.end) {
            Some(pair) => Err(NumaError::Overlap { address: pair[1].0.start }),
            None => Ok(()),
        }
    }

    /// How many nodes there are, at least one.
    pub fn nodes(&self) -> usize {
        self.domains.len()
    }

    /// The proximity domain of a node; `None` if there is no such node.
    pub fn domain(&self, node: NodeId) -> Option<u32> {
        self.domains.get(usize::from(node.0)).copied()
    }

    /// The frames of each range, in ascending order, and apart. A frame in which two ranges meet is the lower one's.
    pub fn ranges(&self) -> impl Iterator<Item = (Range<FrameNumber>, NodeId)> {
        let frame = |address: u64| FrameNumber::new(address.div_ceil(FRAME_BYTES as u64) as usize);
        self.ranges.iter().map(move |(range, node)| (frame(range.start)..frame(range.end), *node))
    }

    /// Tells the nodes of CPUs; the first one for a CPU that the table does not list. Asked in the table's order, for all
    /// CPUs together it walks the table once.
    pub fn nodes_of_cpus(&self) -> impl FnMut(ApicId) -> NodeId {
        let listed =
            self.srat.into_iter().flat_map(|srat| srat.affinities().flatten()).filter_map(|affinity| {
                if let Affinity::Cpu { apic_id, domain } = affinity { Some((apic_id, domain)) } else { None }
            });
        let count = listed.clone().count();
        let mut round = listed.cycle();
        move |apic_id| {
            let found = round.by_ref().take(count).find(|(listed, _)| *listed == apic_id);
            found.map_or(NodeId(0), |(_, domain)| self.node_of_domain(domain))
        }
    }

    /// How far memory of `to` is from CPUs of `from`.
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
