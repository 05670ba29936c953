//! The local APIC's registers in both modes (SDM Vol. 3A, tables 11-1 and 11-6).

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use x86_64::registers::model_specific::Msr;

use crate::cpu::ApicId;
use crate::static_call;

/// The mode of a local APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// xAPIC: registers in memory, IDs of 8 bits.
    XApic,
    /// x2APIC: registers in MSRs, IDs of 32 bits.
    X2Apic,
}

impl Mode {
    /// Returns the mode's name in reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Mode::XApic => "xapic",
            Mode::X2Apic => "x2apic",
        }
    }
}

/// A register's offset in an xAPIC's page. The x2APIC MSR is 0x800 plus a sixteenth of it.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Register {
    Id = 0x20,
    TaskPriority = 0x80,
    EndOfInterrupt = 0xb0,
    Spurious = 0xf0,
    InService0 = 0x100,
    Request0 = 0x200,
    ErrorStatus = 0x280,
    LvtTimer = 0x320,
    Lint0 = 0x350,
    Lint1 = 0x360,
    LvtError = 0x370,
    TimerInitial = 0x380,
    TimerCurrent = 0x390,
    TimerDivide = 0x3e0,
}

/// Spurious-interrupt vector register: the APIC is software-enabled.
pub(crate) const SOFTWARE_ENABLE: u32 = 1 << 8;
/// An LVT entry that is masked.
pub(crate) const LVT_MASKED: u32 = 1 << 16;
/// LVT timer entry: TSC-deadline mode (SDM Vol. 3A, 11.5.4, figure 11-8).
pub(crate) const LVT_TSC_DEADLINE: u32 = 0b10 << 17;
/// Timer divide configuration: divide by 1 (SDM Vol. 3A, figure 11-10).
pub(crate) const DIVIDE_BY_1: u32 = 0b1011;
/// An LVT entry that delivers an NMI.
pub(crate) const LVT_NMI: u32 = 0b100 << 8;
/// An LVT entry whose pin is active low.
pub(crate) const LVT_ACTIVE_LOW: u32 = 1 << 13;
/// Delivery status: the last message has not been accepted yet (xAPIC only).
const ICR_PENDING: u32 = 1 << 12;
/// Fixed delivery, assert, physical destination; the vector is in the low byte.
pub(crate) const ICR_ASSERT: u32 = 1 << 14;
/// Destination shorthand "self".
pub(crate) const ICR_SELF: u32 = 0b01 << 18;
/// NMI delivery.
pub(crate) const ICR_NMI: u32 = ICR_ASSERT | (0b100 << 8);
/// INIT delivery. The INIT level de-assert (bit 14 clear) has no effect since the Pentium 4 (11.6.1).
pub(crate) const ICR_INIT: u32 = ICR_ASSERT | (0b101 << 8);
/// Start-up delivery; the page number is in the low byte.
pub(crate) const ICR_START_UP: u32 = ICR_ASSERT | (0b110 << 8);
/// Not a [`Register`], so that [`write`] sends nothing.
const ICR_LOW_OFFSET: u64 = 0x300;
const ICR_HIGH_OFFSET: u64 = 0x310;

/// The virtual address of the xAPIC registers; 0 means x2APIC.
static BASE: AtomicU64 = AtomicU64::new(0);

pub(crate) fn set_mode(mode: Mode, base: u64) {
    BASE.store(if mode == Mode::X2Apic { 0 } else { base }, Ordering::Relaxed);
}

/// Returns the mode of all CPUs. **Context:** any.
pub(crate) fn mode() -> Mode {
    if BASE.load(Ordering::Relaxed) == 0 { Mode::X2Apic } else { Mode::XApic }
}

#[inline]
pub(crate) fn read(register: Register) -> u32 {
    read_at(register as u32)
}

#[inline]
fn read_at(offset: u32) -> u32 {
    match BASE.load(Ordering::Relaxed) {
        // SAFETY: a base of 0 means x2APIC mode (`set_mode`), in which the MSRs exist; reading them has no effect.
        0 => unsafe { Msr::new(0x800 + offset / 16).read() as u32 },
        // SAFETY: a base other than 0 is that of the registers' page, which `apic::init` has mapped as device memory and
        // nothing unmaps; `offset` is that of a register in it.
        base => unsafe { ((base + u64::from(offset)) as *const u32).read_volatile() },
    }
}

#[inline]
pub(crate) fn write(register: Register, value: u32) {
    let offset = register as u32;
    match BASE.load(Ordering::Relaxed) {
        // SAFETY: a base of 0 means x2APIC mode (`set_mode`), in which the MSRs exist. The callers write values that the
        // SDM allows.
        0 => unsafe { Msr::new(0x800 + offset / 16).write(u64::from(value)) },
        // SAFETY: a base other than 0 is that of the registers' page, which `apic::init` has mapped as device memory and nothing
        // unmaps; `offset` is a register's in it.
        base => unsafe { ((base + u64::from(offset)) as *mut u32).write_volatile(value) },
    }
}

/// Reads the 8-bit APIC ID from the xAPIC registers at `page`.
///
/// # Safety
/// An xAPIC's registers are mapped there.
pub(crate) unsafe fn read_xapic_id(page: NonNull<u8>) -> u8 {
    // SAFETY: the register is in the page, guaranteed by the caller (see # Safety).
    let register = unsafe { page.byte_add(Register::Id as usize) }.cast::<u32>();
    // SAFETY: the page is mapped, guaranteed by the caller (see # Safety); reading the register has no effect.
    let id = unsafe { register.read_volatile() };
    (id >> 24) as u8
}

