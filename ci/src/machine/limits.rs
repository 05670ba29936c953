//! What cannot work, as far as that is known before anything is installed, built or booted.

use octopod::boot::MAX_COMMAND_LINE_BYTES;
use octopod::boot::command_line::{BuiltIn, Options as KernelOptions};
use octopod::memory::frames::FRAME_BYTES;
use octopod::wire::{NONCE_DIGITS, NONCE_PARAMETER};

use crate::base::error::Error;
use crate::base::values::Smp;
use crate::commands::cli::Options;
use crate::machine::emulator::Kind;
use crate::machine::media::{Door, Firmware};
use crate::run::replay::Needs;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Where the kernel is linked to; loaders put nothing lower.
const IMAGE_START: u64 = MIB;

/// What firmware and GRUB take before there is a kernel. Estimates, which have not been measured yet.
const BIOS_NEEDS: u64 = 16 * MIB;
const UEFI_NEEDS: u64 = 64 * MIB;

/// Machines with their greatest `-smp`, where all versions of QEMU have the same.
const MACHINE_CPUS: [(&str, u32); 2] = [("pc", 255), ("microvm", 288)];

/// Refuses what the kernel, the machine or QEMU would refuse later.
///
/// # Errors
/// The first thing that cannot work, with its limit.
pub fn check(options: &Options) -> Result<(), Error> {
    check_command_line(options)?;
    check_names(options)?;
    check_cpus(options)?;
    check_memory(options.boot, options.mem.bytes())
}

fn check_command_line(options: &Options) -> Result<(), Error> {
    // The launcher puts the nonce of the records before it.
    let own = NONCE_PARAMETER.len() + "=".len() + NONCE_DIGITS + " ".len();
    let bytes = own + options.kernel_command_line().len();
    match bytes {
        0..=MAX_COMMAND_LINE_BYTES => Ok(()),
        _ => Err(Error::CommandLineTooLong { bytes, most: MAX_COMMAND_LINE_BYTES }),
    }
}

/// Names of faults, workloads and allocators, as the kernel reads them. What `--append` holds is for the kernel to judge,
/// which may be another than this launcher's.
fn check_names(options: &Options) -> Result<(), Error> {
    let line = Options { append: Vec::new(), ..options.clone() }.kernel_command_line();
    let parsed = KernelOptions::parse(line.as_bytes(), BuiltIn::ALL);
    parsed.map(drop).map_err(|error| Error::KernelOption { message: error.to_string() })
}

fn check_cpus(options: &Options) -> Result<(), Error> {
    if options.host {
        return Ok(());
    }
    let cpus = options.smp.cpus();
    let machine = options.machine.name();
    let most = MACHINE_CPUS.iter().find(|(name, _)| *name == machine).map(|(_, most)| *most);
    if let Some(most) = most.filter(|most| options.emulator == Kind::Qemu && cpus > *most) {
        return Err(Error::TooManyCpus { machine, cpus, most });
    }
    match options.cpus.iter().find(|asked| **asked > cpus) {
        Some(&asked) => Err(Error::TooFewCpus { asked, cpus }),
        None => Ok(()),
    }
}

/// The memory without which nothing can be loaded, whatever the kernel.
fn check_memory(door: Door, bytes: u64) -> Result<(), Error> {
    let (needs, what) = match door.disc_for() {
        // At least a page of the kernel.
        None => (IMAGE_START + 4 * KIB, "a kernel loaded from 1 MiB on"),
        Some(Firmware::Bios) => (BIOS_NEEDS, "SeaBIOS and GRUB"),
        Some(Firmware::Uefi) => (UEFI_NEEDS, "OVMF with GRUB"),
    };
    if bytes < needs { Err(Error::TooLittleMemory { bytes, needs, what: what.to_owned() }) } else { Ok(()) }
}

/// Whether an image that ends at physical `end` fits into the memory.
///
/// # Errors
/// It does not.
pub fn check_image(end: u64, bytes: u64) -> Result<(), Error> {
    match bytes {
        bytes if bytes < end => {
            Err(Error::TooLittleMemory { bytes, needs: end, what: "the kernel's image".to_owned() })
        }
        _ => Ok(()),
    }
}

