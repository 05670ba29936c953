//! The local APIC's registers, by either way in (SDM Vol. 3A, tables 11-1 and 11-6): for what the driver has no name
//! for, and for what happens on a hot path.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use x86_64::registers::model_specific::Msr;

use crate::cpu::ApicId;

/// How the registers are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Through memory; IDs of 8 bits.
    XApic,
    /// Through MSRs; IDs of 32 bits.
    X2Apic,
}

impl Mode {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Mode::XApic => "xapic",
            Mode::X2Apic => "x2apic",
        }
    }
}

/// A register's offset in an xAPIC's page; the MSR is 0x800 plus a sixteenth of that.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum Register {
    Id = 0x20,
    TaskPriority = 0x80,
    EndOfInterrupt = 0xb0,
    Spurious = 0xf0,
    InService0 = 0x100,
    Request0 = 0x200,
    ErrorStatus = 0x280,
    IcrLow = 0x300,
    LvtTimer = 0x320,
    Lint0 = 0x350,
    Lint1 = 0x360,
    LvtError = 0x370,
    TimerInitial = 0x380,
    TimerCurrent = 0x390,
    TimerDivide = 0x3e0,
}

/// In the spurious interrupt vector register: the APIC is on.
pub const SOFTWARE_ENABLE: u32 = 1 << 8;
/// An entry of the local vector table that lets nothing through.
pub const LVT_MASKED: u32 = 1 << 16;
/// The timer's entry: the interrupt comes when the TSC reaches the deadline (SDM Vol. 3A, 11.5.4, figure 11-8).
pub const LVT_TSC_DEADLINE: u32 = 0b10 << 17;
/// The timer counts each cycle of its clock (SDM Vol. 3A, figure 11-10).
pub const DIVIDE_BY_1: u32 = 0b1011;
/// An entry that delivers an NMI.
pub const LVT_NMI: u32 = 0b100 << 8;
/// The pin is active when low.
pub const LVT_ACTIVE_LOW: u32 = 1 << 13;
/// The interrupt last sent has not been accepted yet (xAPIC only).
const ICR_PENDING: u32 = 1 << 12;
/// Assert, physical destination, the vector in the low byte.
pub const ICR_ASSERT: u32 = 1 << 14;
/// To this CPU itself, whatever the destination.
pub const ICR_SELF: u32 = 0b01 << 18;
/// The same as [`ICR_ASSERT`] for an NMI.
pub const ICR_NMI: u32 = ICR_ASSERT | (0b100 << 8);
/// INIT. A later one with bit 14 clear, which ends it, has been without effect since the Pentium (11.6.1).
pub const ICR_INIT: u32 = ICR_ASSERT | (0b101 << 8);
/// A start-up interrupt, the page's number in the low byte.
pub const ICR_START_UP: u32 = ICR_ASSERT | (0b110 << 8);
const ICR_HIGH_OFFSET: u64 = 0x310;

/// Where an xAPIC's page is mapped; 0 means x2APIC.
static BASE: AtomicU64 = AtomicU64::new(0);

pub fn set_mode(mode: Mode, base: u64) {
    BASE.store(if mode == Mode::X2Apic { 0 } else { base }, Ordering::Relaxed);
}

/// How every CPU's registers are reached.
pub fn mode() -> Mode {
    if BASE.load(Ordering::Relaxed) == 0 { Mode::X2Apic } else { Mode::XApic }
}

#[inline]
pub fn read(register: Register) -> u32 {
    read_at(register as u32)
}

#[inline]
fn read_at(offset: u32) -> u32 {
    match BASE.load(Ordering::Relaxed) {
        // SAFETY: the MSRs exist in x2APIC mode, and reading one has no effect.
        0 => unsafe { Msr::new(0x800 + offset / 16).read() as u32 },
        // SAFETY: the page is mapped as device memory for good.
        base => unsafe { ((base + u64::from(offset)) as *const u32).read_volatile() },
    }
}

#[inline]
pub fn write(register: Register, value: u32) {
    let offset = register as u32;
    match BASE.load(Ordering::Relaxed) {
        // SAFETY: the MSRs exist in x2APIC mode; the values written here are of the forms the manual allows.
        0 => unsafe { Msr::new(0x800 + offset / 16).write(u64::from(value)) },
        // SAFETY: a base other than 0 is that of the registers' page, which `apic::init` has mapped as device memory and nothing
        // unmaps; `offset` is a register's in it.
        base => unsafe { ((base + u64::from(offset)) as *mut u32).write_volatile(value) },
    }
}

