//! The two pages below 1 MiB in which octopod's application processors wake up: their code, and the map of what lies where
//! in them.
//!
//! | offset | what |
//! |---|---|
//! | 0 | the code of `trampoline.S`; the bytes after it are INT3 |
//! | [`MAILBOX`] | [`Mailbox`]: what the BSP tells them |
//! | [`PAGE_BYTES`] | [`Scratch`]: what they write, and a stack |
//! | [`SEEN_REAL_MODE`], [`SEEN_PROTECTED_MODE`] | one bit for each APIC ID, set by the processor that bears it |
//!
//! The first page is executed and, once it is filled, written by nobody; the second is written and never executed. Each
//! processor then finds its [`Slot`] in the kernel's memory by its APIC ID and claims it. Offsets reach the assembly from
//! these very types.
//!
//! The pages are never given back: a processor that comes when nobody waits for it any more halts in them, and those that
//! are started later wake up in them too.

#![no_std]

use core::fmt;
use core::mem::{offset_of, size_of};
use core::sync::atomic::{AtomicU32, AtomicU64};

/// Where the mailbox lies in the first page.
pub const MAILBOX: usize = 0x400;
/// A page's size; where the second page begins.
pub const PAGE_BYTES: usize = 0x1000;
/// The size of both pages.
pub const BYTES: usize = 2 * PAGE_BYTES;
/// Where the bits of the processors that reached real mode lie.
pub const SEEN_REAL_MODE: usize = 0x1800;
/// Where the bits of the processors that reached protected mode lie.
pub const SEEN_PROTECTED_MODE: usize = 0x1c00;
/// How many APIC IDs have such bits; those above are seen from long mode on.
pub const SEEN_BITS: usize = 0x400 * 8;
/// What the first page is filled with first, so that a processor that runs astray in it is caught: `int3`.
pub const FILLER: u8 = 0xcc;

const CODE_32: u16 = 0x18;
const CODE_64: u16 = 0x08;
const DATA: u16 = 0x10;

/// Null, 64-bit code, data, 32-bit code; the first three as in every other GDT of octopod's. The Accessed bits are
/// set, so the processor does not write them.
pub const GDT: [u64; 4] = [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0x00cf_9b00_0000_ffff];

/// An offset and a selector, as `ljmp` takes them from memory.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, packed)]
pub struct FarPointer {
    offset: u32,
    selector: u16,
}

/// A limit and a base, as `lgdt` and `lidt` take them from memory.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, packed)]
pub struct TablePointer {
    /// The table's size in bytes, less one.
    pub limit: u16,
    /// Where it begins.
    pub base: u64,
}

/// Gates of the trampoline's own table: up to vector 18, a machine check.
const GATES: usize = 19;

/// The vectors of NMI and machine check.
const NMI: usize = 2;
const MACHINE_CHECK: usize = 18;

/// What `iretq` takes from a stack (SDM Vol. 3A, 6.14.2).
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

/// What the BSP tells the others. Lies in the first page, at [`MAILBOX`]; nobody writes it once it is filled in.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Mailbox {
    gdt: [u64; 4],
    /// Gates of 64 bits for NMI and machine check, of 16 bytes each.
    idt: [[u64; 2]; GATES],
    /// Where a processor goes on after an NMI that came before it had a stack of its own: see `trampoline.S`.
    restart: ReturnFrame,
    claimed: ReturnFrame,
    count: ReturnFrame,
    halt: ReturnFrame,
    gdt_pointer: TablePointer,
    own_idt_pointer: TablePointer,
    protected_mode: FarPointer,
    long_mode: FarPointer,
    scratch_stack: FarPointer,
    /// A GDT and an IDT of the kernel's, in its half of the address space: for the way from the trampoline to one's own.
    pub kernel_gdt_pointer: TablePointer,
    /// See `kernel_gdt_pointer`. Its gates use no interrupt stacks, for which there is no TSS yet.
    pub kernel_idt_pointer: TablePointer,
    /// The control registers that every processor takes over from the BSP.
    pub cr0: u32,
    /// See `cr0`.
    pub cr4: u32,
    /// The page tables to enter long mode with, below 4 GiB.
    pub cr3: u32,
    /// The low half of EFER; LMA is set by the processor itself.
    pub efer: u32,
    /// How many slots there are.
    pub slot_count: u32,
    /// Where a 32-bit counter lies of processors that found no slot, or one that is no longer waiting.
    pub late_aps: u64,
    /// Where a 32-bit counter lies of NMIs in the trampoline, which no processor's own counter can have.
    pub nmis: u64,
    /// Where a 32-bit counter lies of machine checks in the trampoline. MCIP stays set, for the kernel to find.
    pub machine_checks: u64,
    /// Where the first slot lies; they are in ascending order of their APIC IDs.
    pub slots: u64,
    /// Where a processor goes with its slot in RDI.
    pub entry: u64,
}

/// What is written in the second page.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Scratch {
    /// Looked at only where the feature `faults` is on.
    pub hold: Hold,
}

/// The end of a stack in the second page, which all processors share until each has its own: what is pushed there may be
/// overwritten at any moment, and nobody reads it.
const SCRATCH_STACK_TOP: usize = 0x1800;

