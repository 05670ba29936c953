//! Where frames come from: zones and NUMA nodes, as this CPU asks for them.

use core::fmt;
use core::ops::Range;

use super::for_good::{alloc_slice_from, alloc_uninit};
use super::frame_counts::PLACED_ALLOCS;
use super::frames::{DivideError, FrameNumber, FrameRequest, NodeId, Partition, PartitionError};
use super::out_of_memory::search_and_ask;
use super::own_magazine::{open, with_magazine};
use super::per_cpu_frames::{count_failure, frames};
use crate::cpu::IrqGuard;
use crate::cpu::per_cpu::PerCpu;

/// Why memory was not divided. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlacementError {
    /// The nodes cannot be.
    Partition(PartitionError),
    /// They do not fit to what is in use.
    Divide(DivideError),
    /// There is no memory for the arenas.
    OutOfMemory,
}

impl fmt::Display for PlacementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlacementError::Partition(error) => error.fmt(f),
            PlacementError::Divide(error) => error.fmt(f),
            PlacementError::OutOfMemory => f.write_str("too little memory for the nodes' free lists"),
        }
    }
}

impl core::error::Error for PlacementError {}

/// Cuts memory into zones and nodes, of which `ranges` say whose memory is where: in ascending order, and apart. The
/// arguments are those of [`Partition::fill`]. Once; interrupts are off.
///
/// # Errors
/// What speaks against it; another try may be made.
///
/// # Safety
/// No other CPU allocates or frees, nor begins to, until this has returned.
pub(crate) unsafe fn divide(
    nodes: usize,
    ranges: impl Iterator<Item = (Range<FrameNumber>, NodeId)>,
    distance: impl Fn(NodeId, NodeId) -> u8,
) -> Result<(), PlacementError> {
    let frames = frames();
    let place = alloc_uninit::<Partition>().ok_or(PlacementError::OutOfMemory)?;
    let partition = Partition::write_empty(place);
    partition.fill(frames.end(), nodes, ranges, distance).map_err(PlacementError::Partition)?;
    let arenas = alloc_slice_from(partition.arenas().iter().map(|_| frames.new_arena()));
    let arenas = arenas.ok_or(PlacementError::OutOfMemory)?;
    // SAFETY: no other CPU allocates or frees meanwhile, guaranteed by the caller (see # Safety).
    unsafe { frames.divide(partition, arenas) }.map_err(PlacementError::Divide)
}

/// Tells this CPU its node: its memory is asked first from now on.
pub(crate) fn set_home(guard: &IrqGuard, node: NodeId) {
    // What is set does not depend on whether the CPU may keep anything.
    let _ = open(guard);
    with_magazine(guard, |_, magazine| magazine.set_home(node));
}

/// A naturally aligned run of frames from where the request wants it. With interrupts on: if there is none, the other CPUs
/// are asked for what they keep, which waits for them; `None` then means that no CPU has one to spare. With interrupts off:
/// `None` at once. Not for hot paths: the magazine is passed over, and all of the search is done each time.
pub(crate) fn alloc_in(request: FrameRequest) -> Option<FrameNumber> {
    let guard = IrqGuard::new();
    let may_wait = guard.were_enabled();
    PLACED_ALLOCS.increment();
    let mut found = at_once(guard, request);
    if found.is_none() && may_wait {
        found = search_and_ask(request.order, |frames, magazine| frames.alloc_in(magazine, request));
    }
    if found.is_none() {
        count_failure(request.order);
    }
    found
}

/// From what this CPU and the shared layers have.
fn at_once(guard: IrqGuard, request: FrameRequest) -> Option<FrameNumber> {
    if !open(&guard) {
        return None;
    }
    with_magazine(&guard, |frames, magazine| frames.alloc_in(magazine, request))
}