/// Whether the machine can replay a trace.
///
/// # Errors
/// It has too few CPUs or too little memory.
pub fn check_replay(needs: &Needs, smp: &Smp, chosen: &[u32], bytes: u64) -> Result<(), Error> {
    let cpus = chosen.iter().copied().chain([smp.cpus()]).min().unwrap_or_default() as usize;
    if cpus < needs.cpus {
        return Err(Error::TraceForMoreCpus { traced: needs.cpus, cpus });
    }
    let needs = needs.frames.saturating_mul(FRAME_BYTES as u64).saturating_add(IMAGE_START);
    if bytes < needs {
        let what = "the frames that the trace holds at once".to_owned();
        return Err(Error::TooLittleMemory { bytes, needs, what });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn refusal(arguments: &[&str]) -> Option<String> {
        let options = Options::try_parse_from([&["octopod"], arguments].concat()).unwrap();
        options.check().err().map(|error| {
            assert_eq!(error.verdict().status(), 2, "{error}");
            error.to_string()
        })
    }

    #[test]
    fn a_command_line_has_2048_bytes_at_most() {
        let own = "record_nonce=0123456789abcdef work=boot ".len();
        let append = |bytes: usize| format!("x={}", "y".repeat(bytes - own - 2));
        assert_eq!(refusal(&["boot", "--append", &append(2048)]), None);
        for bytes in [2049, 5_000, 100_000] {
            let text = refusal(&["boot", "--append", &append(bytes)]).unwrap();
            assert!(text.contains(&bytes.to_string()) && text.contains("2048"), "{text}");
        }
    }

    #[test]
    fn names_that_no_kernel_knows_are_refused_with_those_that_it_does() {
        for (arguments, parts) in [
            (&["boot", "--fault", "nope"][..], ["nope", "lose_frame"]),
            (&["stress", "--workloads", "pairs,nope"], ["nope", "storm"]),
            (&["stress", "--allocator", "nope"], ["nope", "magazine"]),
        ] {
            let text = refusal(arguments).unwrap();
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        }
        // The kernel may be another than this launcher's.
        assert_eq!(refusal(&["boot", "--append", "colour=red"]), None);
        assert_eq!(refusal(&["boot", "--fault", "lose_frame"]), None);
    }

    #[test]
    fn machines_have_limits_that_are_known() {
        for (smp, machine, most) in [("256", "pc", "255"), ("64,maxcpus=300", "microvm", "288")] {
            let text = refusal(&["boot", "--smp", smp, "--machine", machine]).unwrap();
            assert!(text.contains(most), "{text}");
        }
        assert_eq!(refusal(&["boot", "--smp", "255", "--machine", "pc"]), None);
        let text = refusal(&["stress", "--smp", "4", "--cpus", "2,8"]).unwrap();
        assert!(text.contains('8') && text.contains('4'), "{text}");
        assert_eq!(refusal(&["stress", "--smp", "4", "--cpus", "1,4"]), None);
    }

    #[test]
    fn less_memory_than_the_image_or_the_firmware_needs_is_refused() {
        for (mem, door, limit) in [
            ("1K", "pvh", "1028 KiB"),
            ("1M", "multiboot1", "1028 KiB"),
            ("16M", "uefi", "64 MiB"),
            ("1M", "multiboot2", "16 MiB"),
        ] {
            let text = refusal(&["boot", "--mem", mem, "--boot", door]).unwrap();
            assert!(text.contains(limit), "{text}");
        }
        for (mem, door) in [("2M", "pvh"), ("64M", "uefi"), ("16M", "multiboot2")] {
            assert_eq!(refusal(&["boot", "--mem", mem, "--boot", door]), None);
        }
        assert!(check_image(2 * MIB, 2 * MIB).is_ok());
        assert!(check_image(2 * MIB + 1, 2 * MIB).unwrap_err().to_string().contains("2049 KiB"));
    }

    #[test]
    fn a_trace_needs_its_cpus_and_its_frames() {
        let needs = Needs { cpus: 4, frames: 1024 };
        let smp = |text: &str| text.parse::<Smp>().unwrap();
        assert!(check_replay(&needs, &smp("4"), &[], 8 * MIB).is_ok());
        for (smp, chosen, bytes) in
            [(smp("3"), &[][..], 8 * MIB), (smp("8"), &[8, 2], 8 * MIB), (smp("4"), &[], 4 * MIB)]
        {
            assert!(check_replay(&needs, &smp, chosen, bytes).is_err(), "{smp} {chosen:?}");
        }
    }
}
