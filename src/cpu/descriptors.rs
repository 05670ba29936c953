//! Each CPU's GDT and TSS.
//!
//! The selectors are the same on every CPU, and the same as in rt0's and the trampoline's tables: code 8, data 16, TSS
//! 24. GS is never loaded with a selector, because that would clear GS base.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};

use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, DS, ES, SS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector};
use x86_64::structures::tss::TaskStateSegment;

use crate::cpu::IrqGuard;
use crate::cpu::per_cpu::PerCpu;
use crate::per_cpu;

/// The stacks of the interrupt stack table (SDM Vol. 3A, 6.14.5). Vectors that may interrupt any instruction, or that are
/// raised when the current stack is unusable, have a stack of their own on every CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum IstStack {
    /// #DF: usually an access to the guard page below the thread's stack.
    DoubleFault,
    /// NMI.
    Nmi,
    /// #MC.
    MachineCheck,
    /// #DB.
    Debug,
}

impl IstStack {
    /// All stacks, in the order of their index.
    pub(crate) const ALL: [IstStack; 4] =
        [IstStack::DoubleFault, IstStack::Nmi, IstStack::MachineCheck, IstStack::Debug];

    /// Returns the index in the table, from 0. (A gate's IST field counts from 1.)
    pub(crate) const fn index(self) -> u16 {
        self as u16
    }

    /// Returns the value of a gate's IST field: 0 would select no stack (SDM Vol. 3A, 6.14.5).
    pub(crate) const fn gate_field(self) -> u8 {
        self as u8 + 1
    }

    /// Returns the stack's name in reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            IstStack::DoubleFault => "double-fault",
            IstStack::Nmi => "NMI",
            IstStack::MachineCheck => "machine-check",
            IstStack::Debug => "debug",
        }
    }
}

/// A GDT and the TSS that it points to.
pub(crate) struct Descriptors {
    tss: TaskStateSegment,
    gdt: GlobalDescriptorTable,
}

per_cpu! {
    static DESCRIPTORS: UnsafeCell<Descriptors> = UnsafeCell::new(Descriptors {
        tss: TaskStateSegment::new(),
        gdt: GlobalDescriptorTable::new(),
    });
    /// The upper ends of this CPU's IST stacks, in the order of [`IstStack::ALL`], or 0 before they exist. Code that may
    /// have interrupted [`load_descriptors`] reads them.
    static IST_TOPS: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
}

/// Returns the upper ends of this CPU's IST stacks, in the order of [`IstStack::ALL`], or 0 before they exist.
///
/// **Context:** any, NMI and #MC too. It does not read the TSS, to which an interrupted [`load_descriptors`] may have a
/// `&mut`.
pub(super) fn ist_tops() -> [u64; 4] {
    // SAFETY: this is this CPU's own copy, which is never freed (I3) and consists of atomics. A caller that depends on
    // the result does not change CPU.
    let tops = unsafe { &*IST_TOPS.as_ptr() };
    tops.each_ref().map(|top| top.load(Ordering::Relaxed))
}

/// Loads this CPU's GDT and TSS. `ist_tops` are the upper ends of its IST stacks, in the order of [`IstStack::ALL`].
///
/// # Safety
/// Each CPU calls this when it comes up, while it uses another GDT and after GS base addresses its own area. Each top is
/// the end of a mapped stack that has no other use.
pub(crate) unsafe fn load_descriptors(guard: &IrqGuard, ist_tops: [u64; 4]) {
    let (code, data, tss) = DESCRIPTORS.with(guard, |descriptors| {
        // SAFETY: only this function borrows the value, and it does not run twice at once on a CPU: the guard excludes
        // handlers, and those of NMI and #MC neither call it (I4) nor read the tables (`ist_tops`). The processor uses
        // neither table yet: it uses another GDT (see
        // # Safety) and no task register from this one. The area is never freed (I3), so the processor may keep the
        // addresses.
        let Descriptors { tss, gdt } = unsafe { &mut *descriptors.get() };
        // A CPU that comes back from offline calls this again; its TSS is marked busy in the old table.
        *gdt = GlobalDescriptorTable::new();
        for stack in IstStack::ALL {
            tss.interrupt_stack_table[usize::from(stack.index())] =
                VirtAddr::new(ist_tops[usize::from(stack.index())]);
        }
        IST_TOPS.with(guard, |tops| {
            for (top, value) in tops.iter().zip(ist_tops) {
                top.store(value, Ordering::Relaxed);
            }
        });
        let code = gdt.append(Descriptor::kernel_code_segment());
        let data = gdt.append(Descriptor::kernel_data_segment());
        let tss = gdt.append(Descriptor::tss_segment(tss));
        gdt.load();
        (code, data, tss)
    });
    // SAFETY: the selector must be of 64-bit code: `code` is that of the GDT loaded above.
    unsafe { CS::set_reg(code) };
    // SAFETY: the selector must be of writable data: `data` is that of the GDT loaded above.
    unsafe { SS::set_reg(data) };
    // SAFETY: 64-bit code does not use DS, so the null selector is valid (SDM Vol. 3A, 3.4.4).
    unsafe { DS::set_reg(SegmentSelector::NULL) };
    // SAFETY: 64-bit code does not use ES, so the null selector is valid (SDM Vol. 3A, 3.4.4).
    unsafe { ES::set_reg(SegmentSelector::NULL) };
    // SAFETY: the selector must be of an available TSS: `tss` is this CPU's own in the GDT loaded above, and loaded once.
    unsafe { load_tss(tss) };
}
