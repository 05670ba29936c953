//! Checks zones and NUMA nodes. Each CPU allocates from its own node first, and from the next node when that one is empty. A
//! request for a zone is served from that zone or fails. Afterwards all frames are free, in runs as large as before.
//!
//! Allocated frames are kept in a list through the frames themselves, which needs no other memory.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use heapless::Vec;

use super::check::{CheckResult, ensure, fail, failed, free_frames, on_all_cpus, send_facts};
use crate::boot::direct_map;
use crate::config::{MAX_NODES, STRESS_GRACE_MS};
use crate::console::{self, LineBuffer};
use crate::cpu::IrqGuard;
use crate::memory;
use crate::memory::FrameRange;
use crate::memory::frames::{
    FrameNumber, FrameRequest, MAX_ZONES, NodeId, Nodes, Order, ZoneStats, ZoneType,
};
use crate::smp::{self, Cpu};
use crate::sync::SpinLockIrq;
use crate::wire::Record;

/// Frames that each CPU allocates: more than a magazine holds.
const PER_CPU: usize = 200;

/// Allocated runs of frames.
struct Held {
    /// The address of the first run. Each run begins with the address of the next run and its own order.
    head: u64,
    frames: usize,
}

impl Held {
    fn new() -> Held {
        Held { head: 0, frames: 0 }
    }

    fn add(&mut self, frame: FrameNumber, order: Order) {
        let address = frame.address() as u64;
        // SAFETY: the write must be to owned, mapped memory. The caller has just allocated the run for this list, and the
        // direct map covers it.
        unsafe { direct_map::pointer::<[u64; 2]>(address).write([self.head, u64::from(order.get())]) };
        self.head = address;
        self.frames += order.frames();
    }

    /// Allocates by requests like this one until they fail, the largest orders first.
    fn exhaust(&mut self, request: FrameRequest) -> CheckResult {
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
                ensure!(last.address() < end && is_near, "zones: {frame} for {request:?}");
            }
        }
        Ok(())
    }

    fn free(mut self) {
        while self.head != 0 {
            let frame = FrameNumber::containing(self.head as usize);
            // SAFETY: the read must be of owned, initialised memory. `add` wrote the words, and the list still owns the run.
            let [next, order] = unsafe { direct_map::pointer::<[u64; 2]>(self.head).read() };
            self.head = next;
            if let Some(order) = Order::new(order as u8) {
                // SAFETY: the frames must be owned by the caller. The list owned them, and has no entry for them any more; they
                // were allocated at this order (`add`).
                drop(unsafe { FrameRange::from_raw(frame, order.frames()) });
            }
        }
    }
}

fn node_of(frame: FrameNumber) -> Option<NodeId> {
    memory::frames().zone_layout().map(|layout| layout.node_of(frame))
}

/// The zones before the part.
static BEFORE: SpinLockIrq<Vec<ZoneStats, MAX_ZONES>> = SpinLockIrq::new(Vec::new());
crate::name_lock!(BEFORE);
/// CPUs that were served by their own node, which had enough frames for all of its CPUs.
static SERVED: AtomicU32 = AtomicU32::new(0);

/// Runs the part.
///
/// **Context:** the thread of the BSP, interrupts on, while all APs wait for work.
///
/// # Errors
/// The first failed check.
pub(crate) fn run(_: u32) -> CheckResult {
    let layout =
        memory::frames().zone_layout().ok_or_else(|| failed(format_args!("zones: memory has no zones")))?;
    free_frames()?;
    {
        let mut before = BEFORE.lock();
        before.clear();
        before.extend(memory::frames().zone_stats());
    }
    own_node_first()?;
    for node in (0..layout.nodes() as u8).map(NodeId) {
        nodes_in_turn(node)?;
    }
    let [low, dma32] = [zone(ZoneType::Low)?, zone(ZoneType::Dma32)?];
    let served = SERVED.load(Ordering::Relaxed);
    log::info!(
        "zones: {served} CPUs served by their own node; {low} frames below 1 MiB, {dma32} below 4 GiB, all free again"
    );
    let facts = [
        ("cpus_served_by_own_node", served.into()),
        ("low_frames", low as u64),
        ("dma32_frames", dma32 as u64),
    ];
    send_facts("selftest.zones", &facts);
    Ok(())
}

/// The number of frames that were free before the part, in the zones that `matches` selects.
fn free_before(matches: impl Fn(NodeId, ZoneType) -> bool) -> usize {
    let before = BEFORE.lock();
    let chosen =
        before.iter().filter(|zone| zone.name.is_some_and(|name| matches(name.node, name.zone_type)));
    chosen.map(|zone| zone.free).sum()
}

