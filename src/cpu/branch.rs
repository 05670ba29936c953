//! Static branches: places in the code that do nothing, or jump, as boot decides once.
//!
//! A place is a five-byte NOP; its row in the section `.branches` says where it lies, where it would jump to, and in which
//! class it is. [`arm`] goes through the rows while code is still writable and turns the NOPs of the classes that are
//! wanted into jumps. So what is not wanted costs one instruction that does nothing.

use core::ops::Range;

use super::{IrqGuard, code};

/// The NOP (SDM Vol. 2B, NOP, table 4-12), as long as a jump to a place in the same image.
pub const NOP: [u8; 5] = [0x0f, 0x1f, 0x44, 0x00, 0x00];

/// A row: distances from each field's own address, and the class.
#[repr(C)]
struct Row {
    place: i32,
    target: i32,
    class: u32,
}

impl Row {
    fn place(&self) -> u64 {
        ((&raw const self.place).addr() as u64).wrapping_add_signed(self.place.into())
    }

    fn target(&self) -> u64 {
        ((&raw const self.target).addr() as u64).wrapping_add_signed(self.target.into())
    }
}

unsafe extern "C" {
    // From the linker script.
    static branches_start: u8;
    static branches_end: u8;
}

fn rows() -> &'static [Row] {
    // SAFETY: the linker script gathers the section `.branches` between the two, aligned for its rows; none is ever written.
    unsafe { super::section::rows(&raw const branches_start, &raw const branches_end) }
}

/// Turns the places of the classes up to `most` into jumps; gives how many, and how many places there are. `None`, and
/// nothing done, if a row speaks of anything but a NOP and a target in the code. Once, by the boot processor, before code is
/// write-protected.
///
/// # Safety
/// `text` is the image's code, writable for now, and no other CPU runs it.
pub unsafe fn arm(_: &IrqGuard, most: u32, text: Range<u64>) -> Option<(usize, usize)> {
    let is_sound = |row: &Row| {
        text.contains(&row.place())
            && text.contains(&row.target())
            // Volatile: code is no Rust object, and the processor reads it by other ways than loads.
            // SAFETY: the place is in the code, which can be read, and ends with more than these bytes.
            && unsafe { (row.place() as *const [u8; 5]).read_volatile() } == NOP
    };
    if !rows().iter().all(is_sound) {
        return None;
    }
    let wanted = rows().iter().filter(|row| row.class <= most);
    for row in wanted.clone() {
        // JMP rel32 counts from the instruction behind it (SDM Vol. 2A, JMP). Both lie in the image, far closer than 2 GiB.
        let distance = (row.target().wrapping_sub(row.place() + NOP.len() as u64) as i32).to_le_bytes();
        let place = core::ptr::with_exposed_provenance::<[u8; 8]>(row.place() as usize);
        // SAFETY: the row has been checked: the place lies in `text`, behind which the segment's last page is filled up.
        let mut word = unsafe { place.read_unaligned() };
        word[..NOP.len()].copy_from_slice(&[0xe9, distance[0], distance[1], distance[2], distance[3]]);
        // SAFETY: the same bytes, which the caller lets be written; those behind the NOP stay as they are. The interrupts' own
        // entry has such places, and an NMI may come: it finds the NOP or the jump.
        unsafe { code::write_word(row.place(), word) };
    }
    // What was fetched before must not be executed (SDM Vol. 3A, 9.1.3): CPUID serialises.
    let _ = core::hint::black_box(core::arch::x86_64::__cpuid(0));
    Some((wanted.count(), rows().len()))
}
