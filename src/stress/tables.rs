//! The stress's own tables. What is allocated for good is allocated once: a run that ends well leaves them to the next.

use core::sync::atomic::AtomicU64;

use super::error::StressError;
use super::histogram::Histogram;
use super::ring::Ring;
use super::source::SeatCache;
use super::trace::{self, Trace};
use crate::boot::command_line::Allocator;
use crate::memory::Zeroable;
use crate::sync::IrqMutex;
use crate::{memory, smp};

/// Tables for all workloads of a run.
pub struct Tables {
    /// What the next run may have.
    pub lasting: Lasting,
    /// Two for each CPU, where an allocator needs them.
    pub caches: &'static [SeatCache],
    /// What is replayed.
    pub trace: Option<Trace<'static>>,
}

/// Tables with room for every CPU that is listed.
pub struct Lasting {
    /// Each frame's owner; all 0 between workloads.
    pub owners: &'static [AtomicU64],
    /// Two for each CPU.
    pub histograms: &'static [Histogram],
    /// One for each CPU.
    pub rings: &'static [Ring],
    ids: &'static mut [u32],
    online: usize,
}

static KEPT: IrqMutex<Option<Lasting>> = IrqMutex::new(None);
crate::name_lock!(KEPT);

impl Tables {
    /// Those of the run before, or new ones. `trace` is the text of a trace.
    pub fn take(allocators: &[Allocator], trace: Option<&[u8]>) -> Result<Tables, StressError> {
        let kept = KEPT.lock().take();
        let mut lasting = kept.map_or_else(Lasting::new, Ok)?;
        lasting.online = 0;
        for (id, cpu) in lasting.ids.iter_mut().zip(smp::online()) {
            *id = cpu.id().0;
            lasting.online += 1;
        }
        let caches = if allocators.contains(&Allocator::Magazine) { 2 * lasting.online } else { 0 };
        Ok(Tables { lasting, caches: table(caches)?, trace: trace.map(load).transpose()? })
    }

    /// Leaves what lasts to the next run, after one that found nothing wrong.
    pub fn keep(self) {
        *KEPT.lock() = Some(self.lasting);
    }
}

impl Lasting {
    fn new() -> Result<Lasting, StressError> {
        let listed = smp::cpus().len();
        let bytes = listed * size_of::<u32>();
        Ok(Lasting {
            owners: table(memory::frames().end().get())?,
            histograms: table(2 * listed)?,
            rings: table(listed)?,
            ids: memory::alloc_slice_from(core::iter::repeat_n(0, listed))
                .ok_or(StressError::OutOfMemory { bytes })?,
            online: 0,
        })
    }

    /// The CPUs that were online when the run began, in ascending order.
    pub fn ids(&self) -> &[u32] {
        &self.ids[..self.online]
    }
}

fn table<T: Zeroable>(count: usize) -> Result<&'static [T], StressError> {
    let bytes = count * size_of::<T>();
    memory::alloc_slice_zeroed(count).map(|slice| &*slice).ok_or(StressError::OutOfMemory { bytes })
}

// SAFETY: a `Histogram` has fields of `AtomicU64` alone, of which zero is a value.
unsafe impl Zeroable for Histogram {}
// SAFETY: a `Ring` has fields of `Line`, which is an `AtomicUsize`, and `AtomicU64`, of which zero is a value.
unsafe impl Zeroable for Ring {}
// SAFETY: a `SeatCache` is a cell with frame numbers and a count, all `usize`, of which zero is a value.
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
