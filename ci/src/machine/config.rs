//! The configuration of the machine of a run.

use std::ffi::OsString;
use std::time::Duration;

use strum::{EnumMessage, IntoStaticStr, VariantArray};

use crate::base::Error;
use crate::base::values::{Line, MachineType, MemSize, Smp};
use crate::machine::{AccelChoice, BootProtocol, Firmware};

/// The first version of the PC machine types that loads PVH kernels.
const FIRST_WITH_PVH: u32 = 4;

/// `--emulator`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, IntoStaticStr, VariantArray, EnumMessage)]
#[strum(serialize_all = "kebab-case")]
pub enum EmulatorKind {
    /// QEMU, by its translator or by KVM.
    #[default]
    Qemu,
    /// Bochs, which interprets every instruction: slow, strict, and with a TSC-deadline timer.
    Bochs,
}

impl EmulatorKind {
    /// Its name, as `--emulator` takes it.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Its name, as its makers write it.
    pub fn title(self) -> &'static str {
        match self {
            EmulatorKind::Qemu => "QEMU",
            EmulatorKind::Bochs => "Bochs",
        }
    }

    /// The boot protocol, unless one is named: Bochs boots from ISO images only.
    pub fn default_boot_protocol(self) -> BootProtocol {
        match self {
            EmulatorKind::Qemu => BootProtocol::Pvh,
            EmulatorKind::Bochs => BootProtocol::Multiboot2,
        }
    }

    /// Returns the time limit of each step of a run whose boot may take `boot` under TCG, and whose workloads run for `work` of the
    /// machine's own time. Bochs interprets all CPUs on one thread: on an idle host, eight take 15 seconds to boot and half a
    /// minute for each second of work.
    pub fn time_limit(self, boot: Duration, work: Duration) -> Duration {
        match self {
            EmulatorKind::Qemu => boot + work,
            EmulatorKind::Bochs => boot * 4 + work * 120,
        }
    }
}

/// The machine of a run; by default eight CPUs with 128 MiB on a q35, entered by PVH.
#[derive(Clone, Debug, Default)]
pub struct MachineConfig {
    /// The emulator.
    pub emulator: EmulatorKind,
    /// CPUs, as QEMU's `-smp`.
    pub smp: Smp,
    /// Memory.
    pub mem: MemSize,
    /// The CPU model; `None` for the emulator's default here.
    pub cpu: Option<Line>,
    /// The machine type, with QEMU's properties.
    pub machine: MachineType,
    /// The accelerator.
    pub accel: AccelChoice,
    /// The boot protocol by which the kernel is entered.
    pub boot: BootProtocol,
    /// The QEMU to use; `None` for the one that is installed.
    pub qemu: Option<OsString>,
    /// The Bochs to use; `None` for the one that is installed.
    pub bochs: Option<OsString>,
    /// True if the TSC counts instructions (QEMU's `-icount`), all CPUs on one host thread.
    pub counts_instructions: bool,
    /// True if there is a port for a trace, whose bytes go to a file of the run's folder.
    pub has_trace_port: bool,
    /// Arguments for QEMU, behind all others.
    pub qemu_arguments: Vec<OsString>,
}

/// The most CPUs of a machine without x2APIC: an APIC ID of eight bits, of which the last is the broadcast ID.
const XAPIC_CPUS: u32 = 255;

impl MachineConfig {
    /// Returns whether the machine needs x2APIC: its CPU model names it, or it has too many CPUs for an xAPIC.
    pub fn needs_x2apic(&self) -> bool {
        let names_it = |word: &str| ["+x2apic", "x2apic=on", "x2apic"].contains(&word);
        let model = self.cpu.as_ref().map(ToString::to_string).unwrap_or_default();
        self.smp.cpus() > XAPIC_CPUS || model.split(',').skip(1).any(names_it)
    }

    /// Returns whether QEMU's arguments contain this option.
    pub fn gives_qemu(&self, option: &str) -> bool {
        self.qemu_arguments.iter().any(|argument| argument == option)
    }

