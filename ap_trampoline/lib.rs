//! The AP trampoline: two pages below 1 MiB in which the APs start. This crate has their code and their layout.
//!
//! | offset | contents |
//! |---|---|
//! | 0 | the code of `trampoline.S`; the bytes after it are INT3 |
//! | [`MAILBOX`] | [`Mailbox`]: data for the APs |
//! | [`PAGE_BYTES`] | [`Scratch`]: data that the APs write, and a stack |
//! | [`SEEN_REAL_MODE`], [`SEEN_PROTECTED_MODE`] | one bit for each APIC ID, set by the AP with that APIC ID |
//!
//! The first page is executable; the BSP writes it once, before it starts the APs. The second page is writable and not executable.
//! Each AP finds its [`ApSlot`] in the kernel's memory by its APIC ID and claims it. The assembly takes all offsets from the types
//! of this crate.
//!
//! The pages are never freed. A late AP halts in them, and an offline CPU restarts in them.

#![no_std]

use core::fmt;
use core::mem::{offset_of, size_of};
use core::sync::atomic::{AtomicU32, AtomicU64};

/// Offset of the mailbox.
pub const MAILBOX: usize = 0x400;
/// The size of a page in bytes; offset of the second page.
pub const PAGE_BYTES: usize = 0x1000;
/// The size of both pages in bytes.
pub const BYTES: usize = 2 * PAGE_BYTES;
/// Offset of the bits of the APs that reached real mode.
pub const SEEN_REAL_MODE: usize = 0x1800;
/// Offset of the bits of the APs that reached protected mode.
pub const SEEN_PROTECTED_MODE: usize = 0x1c00;
/// The number of APIC IDs with such bits. An AP with a higher APIC ID is visible from long mode on.
pub const SEEN_BITS: usize = 0x400 * 8;
/// The filler of the first page: `int3`, which stops an AP that executes it.
pub const FILLER: u8 = 0xcc;

const CODE_32: u16 = 0x18;
const CODE_64: u16 = 0x08;
const DATA: u16 = 0x10;

/// Null, 64-bit code, data, 32-bit code. The first three are the same in all GDTs of octopod. The Accessed bits are set, so the
/// processor does not write here.
pub const GDT: [u64; 4] = [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0x00cf_9b00_0000_ffff];

/// The memory operand of `ljmp` and `lss`: an offset and a selector.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, packed)]
pub struct FarPointer {
    offset: u32,
    selector: u16,
}

/// The memory operand of `lgdt` and `lidt`: a limit and a base.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, packed)]
pub struct TablePointer {
    /// The size of the table in bytes, minus one.
    pub limit: u16,
    /// The address of the table.
    pub base: u64,
}

/// The number of gates in the trampoline's IDT: up to vector 18, a machine check.
const GATES: usize = 19;

/// The vectors of NMI and machine check.
const NMI: usize = 2;
const MACHINE_CHECK: usize = 18;

/// The stack frame of `iretq` (SDM Vol. 3A, 6.14.2).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct ReturnFrame {
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

/// Bit 1 of RFLAGS is always set; CF and ZF (SDM Vol. 1, 3.4.3).
const FLAGS: u64 = 1 << 1;
const CARRY: u64 = 1 << 0;
const ZERO: u64 = 1 << 6;

/// Data of the BSP for the APs, in the first page at [`MAILBOX`]. Read-only after the BSP has filled it in.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Mailbox {
    gdt: [u64; 4],
    /// 64-bit gates for NMI and machine check.
    idt: [[u64; 2]; GATES],
    /// Return frames for an NMI or a machine check on the shared stack: see `trampoline.S`.
    restart: ReturnFrame,
    claimed: ReturnFrame,
    count: ReturnFrame,
    halt: ReturnFrame,
    gdt_pointer: TablePointer,
    own_idt_pointer: TablePointer,
    protected_mode: FarPointer,
    long_mode: FarPointer,
    scratch_stack: FarPointer,
    /// The kernel's early GDT, at its address in the high half. The AP uses it until it has its own.
    pub kernel_gdt_pointer: TablePointer,
    /// The kernel's early IDT, at its address in the high half. Its gates use no IST stacks: the AP has no TSS yet.
    pub kernel_idt_pointer: TablePointer,
    /// The BSP's CR0.
    pub cr0: u32,
    /// The BSP's CR4.
    pub cr4: u32,
    /// The trampoline's page tables, below 4 GiB.
    pub cr3: u32,
    /// The low half of EFER, without LMA.
    pub efer: u32,
    /// The number of slots.
    pub slot_count: u32,
    /// The address of a 32-bit counter of late APs: APs without a slot in the state [`SlotState::Waiting`].
    pub late_aps: u64,
    /// The address of a 32-bit counter of NMIs in the trampoline, where an AP has no per-CPU counter.
    pub nmis: u64,
    /// The address of a 32-bit counter of machine checks in the trampoline. MCIP remains set; the kernel reports it.
    pub machine_checks: u64,
    /// The address of the first slot. The slots are in ascending order of their APIC IDs.
    pub slots: u64,
    /// The entry point of the kernel for an AP. RDI = the slot.
    pub entry: u64,
}

