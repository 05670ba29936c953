//! How a machine is made to start anew: by what its tables name, by the keyboard's controller, and as every processor does
//! that finds no way to handle a fault. One after the other, for none of them works everywhere.

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

/// How long a way is given until the next is tried: a reset takes no time, but the write may be on its way.
const EACH_MS: u64 = 50;

/// The keyboard controller's command port, and its status there: whether it has not read the last command yet.
const CONTROLLER: u16 = 0x64;
const INPUT_FULL: u8 = 1 << 1;
/// Pulses output line 0, which is wired to the processor's reset.
const PULSE_RESET: u8 = 0xfe;

/// Resets the machine.
pub fn reset() -> ! {
    irq_guard::disable_forever();
    by_tables();
    Deadline::after_ms(EACH_MS).wait();
    by_keyboard_controller();
    Deadline::after_ms(EACH_MS).wait();
    by_triple_fault()
}

fn by_tables() {
    match acpi::reset_register() {
        // SAFETY: the tables say that this resets the machine, which is what is wanted, and `acpi` has refused ports of
        // devices that the kernel drives.
        Some(ResetRegister::Port { port, value }) => unsafe { Port::new(port).write(value) },
        Some(ResetRegister::Memory { address, value }) => {
            if let Ok(register) = memory::map_device(Device::ResetRegister, address, 1) {
                // SAFETY: `map_device` has mapped the byte as a device's, in a page that holds neither memory nor another
                // device; the tables say that a write of this value there resets the machine.
                unsafe { register.write_volatile(value) };
            }
        }
        None => {}
    }
}

fn by_keyboard_controller() {
    let mut controller = Port::<u8>::new(CONTROLLER);
    // SAFETY: the port is the controller's; where there is none, nothing listens, and reads give ones.
    let _ = Deadline::after_ms(EACH_MS).wait_until(|| unsafe { controller.read() } & INPUT_FULL == 0);
    // SAFETY: the port is the keyboard controller's, or nothing listens there. The command pulses the reset line, which is this
    // function's purpose, and touches no memory.
    unsafe { controller.write(PULSE_RESET) };
}

/// A fault without gates, and without one for the fault in that, shuts the processor down, whereupon the machine resets it
/// (SDM Vol. 3A, 6.15, interrupt 8).
fn by_triple_fault() -> ! {
    // SAFETY: no handler is wanted any more.
    unsafe {
        lidt(&DescriptorTablePointer { limit: 0, base: VirtAddr::zero() });
        asm!("int3");
    }
    halt_forever()
}
