//! The layouts of tables and entries from the `acpi` crate, over bytes whose length has been checked.
//!
//! The crate's structures are packed, so they may lie at any address, and consist of integers, so any bytes are a valid
//! value: see [`FirmwareLayout`]. The kernel uses these parts of version 5.2.0: `rsdp::Rsdp`, `sdt::{SdtHeader, Signature}`,
//! `madt::Madt` with `MadtEntry` and the structures of its entries, and the public fields of `fadt::Fadt`. It does not
//! use the rest:
//!
//! - `AcpiTables`, `SdtHeader::validate` and `Rsdp::validate` map any address and sum up as many bytes as a table states,
//!   without a limit. They reject valid tables whose OEM fields are not UTF-8. They take an XSDT from revision 1 on, and
//!   do not fall back to the RSDT. [`tables`](super::tables) and [`rsdp`](super::rsdp) are used instead.
//! - `Madt::entries` does not end at a length of 0, returns references past the table's end for a truncated entry, and
//!   reads outside the reference that it is made from, which Miri reports as undefined behaviour.
//!   [`entries`](super::entries) is used instead.
//! - `HpetInfo` panics if the timer is not in memory, and the fields of `HpetTable` are private.
//! - `Fadt::pm_timer_block` takes any length but 4 for "no timer" and ignores the 64-bit address by revision. It and
//!   `reset_register` reject an access size above 4, which firmware has and a register of one width does not need.
//! - `Debug` of a header and `Signature::as_str` panic if the signature is not UTF-8.
//!
//! The crate has no more than the signatures of SRAT and SLIT. Its version 6 needs a nightly compiler.

use core::mem::MaybeUninit;

use ::acpi::fadt::{Fadt, FixedFeatureFlags};
use ::acpi::madt;
use ::acpi::rsdp::Rsdp;
use ::acpi::sdt::SdtHeader;

/// A structure that may lie at any address and of which any bytes are a valid value.
///
/// # Safety
/// The type is `repr(C, packed)` or of one byte, without padding, and consists of integers. It has an alignment of 1,
/// every value of its bytes is valid, and it has no interior mutability.
pub(super) unsafe trait FirmwareLayout {}

macro_rules! layouts {
    ($($name:ty),+ $(,)?) => {$(
        const _: () = assert!(align_of::<$name>() == 1);

        // SAFETY: the crate's structure is `repr(C, packed)`, which the line above checks by its alignment, and its fields are
        // integers, arrays and newtypes of these, or `MaybeUninit` of these.
        unsafe impl FirmwareLayout for $name {}
    )+};
}

layouts!(
    Rsdp,
    SdtHeader,
    Fadt,
    madt::Madt,
    madt::LocalApicEntry,
    madt::IoApicEntry,
    madt::InterruptSourceOverrideEntry,
    madt::NmiSourceEntry,
    madt::LocalApicNmiEntry,
    madt::LocalApicAddressOverrideEntry,
    madt::LocalX2ApicEntry,
    madt::X2ApicNmiEntry,
);

/// Returns the structure at the start of `bytes`; `None` if there are too few.
pub(super) fn view<T: FirmwareLayout>(bytes: &[u8]) -> Option<&T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: the slice has at least as many bytes as `T` (checked above) and is borrowed as long as the result. `T` has
    // an alignment of 1 and accepts any bytes (`FirmwareLayout`).
    Some(unsafe { &*bytes.as_ptr().cast::<T>() })
}

/// Returns a copy of the structure at the start of `bytes`, with zeros for missing bytes.
pub(super) fn zero_extended<T: FirmwareLayout>(bytes: &[u8]) -> T {
    let mut copy = MaybeUninit::<T>::zeroed();
    let length = bytes.len().min(size_of::<T>());
    // SAFETY: `length` is at most the length of either, by the line above, and a new variable does not overlap the slice.
    unsafe { copy.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), length) };
    // SAFETY: all bytes are initialised, by `zeroed` and the copy, and any bytes are a value of `T`, by `FirmwareLayout`.
    unsafe { copy.assume_init() }
}

/// Returns the feature flags of a FADT; `None` if it ends before them.
pub(super) fn fadt_flags(fadt: &[u8]) -> Option<FixedFeatureFlags> {
    let end = const { core::mem::offset_of!(Fadt, flags) + size_of::<FixedFeatureFlags>() };
    (fadt.len() >= end).then(|| zero_extended::<Fadt>(fadt).flags)
}

/// The offset in a FADT of the value for the reset register.
pub(super) const FADT_RESET_VALUE: usize = core::mem::offset_of!(Fadt, reset_value);

/// Returns the value for the reset register; `None` if the table ends before it.
pub(super) fn fadt_reset_value(fadt: &[u8]) -> Option<u8> {
    (fadt.len() > FADT_RESET_VALUE).then(|| zero_extended::<Fadt>(fadt).reset_value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_structure_lies_at_any_address() {
        let mut bytes = [0; 64];
        for at in 0..16 {
            bytes.fill(0xff);
            bytes[at..][..12].copy_from_slice(&[1, 12, 9, 0, 0, 0, 0xc0, 0xfe, 24, 0, 0, 0]);
            let entry: &madt::IoApicEntry = view(&bytes[at..]).unwrap();
            let read = (entry.io_apic_id, entry.io_apic_address, entry.global_system_interrupt_base);
            assert_eq!(read, (9, 0xfec0_0000, 24));
        }
    }

    #[test]
    fn nothing_is_read_past_the_end() {
        let bytes = [0xff; 12];
        assert!(view::<madt::IoApicEntry>(&bytes).is_some());
        assert!(view::<madt::IoApicEntry>(&bytes[..11]).is_none());
        let header: SdtHeader = zero_extended(&bytes[..7]);
        assert_eq!({ header.length }, 0x00ff_ffff);
        assert!(fadt_flags(&[0xff; 115]).is_none() && fadt_reset_value(&[0xff; 128]).is_none());
        assert_eq!(fadt_reset_value(&[0xff; 129]), Some(0xff));
    }

    #[test]
    fn layouts_are_those_of_the_specification() {
        // ACPI 6.5 tables 5.3, 5.4, 5.9 and 5.19.
        assert_eq!([size_of::<Rsdp>(), size_of::<SdtHeader>(), size_of::<madt::Madt>()], [36, 36, 44]);
        assert_eq!(
            (core::mem::offset_of!(Fadt, flags), FADT_RESET_VALUE, size_of::<Fadt>()),
            (112, 128, 276)
        );
    }
}
