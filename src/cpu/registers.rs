//! Registers and instructions that the `x86_64` crate has no name for.

use core::arch::asm;
use core::arch::x86_64::_rdtsc;

use x86_64::instructions::port::Port;

use crate::wire::{EXIT_PORT, ExitCode, SHUTDOWN, SHUTDOWN_PORT};

/// The time stamp counter, as it stands at about this place: earlier instructions may still be under way.
#[inline(always)]
pub fn read_tsc() -> u64 {
    // SAFETY: rt0 refuses a processor without a TSC, and CR4.TSD does not matter in ring 0.
    unsafe { _rdtsc() }
}

/// This CPU's frame pointer.
#[inline(always)]
pub fn frame_pointer() -> u64 {
    let value: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rbp", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Writes bytes to a port, one after the other.
pub fn write_to_port(port: u16, bytes: &[u8]) {
    // SAFETY: reads the bytes, and no more. What a write to the port does is its caller's affair, as with any port.
    unsafe {
        asm!("rep outsb", in("dx") port, inout("rsi") bytes.as_ptr() => _, inout("rcx") bytes.len() => _,
            options(nostack, preserves_flags, readonly));
    }
}

/// Halts this CPU permanently. Only an NMI is still taken, and returns here. Any context.
pub fn halt_forever() -> ! {
    super::irq_guard::disable_forever();
    loop {
        x86_64::instructions::hlt();
    }
}

/// Where this CPU's local APIC has its registers in xAPIC mode, physical (IA32_APIC_BASE: SDM Vol. 3A, 11.4.4).
pub fn apic_base() -> u64 {
    // SAFETY: the MSR exists wherever there is a local APIC, which rt0 has checked; reading it has no effect.
    let value = unsafe { x86_64::registers::model_specific::Msr::new(0x1b).read() };
    // The low bits are flags.
    value & 0x000f_ffff_ffff_f000
}

/// Ends the run: tells the launcher's exit device, then Bochs, which has no such device, then halts. The device acts some
/// time after the write.
pub fn exit(code: ExitCode) -> ! {
    // SAFETY: the port belongs to the exit device; on a machine without one nothing listens there.
    unsafe { Port::<u32>::new(EXIT_PORT).write(code as u32) };
    for &byte in SHUTDOWN {
        // SAFETY: the port is Bochs's own; no machine of QEMU's has anything there.
        unsafe { Port::<u8>::new(SHUTDOWN_PORT).write(byte) };
    }
    halt_forever()
}