/// Deliberate faults: one processor waits at the end of a stage until it is let go; CPUID names wrong APIC IDs.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Hold {
    /// Whom it is for.
    pub apic_id: u32,
    /// The [`Stage`].
    pub stage: u32,
    /// Whether it still waits: 0 lets it go.
    pub is_on: AtomicU32,
    /// The bits by which CPUID's APIC IDs differ from the right ones.
    pub wrong_id_bits: u32,
}

impl Mailbox {
    /// A mailbox for the pages from the physical address `page` on; the caller fills in the public fields.
    pub fn new(page: u32) -> Mailbox {
        let at = |offset: usize| u64::from(page) + offset as u64;
        let code = |entry| page + code_offset(entry);
        let stack = at(SCRATCH_STACK_TOP);
        let go_on = |entry, flags| ReturnFrame {
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
            restart: go_on(Entry::LongMode, 0),
            claimed: go_on(Entry::Claimed, ZERO),
            count: go_on(Entry::Count, 0),
            halt: go_on(Entry::Halt, CARRY),
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

/// A 64-bit interrupt gate to that address below 4 GiB: present, ring 0, no interrupt stack (SDM Vol. 3A, 6.14.1).
fn gate(address: u32) -> [u64; 2] {
    let address = u64::from(address);
    [address & 0xffff | u64::from(CODE_64) << 16 | 0x8e00 << 32 | (address >> 16) << 48, 0]
}

/// A slot's state: who may use its stack and area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SlotState {
    /// The processor may come.
    Waiting = 1,
    /// It has come, and nobody else will.
    Claimed = 2,
    /// It takes work.
    Online = 3,
    /// It took too long; if it comes now it goes away again.
    GivenUp = 4,
}

/// How far a processor has come. The order is that of the stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Stage {
    /// It has been sent a start-up IPI, or should have been.
    SipiSent,
    /// It executed the trampoline's first instructions.
    RealMode,
    /// It runs 32-bit code.
    ProtectedMode,
    /// It runs 64-bit code and has claimed its slot.
    LongMode,
    /// It has its stack and its per-CPU area, and runs on the kernel's page tables.
    Gs,
    /// It has its GDT, its TSS, and the IDT with stacks of its own.
    Idt,
    /// Its local APIC is on.
    Apic,
    /// Its APIC timer is set up.
    Timer,
    /// It takes work.
    Online,
}

impl Stage {
    /// How many there are.
    pub const COUNT: usize = 9;

    /// All of them, in their order.
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

    /// Its name in reports.
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

    /// The one with this name.
    pub fn from_name(name: &str) -> Option<Stage> {
        Stage::ALL.into_iter().find(|stage| stage.name() == name)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What one processor needs in order to come up, and what it tells about it. Two cache lines of its own. Once its
/// processor was given up it is never used again, for that may stand anywhere.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct Slot {
    /// The processor that the slot is for.
    pub apic_id: u32,
    /// A [`SlotState`].
    pub state: AtomicU32,
    /// The last [`Stage`] that it entered.
    pub stage: AtomicU32,
    /// Its number in the kernel.
    pub cpu: u32,
    /// Where its stack begins: its end, or below what it left there when it went offline.
    pub stack_top: AtomicU64,
    /// Its GS base.
    pub gs_base: u64,
    /// Its FS base.
    pub fs_base: u64,
    /// The TSC at each stage; 0 where it has not been.
    pub stamps: [AtomicU64; Stage::COUNT],
}

const _: () = {
    assert!(MAILBOX + size_of::<Mailbox>() <= PAGE_BYTES);
    // A stack for a handful of words, and not on the marks.
    assert!(
        PAGE_BYTES + size_of::<Scratch>() + 0x400 <= SCRATCH_STACK_TOP && SCRATCH_STACK_TOP <= SEEN_REAL_MODE
    );
    assert!(SEEN_REAL_MODE + SEEN_BITS / 8 == SEEN_PROTECTED_MODE);
    assert!(SEEN_PROTECTED_MODE + SEEN_BITS / 8 == BYTES);
    // IRETQ and the gates want no alignment, but a gate across two cache lines is read twice.
    assert!(offset_of!(Mailbox, idt).is_multiple_of(16));
    assert!(size_of::<Slot>() == 128);
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
            offset_of!(Slot, stamps) + Stage::$stage as usize * 8
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
        slot_bytes = const size_of::<Slot>(),
        apic_id = const offset_of!(Slot, apic_id),
        state = const offset_of!(Slot, state),
        stage = const offset_of!(Slot, stage),
        stack_top = const offset_of!(Slot, stack_top),
        gs_base = const offset_of!(Slot, gs_base),
        fs_base = const offset_of!(Slot, fs_base),
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

    /// The code that belongs at the start of the first page; at most [`MAILBOX`] bytes.
    pub fn code() -> &'static [u8] {
        let bytes = (&raw const ap_trampoline_end).addr() - (&raw const ap_trampoline_start).addr();
        // SAFETY: both symbols delimit one section of constants.
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