/// This CPU's APIC ID, in x2APIC mode, whatever [`mode`] is for all CPUs.
pub fn read_x2apic_id() -> ApicId {
    // SAFETY: the register exists in x2APIC mode, in which the caller has found the APIC; in another mode the read raises #GP,
    // which is reported. Reading it has no effect.
    ApicId(unsafe { Msr::new(0x802).read() } as u32)
}

/// The eight bits of an APIC ID that the registers in that page have.
///
/// # Safety
/// An xAPIC's registers are mapped there.
pub unsafe fn read_xapic_id(page: NonNull<u8>) -> u8 {
    // SAFETY: the register is in the page, guaranteed by the caller (see # Safety); reading it has no effect.
    let id = unsafe { page.as_ptr().add(Register::Id as usize).cast::<u32>().read_volatile() };
    (id >> 24) as u8
}

pub fn read_id() -> ApicId {
    let id = read(Register::Id);
    ApicId(match mode() {
        Mode::XApic => id >> 24,
        Mode::X2Apic => id,
    })
}

/// Makes earlier stores visible before a write to an x2APIC's ICR. An xAPIC's is a store to uncached memory, which is
/// ordered by itself; a WRMSR to an x2APIC's is not (SDM Vol. 3A, 11.12.3).
fn fence_before_icr() {
    // SAFETY: rt0 refuses a processor without SSE2, whose instructions these are; they touch no vector register.
    unsafe {
        core::arch::x86_64::_mm_mfence();
        core::arch::x86_64::_mm_lfence();
    }
}

pub extern "C" fn end_of_interrupt_xapic() {
    // SAFETY: the page is mapped as device memory for good.
    unsafe {
        ((BASE.load(Ordering::Relaxed) + Register::EndOfInterrupt as u64) as *mut u32).write_volatile(0)
    };
}

pub extern "C" fn end_of_interrupt_x2apic() {
    // SAFETY: the MSR exists in x2APIC mode and takes nothing but 0.
    unsafe { Msr::new(0x80b).write(0) };
}

pub extern "C" fn write_icr_xapic(to: ApicId, command: u32) {
    let base = BASE.load(Ordering::Relaxed);
    // SAFETY: the ICR of this CPU; the low half is written last, since that sends.
    unsafe {
        ((base + ICR_HIGH_OFFSET) as *mut u32).write_volatile(to.0 << 24);
        ((base + Register::IcrLow as u64) as *mut u32).write_volatile(command);
    }
}

pub extern "C" fn write_icr_x2apic(to: ApicId, command: u32) {
    fence_before_icr();
    // SAFETY: the ICR of this CPU, with a value of the form that the manual gives.
    unsafe { Msr::new(0x830).write(u64::from(to.0) << 32 | u64::from(command)) };
}

pub extern "C" fn write_icr_self_xapic(command: u32) {
    // SAFETY: the low half of this CPU's ICR, with a shorthand; `set_mode` has stored where the page is mapped.
    unsafe {
        ((BASE.load(Ordering::Relaxed) + Register::IcrLow as u64) as *mut u32).write_volatile(command);
    }
}

pub extern "C" fn write_icr_self_x2apic(command: u32) {
    fence_before_icr();
    // SAFETY: this CPU's ICR, with a value of the form that the manual gives.
    unsafe { Msr::new(0x830).write(u64::from(command)) };
}

/// Whether the interrupt last sent is on its way, so that the ICR may be written. An x2APIC's always may.
#[inline]
pub fn icr_is_idle() -> bool {
    match BASE.load(Ordering::Relaxed) {
        0 => true,
        base => {
            // SAFETY: a base other than 0 is that of the registers' page, which `apic::init` has mapped as device memory and
            // nothing unmaps; reading the ICR has no effect.
            let low = unsafe { ((base + Register::IcrLow as u64) as *const u32).read_volatile() };
            low & ICR_PENDING == 0
        }
    }
}

/// Whether an interrupt on that vector is being handled.
pub fn is_in_service(vector: u8) -> bool {
    is_set(Register::InService0, vector)
}

/// Whether an interrupt on that vector waits to be taken.
pub fn is_requested(vector: u8) -> bool {
    is_set(Register::Request0, vector)
}

/// Whether any interrupt waits to be taken.
pub fn is_any_requested() -> bool {
    (0..8).any(|word| read_at(Register::Request0 as u32 + word * 0x10) != 0)
}

/// A bit of one of the registers of 256 bits, which are eight words 16 bytes apart.
fn is_set(first: Register, vector: u8) -> bool {
    let word = first as u32 + u32::from(vector / 32) * 0x10;
    read_at(word) & (1 << (vector % 32)) != 0
}
