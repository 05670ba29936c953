//! The tables of a stress: allocated for a run, and freed at its end.

use core::sync::atomic::AtomicU64;

use super::error::StressError;
use super::histogram::Histogram;
use super::replay::{self, AllocTrace};
use super::ring::FrameRing;
use super::run_table::RunTable;
use super::workloads::{SLOTS, Workload};
use crate::memory::{Zeroable, ZeroedSlice};
use crate::{memory, smp};

/// Tables for all workloads of a run, with room for all CPUs of the machine.
pub(crate) struct Tables {
    /// The owner word of each frame; all 0 between workloads.
    pub owners: ZeroedSlice<AtomicU64>,
    /// Two for each CPU.
    pub histograms: ZeroedSlice<Histogram>,
    /// One for each CPU.
    pub rings: ZeroedSlice<FrameRing>,
    /// Those of the objects that workloads of heaps hold; empty if there is no such workload.
    pub slots: ZeroedSlice<AtomicU64>,
    ids: ZeroedSlice<u32>,
    online: usize,
    /// The three tables of a trace; empty without one.
    trace: [ZeroedSlice<AtomicU64>; 3],
    /// The three tables of a [`RunTable`]; empty if no workload needs one.
    runs: [ZeroedSlice<AtomicU64>; 3],
}

impl Tables {
    /// Allocates the tables. `trace` is the text of a trace, for which they have room; if `holds_runs` is true, there is also a
    /// table of runs, and if `has_heaps` is, one of objects.
    ///
    /// # Errors
    /// Too little memory, or an error in the trace.
    pub(crate) fn new(
        trace: Option<&[u8]>,
        holds_runs: bool,
        has_heaps: bool,
    ) -> Result<Tables, StressError> {
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
        let end = memory::frames().end().get();
        let runs = if holds_runs { RunTable::sizes(end, listed) } else { [0; 3] };
        Ok(Tables {
            owners: table(end)?,
            histograms: table(2 * listed)?,
            rings: table(listed)?,
            slots: table(if has_heaps { SLOTS * online } else { 0 })?,
            ids,
            online,
            trace: [table(words[0])?, table(words[1])?, table(words[2])?],
            runs: [table(runs[0])?, table(runs[1])?, table(runs[2])?],
        })
    }

    /// The CPUs that were online when the run began, in ascending order.
    pub(crate) fn ids(&self) -> &[u32] {
        &self.ids[..self.online]
    }

    /// The number of frames that the tables take.
    pub(crate) fn frames(&self) -> usize {
        let trace: usize = self.trace.iter().chain(&self.runs).map(ZeroedSlice::frames).sum();
        let by_cpu = self.histograms.frames() + self.rings.frames() + self.ids.frames() + self.slots.frames();
        self.owners.frames() + by_cpu + trace
    }

    /// The table of runs for a workload, as new; without room for one that needs none.
    pub(crate) fn runs(&self, workload: &Workload) -> RunTable<'_> {
        if !workload.holds_runs {
            return RunTable::NONE;
        }
        let runs = RunTable::new(self.runs.each_ref().map(|table| &**table));
        runs.clear();
        runs
    }

    /// Loads the trace for which the tables were made. May be called once.
    ///
    /// # Errors
    /// An error in the trace.
    pub(crate) fn load(&self, text: &[u8]) -> Result<AllocTrace<'_>, StressError> {
        AllocTrace::load(text, self.trace.each_ref().map(|table| &**table)).map_err(StressError::Trace)
    }
}

fn table<T: Zeroable>(count: usize) -> Result<ZeroedSlice<T>, StressError> {
    ZeroedSlice::new(count).ok_or(StressError::OutOfMemory { bytes: count * size_of::<T>() })
}

// SAFETY: zero must be a valid value. A `Histogram` consists of `AtomicU64`.
unsafe impl Zeroable for Histogram {}
// SAFETY: zero must be a valid value. A `FrameRing` consists of `PaddedCounter`, which is an `AtomicUsize`, and `AtomicU64`.
unsafe impl Zeroable for FrameRing {}
