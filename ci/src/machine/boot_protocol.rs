//! The boot protocols by which the kernel is entered, as `--boot` names them. There is one ELF file, from one link.
//!
//! | protocol | loader | file |
//! |---|---|---|
//! | `pvh` | QEMU's `-kernel`, by the PVH note | the ELF file |
//! | `multiboot1` | QEMU's `-kernel`, by the Multiboot 1 header | a copy whose header has its magic |
//! | `multiboot1-grub` | GRUB from an ISO image, on SeaBIOS | an image with that copy |
//! | `multiboot2` | GRUB from an ISO image, on SeaBIOS | an image with the ELF file |
//! | `uefi` | GRUB from an ISO image, on OVMF, by Multiboot 2 | an image with the ELF file |
//! | `uefi-multiboot1` | GRUB from an ISO image, on OVMF | an image with the patched copy |

use std::time::Duration;

use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// `--boot`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, IntoStaticStr, VariantArray, EnumMessage)]
#[strum(serialize_all = "kebab-case")]
pub enum BootProtocol {
    /// PVH, loaded by QEMU's -kernel.
    #[default]
    Pvh,
    /// Multiboot 1, loaded by QEMU's -kernel.
    Multiboot1,
    /// Multiboot 1, loaded by GRUB on SeaBIOS.
    Multiboot1Grub,
    /// Multiboot 2, loaded by GRUB on SeaBIOS.
    Multiboot2,
    /// Multiboot 2, loaded by GRUB on OVMF.
    Uefi,
    /// Multiboot 1, loaded by GRUB on OVMF: the kernel finds no ACPI tables, and so one CPU.
    UefiMultiboot1,
}

/// The firmware that runs before GRUB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Firmware {
    /// SeaBIOS, which comes with QEMU.
    Bios,
    /// OVMF.
    Uefi,
}

impl BootProtocol {
    /// Its name, as `--boot` takes it.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The firmware that starts GRUB from an ISO image; `None` where QEMU loads the kernel itself.
    pub fn firmware(self) -> Option<Firmware> {
        match self {
            BootProtocol::Pvh | BootProtocol::Multiboot1 => None,
            BootProtocol::Multiboot1Grub | BootProtocol::Multiboot2 => Some(Firmware::Bios),
            BootProtocol::Uefi | BootProtocol::UefiMultiboot1 => Some(Firmware::Uefi),
        }
    }

    /// Returns whether the file needs its Multiboot 1 header.
    pub fn is_multiboot1(self) -> bool {
        matches!(self, BootProtocol::Multiboot1 | BootProtocol::Multiboot1Grub | BootProtocol::UefiMultiboot1)
    }

    /// The time limit for firmware and GRUB before the kernel begins: five seconds are usual under TCG, on an idle host.
    pub fn grace(self) -> Duration {
        match self.firmware() {
            None => Duration::ZERO,
            Some(Firmware::Bios) => Duration::from_secs(15),
            Some(Firmware::Uefi) => Duration::from_secs(45),
        }
    }
}
