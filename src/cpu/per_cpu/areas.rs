//! All areas that there are: which of them holds an address is asked by reports.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::PerCpu;
use crate::per_cpu;

per_cpu! {
    /// The GS base of the area that was made before this one, or 0.
    static EARLIER: AtomicU64 = AtomicU64::new(0);
}

/// The GS base of the newest area that [`enter`] has entered, or 0.
static NEWEST: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" {
    // From the linker script.
    static bsp_area: u8;
    static percpu_start: u8;
}

/// Enters a new area.
///
/// # Safety
/// `gs_base` is that of an area that was made by [`copy_template`](super::copy_template), is never freed, and was not
/// entered before.
pub unsafe fn enter(gs_base: usize) {
    // SAFETY: the caller's obligation.
    let earlier = unsafe { EARLIER.of(gs_base) };
    let mut newest = NEWEST.load(Ordering::Relaxed);
    loop {
        earlier.store(newest as u64, Ordering::Relaxed);
        // Release: a CPU that finds the area finds it initialised.
        match NEWEST.compare_exchange_weak(newest, gs_base, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return,
            Err(now) => newest = now,
        }
    }
}

/// The GS bases of all areas, the boot processor's last. Any context.
pub fn areas() -> impl Iterator<Item = usize> {
    let newest = Some(NEWEST.load(Ordering::Acquire)).filter(|gs_base| *gs_base != 0);
    let entered = core::iter::successors(newest, |gs_base| {
        // SAFETY: `EARLIER.of` needs the GS base of an area that is never freed. `NEWEST` and each `EARLIER` hold only such, or 0:
        // `enter` stores nothing else (its # Safety), and 0 is filtered out on both lines that lead here.
        let earlier = unsafe { EARLIER.of(*gs_base) }.load(Ordering::Relaxed) as usize;
        Some(earlier).filter(|gs_base| *gs_base != 0)
    });
    // The one area that rt0 made.
    entered.chain([(&raw const bsp_area).addr().wrapping_sub((&raw const percpu_start).addr())])
}
