//! The checks of the kernel's heap, which `heap.checked=on` selects at boot.
//!
//! The heap's fast path has no part in them: on each CPU its pointer leads to magazines that are empty and full at once, so each allocation and each
//! free takes the slow path, which calls the functions of this file.

use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};

use spin::Once;

use super::checked::{CheckedHeap, Found, Shape};
use super::instance::{HEAP, KernelFrames};
use super::sites::{Site, SiteCounts, SiteId, Sites};
use crate::boot::handoff;
use crate::console;
use crate::cpu::registers::frame_pointer;
use crate::memory::{Zeroable, ZeroedSlice};
use crate::panic::backtrace;
use crate::wire::{self, Record};

/// Entries of the table of call sites.
const SITES: usize = 1024;

// SAFETY: all of its fields are integers.
unsafe impl Zeroable for Site {}

static IS_ON: AtomicBool = AtomicBool::new(false);
static TABLE: Once<ZeroedSlice<Site>> = Once::new();

/// Whether objects are checked.
#[inline(always)]
pub(super) fn is_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

/// Turns the checks on. Without memory for the table of call sites they stay off.
///
/// **Context:** boot, on the BSP, before anything is allocated.
pub(super) fn init() {
    let Some(table) = ZeroedSlice::new(SITES) else {
        log::warn!("no memory for {SITES} call sites: objects are not checked");
        return;
    };
    TABLE.call_once(|| table);
    HEAP.fill_slabs();
    IS_ON.store(true, Ordering::Relaxed);
    log::info!("objects are checked");
}

fn sites() -> Sites<'static> {
    Sites(TABLE.get().map_or(&[], |table| table))
}

/// The checks of the heap.
///
/// # Safety
/// [`is_on`]: the checks were turned on before anything was allocated, so everything that is allocated or freed passes through them.
unsafe fn checks() -> CheckedHeap<'static, KernelFrames> {
    // SAFETY: `init` has called `fill_slabs` before anything was allocated; since then `kernel` calls `set_up` for each allocation and `retire` for
    // each free (see # Safety).
    unsafe { CheckedHeap::new(&HEAP, sites()) }
}

/// The site of the calls that led here.
///
/// **Context:** any.
fn call_site() -> SiteId {
    sites().enter(backtrace(frame_pointer()))
}

/// [`CheckedHeap::set_up`], with the call site. It ends a program that has misused the block.
///
/// # Safety
/// [`is_on`], and as for that.
pub(super) unsafe fn set_up(block: NonNull<u8>, shape: Shape) -> NonNull<u8> {
    // SAFETY: the heap is checked, guaranteed by the caller (see # Safety).
    let checks = unsafe { checks() };
    // SAFETY: the block is a new one of the heap, guaranteed by the caller (see # Safety).
    unsafe { checks.set_up(block, shape, call_site()) }.unwrap_or_else(|found| refuse(found))
}

/// [`CheckedHeap::retire`], with the call site.
///
/// # Errors
/// As for that.
///
/// # Safety
/// [`is_on`], and as for that.
pub(super) unsafe fn retire(object: NonNull<u8>, layout: Layout) -> Result<(NonNull<u8>, Layout), Found> {
    // SAFETY: the heap is checked, guaranteed by the caller (see # Safety).
    let checks = unsafe { checks() };
    // SAFETY: the object was allocated for this layout, and nothing uses it any more, guaranteed by the caller (see # Safety).
    unsafe { checks.retire(object, layout, call_site()) }
}

/// [`CheckedHeap::check`].
///
/// # Errors
/// As for that.
///
/// # Safety
/// [`is_on`], and as for that.
pub(super) unsafe fn check(object: NonNull<u8>, layout: Layout) -> Result<(), Found> {
    // SAFETY: the heap is checked, guaranteed by the caller (see # Safety).
    let checks = unsafe { checks() };
    // SAFETY: the object was allocated for this layout, guaranteed by the caller (see # Safety).
    unsafe { checks.check(object, layout) }
}

/// Ends a program that has misused the heap, with the sites of the object.
#[cold]
#[inline(never)]
pub(super) fn refuse(found: Found) -> ! {
    for (role, site) in [("allocated", found.allocated), ("freed", found.freed)] {
        if let Some(site) = site.and_then(|site| sites().get(site)) {
            send(role, &site);
        }
    }
    panic!("heap: {found}");
}

/// Leaves the objects that are live now out of [`send_live_sites`]: those of the kernel itself, before the work begins.
///
/// **Context:** thread. Exact while no CPU allocates.
pub(crate) fn ignore_live_sites() {
    sites().close();
}

/// Sends the sites with live objects, those with the most bytes first.
///
/// **Context:** thread. Exact while no CPU allocates or frees.
pub(crate) fn send_live_sites() {
    /// Sites that are sent, at most.
    const MOST: usize = 64;
    let (objects, bytes) =
        sites().live().fold((0, 0), |(objects, bytes), site| (objects + site.objects, bytes + site.bytes));
    if objects == 0 {
        return;
    }
    log::info!("{objects} objects of {bytes} bytes are live, from {} call sites", sites().live().count());
    // By the bytes, and by the calls where these are equal: each pass sends the next smaller one.
    let key = |site: &SiteCounts| (site.bytes, site.calls);
    let mut last = None;
    for _ in 0..MOST {
        let is_next = |site: &SiteCounts| last.is_none_or(|last| key(site) < last);
        let Some(site) = sites().live().filter(is_next).max_by_key(key) else { break };
        send("live", &site);
        last = Some(key(&site));
    }
}

fn send(role: &str, site: &SiteCounts) {
    let calls = site.calls.iter().copied().take_while(|call| *call != 0).collect();
    let SiteCounts { objects, bytes, .. } = *site;
    console::send(&Record::HeapSite(wire::HeapSite { role, objects, bytes, slide: handoff().slide, calls }));
}
