//! Making every CPU forget what is no longer mapped.

use core::fmt;
use core::sync::atomic::{Ordering, fence};

use super::{CallError, Cpu, call_those_online, cpus};
use crate::config::SHOOTDOWN_PAGES;
use crate::cpu::tlb;
use crate::memory::frames::FreeError;
use crate::memory::{self, AbandonedPages, REGION_PAGES, StaleRange};
use crate::trace;

/// Why a range was not settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShootdownError {
    /// A CPU did not acknowledge: the range and its frames stay out of use, until a later shootdown succeeds.
    Call(CallError),
    /// The frame allocator did not take a frame back; it has the others.
    Free(FreeError),
}

impl fmt::Display for ShootdownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShootdownError::Call(error) => write!(f, "a stale mapping stays out of use: {error}"),
            ShootdownError::Free(error) => write!(f, "the frames of a stale mapping: {error}"),
        }
    }
}

/// Flushes a stale range on every online CPU, and frees its frames and addresses when the last has acknowledged. Stale pages
/// that have no owner any more, because their handle was dropped, are flushed and freed with it.
///
/// Up to [`SHOOTDOWN_PAGES`] pages are flushed one by one; for more, a CPU reloads CR3. A CPU that comes back later flushes
/// all of its TLB when it has joined the online CPUs (`hotplug::leave`), so it holds nothing of what was stale before. A CPU that
/// goes offline takes part until it has closed its inbox, and runs nothing afterwards that could use the range.
///
/// **Context:** as for [`call`](super::call): thread or interrupt context, interrupts on or off.
///
/// # Errors
/// See [`ShootdownError`].
pub fn shootdown(stale: StaleRange) -> Result<(), ShootdownError> {
    let abandoned = AbandonedPages::take();
    if abandoned.count() == 0 {
        flush(stale.address(), stale.pages())?;
        // SAFETY: `flush` returns only when every online CPU has flushed the range; one that comes back flushes its
        // TLB when it has joined them (`hotplug::leave`). No CPU comes up for the first time once there are mappings.
        return unsafe { stale.free() }.map_err(ShootdownError::Free);
    }
    flush_region()?;
    // SAFETY: `flush_region` returns only when every online CPU has flushed the whole region, the range with it; one that comes
    // back flushes its TLB when it has joined them (`hotplug::leave`).
    let outcome = unsafe { stale.free() };
    // SAFETY: they were taken before the region was flushed.
    outcome.and(unsafe { abandoned.free() }).map_err(ShootdownError::Free)
}

/// Frees the frames and the addresses of mappings that were dropped without a [`shootdown`]; how many pages.
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
        // SAFETY: they were taken before the region was flushed, and `flush_region` returns only when every online CPU has done
        // so; one that comes back flushes its TLB when it has joined them (`hotplug::leave`).
        unsafe { abandoned.free() }.map_err(ShootdownError::Free)?;
    }
    Ok(count)
}

fn flush_region() -> Result<(), ShootdownError> {
    let (start, _) = memory::mapping_region();
    flush(start, REGION_PAGES)
}

/// Makes every online CPU drop these pages from its TLB.
fn flush(address: u64, pages: usize) -> Result<(), ShootdownError> {
    // A CPU that is not seen online here joins the online CPUs later, and flushes its TLB after the pages were unmapped: see
    // `hotplug::leave`.
    fence(Ordering::SeqCst);
    trace!(ShootdownBegin, address, pages as u64);
    // Also those that are not among the online ones any more: until its inbox is closed a CPU runs calls and timers, which may
    // use any mapping. One whose inbox is closed is left out.
    let all = cpus().iter().map(Cpu::id).collect();
    call_those_online(&all, &|| {
        tlb::flush(address, pages, SHOOTDOWN_PAGES);
        trace!(TlbFlush, address, pages as u64);
    })
    .map_err(ShootdownError::Call)?;
    trace!(ShootdownEnd, address, pages as u64);
    Ok(())
}
