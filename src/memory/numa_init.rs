//! Where frames come from: zones and NUMA nodes, as this CPU asks for them.

use core::fmt;
use core::ops::Range;

use super::boot_alloc::{alloc_slice_from, alloc_uninit};
use super::frames::global::frames;
use super::frames::{DivideError, FrameNumber, NodeId, Partition, PartitionError};

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
