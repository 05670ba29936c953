//! Resets the machine: by the ACPI reset register, by the keyboard controller, and by a triple fault. One after the other, as
//! none of them works on every machine.

use core::arch::asm;

use x86_64::VirtAddr;
use x86_64::instructions::port::Port;
use x86_64::instructions::tables::lidt;
use x86_64::structures::DescriptorTablePointer;

use crate::acpi::{self, ResetRegister};
use crate::boot::io_regions::Device;
use crate::cpu::irq_guard;
use crate::cpu::registers::halt_forever;
use crate::memory;
use crate::sync::Deadline;

/// The wait between two methods, in milliseconds: a reset is immediate, but the write may be posted.
const EACH_MS: u64 = 50;

/// The keyboard controller's command and status port.
const CONTROLLER: u16 = 0x64;
/// Status: the controller has not read the last command yet.
const INPUT_FULL: u8 = 1 << 1;
/// Command: pulse output line 0, which is the processor's reset.
const PULSE_RESET: u8 = 0xfe;

/// Resets the machine.
///
/// **Context:** any. Does not return.
pub(crate) fn reset() -> ! {
    irq_guard::disable_forever();
    by_tables();
    Deadline::after_ms(EACH_MS).wait();
    by_keyboard_controller();
    Deadline::after_ms(EACH_MS).wait();
    by_triple_fault()
}

fn by_tables() {
    match acpi::reset_register() {
        // SAFETY: the write must not affect memory safety. ACPI defines that it resets the machine, and `acpi` has rejected
        // ports of devices that the kernel drives.
        Some(ResetRegister::Port { port, value }) => unsafe { Port::new(port).write(value) },
        Some(ResetRegister::Memory { address, value }) => {
            if let Ok(register) = memory::map_device(Device::ResetRegister, address, 1) {
                // SAFETY: the write must be to mapped device memory. `map_device` has mapped the byte, in a page that holds
                // neither memory nor another device. ACPI defines that the write resets the machine.
                unsafe { register.write_volatile(value) };
            }
        }
        None => {}
    }
}

fn by_keyboard_controller() {
    let mut controller = Port::<u8>::new(CONTROLLER);
    // SAFETY: reading the port must have no side effect. It is the controller's status port; without a controller it reads as
    // ones.
    let _ = Deadline::after_ms(EACH_MS).wait_until(|| unsafe { controller.read() } & INPUT_FULL == 0);
    // SAFETY: the write must not affect memory safety. The command pulses the reset line; without a controller it has no effect.
    unsafe { controller.write(PULSE_RESET) };
}

/// Raises an exception without an IDT. The processor shuts down, and the machine resets it (SDM Vol. 3A, 6.15, interrupt 8).
fn by_triple_fault() -> ! {
    // SAFETY: no handler may be needed any more: interrupts stay off from here on.
    unsafe { lidt(&DescriptorTablePointer { limit: 0, base: VirtAddr::zero() }) };
    // SAFETY: the exception must not be handled: the IDT is empty, so the processor shuts down and executes nothing more.
    unsafe { asm!("int3") };
    halt_forever()
}
