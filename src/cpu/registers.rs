//! Registers and instructions that the `x86_64` crate does not cover.

use core::arch::asm;
use core::arch::x86_64::_rdtsc;

use x86_64::instructions::port::Port;

use crate::wire::{EXIT_PORT, ExitCode, SHUTDOWN, SHUTDOWN_PORT};

/// Reads the time stamp counter. The read is not serialised: earlier instructions may still be executing.
///
/// **Context:** any.
#[inline(always)]
pub(crate) fn read_tsc() -> u64 {
    // SAFETY: rt0 rejects a processor without a TSC, and CR4.TSD has no effect in ring 0.
    unsafe { _rdtsc() }
}

/// Returns the frame pointer of the caller. **Context:** any.
#[inline(always)]
pub(crate) fn frame_pointer() -> u64 {
    let value: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rbp", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Writes bytes to an I/O port, one after the other. **Context:** any.
pub(crate) fn write_to_port(port: u16, bytes: &[u8]) {
    // SAFETY: the instruction reads exactly `bytes`. The effect of the write on the device is the caller's
    // responsibility, as with each I/O port.
    unsafe {
        asm!("rep outsb", in("dx") port, inout("rsi") bytes.as_ptr() => _, inout("rcx") bytes.len() => _,
            options(nostack, preserves_flags, readonly));
    }
}

/// Halts this CPU permanently. An NMI is still handled and returns here. **Context:** any.
pub(crate) fn halt_forever() -> ! {
    super::irq_guard::disable_forever();
    loop {
        x86_64::instructions::hlt();
    }
}

/// The MSR with the address and the mode of this CPU's local APIC (SDM Vol. 3A, 11.4.4).
pub(crate) const IA32_APIC_BASE: u32 = 0x1b;

/// Returns the physical address of this CPU's local APIC registers in xAPIC mode (IA32_APIC_BASE: SDM Vol. 3A, 11.4.4).
///
/// **Context:** any.
pub(crate) fn apic_base() -> u64 {
    // SAFETY: the MSR exists, because rt0 rejects a processor without a local APIC; reading it has no effect.
    let value = unsafe { x86_64::registers::model_specific::Msr::new(IA32_APIC_BASE).read() };
    // The low bits are flags.
    value & 0x000f_ffff_ffff_f000
}

/// Ends the run: writes to the launcher's exit device, then to Bochs's shutdown port, then halts. The device acts some
/// time after the write.
///
/// **Context:** any.
pub(crate) fn exit(code: ExitCode) -> ! {
    // SAFETY: the port belongs to the exit device. On a machine without this device the port is unused.
    unsafe { Port::<u32>::new(EXIT_PORT).write(code as u32) };
    for &byte in SHUTDOWN {
        // SAFETY: the port is Bochs's own. QEMU's machines have no device there.
        unsafe { Port::<u8>::new(SHUTDOWN_PORT).write(byte) };
    }
    halt_forever()
}
