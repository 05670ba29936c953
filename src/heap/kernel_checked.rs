//! The checks of the kernel's heap, which `heap.checked=on` selects at boot.
//!
//! The heap's fast path has no part in them: on each CPU its pointer leads to magazines that are empty and full at once, so each allocation and each
//! free takes the slow path, which calls the functions of this file.

use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};

use spin::Once;

use super::allocator::Heap;
use super::backing::Backing;
use super::checked::{CheckedHeap, Found};
use super::magazines::Magazines;
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
pub(super) fn init(heap: &Heap<impl Backing>) {
    let Some(table) = ZeroedSlice::new(SITES) else {
        log::warn!("heap: no memory for {SITES} call sites: objects are not checked");
        return;
    };
    TABLE.call_once(|| table);
    heap.fill_slabs();
    IS_ON.store(true, Ordering::Relaxed);
    log::info!("heap: objects are checked");
}

fn sites() -> Sites<'static> {
    Sites(TABLE.get().map_or(&[], |table| table))
}

/// The heap with its checks.
fn with_checks<B: Backing>(heap: &Heap<B>) -> CheckedHeap<'_, B> {
    CheckedHeap { heap, sites: sites() }
}

/// The site of the calls that led here.
///
/// **Context:** any.
pub(super) fn call_site() -> SiteId {
    sites().enter(backtrace(frame_pointer()))
}

/// [`CheckedHeap::alloc`], with the kernel's call sites.
///
/// # Errors
/// As for that.
pub(super) fn alloc(
    heap: &Heap<impl Backing>,
    cpu: &Magazines,
    layout: Layout,
    site: SiteId,
) -> Result<Option<NonNull<u8>>, Found> {
    with_checks(heap).alloc(cpu, layout, site)
}

/// [`CheckedHeap::dealloc`], with the kernel's call sites.
///
/// # Errors
/// As for that.
///
/// # Safety
/// As for that.
pub(super) unsafe fn dealloc(
    heap: &Heap<impl Backing>,
    cpu: &Magazines,
    object: NonNull<u8>,
    layout: Layout,
) -> Result<(), Found> {
    // SAFETY: guaranteed by the caller (see # Safety).
    unsafe { with_checks(heap).dealloc(cpu, object, layout, call_site()) }
}

/// [`CheckedHeap::check`], with the kernel's call sites.
///
/// # Errors
/// As for that.
pub(super) fn check(heap: &Heap<impl Backing>, object: NonNull<u8>, layout: Layout) -> Result<(), Found> {
    with_checks(heap).check(object, layout)
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
    log::info!(
        "heap: {objects} objects of {bytes} bytes are live, from {} call sites",
        sites().live().count()
    );
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
