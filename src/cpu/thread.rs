//! The current thread, which FS base addresses from the first Rust instruction of each CPU on.
//!
//! Each CPU has one thread of its own. The BSP's is a static, which rt0 links with the BSP's area before any Rust code runs.
//! Each AP's thread lies in its area. The scheduler makes all others. A thread records its stack, which bounds backtraces.

use core::cell::Cell;
use core::mem::offset_of;
use core::ops::Range;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use crate::config::IST_STACK_PAGES;
use crate::cpu::per_cpu::{self, PerCpu, PerCpuStorage};
use crate::cpu::{IrqGuard, PAGE_BYTES, descriptors};
use crate::per_cpu;

/// A thread. Its layout is fixed, because rt0 initialises the BSP's. The fields are written by the thread's own CPU, each
/// time that the CPU comes online. Any CPU may read them.
#[repr(C)]
pub(crate) struct Thread {
    /// The thread's own address, which one instruction loads through FS.
    this: AtomicPtr<Thread>,
    /// The GS base of the CPU that runs the thread.
    gs_base: AtomicU64,
    stack_bottom: AtomicU64,
    stack_top: AtomicU64,
    /// The address of what the scheduler knows of the thread, or 0 for a thread that it does not schedule.
    scheduled: AtomicU64,
    /// The number by which mutexes name the thread as their owner, or 0 for a thread that is not scheduled.
    owner: AtomicU64,
}

impl Thread {
    pub(crate) const fn new() -> Thread {
        Thread {
            this: AtomicPtr::new(core::ptr::null_mut()),
            gs_base: AtomicU64::new(0),
            stack_bottom: AtomicU64::new(0),
            stack_top: AtomicU64::new(0),
            scheduled: AtomicU64::new(0),
            owner: AtomicU64::new(0),
        }
    }

    /// Initialises a thread in its place: its stack, the address of what the scheduler knows of it, and its number as an owner.
    pub(crate) fn init(&self, stack: Range<u64>, scheduled: usize, owner: usize) {
        self.this.store(core::ptr::from_ref(self).cast_mut(), Ordering::Relaxed);
        self.stack_bottom.store(stack.start, Ordering::Relaxed);
        self.stack_top.store(stack.end, Ordering::Relaxed);
        self.set_scheduled(scheduled, owner);
    }

    /// Sets the address of what the scheduler knows of the thread, and its number as an owner. **Context:** the thread, or before it runs.
    pub(crate) fn set_scheduled(&self, address: usize, owner: usize) {
        self.scheduled.store(address as u64, Ordering::Relaxed);
        self.owner.store(owner as u64, Ordering::Relaxed);
    }

    /// Notes the CPU that runs the thread. **Context:** that CPU, interrupts off.
    #[inline(always)]
    pub(super) fn set_gs_base(&self, gs_base: usize) {
        self.gs_base.store(gs_base as u64, Ordering::Relaxed);
    }

    /// Returns the GS base of the CPU that runs the thread, or has run it last. **Context:** any; the result may be old.
    pub(crate) fn gs_base(&self) -> usize {
        self.gs_base.load(Ordering::Relaxed) as usize
    }

    /// Returns the address range of the thread's stack. **Context:** any.
    pub(crate) fn stack(&self) -> Range<u64> {
        self.stack_bottom.load(Ordering::Relaxed)..self.stack_top.load(Ordering::Relaxed)
    }
}

/// The address of this CPU's current thread. `per_cpu!` is not used, because rt0 names the storage.
#[derive(Clone, Copy)]
pub(crate) struct CurrentThread;

#[unsafe(link_section = ".percpu")]
// SAFETY: it lies in .percpu.
pub(crate) static CURRENT_THREAD: PerCpuStorage<Cell<usize>> = unsafe { PerCpuStorage::new(Cell::new(0)) };

per_cpu!(@variable CurrentThread, Cell<usize>, CURRENT_THREAD);

per_cpu! {
    static OWN: Thread = Thread::new();
}

/// Returns the address of the thread in a CPU's area: an AP's FS base when it enters the kernel. The BSP enters with
/// rt0's thread.
pub(crate) fn own_address(gs_base: usize) -> u64 {
    OWN::template().wrapping_byte_add(gs_base).addr() as u64
}

