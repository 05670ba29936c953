//! The stress's own tables: allocated for a run, and freed at its end.

use core::sync::atomic::AtomicU64;

use super::error::StressError;
use super::histogram::Histogram;
use super::replay::{self, AllocTrace};
use super::ring::Ring;
use crate::memory::{Zeroable, ZeroedSlice};
use crate::{memory, smp};

/// Tables for all workloads of a run, with room for every CPU that is listed.
pub struct Tables {
    /// Each frame's owner; all 0 between workloads.
    pub owners: ZeroedSlice<AtomicU64>,
    /// Two for each CPU.
    pub histograms: ZeroedSlice<Histogram>,
    /// One for each CPU.
    pub rings: ZeroedSlice<Ring>,
    ids: ZeroedSlice<u32>,
    online: usize,
    /// The three tables of a trace; empty without one.
    trace: [ZeroedSlice<AtomicU64>; 3],
}

impl Tables {
    /// New ones. `trace` is the text of a trace, for which they have room.
    pub fn new(trace: Option<&[u8]>) -> Result<Tables, StressError> {
        let listed = smp::cpus().len();
        let mut ids = table::<u32>(listed)?;
        let mut online = 0;
        for (id, cpu) in ids.iter_mut().zip(smp::online()) {
            *id = cpu.id().0;
            online += 1;
        }
        let words = match trace {
            None => [0; 3],
            Some(text) => AllocTrace::words(&replay::measure(text).map_err(StressError::Trace)?),
        };
        Ok(Tables {
            owners: table(memory::frames().end().get())?,
            histograms: table(2 * listed)?,
            rings: table(listed)?,
            ids,
            online,
            trace: [table(words[0])?, table(words[1])?, table(words[2])?],
        })
    }

    /// The CPUs that were online when the run began, in ascending order.
    pub fn ids(&self) -> &[u32] {
        &self.ids[..self.online]
    }

    /// How many frames they take.
    pub fn frames(&self) -> usize {
        let trace: usize = self.trace.iter().map(ZeroedSlice::frames).sum();
        let by_cpu = self.histograms.frames() + self.rings.frames() + self.ids.frames();
        self.owners.frames() + by_cpu + trace
    }

    /// Checks the trace for whose text the tables were made, and puts it into them. Once.
    pub fn load(&self, text: &[u8]) -> Result<AllocTrace<'_>, StressError> {
        AllocTrace::load(text, self.trace.each_ref().map(|table| &**table)).map_err(StressError::Trace)
    }
}

fn table<T: Zeroable>(count: usize) -> Result<ZeroedSlice<T>, StressError> {
    ZeroedSlice::new(count).ok_or(StressError::OutOfMemory { bytes: count * size_of::<T>() })
}

// SAFETY: a `Histogram` has fields of `AtomicU64` alone, of which zero is a value.
unsafe impl Zeroable for Histogram {}
// SAFETY: a `Ring` has fields of `Line`, which is an `AtomicUsize`, and `AtomicU64`, of which zero is a value.
unsafe impl Zeroable for Ring {}
