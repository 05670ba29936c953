//! Refuses configurations that cannot work, before anything is installed, built or booted.

use crate::base::Error;
use crate::machine::{EmulatorKind, Firmware, MachineConfig};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// The physical address that the kernel is linked to; loaders put nothing lower.
pub const IMAGE_START: u64 = MIB;

/// The time of firmware and GRUB before the kernel starts. Estimates, not measurements.
const BIOS_NEEDS: u64 = 16 * MIB;
const UEFI_NEEDS: u64 = 64 * MIB;

/// Machines with their greatest `-smp`, where all versions of QEMU have the same.
const MACHINE_CPUS: [(&str, u32); 2] = [("pc", 255), ("microvm", 288)];

/// Refuses more CPUs than the machine type has, and less memory than anything needs that is loaded.
///
/// # Errors
/// The first thing that cannot work, with its limit.
pub fn check(config: &MachineConfig) -> Result<(), Error> {
    let (machine, cpus) = (config.machine.name(), config.smp.cpus());
    let most = MACHINE_CPUS.iter().find(|(name, _)| *name == machine).map(|(_, most)| *most);
    if let Some(most) = most.filter(|most| config.emulator == EmulatorKind::Qemu && cpus > *most) {
        return Err(Error::Usage(format!(
            "--machine {machine} has at most {most} CPUs, and --smp asks for {cpus}"
        )));
    }
    let (needs, what) = match config.boot.firmware() {
        // At least a page of the kernel.
        None => (IMAGE_START + 4 * KIB, "a kernel loaded from 1 MiB on"),
        Some(Firmware::Bios) => (BIOS_NEEDS, "SeaBIOS and GRUB"),
        Some(Firmware::Uefi) => (UEFI_NEEDS, "OVMF with GRUB"),
    };
    check_memory(config.mem.bytes(), needs, what)
}

/// Checks that an image that ends at physical `end` fits into the memory.
///
/// # Errors
/// It does not.
pub fn check_image(end: u64, bytes: u64) -> Result<(), Error> {
    check_memory(bytes, end, "the kernel's image")
}

/// Checks that the memory is enough for what needs so much.
///
/// # Errors
/// It is not.
pub fn check_memory(bytes: u64, needs: u64, what: &str) -> Result<(), Error> {
    if bytes >= needs {
        return Ok(());
    }
    let (has, needs) = (bytes.div_ceil(1024), size(needs));
    Err(Error::Usage(format!("--mem of {has} KiB is too little: {what} needs at least {needs}")))
}

/// A size as people read it; none is rounded down.
fn size(bytes: u64) -> String {
    match bytes {
        bytes if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        bytes => format!("{} KiB", bytes.div_ceil(1024)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::BootProtocol;

    fn refusal(config: MachineConfig) -> Option<String> {
        check(&config).err().map(|error| {
            assert_eq!(error.verdict().status(), 2, "{error}");
            error.to_string()
        })
    }

    #[test]
    fn machines_have_limits_that_are_known() {
        let of = |smp: &str, machine: &str| {
            let (smp, machine) = (smp.parse().unwrap(), machine.parse().unwrap());
            refusal(MachineConfig { smp, machine, ..MachineConfig::default() })
        };
        for (smp, machine, most) in [("256", "pc", "255"), ("64,maxcpus=300", "microvm", "288")] {
            let text = of(smp, machine).unwrap();
            assert!(text.contains(most), "{text}");
        }
        assert_eq!(of("255", "pc"), None);
    }

    #[test]
    fn less_memory_than_the_image_or_the_firmware_needs_is_refused() {
        use BootProtocol::{Multiboot1, Multiboot2, Pvh, Uefi};
        let of = |mem: &str, boot| {
            refusal(MachineConfig { mem: mem.parse().unwrap(), boot, ..MachineConfig::default() })
        };
        for (mem, boot, limit) in [
            ("1K", Pvh, "1028 KiB"),
            ("1M", Multiboot1, "1028 KiB"),
            ("16M", Uefi, "64 MiB"),
            ("1M", Multiboot2, "16 MiB"),
        ] {
            let text = of(mem, boot).unwrap();
            assert!(text.contains(limit), "{text}");
        }
        for (mem, boot) in [("2M", Pvh), ("64M", Uefi), ("16M", Multiboot2)] {
            assert_eq!(of(mem, boot), None);
        }
        assert!(check_image(2 * MIB, 2 * MIB).is_ok());
        assert!(check_image(2 * MIB + 1, 2 * MIB).unwrap_err().to_string().contains("2049 KiB"));
    }
}
