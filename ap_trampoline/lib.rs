//! The page below 1 MiB in which octopod's application processors wake up: its code, and the map of what lies where
//! in it.
//!
//! | offset | what |
//! |---|---|
//! | 0 | the code of `trampoline.S`; the bytes after it are INT3 |
//! | [`MAILBOX`] | [`Mailbox`]: what the boot processor tells them |
//! | [`SEEN_REAL_MODE`], [`SEEN_PROTECTED_MODE`] | one bit for each APIC ID, set by the processor that bears it |
//!
//! Each processor then finds its [`Slot`] in the kernel's memory by its APIC ID and claims it. Offsets reach the
//! assembly from these very types.
//!
//! The page is never given back: a processor that comes when nobody waits for it any more halts in it, and those that
//! are started later wake up in it too.

#![no_std]

use core::fmt;
use core::mem::{offset_of, size_of};
use core::sync::atomic::{AtomicU32, AtomicU64};

/// Where the mailbox lies in the page.
pub const MAILBOX: usize = 0x400;
/// Where the bits of the processors that reached real mode lie in the page.
pub const SEEN_REAL_MODE: usize = 0x800;
/// Where the bits of the processors that reached protected mode lie in the page.
pub const SEEN_PROTECTED_MODE: usize = 0xc00;
/// How many APIC IDs have such bits; those above are seen from long mode on.
pub const SEEN_BITS: usize = 0x400 * 8;
/// The page's size.
pub const PAGE_BYTES: usize = 0x1000;
/// What the page is filled with first, so that a processor that runs astray in it is caught: `int3`.
pub const FILLER: u8 = 0xcc;

const CODE_32: u16 = 0x18;
const CODE_64: u16 = 0x08;
#[cfg(target_os = "none")]
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

/// What the boot processor tells the others. Lies in the page, at [`MAILBOX`].
#[derive(Debug, Default)]
#[repr(C)]
pub struct Mailbox {
    gdt: [u64; 4],
    gdt_pointer: TablePointer,
    protected_mode: FarPointer,
    long_mode: FarPointer,
    /// The kernel's interrupt descriptor table.
    pub idt_pointer: TablePointer,
    /// The control registers that every processor takes over from the boot processor.
    pub cr0: u32,
    /// See `cr0`.
    pub cr4: u32,
    /// The page tables to enter long mode with, below 4 GiB.
    pub cr3: u32,
    /// The low half of EFER; LMA is set by the processor itself.
    pub efer: u32,
    /// How many slots there are.
    pub slot_count: u32,
    /// Where a 32-bit counter lies of processors that found no slot, or one that is no longer waiting. Not in this page,
    /// which they cannot write from long mode on.
    pub strays: u64,
    /// Where the first slot lies; they are in ascending order of their APIC IDs.
    pub slots: u64,
    /// Where a processor goes with its slot in RDI.
    pub entry: u64,
    /// Looked at only where the feature `faults` is on.
    pub hold: Hold,
}

/// A deliberate fault: one processor waits at the end of a stage until it is let go.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Hold {
    /// Whom it is for.
    pub apic_id: u32,
    /// The [`Stage`].
    pub stage: u32,
    /// Whether it still waits: 0 lets it go.
    pub is_on: AtomicU32,
}

impl Mailbox {
    /// A mailbox for the page at the physical address `page`; the caller fills in the public fields.
    pub fn new(page: u32) -> Mailbox {
        Mailbox {
            gdt: GDT,
            gdt_pointer: TablePointer {
                limit: (size_of::<[u64; 4]>() - 1) as u16,
                base: u64::from(page) + (MAILBOX + offset_of!(Mailbox, gdt)) as u64,
            },
            protected_mode: FarPointer {
                offset: page + code_offset(Entry::ProtectedMode),
                selector: CODE_32,
            },
            long_mode: FarPointer { offset: page + code_offset(Entry::LongMode), selector: CODE_64 },
            ..Mailbox::default()
        }
    }
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
    /// The TSC at each stage; 0 where it has not been.
    pub stamps: [AtomicU64; Stage::COUNT],
}

