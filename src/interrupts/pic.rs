//! The legacy interrupt controllers: moved out of the exceptions' way, and masked for good.

use x86_64::instructions::port::Port;

use super::{Frame, Vector, register};

const COMMAND: [u16; 2] = [0x20, 0xa0];
const DATA: [u16; 2] = [0x21, 0xa1];

/// Moves both controllers' lines to [`Vector::PIC`] and masks all of them.
///
/// # Safety
/// Called once, with interrupts off, by the boot processor.
pub unsafe fn mask_all() {
    // ICW1: edge-triggered, cascaded, ICW4 follows. ICW2: the first vector. ICW3: the second sits on line 2 of the
    // first. ICW4: 8086 mode (Intel 8259A datasheet). The mask comes last, since ICW1 clears it.
    let initialise: [[u8; 4]; 2] =
        [[0x11, Vector::PIC.get(), 1 << 2, 1], [0x11, Vector::PIC.get() + 8, 2, 1]];
    for (pic, words) in initialise.into_iter().enumerate() {
        // SAFETY: these ports are the controllers', and where there are none nobody listens.
        unsafe {
            write(COMMAND[pic], words[0]);
            for word in &words[1..] {
                write(DATA[pic], *word);
            }
            write(DATA[pic], 0xff);
        }
    }
    for vector in vectors() {
        register(vector, "legacy PIC", spurious);
    }
}

/// The vectors of both controllers' lines. What comes on them, fully masked as they are, is spurious: line 7 or 15, when a
/// request went away too early.
pub fn vectors() -> impl Iterator<Item = Vector> {
    (0..16).map(|line| Vector::new(Vector::PIC.get() + line))
}

/// A masked line cannot be in service, so none of these gets an end-of-interrupt; but a spurious one of the second
/// controller is in service in the first, on line 2. What is in service in the local APIC came from a device that was
/// told to interrupt by this vector.
fn spurious(frame: &mut Frame) {
    super::acknowledge(Vector::new(frame.vector as u8));
    if frame.vector >= u64::from(Vector::PIC.get()) + 8 {
        // SAFETY: a non-specific end-of-interrupt for the first controller, which has one in service.
        unsafe { write(COMMAND[0], 0x20) };
    }
}

/// # Safety
/// The port is one of the controllers', and the caller may write it now.
unsafe fn write(port: u16, value: u8) {
    // SAFETY: the port is one of the controllers', guaranteed by the caller (see # Safety). The write to port 0x80 gives an old controller the time it needs
    // between two commands; nothing but a diagnostic display listens there.
    unsafe {
        Port::new(port).write(value);
        Port::new(0x80).write(0u8);
    }
}