    /// Refuses a machine that cannot boot a kernel with this command line, before anything is installed or built.
    ///
    /// # Errors
    /// The first thing that does not go together.
    pub fn check(&self, command_line: &str) -> Result<(), Error> {
        match self.emulator {
            EmulatorKind::Qemu => self.check_pvh()?,
            EmulatorKind::Bochs => self.check_bochs()?,
        }
        let (protocol, machine) = (self.boot.name(), self.machine.name());
        if self.boot.firmware().is_none() {
            return Ok(());
        }
        if machine == "microvm" {
            return Err(Error::Usage(format!(
                "--boot {protocol} does not go with --machine {machine}, which has no CD-ROM drive"
            )));
        }
        // GRUB puts a backslash before each of these on the way to the kernel.
        match command_line.chars().find(|c| "\\'\"".contains(*c)) {
            Some(character) => Err(Error::Usage(format!(
                "--boot {protocol} cannot pass {character} to the kernel: GRUB would put a backslash before it"
            ))),
            None => Ok(()),
        }
    }

    /// Refuses a machine type that is given to QEMU directly and that cannot load the kernel: QEMU reports no error, and
    /// the machine stays in its firmware.
    fn check_pvh(&self) -> Result<(), Error> {
        if self.boot != BootProtocol::Pvh {
            return Ok(());
        }
        let words = self.qemu_arguments.iter().filter_map(|word| word.to_str());
        let types =
            words.clone().zip(words.skip(1)).filter(|(option, _)| ["-M", "-machine"].contains(option));
        for (_, value) in types {
            let name = value.split(',').next().unwrap_or_default();
            let name = name.strip_prefix("type=").unwrap_or(name);
            let version = ["pc-i440fx-", "pc-q35-"].iter().find_map(|family| name.strip_prefix(family));
            let major = version.and_then(|version| version.split('.').next()?.parse::<u32>().ok());
            if major.is_some_and(|major| major < FIRST_WITH_PVH) {
                return Err(Error::Usage(format!(
                    "QEMU's machine type {name} loads no PVH kernel, as those from 4.0 on do: take --boot multiboot1, or a \
                     newer type"
                )));
            }
        }
        Ok(())
    }