pub(crate) fn read_id() -> ApicId {
    let id = read(Register::Id);
    ApicId(match mode() {
        Mode::XApic => id >> 24,
        Mode::X2Apic => id,
    })
}

/// Orders earlier stores before a write to an x2APIC's ICR. A store to an xAPIC's ICR, in uncached memory, is ordered by
/// itself; WRMSR to an x2APIC's ICR is not (SDM Vol. 3A, 11.12.3).
pub(crate) fn fence_before_wrmsr() {
    // SAFETY: rt0 rejects a processor without SSE2, which has the instruction. It uses no vector register.
    unsafe { core::arch::x86_64::_mm_mfence() };
    // SAFETY: rt0 rejects a processor without SSE2, which has the instruction. It uses no vector register.
    unsafe { core::arch::x86_64::_mm_lfence() };
}

/// Returns the error status register: the errors since it was last read.
pub(crate) fn read_error_status() -> u32 {
    write(Register::ErrorStatus, 0);
    read(Register::ErrorStatus)
}

static_call! {
    /// Signals end-of-interrupt to this CPU's local APIC.
    ///
    /// **Context:** the handler of an interrupt from the local APIC, once.
    pub(crate) fn end_of_interrupt() = end_of_interrupt_xapic
        => end_of_interrupt_x2apic, if |features| features.x2apic;

    /// Writes the interrupt command register, which sends a message. Only `icr` calls this; it has the conditions.
    pub(super) fn write_icr(destination: ApicId, command: u32) = write_icr_xapic
        => write_icr_x2apic, if |features| features.x2apic;

    /// Writes the interrupt command register with a destination shorthand. The destination field is ignored (SDM Vol. 3A,
    /// 11.6.1).
    pub(super) fn write_icr_self(command: u32) = write_icr_self_xapic
        => write_icr_self_x2apic, if |features| features.x2apic;
}

extern "C" fn end_of_interrupt_xapic() {
    // SAFETY: this implementation is called in xAPIC mode only (`static_call!` in `apic`): `BASE` is the registers' page,
    // which `apic::init` has mapped as device memory and nothing unmaps.
    unsafe {
        ((BASE.load(Ordering::Relaxed) + Register::EndOfInterrupt as u64) as *mut u32).write_volatile(0)
    };
}

extern "C" fn end_of_interrupt_x2apic() {
    // SAFETY: this implementation is called in x2APIC mode only (`static_call!` in `apic`). The MSR exists there and
    // accepts only 0.
    unsafe { Msr::new(0x80b).write(0) };
}

extern "C" fn write_icr_xapic(to: ApicId, command: u32) {
    let base = BASE.load(Ordering::Relaxed);
    // SAFETY: in xAPIC mode `BASE` is the registers' page, which nothing unmaps.
    unsafe { ((base + ICR_HIGH_OFFSET) as *mut u32).write_volatile(to.0 << 24) };
    // SAFETY: in xAPIC mode `BASE` is the registers' page, which nothing unmaps. This write sends; the destination is set.
    unsafe { ((base + ICR_LOW_OFFSET) as *mut u32).write_volatile(command) };
}

extern "C" fn write_icr_x2apic(to: ApicId, command: u32) {
    fence_before_wrmsr();
    // SAFETY: in x2APIC mode the MSR exists; the value has the format of the ICR (SDM Vol. 3A, 11.12.9).
    unsafe { Msr::new(0x830).write(u64::from(to.0) << 32 | u64::from(command)) };
}

extern "C" fn write_icr_self_xapic(command: u32) {
    // SAFETY: in xAPIC mode `BASE` is the registers' page, which nothing unmaps. A shorthand requires only the low half
    // of the ICR.
    unsafe {
        ((BASE.load(Ordering::Relaxed) + ICR_LOW_OFFSET) as *mut u32).write_volatile(command);
    }
}

extern "C" fn write_icr_self_x2apic(command: u32) {
    fence_before_wrmsr();
    // SAFETY: in x2APIC mode the MSR exists; the value has the format of the ICR (SDM Vol. 3A, 11.12.9).
    unsafe { Msr::new(0x830).write(u64::from(command)) };
}

/// Returns whether the last message has been accepted, so that the ICR may be written. An x2APIC's ICR is always idle.
#[inline]
pub(crate) fn icr_is_idle() -> bool {
    match BASE.load(Ordering::Relaxed) {
        0 => true,
        base => {
            // SAFETY: a base other than 0 is that of the registers' page, which `apic::init` has mapped as device memory and
            // nothing unmaps; reading the ICR has no effect.
            let low = unsafe { ((base + ICR_LOW_OFFSET) as *const u32).read_volatile() };
            low & ICR_PENDING == 0
        }
    }
}

/// Returns whether an interrupt on `vector` is in service.
pub(crate) fn is_in_service(vector: u8) -> bool {
    is_set(Register::InService0, vector)
}

/// Returns whether an interrupt on `vector` is pending.
pub(crate) fn is_requested(vector: u8) -> bool {
    is_set(Register::Request0, vector)
}

/// Returns whether any interrupt is pending.
pub(crate) fn is_any_requested() -> bool {
    (0..8).any(|word| read_at(Register::Request0 as u32 + word * 0x10) != 0)
}

/// Returns a bit of one of the 256-bit registers, which consist of eight words 16 bytes apart.
fn is_set(first: Register, vector: u8) -> bool {
    let word = first as u32 + u32::from(vector / 32) * 0x10;
    read_at(word) & (1 << (vector % 32)) != 0
}