/// Links a CPU and the thread in its area, with `stack` as the thread's stack.
///
/// # Safety
/// `gs_base` is the GS base of an area that `copy_template` made, and its CPU does not run yet.
pub(super) unsafe fn prepare(gs_base: usize, stack: Range<u64>) {
    let own = own_address(gs_base);
    let thread = Thread {
        this: AtomicPtr::new(core::ptr::with_exposed_provenance_mut(own as usize)),
        gs_base: AtomicU64::new(gs_base as u64),
        stack_bottom: AtomicU64::new(stack.start),
        stack_top: AtomicU64::new(stack.end),
        scheduled: AtomicU64::new(0),
        owner: AtomicU64::new(0),
    };
    // SAFETY: the area is one that `copy_template` made, and its CPU does not run yet, guaranteed by the caller (see # Safety).
    unsafe { per_cpu::write(OWN, gs_base, thread) };
    // SAFETY: the area is one that `copy_template` made, and its CPU does not run yet, guaranteed by the caller (see # Safety).
    unsafe { per_cpu::write(CurrentThread, gs_base, Cell::new(own as usize)) };
}

/// Returns this CPU's current thread. **Context:** any.
pub(crate) fn current() -> &'static Thread {
    let this: *const Thread;
    // SAFETY: FS base must address 8 readable bytes: it addresses a thread from each CPU's first Rust instruction on (rt0,
    // `prepare`).
    unsafe { core::arch::asm!("mov {}, fs:[0]", out(reg) this, options(nostack, preserves_flags, readonly)) };
    // SAFETY: the thread's first field is its own address (`layout::THIS`), and the thread is never freed.
    unsafe { &*this }
}

/// Returns the address of what the scheduler knows of the running thread, or 0 if it does not schedule it.
///
/// **Context:** any. A thread that moves to another CPU meanwhile has the same address there.
#[inline(always)]
pub(crate) fn current_scheduled() -> usize {
    let address: usize;
    // SAFETY: FS base addresses a thread from each CPU's first Rust instruction on (rt0, `prepare`, `cpu::fs_base`).
    unsafe {
        core::arch::asm!("mov {}, fs:[{offset}]", out(reg) address, offset = const offset_of!(Thread, scheduled),
            options(nostack, preserves_flags, readonly));
    }
    address
}

/// Returns the number by which mutexes name the running thread as their owner, or 0 if it is not scheduled. **Context:** any.
#[inline(always)]
pub(crate) fn current_owner() -> usize {
    let number: usize;
    // SAFETY: FS base addresses a thread from each CPU's first Rust instruction on (rt0, `prepare`, `cpu::fs_base`).
    unsafe {
        core::arch::asm!("mov {}, fs:[{offset}]", out(reg) number, offset = const offset_of!(Thread, owner),
            options(nostack, preserves_flags, readonly));
    }
    number
}

/// Returns whether an address lies on a stack of this CPU: its thread's or one of its IST stacks. **Context:** any.
pub(crate) fn is_on_stack(address: u64) -> bool {
    let ist_bytes = (IST_STACK_PAGES * PAGE_BYTES) as u64;
    current().stack().contains(&address)
        || descriptors::ist_tops()
            .into_iter()
            .any(|top| (top.saturating_sub(ist_bytes)..top).contains(&address))
}

/// Returns whether this CPU and its thread refer to each other, as rt0 or [`cpu::prepare_area`](crate::cpu::prepare_area)
/// linked them.
pub(crate) fn is_linked(_: &IrqGuard) -> bool {
    let thread = current();
    core::ptr::from_ref(thread).addr() == CurrentThread.get()
        && thread.gs_base.load(Ordering::Relaxed) as usize == crate::cpu::per_cpu::gs_base()
        && thread.stack().contains(&crate::cpu::registers::frame_pointer())
}

/// Field offsets for rt0.
pub(crate) mod layout {
    use core::mem::size_of;

    use super::{Thread, offset_of};

    pub(crate) const THIS: usize = offset_of!(Thread, this);
    pub(crate) const GS_BASE: usize = offset_of!(Thread, gs_base);
    pub(crate) const STACK_BOTTOM: usize = offset_of!(Thread, stack_bottom);
    pub(crate) const STACK_TOP: usize = offset_of!(Thread, stack_top);
    pub(crate) const BYTES: usize = size_of::<Thread>();

    // `current` loads the first word.
    const _: () = assert!(THIS == 0);
}
