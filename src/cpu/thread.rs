//! The thread at work: what FS base leads to, from the first Rust instruction of each CPU on.
//!
//! There is no scheduler yet, so there is one thread for each CPU: the boot processor's, a static that rt0 links with
//! that CPU's area before any Rust runs, and every other CPU's own, in its area. A thread knows its stack, which is what
//! tells a backtrace where to stop.

use core::cell::Cell;
use core::ops::Range;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use crate::config::IST_STACK_PAGES;
use crate::cpu::per_cpu::{self, PerCpu, Template};
use crate::cpu::{IrqGuard, PAGE_BYTES, descriptors};
use crate::per_cpu;

/// A thread. rt0 fills in the BSP's, so the layout is fixed. Its own CPU writes the fields, again each time that it comes
/// online, and any CPU may read them.
#[repr(C)]
pub struct Thread {
    /// Its own address, where one instruction reads it through FS.
    this: AtomicPtr<Thread>,
    /// The GS base of the CPU that it runs on.
    gs_base: AtomicU64,
    stack_bottom: AtomicU64,
    stack_top: AtomicU64,
}

impl Thread {
    const fn new() -> Thread {
        Thread {
            this: AtomicPtr::new(core::ptr::null_mut()),
            gs_base: AtomicU64::new(0),
            stack_bottom: AtomicU64::new(0),
            stack_top: AtomicU64::new(0),
        }
    }

    /// Its stack.
    pub fn stack(&self) -> Range<u64> {
        self.stack_bottom.load(Ordering::Relaxed)..self.stack_top.load(Ordering::Relaxed)
    }
}

/// The thread that this CPU works on, where the CPU's area keeps it. Written by hand, for rt0 names the template.
#[derive(Clone, Copy)]
pub struct CurrentThread;

#[unsafe(link_section = ".percpu")]
// SAFETY: it lies in .percpu.
pub(crate) static CURRENT_THREAD: Template<Cell<usize>> = unsafe { Template::new(Cell::new(0)) };

per_cpu!(@variable CurrentThread, Cell<usize>, CURRENT_THREAD);

per_cpu! {
    static OWN: Thread = Thread::new();
}

/// The address of the thread that a CPU has in its area: its FS base when it enters the kernel. Of every CPU but the boot
/// processor, which enters with a thread of rt0's.
pub fn own_address(gs_base: usize) -> u64 {
    OWN::template().wrapping_byte_add(gs_base).addr() as u64
}

/// Links a CPU and the thread in its area, on that stack.
///
/// # Safety
/// `gs_base` is that of an area that `copy_template` made, and whose CPU does not run yet.
pub(super) unsafe fn prepare(gs_base: usize, stack: Range<u64>) {
    let own = own_address(gs_base);
    let thread = Thread {
        this: AtomicPtr::new(core::ptr::with_exposed_provenance_mut(own as usize)),
        gs_base: AtomicU64::new(gs_base as u64),
        stack_bottom: AtomicU64::new(stack.start),
        stack_top: AtomicU64::new(stack.end),
    };
    // SAFETY: the area is one that `copy_template` made, and its CPU does not run yet, guaranteed by the caller (see # Safety).
    unsafe {
        per_cpu::write(OWN, gs_base, thread);
        per_cpu::write(CurrentThread, gs_base, Cell::new(own as usize));
    }
}

/// The thread that this CPU works on.
pub fn current() -> &'static Thread {
    let this: *const Thread;
    // SAFETY: FS base leads to a thread from each CPU's first Rust instruction on, whose first field is its address; it
    // lives for good.
    unsafe {
        core::arch::asm!("mov {}, fs:[0]", out(reg) this, options(nostack, preserves_flags, readonly));
        &*this
    }
}

/// Whether an address lies on a stack that this CPU may be on: its thread's, or one of its interrupt stacks.
pub fn is_on_stack(address: u64) -> bool {
    let ist_bytes = (IST_STACK_PAGES * PAGE_BYTES) as u64;
    current().stack().contains(&address)
        || descriptors::ist_tops()
            .into_iter()
            .any(|top| (top.saturating_sub(ist_bytes)..top).contains(&address))
}

/// Whether this CPU and its thread know each other, as rt0 or [`cpu::prepare_area`](crate::cpu::prepare_area) have linked them.
pub fn is_linked(_: &IrqGuard) -> bool {
    let thread = current();
    core::ptr::from_ref(thread).addr() == CurrentThread.get()
        && thread.gs_base.load(Ordering::Relaxed) as usize == crate::cpu::per_cpu::gs_base()
        && thread.stack().contains(&crate::cpu::registers::frame_pointer())
}

/// Offsets for rt0.
pub(crate) mod layout {
    use core::mem::{offset_of, size_of};

    use super::Thread;

    pub(crate) const THIS: usize = offset_of!(Thread, this);
    pub(crate) const GS_BASE: usize = offset_of!(Thread, gs_base);
    pub(crate) const STACK_BOTTOM: usize = offset_of!(Thread, stack_bottom);
    pub(crate) const STACK_TOP: usize = offset_of!(Thread, stack_top);
    pub(crate) const BYTES: usize = size_of::<Thread>();

    // `current` reads the first word.
    const _: () = assert!(THIS == 0);
}