fn own_node_first() -> CheckResult {
    SERVED.store(0, Ordering::Relaxed);
    on_all_cpus(STRESS_GRACE_MS, &|cpu| {
        let local = cpu.entry.node;
        let neighbours = smp::online().filter(|other| other.entry.node == local).count();
        // Each CPU reserves a block as well.
        let needed = neighbours * (PER_CPU + Order::BLOCK.frames());
        if free_before(|node, zone| node == local && zone > ZoneType::Low) < needed {
            return Ok(());
        }
        alloc_locally(cpu)?;
        SERVED.fetch_add(1, Ordering::Relaxed);
        Ok(())
    })?;
    check_all_free()
}

fn alloc_locally(cpu: &Cpu) -> CheckResult {
    memory::drain_this_cpu(&IrqGuard::new());
    let (id, local) = (cpu.id(), cpu.entry.node);
    let mut held = Held::new();
    let result = (0..PER_CPU).try_for_each(|_| {
        let frame = memory::alloc(Order::FRAME);
        frame.into_iter().for_each(|frame| held.add(frame, Order::FRAME));
        match frame.and_then(node_of) {
            Some(node) if node == local => Ok(()),
            Some(node) => fail!("zones: cpu {id} of {local} got memory of {node}"),
            None => fail!("zones: cpu {id} got no frame, and its {local} has free ones"),
        }
    });
    held.free();
    result
}

/// Exhausts the nodes that serve the requests of `local`, one after the other, and logs their order.
fn nodes_in_turn(local: NodeId) -> CheckResult {
    let request = FrameRequest::new(Order::FRAME).on(Nodes::NearestTo(local));
    let mut held = Held::new();
    let mut turns: Vec<NodeId, MAX_NODES> = Vec::new();
    let result = loop {
        let Some(frame) = memory::alloc_in(request) else { break Ok(()) };
        held.add(frame, Order::FRAME);
        let node = node_of(frame).unwrap_or_default();
        if turns.contains(&node) || turns.push(node).is_err() {
            break fail!("zones: {local} was served by {node}, which was exhausted");
        }
        if let Err(failure) = held.exhaust(FrameRequest::new(Order::FRAME).on(Nodes::Only(node))) {
            break Err(failure);
        }
    };
    let free = memory::frames().free_frames();
    held.free();
    result?;
    check_exhausted(ZoneType::Normal, free)?;
    check_all_free()?;
    log::info!("{local} is served by nodes {}", Turns(&turns));
    let name = LineBuffer::<40>::format(format_args!("node{}_served_by", local.0));
    let nodes = LineBuffer::<100>::format(format_args!("{}", Turns(&turns)));
    console::send(&Record::text("selftest.zones", name.as_str(), nodes.as_str()));
    Ok(())
}

/// Displays the numbers of nodes, with a space between.
struct Turns<'a>(&'a [NodeId]);

impl fmt::Display for Turns<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        self.0.iter().try_for_each(|node| write!(f, "{}{}", core::mem::replace(&mut separator, " "), node.0))
    }
}

fn check_exhausted(zone: ZoneType, free: usize) -> CheckResult {
    ensure!(free == 0, "zones: requests for zone {} fail, and {free} frames are free", zone.name());
    Ok(())
}

/// Exhausts a zone, and returns the number of its frames.
fn zone(zone: ZoneType) -> CheckResult<usize> {
    let mut held = Held::new();
    let result = held.exhaust(FrameRequest::new(Order::FRAME).in_zone(zone));
    let frames = held.frames;
    let free = |matches: &dyn Fn(ZoneType) -> bool| -> usize {
        let zones = memory::frames().zone_stats();
        zones.filter(|zone| zone.name.is_some_and(|name| matches(name.zone_type))).map(|zone| zone.free).sum()
    };
    // The first block also has frames above 1 MiB, which requests for the low zone do not get.
    let remaining = if zone == ZoneType::Low { 0 } else { free(&|other| other <= zone) };
    let above = free(&|other| other > zone);
    held.free();
    result?;
    check_exhausted(zone, remaining)?;
    let above_before = free_before(|_, other| other > zone);
    ensure!(above == above_before, "zones: requests for zone {} got memory above it", zone.name());
    check_all_free()?;
    Ok(frames)
}

/// Checks that each zone has as many free frames as before, in runs as large.
fn check_all_free() -> CheckResult {
    free_frames()?;
    for (before, after) in BEFORE.lock().iter().zip(memory::frames().zone_stats()) {
        let Some(name) = after.name.filter(|_| *before != after) else { continue };
        let (zone, node) = (name.zone_type.name(), name.node);
        return fail!(
            "zones: {} frames were free in zone {zone} of {node} before, {} are after",
            before.free,
            after.free
        );
    }
    Ok(())
}