/// The data in the second page.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Scratch {
    /// Read only with the feature `faults`.
    pub hold: StageHold,
}

/// The end of the shared stack in the second page, which an AP uses until it has its own. Another AP can overwrite its contents
/// at any time, so no code reads them.
const SCRATCH_STACK_TOP: usize = 0x1800;

/// Fault injection: an AP stops at the end of a stage until it is released; CPUID returns wrong APIC IDs.
#[derive(Debug, Default)]
#[repr(C)]
pub struct StageHold {
    /// The APIC ID of the AP that stops.
    pub apic_id: u32,
    /// The [`Stage`] at whose end it stops.
    pub stage: u32,
    /// Whether the AP stops; 0 releases it.
    pub is_on: AtomicU32,
    /// The bits of CPUID's APIC IDs that are inverted.
    pub wrong_id_bits: u32,
}

impl Mailbox {
    /// Returns the mailbox for a trampoline at the physical address `page`. The caller fills in the public fields.
    pub fn new(page: u32) -> Mailbox {
        let at = |offset: usize| u64::from(page) + offset as u64;
        let code = |entry| page + code_offset(entry);
        let stack = at(SCRATCH_STACK_TOP);
        let return_to = |entry, flags| ReturnFrame {
            rip: code(entry).into(),
            cs: CODE_64.into(),
            rflags: FLAGS | flags,
            rsp: stack,
            ss: DATA.into(),
        };
        let mut idt = [[0; 2]; GATES];
        idt[NMI] = gate(code(Entry::Nmi));
        idt[MACHINE_CHECK] = gate(code(Entry::MachineCheck));
        Mailbox {
            gdt: GDT,
            idt,
            restart: return_to(Entry::LongMode, 0),
            claimed: return_to(Entry::Claimed, ZERO),
            count: return_to(Entry::Count, 0),
            halt: return_to(Entry::Halt, CARRY),
            gdt_pointer: TablePointer {
                limit: (size_of::<[u64; 4]>() - 1) as u16,
                base: at(MAILBOX + offset_of!(Mailbox, gdt)),
            },
            own_idt_pointer: TablePointer {
                limit: (size_of::<[[u64; 2]; GATES]>() - 1) as u16,
                base: at(MAILBOX + offset_of!(Mailbox, idt)),
            },
            protected_mode: FarPointer { offset: code(Entry::ProtectedMode), selector: CODE_32 },
            long_mode: FarPointer { offset: code(Entry::LongMode), selector: CODE_64 },
            scratch_stack: FarPointer { offset: stack as u32, selector: DATA },
            ..Mailbox::default()
        }
    }
}

/// Returns a 64-bit interrupt gate for an address below 4 GiB: present, ring 0, no IST (SDM Vol. 3A, 6.14.1).
fn gate(address: u32) -> [u64; 2] {
    let address = u64::from(address);
    [address & 0xffff | u64::from(CODE_64) << 16 | 0x8e00 << 32 | (address >> 16) << 48, 0]
}

/// The state of a slot. It determines whether an AP may use the slot's stack and per-CPU area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SlotState {
    /// The AP has been started and may claim the slot.
    Waiting = 1,
    /// The AP has claimed the slot.
    Claimed = 2,
    /// The CPU is online.
    Online = 3,
    /// The AP timed out; a late AP is parked.
    GivenUp = 4,
}

