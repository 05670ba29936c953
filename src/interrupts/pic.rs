//! The legacy interrupt controllers (8259A): remapped away from the exception vectors, and masked permanently.

use x86_64::instructions::port::Port;

use super::frame::TrapFrame;
use super::handlers::register;
use super::unregistered::acknowledge;
use super::vector::Vector;

const COMMAND: [u16; 2] = [0x20, 0xa0];
const DATA: [u16; 2] = [0x21, 0xa1];

/// Remaps both controllers to [`Vector::PIC`] and masks all of their inputs.
///
/// # Safety
/// The BSP calls this once, with interrupts disabled.
pub(crate) unsafe fn mask_all() {
    // ICW1: edge-triggered, cascaded, ICW4 follows. ICW2: the first vector. ICW3: the second controller is on input 2 of
    // the first. ICW4: 8086 mode (Intel 8259A datasheet). The mask is written last, since ICW1 clears it.
    let initialise: [[u8; 4]; 2] =
        [[0x11, Vector::PIC.get(), 1 << 2, 1], [0x11, Vector::PIC.get() + 8, 2, 1]];
    for (pic, words) in initialise.into_iter().enumerate() {
        let writes =
            [(COMMAND, words[0]), (DATA, words[1]), (DATA, words[2]), (DATA, words[3]), (DATA, 0xff)];
        for (ports, word) in writes {
            // SAFETY: the port belongs to a controller (on a machine without one it is unused), which accepts ICW1 on its
            // command port at any time, then ICW2 to ICW4 and its mask on its data port.
            unsafe { write(ports[pic], word) };
        }
    }
    for vector in vectors() {
        register(vector, "legacy PIC", spurious);
    }
}

/// Returns the vectors of both controllers' inputs. All inputs are masked, so an interrupt on these vectors is spurious:
/// input 7 or 15, when a request is withdrawn before it is acknowledged.
pub(crate) fn vectors() -> impl Iterator<Item = Vector> {
    (0..16).map(|input| Vector::new(Vector::PIC.get() + input))
}

/// Handles a spurious interrupt. A masked input is not in service, so it gets no end-of-interrupt. A spurious interrupt
/// of the second controller is in service in the first, on input 2. An interrupt in service in the local APIC comes from
/// a device that was programmed with this vector; it is acknowledged there.
fn spurious(frame: &mut TrapFrame) {
    acknowledge(Vector::new(frame.vector as u8));
    if frame.vector >= u64::from(Vector::PIC.get()) + 8 {
        // SAFETY: this is a non-specific end-of-interrupt for the first controller, which has input 2 in service.
        unsafe { write(COMMAND[0], 0x20) };
    }
}

/// Writes to a controller's port.
///
/// # Safety
/// The port belongs to one of the controllers, and the write is allowed in its present state.
unsafe fn write(port: u16, value: u8) {
    // SAFETY: the port belongs to a controller, guaranteed by the caller (see # Safety).
    unsafe { Port::new(port).write(value) };
    // SAFETY: the write delays the next command for old controllers; only a diagnostic display uses this port.
    unsafe { Port::new(0x80).write(0u8) };
}
