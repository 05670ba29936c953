//! Each CPU's own GDT and TSS.
//!
//! The selectors are the same on every CPU and the same as in rt0's and the trampoline's tables: code 8, data 16,
//! TSS 24. GS is never loaded with a selector: that would clear GS base.

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

/// The stacks of the interrupt stack table (SDM Vol. 3A, 6.14.5): what may strike at any instruction, or when the
/// current stack is the thing that is wrong, gets one of its own on every CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum IstStack {
    /// #DF: most often the guard page under the main stack.
    DoubleFault,
    /// NMI.
    Nmi,
    /// #MC.
    MachineCheck,
    /// #DB.
    Debug,
}

impl IstStack {
    /// All of them, in the order of their index.
    pub const ALL: [IstStack; 4] =
        [IstStack::DoubleFault, IstStack::Nmi, IstStack::MachineCheck, IstStack::Debug];

    /// Its place in the table, from 0 (the gate's field counts from 1).
    pub const fn index(self) -> u16 {
        self as u16
    }

    /// What a gate's IST field holds for it: 0 would mean no stack (SDM Vol. 3A, 6.14.5).
    pub const fn gate_field(self) -> u8 {
        self as u8 + 1
    }

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            IstStack::DoubleFault => "double-fault",
            IstStack::Nmi => "NMI",
            IstStack::MachineCheck => "machine-check",
            IstStack::Debug => "debug",
        }
    }
}

/// A GDT and the TSS that it points to.
pub struct Descriptors {
    tss: TaskStateSegment,
    gdt: GlobalDescriptorTable,
}

per_cpu! {
    static DESCRIPTORS: UnsafeCell<Descriptors> = UnsafeCell::new(Descriptors {
        tss: TaskStateSegment::new(),
        gdt: GlobalDescriptorTable::new(),
    });
    /// The ends of this CPU's interrupt stacks, in the order of [`IstStack::ALL`], for code that may have interrupted
    /// [`load_descriptors`]; 0 before there are any.
    static IST_TOPS: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
}

/// The ends of this CPU's interrupt stacks, in the order of [`IstStack::ALL`]; 0 before it has any.
///
/// **Context:** any, NMI and #MC too. It does not read the TSS, to which [`load_descriptors`] may have a `&mut` where this
/// has interrupted it.
pub(super) fn ist_tops() -> [u64; 4] {
    // SAFETY: this CPU's own copy, which is never freed (I3) and is all atomic; the caller's CPU cannot change in a context
    // in which the answer matters to it.
    let tops = unsafe { &*IST_TOPS.as_ptr() };
    tops.each_ref().map(|top| top.load(Ordering::Relaxed))
}

/// Gives this CPU its GDT and TSS, with `ist_tops` (in the order of [`IstStack::ALL`]) as its interrupt stacks.
///
/// # Safety
/// Called on each CPU as it comes up, while it runs on another GDT, after GS base leads to its own area. Each top is the
/// end of a mapped stack that nothing else uses.
pub unsafe fn load_descriptors(guard: &IrqGuard, ist_tops: [u64; 4]) {
    let (code, data, tss) = DESCRIPTORS.with(guard, |descriptors| {
        // SAFETY: this function alone borrows the value, and cannot run twice at once on a CPU: the guard keeps handlers out,
        // and those of NMI and #MC do not call it (I4) nor read the tables (`ist_tops`). The processor uses neither table
        // yet: it runs on another GDT (see # Safety) and has no task register from this one. The area is never freed (I3), so
        // the processor may keep the addresses.
        let Descriptors { tss, gdt } = unsafe { &mut *descriptors.get() };
        // A CPU that has been offline comes here again; its TSS is marked busy in the old table.
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
    // SAFETY: the selectors are those of the table just loaded: 64-bit code, data, and this CPU's own TSS.
    unsafe {
        CS::set_reg(code);
        SS::set_reg(data);
        DS::set_reg(SegmentSelector::NULL);
        ES::set_reg(SegmentSelector::NULL);
        load_tss(tss);
    }
}
