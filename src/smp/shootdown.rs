//! TLB shootdown: makes every CPU flush what is no longer mapped.

use core::fmt;
use core::sync::atomic::{Ordering, fence};

use super::{CallError, Cpu, call_online, cpus};
use crate::config::SHOOTDOWN_PAGES;
use crate::cpu::tlb;
use crate::memory::frames::FreeError;
use crate::memory::{self, AbandonedPages, REGION_PAGES, StaleRange};
use crate::trace;

/// Why a stale range was not freed completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShootdownError {
    /// A CPU did not flush its TLB. The range and its frames stay out of use until a later shootdown succeeds.
    Call(CallError),
    /// The frame allocator refused one frame. The others are free.
    Free(FreeError),
}

impl fmt::Display for ShootdownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShootdownError::Call(error) => {
                write!(f, "TLB shootdown failed, stale mapping not freed: {error}")
            }
            ShootdownError::Free(error) => write!(f, "freeing the frames of a stale mapping: {error}"),
        }
    }
}

/// Flushes a stale range on every CPU, then frees its frames and addresses. Stale pages whose handle was dropped are
/// flushed and freed with it.
///
/// Up to [`SHOOTDOWN_PAGES`] pages are flushed one by one; for more, a CPU reloads CR3. A CPU that comes back online
/// flushes its whole TLB after it has joined the online CPUs (`hotplug::teardown`). A CPU that goes offline takes part
/// until it has closed its call queue, and runs nothing afterwards that could use the range.
///
/// **Context:** as for [`call`](super::call): thread or interrupt, interrupts on or off; not NMI. Waits for all CPUs.
///
/// # Errors
/// See [`ShootdownError`].
pub fn shootdown(stale: StaleRange) -> Result<(), ShootdownError> {
    let abandoned = AbandonedPages::take();
    if abandoned.count() == 0 {
        flush(stale.address(), stale.pages())?;
        // SAFETY: no TLB holds the range. `flush` returns only when every online CPU has flushed it; a CPU that comes
        // back flushes its TLB after it has joined them (`hotplug::teardown::go_offline`). No AP starts for the first
        // time once there are mappings.
        return unsafe { stale.free() }.map_err(ShootdownError::Free);
    }
    flush_region()?;
    // SAFETY: no TLB holds the range. `flush_region` returns only when every online CPU has flushed the whole region; a
    // CPU that comes back flushes its TLB after it has joined them (`hotplug::teardown::go_offline`).
    let outcome = unsafe { stale.free() };
    // SAFETY: no TLB holds the pages: `AbandonedPages::take` took them before `flush_region`, which flushed the whole
    // region.
    outcome.and(unsafe { abandoned.free() }).map_err(ShootdownError::Free)
}

/// Frees the frames and addresses of mappings that were dropped without a [`shootdown`]. Returns the number of pages.
///
/// **Context:** as for [`shootdown`].
///
/// # Errors
/// See [`ShootdownError`].
pub fn purge_mappings() -> Result<usize, ShootdownError> {
    let abandoned = AbandonedPages::take();
    let count = abandoned.count();
    if count > 0 {
        flush_region()?;
        // SAFETY: no TLB holds the pages: `AbandonedPages::take` took them before `flush_region`, which returns only when
        // every online CPU has flushed; a CPU that comes back flushes its TLB after it has joined them
        // (`hotplug::teardown::go_offline`).
        unsafe { abandoned.free() }.map_err(ShootdownError::Free)?;
    }
    Ok(count)
}

fn flush_region() -> Result<(), ShootdownError> {
    let (start, _) = memory::mapping_region();
    flush(start, REGION_PAGES)
}

/// Makes every online CPU flush these pages from its TLB.
fn flush(address: u64, pages: usize) -> Result<(), ShootdownError> {
    // A CPU that is not online here joins the online CPUs later and then flushes its TLB, after the pages were unmapped:
    // see `hotplug::teardown`.
    fence(Ordering::SeqCst);
    trace!(ShootdownBegin, address, pages as u64);
    // Includes CPUs that are going offline: until its call queue is closed, such a CPU runs calls and timers, which may
    // use any mapping. A CPU whose queue is closed is skipped.
    let all = cpus().iter().map(Cpu::id).collect();
    call_online(&all, &|| {
        tlb::flush(address, pages, SHOOTDOWN_PAGES);
        trace!(TlbFlush, address, pages as u64);
    })
    .map_err(ShootdownError::Call)?;
    trace!(ShootdownEnd, address, pages as u64);
    Ok(())
}