/// A stage of an AP's bring-up, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Stage {
    /// The BSP has sent a start-up IPI to it, or has tried to.
    SipiSent,
    /// It executes the trampoline's first instructions.
    RealMode,
    /// It runs 32-bit code.
    ProtectedMode,
    /// It runs 64-bit code and has claimed its slot.
    LongMode,
    /// It has its stack and its per-CPU area, and uses the kernel's page tables.
    Gs,
    /// It has its GDT and its TSS, and uses the final IDT.
    Idt,
    /// Its local APIC is enabled.
    Apic,
    /// Its APIC timer is set up.
    Timer,
    /// It accepts work.
    Online,
}

impl Stage {
    /// The number of stages.
    pub const COUNT: usize = 9;

    /// All stages, in order.
    pub const ALL: [Stage; Stage::COUNT] = [
        Stage::SipiSent,
        Stage::RealMode,
        Stage::ProtectedMode,
        Stage::LongMode,
        Stage::Gs,
        Stage::Idt,
        Stage::Apic,
        Stage::Timer,
        Stage::Online,
    ];

    /// Returns the name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::SipiSent => "sipi_sent",
            Stage::RealMode => "real_mode",
            Stage::ProtectedMode => "protected_mode",
            Stage::LongMode => "long_mode",
            Stage::Gs => "gs",
            Stage::Idt => "idt",
            Stage::Apic => "apic",
            Stage::Timer => "timer",
            Stage::Online => "online",
        }
    }

    /// Returns the stage of this name.
    pub fn from_name(name: &str) -> Option<Stage> {
        Stage::ALL.into_iter().find(|stage| stage.name() == name)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The data of an AP for its bring-up, in two cache lines of its own. The slot of an AP that timed out is never reused, because the
/// AP can still be running.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct ApSlot {
    /// The APIC ID of the AP.
    pub apic_id: u32,
    /// A [`SlotState`].
    pub state: AtomicU32,
    /// The last [`Stage`] that the AP entered.
    pub stage: AtomicU32,
    /// The CPU number.
    pub cpu: u32,
    /// The initial stack pointer: the end of the stack, or the stack pointer at which the CPU went offline.
    pub stack_top: AtomicU64,
    /// The GS base.
    pub gs_base: u64,
    /// The FS base.
    pub fs_base: u64,
    /// The TSC at each stage; 0 for a stage that the AP has not reached.
    pub stamps: [AtomicU64; Stage::COUNT],
}

const _: () = {
    assert!(MAILBOX + size_of::<Mailbox>() <= PAGE_BYTES);
    // The shared stack has room for an interrupt frame and does not overlap the bits.
    assert!(
        PAGE_BYTES + size_of::<Scratch>() + 0x400 <= SCRATCH_STACK_TOP && SCRATCH_STACK_TOP <= SEEN_REAL_MODE
    );
    assert!(SEEN_REAL_MODE + SEEN_BITS / 8 == SEEN_PROTECTED_MODE);
    assert!(SEEN_PROTECTED_MODE + SEEN_BITS / 8 == BYTES);
    // Gates need no alignment, but a gate in two cache lines takes two reads.
    assert!(offset_of!(Mailbox, idt).is_multiple_of(16));
    assert!(size_of::<ApSlot>() == 128);
    assert!(size_of::<FarPointer>() == 6 && size_of::<TablePointer>() == 10);
};

#[cfg(target_os = "none")]
pub use image::code;
#[cfg(target_os = "none")]
use image::code_offset;

enum Entry {
    ProtectedMode,
    LongMode,
    Claimed,
    Count,
    Halt,
    Nmi,
    MachineCheck,
}

#[cfg(not(target_os = "none"))]
fn code_offset(_: Entry) -> u32 {
    0
}

#[cfg(target_os = "none")]
mod image {
    use super::*;

    macro_rules! slot_stamp {
        ($stage:ident) => {
            offset_of!(ApSlot, stamps) + Stage::$stage as usize * 8
        };
    }