const _: () = {
    assert!(MAILBOX + size_of::<Mailbox>() <= SEEN_REAL_MODE);
    assert!(SEEN_REAL_MODE + SEEN_BITS / 8 == SEEN_PROTECTED_MODE);
    assert!(SEEN_PROTECTED_MODE + SEEN_BITS / 8 == PAGE_BYTES);
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
        ".set IA32_GS_BASE, 0xc0000101",
        ".set MAILBOX_GDT_POINTER, {mailbox} + {gdt_pointer}",
        ".set MAILBOX_IDT_POINTER, {mailbox} + {idt_pointer}",
        ".set MAILBOX_PROTECTED_MODE, {mailbox} + {protected_mode}",
        ".set MAILBOX_LONG_MODE, {mailbox} + {long_mode}",
        ".set MAILBOX_CR0, {mailbox} + {cr0}",
        ".set MAILBOX_CR3, {mailbox} + {cr3}",
        ".set MAILBOX_CR4, {mailbox} + {cr4}",
        ".set MAILBOX_EFER, {mailbox} + {efer}",
        ".set MAILBOX_STRAYS, {mailbox} + {strays}",
        ".set MAILBOX_SLOTS, {mailbox} + {slots}",
        ".set MAILBOX_SLOT_COUNT, {mailbox} + {slot_count}",
        ".set MAILBOX_ENTRY, {mailbox} + {entry}",
        ".set MAILBOX_HOLD_APIC_ID, {mailbox} + {hold_apic_id}",
        ".set MAILBOX_HOLD_STAGE, {mailbox} + {hold_stage}",
        ".set MAILBOX_HOLD_IS_ON, {mailbox} + {hold_is_on}",
        ".set FAULTS, {faults}",
        ".set SLOT_BYTES, {slot_bytes}",
        ".set SLOT_APIC_ID, {apic_id}",
        ".set SLOT_STATE, {state}",
        ".set SLOT_STAGE, {stage}",
        ".set SLOT_STACK_TOP, {stack_top}",
        ".set SLOT_GS_BASE, {gs_base}",
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
        idt_pointer = const offset_of!(Mailbox, idt_pointer),
        protected_mode = const offset_of!(Mailbox, protected_mode),
        long_mode = const offset_of!(Mailbox, long_mode),
        cr0 = const offset_of!(Mailbox, cr0),
        cr3 = const offset_of!(Mailbox, cr3),
        cr4 = const offset_of!(Mailbox, cr4),
        efer = const offset_of!(Mailbox, efer),
        strays = const offset_of!(Mailbox, strays),
        slots = const offset_of!(Mailbox, slots),
        slot_count = const offset_of!(Mailbox, slot_count),
        entry = const offset_of!(Mailbox, entry),
        hold_apic_id = const offset_of!(Mailbox, hold.apic_id),
        hold_stage = const offset_of!(Mailbox, hold.stage),
        hold_is_on = const offset_of!(Mailbox, hold.is_on),
        faults = const cfg!(feature = "faults") as u32,
        slot_bytes = const size_of::<Slot>(),
        apic_id = const offset_of!(Slot, apic_id),
        state = const offset_of!(Slot, state),
        stage = const offset_of!(Slot, stage),
        stack_top = const offset_of!(Slot, stack_top),
        gs_base = const offset_of!(Slot, gs_base),
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
        static ap_trampoline_end: u8;
    }

    /// The code that belongs at the start of the page; at most [`MAILBOX`] bytes.
    pub fn code() -> &'static [u8] {
        let bytes = (&raw const ap_trampoline_end).addr() - (&raw const ap_trampoline_start).addr();
        // SAFETY: both symbols delimit one section of constants.
        unsafe { core::slice::from_raw_parts(&raw const ap_trampoline_start, bytes) }
    }

    pub(super) fn code_offset(entry: Entry) -> u32 {
        let entry = match entry {
            Entry::ProtectedMode => (&raw const ap_trampoline_protected_mode).addr(),
            Entry::LongMode => (&raw const ap_trampoline_long_mode).addr(),
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
