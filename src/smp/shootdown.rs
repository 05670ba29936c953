//! Making every CPU forget what is no longer mapped.

use core::fmt;
use core::sync::atomic::{Ordering, fence};

use super::{CallError, all_online, call_those_online};
use crate::config::SHOOTDOWN_PAGES;
use crate::cpu::tlb;
use crate::memory::StaleRange;
use crate::memory::frames::FreeError;
use crate::trace;

/// Why a range was not settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShootdownError {
    /// A CPU did not acknowledge: the range and its frames are never used again.
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

/// Makes every online CPU forget a stale range, and gives back its frames and addresses when the last has acknowledged.
/// Up to [`SHOOTDOWN_PAGES`] pages go one by one; for more, a CPU reloads CR3. Interrupts may be on or off, as for
/// [`call`](super::call).
///
/// A CPU that comes online later loads CR3 on its way, so it knows nothing of what was stale before. One that goes
/// offline meanwhile runs nothing more that could use the range.
///
/// # Errors
/// See [`ShootdownError`].
pub fn shootdown(stale: StaleRange) -> Result<(), ShootdownError> {
    let (address, pages) = (stale.address(), stale.pages());
    // Whoever is not seen here comes later, and loads CR3 after the mapping was undone: see `hotplug`.
    fence(Ordering::SeqCst);
    trace!(ShootdownBegin, address, pages as u64);
    call_those_online(&all_online(), &|| {
        tlb::forget(address, pages, SHOOTDOWN_PAGES);
        trace!(Forget, address, pages as u64);
    })
    .map_err(ShootdownError::Call)?;
    trace!(ShootdownEnd, address, pages as u64);
    // SAFETY: every CPU that is online has just dropped the range, and the others have not run since they loaded CR3.
    unsafe { stale.settle() }.map_err(ShootdownError::Free)
}
