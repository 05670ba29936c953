//! Where frames come from: every CPU is served from its own node first; when a node has nothing left, from the next; and a
//! request for a zone gets memory of that zone or nothing. Afterwards all is back, and as whole as before.
//!
//! What is taken is kept in a list through the frames themselves, so no memory is needed for that.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use heapless::Vec;

use crate::boot::direct_map;
use crate::config::{MAX_NODES, STRESS_GRACE_MS};
use crate::cpu::{CpuId, IrqGuard};
use crate::memory;
use crate::memory::FrameRange;
use crate::memory::frames::{
    FrameNumber, FrameRequest, MAX_ZONES, NodeId, Nodes, Order, ZoneStats, ZoneType,
};
use crate::smp::{self, CallError, Cpu};
use crate::sync::SpinLockIrq;

/// Frames that each CPU takes at once: more than a magazine holds.
const PER_CPU: usize = 200;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Memory was not divided.
    Undivided,
    /// The CPUs could not be asked for their frames.
    Call(CallError),
    /// A CPU got memory of another node while its own had some.
    Foreign {
        /// The CPU.
        cpu: CpuId,
        /// Its node.
        home: NodeId,
        /// Where the frame lies; `None` if there was none.
        found: Option<NodeId>,
    },
    /// A node was asked again after it had nothing left.
    Again {
        /// For requests of this node.
        home: NodeId,
        /// That node.
        node: NodeId,
    },
    /// A request got memory that is not where it was asked for.
    Misplaced {
        /// What was asked for.
        request: FrameRequest,
        /// The run's first frame.
        frame: FrameNumber,
    },
    /// Requests get nothing, and frames are free.
    Unfound {
        /// The zone that was asked for.
        zone: ZoneType,
        /// Frames that are free there.
        free: usize,
    },
    /// Requests for a zone have used up memory above it.
    Overdrawn {
        /// The zone.
        zone: ZoneType,
    },
    /// Memory is not as it was before.
    NotBack {
        /// Where.
        node: NodeId,
        /// Where.
        zone: ZoneType,
        /// Frames that were free.
        before: usize,
        /// Frames that are free now; if it is the same number, in smaller pieces.
        after: usize,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Undivided => f.write_str("zones: memory was not divided"),
            Failure::Call(error) => write!(f, "zones: {error}"),
            Failure::Foreign { cpu, home, found: Some(node) } => {
                write!(f, "zones: cpu {cpu} of {home} got memory of {node}")
            }
            Failure::Foreign { cpu, home, found: None } => {
                write!(f, "zones: cpu {cpu} got nothing, and its {home} has memory")
            }
            Failure::Again { home, node } => {
                write!(f, "zones: {home} was served by {node}, which had nothing left before")
            }
            Failure::Misplaced { request, frame } => write!(f, "zones: {frame} for {request:?}"),
            Failure::Unfound { zone, free } => {
                write!(f, "zones: nothing for requests for zone {}, and {free} frames are free", zone.name())
            }
            Failure::Overdrawn { zone } => {
                write!(f, "zones: requests for zone {} have taken memory above it", zone.name())
            }
            Failure::NotBack { node, zone, before, after } => {
                let zone = zone.name();
                write!(
                    f,
                    "zones: {before} frames were free in zone {zone} of {node} before, {after} are after"
                )
            }
        }
    }
}

/// What has been taken.
struct Held {
    /// Each begins with the address of the next, and its order.
    head: u64,
    frames: usize,
}

impl Held {
    fn new() -> Held {
        Held { head: 0, frames: 0 }
    }

    fn add(&mut self, frame: FrameNumber, order: Order) {
        let address = frame.address() as u64;
        // SAFETY: the run has just been handed out to this list alone, and the direct map shows it.
        unsafe { direct_map::pointer::<[u64; 2]>(address).write([self.head, u64::from(order.get())]) };
        self.head = address;
        self.frames += order.frames();
    }

