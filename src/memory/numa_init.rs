//! Sets the zones of the frame allocator by the firmware's NUMA tables.

use core::fmt;
use core::ops::Range;

use super::boot_alloc::{alloc_slice_from, alloc_uninit};
use super::cache::drain_this_cpu;
use super::frames::global::frames;
use super::frames::{FrameNumber, NodeId, SetZonesError, ZoneLayout, ZoneLayoutError};
use crate::cpu::IrqGuard;

/// Why the zones were not set. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumaInitError {
    /// There is no layout for these nodes.
    ZoneLayout(ZoneLayoutError),
    /// The allocator has refused the layout.
    Refused(SetZonesError),
    /// There is no memory for the zones.
    OutOfMemory,
}

impl fmt::Display for NumaInitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NumaInitError::ZoneLayout(error) => error.fmt(f),
            NumaInitError::Refused(error) => error.fmt(f),
            NumaInitError::OutOfMemory => f.write_str("too little memory for the free lists of the zones"),
        }
    }
}

impl core::error::Error for NumaInitError {}

/// Sets the zones. The arguments are those of [`ZoneLayout::fill`].
///
/// **Context:** boot, on the BSP, interrupts disabled. Once; after an error it may be called again.
///
/// # Errors
/// [`NumaInitError`]; nothing has changed then.
///
/// # Safety
/// No other CPU allocates or frees until this returns.
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
    // A run that this CPU caches may cross a border; in the buddies it is split there.
    drain_this_cpu(&IrqGuard::new());
    // SAFETY: no other CPU uses the allocator meanwhile, guaranteed by the caller (see # Safety).
    unsafe { frames.set_zones(zone_layout, zones) }.map_err(NumaInitError::Refused)
}
