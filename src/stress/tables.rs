//! Memory for all workloads of a run.

use core::sync::atomic::AtomicU64;

use super::error::StressError;
use super::histogram::Histogram;
use super::ring::Ring;
use super::source::SeatCache;
use super::trace::{self, Trace};
use crate::boot::command_line::Allocator;
use crate::memory::Zeroable;
use crate::{memory, smp};

/// Tables for all workloads of a run.
pub struct Tables {
    /// Whose each frame is.
    pub owners: &'static [AtomicU64],
    /// Latencies, two for each CPU: its own and its handler's.
    pub histograms: &'static [Histogram],
    /// What goes from one CPU to the next.
    pub rings: &'static [Ring],
    /// The CPUs, by rank.
    pub ids: &'static [u32],
    /// The arrays of `magazine`.
    pub caches: &'static [SeatCache],
    /// What `replay` replays.
    pub trace: Option<Trace<'static>>,
}

impl Tables {
    /// Takes memory for them, for good.
    ///
    /// # Errors
    /// There is too little, or the trace is none.
    pub fn new(allocators: &[Allocator], trace: Option<&[u8]>) -> Result<Tables, StressError> {
        fn table<T: Zeroable>(count: usize) -> Result<&'static [T], StressError> {
            let bytes = count * size_of::<T>();
            memory::alloc_slice_zeroed(count).map(|slice| &*slice).ok_or(StressError::OutOfMemory { bytes })
        }
        let ids = memory::alloc_slice_from(smp::online().map(|cpu| cpu.id().0))
            .ok_or(StressError::OutOfMemory { bytes: size_of_val(smp::cpus()) })?;
        let caches = if allocators.contains(&Allocator::Magazine) { 2 * ids.len() } else { 0 };
        Ok(Tables {
            owners: table(memory::frames().end().get())?,
            histograms: table(2 * ids.len())?,
            rings: table(ids.len())?,
            caches: table(caches)?,
            trace: trace.map(load).transpose()?,
            ids,
        })
    }
}

// SAFETY: all three are arrays of integers and counts, and empty when these are 0.
unsafe impl Zeroable for Histogram {}
// SAFETY: as above.
unsafe impl Zeroable for Ring {}
// SAFETY: as above.
unsafe impl Zeroable for SeatCache {}

/// Checks a trace and puts it into tables.
fn load(text: &[u8]) -> Result<Trace<'static>, StressError> {
    let size = trace::measure(text).map_err(StressError::Trace)?;
    let mut tables = [[].as_slice(); 3];
    for (table, words) in tables.iter_mut().zip(Trace::words(&size)) {
        let bytes = words * size_of::<u64>();
        *table = memory::alloc_slice_zeroed(words).ok_or(StressError::OutOfMemory { bytes })?;
    }
    Trace::load(text, tables).map_err(StressError::Trace)
}
