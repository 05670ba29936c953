//! QEMU's command line for a run.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use octopod::wire::{EXIT_PORT, TRACE_PORT};

use crate::base::Version;
use crate::machine::MachineConfig;
use crate::machine::accelerator::Accel;
use crate::machine::arguments::{Arguments, escape_commas, grouped, quoted};
use crate::machine::media::Medium;

/// A QEMU for x86-64 that answers.
#[derive(Clone, Debug)]
pub struct Qemu {
    /// The program.
    pub program: PathBuf,
    /// The version that it reports.
    pub version: Version,
}

/// The parts of a command line that are chosen for each run.
#[derive(Debug)]
pub struct Machine<'a> {
    /// The configuration.
    pub config: &'a MachineConfig,
    /// The accelerator.
    pub accel: Accel,
    /// The boot medium.
    pub medium: &'a Medium,
    /// The socket of its machine protocol; a run by hand has none.
    pub qmp: Option<QmpSocket<'a>>,
    /// The file that the trace goes to, if one is wanted.
    pub trace_file: Option<&'a Path>,
}

/// The `-cpu` of a run with counted instructions. It has an xAPIC: QEMU's x2APIC does not go together with these (`Bad icount
/// read`).
pub const COUNTED_CPU: &str = "qemu64,+pdpe1gb,+rdtscp,+smep,+smap,+umip";

/// The side that listens on the socket of the machine protocol.
#[derive(Clone, Copy, Debug)]
pub enum QmpSocket<'a> {
    /// QEMU listens there, and starts at once.
    Listens(&'a Path),
    /// The launcher listens, and QEMU connects before it starts the machine.
    Connects(&'a Path),
}

/// QEMU's `-icount`: the TSC advances by one for each instruction, and by what is missing to the next timer while the
/// CPU is halted.
pub const ICOUNT: &str = "shift=0,sleep=off";

impl Qemu {
    /// The `-cpu` of a run whose user names none.
    ///
    /// Under TCG a fixed model with fixed additions, since `max` differs between QEMU's versions and `host` between
    /// machines. All additions are ones that TCG has, so that QEMU prints no warning.
    ///
    /// Where instructions are counted it is [`COUNTED_CPU`].
    pub fn default_cpu(&self, counts_instructions: bool, accel: Accel) -> &'static str {
        match accel {
            Accel::Kvm => "host",
            Accel::Tcg if counts_instructions => COUNTED_CPU,
            Accel::Tcg if self.version >= Version::TCG_X2APIC => {
                "qemu64,+x2apic,+pdpe1gb,+rdtscp,+smep,+smap,+umip"
            }
            Accel::Tcg => "qemu64,+pdpe1gb,+rdtscp,+smep,+smap,+umip",
        }
    }

    /// All arguments of a run, without the program.
    pub fn arguments(&self, machine: &Machine<'_>) -> Arguments {
        let config = machine.config;
        let counts = config.counts_instructions;
        let mut arguments = machine.medium.arguments();
        let mut add = |group: &[&OsStr]| arguments.push(group.iter().map(|&part| part.to_owned()).collect());

        add(&["-M".as_ref(), machine_value(config).as_ref()]);
        // A second -accel would be a fallback, not a replacement.
        if !config.gives_qemu("-accel") {
            let accel = match machine.accel {
                Accel::Kvm => "kvm",
                Accel::Tcg if counts => "tcg,thread=single",
                Accel::Tcg => "tcg,thread=multi",
            };
            add(&["-accel".as_ref(), accel.as_ref()]);
            if counts {
                add(&["-icount".as_ref(), ICOUNT.as_ref()]);
            }
        }
        let cpu = config
            .cpu
            .as_ref()
            .map_or_else(|| self.default_cpu(counts, machine.accel).to_owned(), ToString::to_string);
        add(&["-cpu".as_ref(), cpu.as_ref()]);
        add(&["-smp".as_ref(), config.smp.to_string().as_ref()]);
        add(&["-m".as_ref(), config.mem.to_string().as_ref()]);
        add(&["-nodefaults".as_ref()]);
        if config.machine.name() != "microvm" {
            add(&["-vga".as_ref(), "std".as_ref()]);
        }
        add(&["-display".as_ref(), "none".as_ref()]);
        // Makes QEMU end where the machine would start anew, as after a triple fault.
        add(&["-no-reboot".as_ref()]);
        add(&["-serial".as_ref(), "stdio".as_ref()]);
        let exit = format!("isa-debug-exit,iobase={EXIT_PORT:#x},iosize=0x04");
        add(&["-device".as_ref(), exit.as_ref()]);
        if let Some(file) = machine.trace_file {
            let mut value = OsString::from("file,id=trace,path=");
            value.push(escape_commas(file.as_os_str()));
            add(&["-chardev".as_ref(), &value]);
            let port = format!("isa-debugcon,iobase={TRACE_PORT:#x},chardev=trace");
            add(&["-device".as_ref(), port.as_ref()]);
        }
        if let Some(QmpSocket::Listens(socket) | QmpSocket::Connects(socket)) = machine.qmp {
            let mut value = OsString::from("unix:");
            value.push(escape_commas(socket.as_os_str()));
            if let Some(QmpSocket::Listens(_)) = machine.qmp {
                value.push(",server=on,wait=off");
            }
            add(&["-qmp".as_ref(), &value]);
        }
        arguments.extend(grouped(&config.qemu_arguments));
        arguments
    }

    /// The command line as a shell script that runs the same machine by hand, one option a line. Files are opened for it, each
    /// as the descriptor of that number.
    pub fn script(&self, arguments: &Arguments, files: &[(u8, PathBuf)]) -> Vec<u8> {
        let mut script = b"#!/bin/sh\n# The run's command line, less the socket by which the launcher talks to QEMU.\nexec ".to_vec();
        script.extend(quoted(self.program.as_os_str()));
        for group in arguments {
            script.extend_from_slice(b" \\\n   ");
            for argument in group {
                script.push(b' ');
                script.extend(quoted(argument));
            }
        }
        script.extend_from_slice(b" \"$@\"");
        for (descriptor, file) in files {
            script.extend_from_slice(format!(" {descriptor}<").as_bytes());
            script.extend(quoted(file.as_os_str()));
        }
        script.push(b'\n');
        script
    }
}

