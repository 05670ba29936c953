//! Static keys: code sites that are a NOP or a jump, selected once at boot (Linux: *static key*, *jump label*).
//!
//! A site is a five-byte NOP. Its row in the section `.static_keys` has the site's address, the jump's target and the
//! class. [`enable`] replaces the NOPs of the selected classes by jumps while code is still writable. A disabled site
//! costs one NOP.

use core::ops::Range;

use super::{IrqGuard, code};

/// A site that is a NOP until [`enable`] makes it a jump to `$then`, for the expansion of other macros. `$class` is a constant.
#[doc(hidden)]
#[macro_export]
macro_rules! static_key {
    ($class:expr, $then:expr) => {
        // SAFETY: the instruction is a NOP. `cpu::static_key` may have replaced it by a jump to the block, which changes no
        // register.
        unsafe {
            ::core::arch::asm!(
                "2: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00",
                ".pushsection .static_keys, \"a\", @progbits",
                ".balign 4",
                ".long 2b - .",
                ".long {block} - .",
                ".long {class}",
                ".popsection",
                block = label { $then },
                class = const $class,
                options(nomem, nostack, preserves_flags)
            )
        }
    };
}

/// The five-byte NOP (SDM Vol. 2B, NOP, table 4-12). A `JMP rel32` has the same length.
pub(crate) const NOP: [u8; 5] = [0x0f, 0x1f, 0x44, 0x00, 0x00];

/// A row of the table: distances from each field's own address, and the class.
#[repr(C)]
struct Row {
    site: i32,
    target: i32,
    class: u32,
}

impl Row {
    fn site(&self) -> u64 {
        ((&raw const self.site).addr() as u64).wrapping_add_signed(self.site.into())
    }

    fn target(&self) -> u64 {
        ((&raw const self.target).addr() as u64).wrapping_add_signed(self.target.into())
    }
}

unsafe extern "C" {
    // Defined by the linker script.
    static static_keys_start: u8;
    static static_keys_end: u8;
}

fn rows() -> &'static [Row] {
    // SAFETY: the linker script places the rows of the section `.static_keys` between the two symbols, aligned; no code
    // writes to them.
    unsafe { super::section::rows(&raw const static_keys_start, &raw const static_keys_end) }
}

/// Replaces the NOPs of all sites with a wanted class by jumps. Returns the number of enabled sites and of all
/// sites. Returns `None` and changes nothing if a row's site is not a NOP, or its site or target is not in the code.
///
/// **Context:** the BSP, once, before code is write-protected.
///
/// # Safety
/// `text` is the image's code and writable, and no other CPU executes it.
pub(crate) unsafe fn enable(
    _: &IrqGuard,
    is_wanted: impl Fn(u32) -> bool,
    text: Range<u64>,
) -> Option<(usize, usize)> {
    let is_sound = |row: &Row| {
        text.contains(&row.site())
            && text.contains(&row.target())
            // Volatile: code is no Rust object, and the processor reads it by fetches, not by loads.
            // SAFETY: the site lies in `text` (the check above), which is readable and ends with more than these bytes.
            && unsafe { (row.site() as *const [u8; 5]).read_volatile() } == NOP
    };
    if !rows().iter().all(is_sound) {
        return None;
    }
    let wanted = rows().iter().filter(|row| is_wanted(row.class));
    for row in wanted.clone() {
        // The displacement of JMP rel32 is relative to the next instruction (SDM Vol. 2A, JMP). Site and target lie in
        // the image, less than 2 GiB apart.
        let distance = (row.target().wrapping_sub(row.site() + NOP.len() as u64) as i32).to_le_bytes();
        let site = core::ptr::with_exposed_provenance::<[u8; 8]>(row.site() as usize);
        // SAFETY: `is_sound` has checked that the site lies in `text`. The segment's last page is padded, so eight bytes
        // are readable.
        let mut word = unsafe { site.read_unaligned() };
        word[..NOP.len()].copy_from_slice(&[0xe9, distance[0], distance[1], distance[2], distance[3]]);
        // SAFETY: these bytes lie in `text`, which the caller guarantees to be writable (see # Safety); those after the
        // NOP do not change. An NMI may execute the interrupt entry's site meanwhile: it executes the NOP or the jump.
        unsafe { code::write_word(row.site(), word) };
    }
    // Instructions fetched before must not be executed (SDM Vol. 3A, 9.1.3): CPUID serialises.
    let _ = core::hint::black_box(core::arch::x86_64::__cpuid(0));
    Some((wanted.count(), rows().len()))
}