    core::arch::global_asm!(
        ".set SEEN_REAL_MODE, {seen_real_mode}",
        ".set SEEN_PROTECTED_MODE, {seen_protected_mode}",
        ".set SEEN_BITS, {seen_bits}",
        ".set DATA_SELECTOR, {data}",
        ".set IA32_EFER, 0xc0000080",
        // SDM Vol. 3A, 11.4.4 and tables 11-1 and 11-6.
        ".set IA32_APIC_BASE, 0x1b",
        ".set APIC_BASE_EXTD, 1 << 10",
        ".set APIC_BASE_EN, 1 << 11",
        ".set XAPIC_ID, 0x20",
        ".set X2APIC_ID, 0x802",
        ".set IA32_GS_BASE, 0xc0000101",
        ".set TRAMPOLINE_BYTES, {bytes}",
        ".set IA32_FS_BASE, 0xc0000100",
        ".set MAILBOX_RESTART, {mailbox} + {restart}",
        ".set MAILBOX_CLAIMED, {mailbox} + {claimed_frame}",
        ".set MAILBOX_COUNT, {mailbox} + {count}",
        ".set MAILBOX_HALT, {mailbox} + {halt}",
        ".set MAILBOX_GDT_POINTER, {mailbox} + {gdt_pointer}",
        ".set MAILBOX_OWN_IDT_POINTER, {mailbox} + {own_idt_pointer}",
        ".set MAILBOX_KERNEL_GDT_POINTER, {mailbox} + {kernel_gdt_pointer}",
        ".set MAILBOX_KERNEL_IDT_POINTER, {mailbox} + {kernel_idt_pointer}",
        ".set MAILBOX_SCRATCH_STACK, {mailbox} + {scratch_stack}",
        ".set MAILBOX_NMIS, {mailbox} + {nmis}",
        ".set MAILBOX_MACHINE_CHECKS, {mailbox} + {machine_checks}",
        ".set MAILBOX_PROTECTED_MODE, {mailbox} + {protected_mode}",
        ".set MAILBOX_LONG_MODE, {mailbox} + {long_mode}",
        ".set MAILBOX_CR0, {mailbox} + {cr0}",
        ".set MAILBOX_CR3, {mailbox} + {cr3}",
        ".set MAILBOX_CR4, {mailbox} + {cr4}",
        ".set MAILBOX_EFER, {mailbox} + {efer}",
        ".set MAILBOX_LATE_APS, {mailbox} + {late_aps}",
        ".set MAILBOX_SLOTS, {mailbox} + {slots}",
        ".set MAILBOX_SLOT_COUNT, {mailbox} + {slot_count}",
        ".set MAILBOX_ENTRY, {mailbox} + {entry}",
        ".set HOLD_APIC_ID, {scratch} + {hold_apic_id}",
        ".set HOLD_STAGE, {scratch} + {hold_stage}",
        ".set HOLD_IS_ON, {scratch} + {hold_is_on}",
        ".set HOLD_WRONG_ID_BITS, {scratch} + {hold_wrong_id_bits}",
        ".set FAULTS, {faults}",
        ".set SLOT_BYTES, {slot_bytes}",
        ".set SLOT_APIC_ID, {apic_id}",
        ".set SLOT_STATE, {state}",
        ".set SLOT_STAGE, {stage}",
        ".set SLOT_STACK_TOP, {stack_top}",
        ".set SLOT_GS_BASE, {gs_base}",
        ".set SLOT_FS_BASE, {fs_base}",
        ".set SLOT_STAMP_REAL_MODE, {stamp_real_mode}",
        ".set SLOT_STAMP_PROTECTED_MODE, {stamp_protected_mode}",
        ".set SLOT_STAMP_LONG_MODE, {stamp_long_mode}",
        ".set STATE_WAITING, {waiting}",
        ".set STATE_CLAIMED, {claimed}",
        ".set STAGE_REAL_MODE, {stage_real_mode}",
        ".set STAGE_PROTECTED_MODE, {stage_protected_mode}",
        ".set STAGE_LONG_MODE, {stage_long_mode}",
        include_str!("trampoline.S"),
        ".text",
        seen_real_mode = const SEEN_REAL_MODE,
        seen_protected_mode = const SEEN_PROTECTED_MODE,
        seen_bits = const SEEN_BITS,
        data = const DATA,
        mailbox = const MAILBOX,
        gdt_pointer = const offset_of!(Mailbox, gdt_pointer),
        bytes = const BYTES,
        restart = const offset_of!(Mailbox, restart),
        claimed_frame = const offset_of!(Mailbox, claimed),
        count = const offset_of!(Mailbox, count),
        halt = const offset_of!(Mailbox, halt),
        own_idt_pointer = const offset_of!(Mailbox, own_idt_pointer),
        kernel_gdt_pointer = const offset_of!(Mailbox, kernel_gdt_pointer),
        kernel_idt_pointer = const offset_of!(Mailbox, kernel_idt_pointer),
        scratch_stack = const offset_of!(Mailbox, scratch_stack),
        nmis = const offset_of!(Mailbox, nmis),
        machine_checks = const offset_of!(Mailbox, machine_checks),
        scratch = const PAGE_BYTES,
        protected_mode = const offset_of!(Mailbox, protected_mode),
        long_mode = const offset_of!(Mailbox, long_mode),
        cr0 = const offset_of!(Mailbox, cr0),
        cr3 = const offset_of!(Mailbox, cr3),
        cr4 = const offset_of!(Mailbox, cr4),
        efer = const offset_of!(Mailbox, efer),
        late_aps = const offset_of!(Mailbox, late_aps),
        slots = const offset_of!(Mailbox, slots),
        slot_count = const offset_of!(Mailbox, slot_count),
        entry = const offset_of!(Mailbox, entry),
        hold_apic_id = const offset_of!(Scratch, hold.apic_id),
        hold_stage = const offset_of!(Scratch, hold.stage),
        hold_is_on = const offset_of!(Scratch, hold.is_on),
        hold_wrong_id_bits = const offset_of!(Scratch, hold.wrong_id_bits),
        faults = const cfg!(feature = "faults") as u32,
        slot_bytes = const size_of::<ApSlot>(),
        apic_id = const offset_of!(ApSlot, apic_id),
        state = const offset_of!(ApSlot, state),
        stage = const offset_of!(ApSlot, stage),
        stack_top = const offset_of!(ApSlot, stack_top),
        gs_base = const offset_of!(ApSlot, gs_base),
        fs_base = const offset_of!(ApSlot, fs_base),
        stamp_real_mode = const slot_stamp!(RealMode),
        stamp_protected_mode = const slot_stamp!(ProtectedMode),
        stamp_long_mode = const slot_stamp!(LongMode),
        waiting = const SlotState::Waiting as u32,
        claimed = const SlotState::Claimed as u32,
        stage_real_mode = const Stage::RealMode as u32,
        stage_protected_mode = const Stage::ProtectedMode as u32,
        stage_long_mode = const Stage::LongMode as u32,
        options(att_syntax)
    );