/// The user's machine, with what octopod wants of it; the user's own properties come last, where they win.
fn machine_value(config: &MachineConfig) -> String {
    let machine = &config.machine;
    let ours = match machine.name() {
        // A serial port for the log, the clocks that the timer is calibrated against, and no words of QEMU's own on
        // the kernel's command line.
        "microvm" => ",isa-serial=on,pit=on,pic=on,rtc=on,auto-kernel-cmdline=off",
        _ => "",
    };
    format!("{}{ours}{}", machine.name(), machine.properties())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(major: u32, accel: Accel, config: &MachineConfig) -> String {
        let qemu = Qemu {
            program: "/usr/bin/qemu-system-x86_64".into(),
            version: Version { major, minor: 0, micro: 0 },
        };
        let machine = Machine {
            config,
            accel,
            medium: &Medium::Kernel {
                file: "/k/octopod-kernel".into(),
                command_line: "work=boot".to_owned(),
                module: None,
            },
            qmp: Some(QmpSocket::Connects(Path::new("/tmp/a,b/qmp"))),
            trace_file: config.has_trace_port.then_some(Path::new("/r,s/trace.bin")),
        };
        // Which harmless characters are quoted is the quoting library's affair.
        String::from_utf8(qemu.script(&qemu.arguments(&machine), &[])).unwrap().replace('\'', "")
    }

    fn with_arguments(words: &[&str]) -> MachineConfig {
        let qemu_arguments = words.iter().map(OsString::from).collect();
        MachineConfig { qemu_arguments, ..MachineConfig::default() }
    }

    #[test]
    fn the_default_command_line() {
        let expected = r#"exec /usr/bin/qemu-system-x86_64 \
    -kernel /k/octopod-kernel \
    -append 'work=boot' \
    -M q35 \
    -accel tcg,thread=multi \
    -cpu qemu64,+x2apic,+pdpe1gb,+rdtscp,+smep,+smap,+umip \
    -smp 8 \
    -m 128M \
    -nodefaults \
    -vga std \
    -display none \
    -no-reboot \
    -serial stdio \
    -device 'isa-debug-exit,iobase=0xf4,iosize=0x04' \
    -qmp unix:/tmp/a,,b/qmp \
    -d int "$@"
"#;
        let script = script(10, Accel::Tcg, &with_arguments(&["-d", "int"]));
        let expected = expected.replace('\'', "");
        assert_eq!(script.split_once("exec ").unwrap().1, expected.strip_prefix("exec ").unwrap());
    }

    #[test]
    fn a_trace_has_a_port_of_its_own() {
        let script =
            script(10, Accel::Tcg, &MachineConfig { has_trace_port: true, ..MachineConfig::default() });
        for option in [
            "-chardev file,id=trace,path=/r,,s/trace.bin ",
            "-device isa-debugcon,iobase=0xe9,chardev=trace ",
        ] {
            assert!(script.contains(option), "{script}");
        }
    }

    #[test]
    fn an_older_tcg_is_not_asked_for_what_it_lacks() {
        let default = MachineConfig::default();
        assert!(!script(7, Accel::Tcg, &default).contains("x2apic"));
        assert!(script(7, Accel::Kvm, &default).contains("-cpu host"));
        let named = MachineConfig { cpu: Some("qemu64,-nx".parse().unwrap()), ..default };
        assert!(script(7, Accel::Tcg, &named).contains("-cpu qemu64,-nx \\"));
    }

    #[test]
    fn the_bench_counts_instructions() {
        let smp = "2".parse().unwrap();
        let config = MachineConfig { counts_instructions: true, smp, ..MachineConfig::default() };
        let script = script(10, Accel::Tcg, &config);
        for option in ["-accel tcg,thread=single", "-icount shift=0,sleep=off", "-smp 2 "] {
            assert!(script.contains(option), "{script}");
        }
        assert!(!script.contains("x2apic"), "{script}");
    }

    #[test]
    fn a_users_machine_and_accelerator_win() {
        let machine = "microvm,acpi=off".parse().unwrap();
        let config = MachineConfig { machine, ..with_arguments(&["-accel", "tcg,thread=single"]) };
        let script = script(10, Accel::Tcg, &config);
        assert!(script.contains("auto-kernel-cmdline=off,acpi=off"), "{script}");
        assert!(!script.contains("thread=multi") && !script.contains("-vga"), "{script}");
    }
}