    /// Takes all that requests like this one get, in pieces as large as they come.
    fn exhaust(&mut self, request: FrameRequest) -> Result<(), Failure> {
        for order in (0..=Order::MAX.get()).rev().filter_map(Order::new) {
            while let Some(frame) = memory::alloc_in(FrameRequest { order, ..request }) {
                self.add(frame, order);
                let last = frame + (order.frames() - 1);
                let end = match request.zone {
                    ZoneType::Low => 1 << 20,
                    ZoneType::Dma32 => 1 << 32,
                    ZoneType::Normal => usize::MAX,
                };
                let right_node = |node| node_of(frame) == Some(node) && node_of(last) == Some(node);
                let is_near = if let Nodes::Only(node) = request.nodes { right_node(node) } else { true };
                if last.address() >= end || !is_near {
                    return Err(Failure::Misplaced { request, frame });
                }
            }
        }
        Ok(())
    }

    fn give_back(mut self) {
        while self.head != 0 {
            let frame = FrameNumber::containing(self.head as usize);
            // SAFETY: `add` wrote it, and the run is still this list's.
            let [next, order] = unsafe { direct_map::pointer::<[u64; 2]>(self.head).read() };
            self.head = next;
            if let Some(order) = Order::new(order as u8) {
                // SAFETY: `add` took the frames over from their allocation at this order; the list, which owned them, has no
                // entry for them any more.
                drop(unsafe { FrameRange::from_raw(frame, order.frames()) });
            }
        }
    }
}

fn node_of(frame: FrameNumber) -> Option<NodeId> {
    memory::frames().zone_layout().map(|partition| partition.node_of(frame))
}

static BEFORE: SpinLockIrq<Vec<ZoneStats, MAX_ZONES>> = SpinLockIrq::new(Vec::new());
crate::name_lock!(BEFORE);
static FAILURE: SpinLockIrq<Option<Failure>> = SpinLockIrq::new(None);
crate::name_lock!(FAILURE);
/// CPUs whose node had enough for all of its CPUs, and gave it to them.
static SERVED: AtomicU32 = AtomicU32::new(0);

/// Tries each node and each zone.
///
/// # Errors
/// The first thing that is not as it should be.
pub fn run(_: u32) -> Result<(), Failure> {
    let partition = memory::frames().zone_layout().ok_or(Failure::Undivided)?;
    drain_all()?;
    {
        let mut before = BEFORE.lock();
        before.clear();
        before.extend(memory::frames().zone_stats());
    }
    own_node_first()?;
    for home in (0..partition.nodes() as u8).map(NodeId) {
        nodes_in_turn(home)?;
    }
    let [low, dma32] = [zone(ZoneType::Low)?, zone(ZoneType::Dma32)?];
    let served = SERVED.load(Ordering::Relaxed);
    log::info!(
        "{served} CPUs served by their own node; {low} frames below 1 MiB, {dma32} below 4 GiB; all back"
    );
    Ok(())
}

/// Frames free in arenas that `of` chooses, before anything was taken.
fn free_before(of: impl Fn(NodeId, ZoneType) -> bool) -> usize {
    let before = BEFORE.lock();
    let chosen = before.iter().filter(|arena| arena.name.is_some_and(|name| of(name.node, name.zone_type)));
    chosen.map(|arena| arena.free).sum()
}

fn own_node_first() -> Result<(), Failure> {
    SERVED.store(0, Ordering::Relaxed);
    super::on_each_cpu(STRESS_GRACE_MS, &|cpu| {
        let home = cpu.entry.node;
        let neighbours = smp::online().filter(|other| other.entry.node == home).count();
        // Each holds a block besides.
        let needed = neighbours * (PER_CPU + Order::BLOCK.frames());
        if free_before(|node, zone| node == home && zone > ZoneType::Low) < needed {
            return;
        }
        match draw(cpu) {
            Ok(()) => drop(SERVED.fetch_add(1, Ordering::Relaxed)),
            Err(failure) => drop(FAILURE.lock().get_or_insert(failure)),
        }
    });
    FAILURE.lock().take().map_or(Ok(()), Err)?;
    all_back()
}

