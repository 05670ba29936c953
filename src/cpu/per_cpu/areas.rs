//! The list of all areas. Crash reports use it to find the area that contains an address.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::PerCpu;
use crate::per_cpu;

per_cpu! {
    /// The GS base of the area that was created before this one, or 0.
    static EARLIER: AtomicU64 = AtomicU64::new(0);
}

/// The GS base of the newest area that [`register`] has added, or 0.
static NEWEST: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" {
    // Defined by the linker script.
    static bsp_area: u8;
    static percpu_start: u8;
}

/// Adds a new area to the list.
///
/// # Safety
/// `gs_base` is the GS base of an area that [`copy_template`](super::copy_template) made, that is never freed, and that
/// is not in the list yet.
pub(crate) unsafe fn register(gs_base: usize) {
    // SAFETY: the area is never freed, guaranteed by the caller (see # Safety).
    let earlier = unsafe { EARLIER.of(gs_base) };
    let mut newest = NEWEST.load(Ordering::Relaxed);
    loop {
        earlier.store(newest as u64, Ordering::Relaxed);
        // Release: a CPU that finds the area sees it initialised.
        match NEWEST.compare_exchange_weak(newest, gs_base, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return,
            Err(now) => newest = now,
        }
    }
}

/// Returns the GS bases of all areas, the BSP's last. **Context:** any.
pub(crate) fn areas() -> impl Iterator<Item = usize> {
    let newest = Some(NEWEST.load(Ordering::Acquire)).filter(|gs_base| *gs_base != 0);
    let registered = core::iter::successors(newest, |gs_base| {
        // SAFETY: `EARLIER.of` requires the GS base of an area that is never freed. `NEWEST` and each `EARLIER` hold only
        // such values or 0, because only `register` stores to them (its # Safety). Both lines that lead here filter out
        // 0.
        let earlier = unsafe { EARLIER.of(*gs_base) }.load(Ordering::Relaxed) as usize;
        Some(earlier).filter(|gs_base| *gs_base != 0)
    });
    // The BSP's area, which rt0 made.
    registered.chain([(&raw const bsp_area).addr().wrapping_sub((&raw const percpu_start).addr())])
}