    unsafe extern "C" {
        static ap_trampoline_start: u8;
        static ap_trampoline_protected_mode: u8;
        static ap_trampoline_long_mode: u8;
        static ap_trampoline_claimed: u8;
        static ap_trampoline_count: u8;
        static ap_trampoline_halt: u8;
        static ap_trampoline_nmi: u8;
        static ap_trampoline_machine_check: u8;
        static ap_trampoline_end: u8;
    }

    /// Returns the code for the start of the first page; at most [`MAILBOX`] bytes.
    pub fn code() -> &'static [u8] {
        let bytes = (&raw const ap_trampoline_end).addr() - (&raw const ap_trampoline_start).addr();
        // SAFETY: trampoline.S defines both symbols in its section `.ap_trampoline`, in this order. The section is read-only, so
        // the bytes are initialised and never written.
        unsafe { core::slice::from_raw_parts(&raw const ap_trampoline_start, bytes) }
    }

    pub(super) fn code_offset(entry: Entry) -> u32 {
        let entry = match entry {
            Entry::ProtectedMode => (&raw const ap_trampoline_protected_mode).addr(),
            Entry::LongMode => (&raw const ap_trampoline_long_mode).addr(),
            Entry::Claimed => (&raw const ap_trampoline_claimed).addr(),
            Entry::Count => (&raw const ap_trampoline_count).addr(),
            Entry::Halt => (&raw const ap_trampoline_halt).addr(),
            Entry::Nmi => (&raw const ap_trampoline_nmi).addr(),
            Entry::MachineCheck => (&raw const ap_trampoline_machine_check).addr(),
        };
        (entry - (&raw const ap_trampoline_start).addr()) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_numbered_in_their_order() {
        for (number, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, number);
            assert_eq!(Stage::from_name(stage.name()), Some(stage));
        }
    }

    #[test]
    fn the_descriptors_are_what_the_manual_says() {
        // SDM Vol. 3A, 3.4.5: present, ring 0, code or data, accessed; L for 64-bit code, D/B for 32-bit.
        let access = |descriptor: u64| (descriptor >> 40) as u8;
        let flags = |descriptor: u64| (descriptor >> 52) as u8 & 0xf;
        assert_eq!((access(GDT[1]), flags(GDT[1])), (0x9b, 0xa));
        assert_eq!((access(GDT[2]), flags(GDT[2])), (0x93, 0xc));
        assert_eq!((access(GDT[3]), flags(GDT[3])), (0x9b, 0xc));
    }
}