    /// Refuses what Bochs cannot do.
    fn check_bochs(&self) -> Result<(), Error> {
        let default = MachineConfig::default();
        let protocol = match self.boot {
            BootProtocol::Pvh => "--boot pvh",
            BootProtocol::Multiboot1 => "--boot multiboot1",
            _ => "--boot by UEFI",
        };
        let has_protocol = self.boot.firmware() == Some(Firmware::Bios);
        let is_plain = self.smp.to_string().bytes().all(|byte| byte.is_ascii_digit());
        let is_whole = self.mem.bytes().is_multiple_of(1 << 20);
        let obstacles = [
            ("--trace", self.has_trace_port, "it has no port that writes to a file"),
            ("--accel", self.accel != default.accel, "it interprets every instruction itself"),
            ("--machine", self.machine != default.machine, "it has one machine, an i440FX"),
            ("-- QEMU ARGUMENTS", !self.qemu_arguments.is_empty(), "they are QEMU's"),
            (protocol, !has_protocol, "it boots ISO images by its BIOS: take multiboot2 or multiboot1-grub"),
            ("--smp with QEMU's properties", !is_plain, "it takes a number"),
            ("--mem in parts of a megabyte", !is_whole, "it takes whole megabytes"),
        ];
        match obstacles.into_iter().find(|(_, given, _)| *given) {
            Some((option, _, reason)) => {
                Err(Error::Usage(format!("{option} does not go with --emulator bochs: {reason}")))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bochs() -> MachineConfig {
        let boot = EmulatorKind::Bochs.default_boot_protocol();
        MachineConfig { emulator: EmulatorKind::Bochs, boot, ..MachineConfig::default() }
    }

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn many_cpus_or_the_model_need_x2apic() {
        let needs = |smp: &str, cpu: Option<&str>| {
            let cpu = cpu.map(|cpu| cpu.parse().unwrap());
            MachineConfig { smp: smp.parse().unwrap(), cpu, ..MachineConfig::default() }.needs_x2apic()
        };
        for (smp, cpu, wanted) in [
            ("8", None, false),
            ("255", None, false),
            ("256", None, true),
            ("2,maxcpus=300", None, true),
            ("2", Some("max"), false),
            ("2", Some("qemu64,-x2apic"), false),
            ("2", Some("qemu64,+x2apic"), true),
            ("2", Some("qemu64,x2apic=on"), true),
        ] {
            assert_eq!(needs(smp, cpu), wanted, "{smp} {cpu:?}");
        }
    }

    #[test]
    fn the_default_protocol_is_one_that_bochs_has() {
        assert!(bochs().check("work=boot").is_ok());
        let boot = BootProtocol::Multiboot1Grub;
        assert!(MachineConfig { boot, ..bochs() }.check("work=boot").is_ok());
    }

    #[test]
    fn what_bochs_cannot_do_is_refused_by_name() {
        let cases = [
            (
                MachineConfig { boot: BootProtocol::Pvh, ..bochs() },
                "--boot pvh does not go with --emulator bochs",
            ),
            (MachineConfig { boot: BootProtocol::Uefi, ..bochs() }, "take multiboot2 or multiboot1-grub"),
            (MachineConfig { accel: AccelChoice::Tcg, ..bochs() }, "--accel does not"),
            (MachineConfig { machine: "microvm".parse().unwrap(), ..bochs() }, "--machine does not"),
            (MachineConfig { smp: "2,maxcpus=4".parse().unwrap(), ..bochs() }, "it takes a number"),
            (MachineConfig { mem: "6500K".parse().unwrap(), ..bochs() }, "whole megabytes"),
            (MachineConfig { has_trace_port: true, ..bochs() }, "--trace does not"),
            (MachineConfig { qemu_arguments: words(&["-d", "int"]), ..bochs() }, "they are QEMU's"),
        ];
        for (config, words) in cases {
            let error = config.check("").unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(error.verdict().status(), 2);
        }
        assert!(MachineConfig::default().check("").is_ok());
    }

    #[test]
    fn a_machine_type_from_before_pvh_is_refused() {
        let refusal = |boot, qemu: &[&str]| {
            let config = MachineConfig { boot, qemu_arguments: words(qemu), ..MachineConfig::default() };
            config.check("").err().map(|error| (error.to_string(), error.verdict().status()))
        };
        for machine in ["pc-i440fx-2.12", "pc-q35-3.1", "type=pc-q35-2.4,usb=off"] {
            let (words, status) = refusal(BootProtocol::Pvh, &["-M", machine]).unwrap();
            assert!(words.contains("--boot multiboot1") && status == 2, "{words}");
        }
        for (boot, arguments) in [
            (BootProtocol::Pvh, &["-M", "pc-q35-4.0"][..]),
            (BootProtocol::Pvh, &["-M", "pc-i440fx-10.0"]),
            (BootProtocol::Pvh, &["-machine", "memory-backend=ram"]),
            (BootProtocol::Multiboot1, &["-M", "pc-i440fx-2.12"]),
            (BootProtocol::Pvh, &["-d", "pc-q35-2.4"]),
        ] {
            assert_eq!(refusal(boot, arguments), None, "{arguments:?}");
        }
    }

    #[test]
    fn microvm_refuses_protocols_that_boot_from_a_cd() {
        for &boot in BootProtocol::VARIANTS {
            let machine = "microvm,acpi=off".parse().unwrap();
            let config = MachineConfig { boot, machine, ..MachineConfig::default() };
            let error = config.check("").err().map(|error| error.to_string());
            assert_eq!(error.is_some(), boot.firmware().is_some(), "{error:?}");
            assert!(error.is_none_or(|error| error.contains("microvm") && error.contains(boot.name())));
        }
    }

    #[test]
    fn what_grub_would_change_is_refused_and_qemu_changes_nothing() {
        use BootProtocol::{Multiboot1, Multiboot1Grub, Multiboot2, Pvh, Uefi};
        let refused =
            |boot, line: &str| MachineConfig { boot, ..MachineConfig::default() }.check(line).is_err();
        for character in ["\"", "'", "\\"] {
            let line = format!("x=a{character}b");
            assert!([Multiboot2, Uefi, Multiboot1Grub].map(|boot| refused(boot, &line)) == [true; 3]);
            assert!([Pvh, Multiboot1].map(|boot| refused(boot, &line)) == [false; 2], "{character}");
        }
        assert!(!refused(Uefi, "x=$a;{b}|#&<>"));
    }
}
