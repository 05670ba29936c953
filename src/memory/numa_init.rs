//! Where frames come from: zones and NUMA nodes, as this CPU asks for them.

use core::fmt;
use core::ops::Range;

use super::boot_alloc::{alloc_slice_from, alloc_uninit};
use super::frames::global::frames;
use super::frames::{FrameNumber, NodeId, SetZonesError, ZoneLayout, ZoneLayoutError};

/// Why memory was not divided. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumaInitError {
    /// The nodes cannot be.
    ZoneLayout(ZoneLayoutError),
    /// They do not fit to what is in use.
    Divide(SetZonesError),
    /// There is no memory for the arenas.
    OutOfMemory,
}

impl fmt::Display for NumaInitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NumaInitError::ZoneLayout(error) => error.fmt(f),
            NumaInitError::Divide(error) => error.fmt(f),
            NumaInitError::OutOfMemory => f.write_str("too little memory for the nodes' free lists"),
        }
    }
}

impl core::error::Error for NumaInitError {}

/// Cuts memory into zones and nodes, of which `ranges` say whose memory is where: in ascending order, and apart. The
/// arguments are those of [`ZoneLayout::fill`]. Once; interrupts are off.
///
/// # Errors
/// What speaks against it; another try may be made.
///
/// # Safety
/// No other CPU allocates or frees, nor begins to, until this has returned.
pub(crate) unsafe fn set_zones(
    nodes: usize,
    ranges: impl Iterator<Item = (Range<FrameNumber>, NodeId)>,
    distance: impl Fn(NodeId, NodeId) -> u8,
) -> Result<(), NumaInitError> {
    let frames = frames();
    let place = alloc_uninit::<ZoneLayout>().ok_or(NumaInitError::OutOfMemory)?;
    let zone_layout = ZoneLayout::write_empty(place);
    zone_layout.fill(frames.end(), nodes, ranges, distance).map_err(NumaInitError::ZoneLayout)?;
    let zones = alloc_slice_from(zone_layout.zones().iter().map(|_| frames.new_zone()));
    let zones = zones.ok_or(NumaInitError::OutOfMemory)?;
    // SAFETY: no other CPU allocates or frees meanwhile, guaranteed by the caller (see # Safety).
    unsafe { frames.set_zones(zone_layout, zones) }.map_err(NumaInitError::Divide)
}
