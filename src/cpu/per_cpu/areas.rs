//! Areas: how one is made, and the list of all. Crash reports use it to find the area that contains an address.

use core::cell::Cell;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::{GsBase, PerCpu};
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
    static percpu_end: u8;
}

/// Returns the size of an area in bytes. It is a multiple of [`AREA_ALIGN`](crate::cpu::per_cpu_storage::AREA_ALIGN), so that the areas of two CPUs share neither
/// a cache line nor an adjacent pair of lines (Intel Optimization Manual, 3.7.3).
pub(crate) fn area_bytes() -> usize {
    (&raw const percpu_end).addr() - (&raw const percpu_start).addr()
}

/// Creates a new area at `area` and returns its GS base.
///
/// # Safety
/// `area` is writable for [`area_bytes`] bytes, aligned to [`AREA_ALIGN`](crate::cpu::per_cpu_storage::AREA_ALIGN), unused, and never freed.
pub(crate) unsafe fn copy_template(area: *mut u8) -> usize {
    // SAFETY: the template is `area_bytes` long and is never written; the target is as long, writable and unused, guaranteed by the
    // caller (see # Safety).
    unsafe { area.copy_from_nonoverlapping(&raw const percpu_start, area_bytes()) };
    let gs_base = area.addr().wrapping_sub((&raw const percpu_start).addr());
    // SAFETY: this is the new area's own copy of the variable, which no CPU uses yet.
    unsafe { GsBase::template().cast_mut().wrapping_byte_add(gs_base).write(Cell::new(gs_base)) };
    // SAFETY: the area is complete and new, and this function's contract forbids freeing it.
    unsafe { register(gs_base) };
    gs_base
}

/// Writes a variable in the area with GS base `gs_base`.
///
/// # Safety
/// [`copy_template`] made the area, and its CPU does not run yet.
pub(crate) unsafe fn write<P: PerCpu>(_: P, gs_base: usize, value: P::Value) {
    // SAFETY: the area holds a copy of the variable. No other code uses it, because its CPU does not run yet (see #
    // Safety).
    unsafe { P::template().cast_mut().wrapping_byte_add(gs_base).write(value) };
}

/// Adds a new area to the list.
///
/// # Safety
/// `gs_base` is the GS base of an area that [`copy_template`] made, that is never freed, and that
/// is not in the list yet.
unsafe fn register(gs_base: usize) {
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