fn draw(cpu: &Cpu) -> Result<(), Failure> {
    memory::drain_this_cpu(&IrqGuard::new());
    let home = cpu.entry.node;
    let mut held = Held::new();
    let result = (0..PER_CPU).try_for_each(|_| {
        let frame = memory::alloc(Order::FRAME);
        frame.into_iter().for_each(|frame| held.add(frame, Order::FRAME));
        let found = frame.and_then(node_of);
        if found == Some(home) { Ok(()) } else { Err(Failure::Foreign { cpu: cpu.id(), home, found }) }
    });
    held.give_back();
    result
}

/// One node after the other has nothing left: who serves a node's requests then?
fn nodes_in_turn(home: NodeId) -> Result<(), Failure> {
    let request = FrameRequest::new(Order::FRAME).on(Nodes::NearestTo(home));
    let mut held = Held::new();
    let mut turns: Vec<NodeId, MAX_NODES> = Vec::new();
    let result = loop {
        let Some(frame) = memory::alloc_in(request) else { break Ok(()) };
        held.add(frame, Order::FRAME);
        let node = node_of(frame).unwrap_or_default();
        if turns.contains(&node) || turns.push(node).is_err() {
            break Err(Failure::Again { home, node });
        }
        if let Err(failure) = held.exhaust(FrameRequest::new(Order::FRAME).on(Nodes::Only(node))) {
            break Err(failure);
        }
    };
    let free = memory::frames().free_frames();
    held.give_back();
    result?;
    if free > 0 {
        return Err(Failure::Unfound { zone: ZoneType::Normal, free });
    }
    log::info!("{home} is served by nodes{}", Turns(&turns));
    all_back()
}

/// Nodes, one after the other.
struct Turns<'a>(&'a [NodeId]);

impl fmt::Display for Turns<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|node| write!(f, " {}", node.0))
    }
}

/// Uses up a zone; how many frames it had.
fn zone(zone: ZoneType) -> Result<usize, Failure> {
    let mut held = Held::new();
    let result = held.exhaust(FrameRequest::new(Order::FRAME).in_zone(zone));
    let frames = held.frames;
    let free = |of: &dyn Fn(ZoneType) -> bool| -> usize {
        let arenas = memory::frames().zone_stats();
        arenas.filter(|arena| arena.name.is_some_and(|name| of(name.zone_type))).map(|arena| arena.free).sum()
    };
    // The first block's frames past 1 MiB are not the low zone's to give.
    let left = if zone == ZoneType::Low { 0 } else { free(&|of| of <= zone) };
    let above = free(&|of| of > zone);
    held.give_back();
    result?;
    if left > 0 {
        return Err(Failure::Unfound { zone, free: left });
    }
    if above != free_before(|_, of| of > zone) {
        return Err(Failure::Overdrawn { zone });
    }
    all_back()?;
    Ok(frames)
}

fn drain_all() -> Result<(), Failure> {
    smp::call(&smp::all_online(), &|| memory::drain_this_cpu(&IrqGuard::new())).map_err(Failure::Call)
}

/// Whether each arena has what it had, in pieces as large.
fn all_back() -> Result<(), Failure> {
    drain_all()?;
    let before = BEFORE.lock();
    let mut pairs = before.iter().zip(memory::frames().zone_stats());
    let changed = pairs.find(|(before, after)| *before != after).and_then(|(before, after)| {
        let name = after.name?;
        Some(Failure::NotBack {
            node: name.node,
            zone: name.zone_type,
            before: before.free,
            after: after.free,
        })
    });
    changed.map_or(Ok(()), Err)
}
