//! QEMU's command line for a run.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use octopod::wire::{EXIT_PORT, TRACE_PORT};

use crate::base::error::Error;
use crate::base::version::Version;
use crate::commands::cli::{Mode, Options};
use crate::machine::accelerator::Accel;
use crate::machine::emulator::Kind;
use crate::machine::media::{Door, Medium};
use crate::report::cost_limits as bench;

/// A QEMU for x86-64 that answers.
#[derive(Clone, Debug)]
pub struct Qemu {
    /// The program.
    pub program: PathBuf,
    /// What it calls itself.
    pub version: Version,
}

/// The parts of a command line that are chosen for each run.
#[derive(Debug)]
pub struct Machine<'a> {
    /// The user's options.
    pub options: &'a Options,
    /// Who runs the guest's code.
    pub accel: Accel,
    /// What it boots from.
    pub medium: &'a Medium,
    /// The socket of its machine protocol; a run by hand has none.
    pub qmp: Option<QmpSocket<'a>>,
    /// The file that the trace goes to, if one is wanted.
    pub trace_file: Option<&'a Path>,
}

/// The `-cpu` of a run with counted instructions. It has an xAPIC: QEMU's x2APIC does not go together with these (`Bad icount
/// read`).
pub const COUNTED_CPU: &str = "qemu64,+pdpe1gb,+rdtscp,+smep,+smap,+umip";

/// Who waits for whom at the socket of the machine protocol.
#[derive(Clone, Copy, Debug)]
pub enum QmpSocket<'a> {
    /// QEMU listens there, and starts at once.
    Listens(&'a Path),
    /// Somebody listens there, to whom QEMU connects before it starts the machine.
    Connects(&'a Path),
}

/// The first version of the PC machine types that loads PVH kernels.
const FIRST_WITH_PVH: u32 = 4;

/// A command line in groups, each an option with its value.
pub type Arguments = Vec<Vec<OsString>>;

impl Qemu {
    /// The `-cpu` of a run whose user names none.
    ///
    /// Under TCG a fixed model with fixed additions, since `max` differs between QEMU's versions and `host` between
    /// machines. All additions are ones that TCG has, so that QEMU prints no warning.
    ///
    /// The bench has [`COUNTED_CPU`].
    pub fn default_cpu(&self, mode: Mode, accel: Accel) -> &'static str {
        match accel {
            Accel::Kvm => "host",
            Accel::Tcg if mode == Mode::Bench => COUNTED_CPU,
            Accel::Tcg if self.version >= Version::TCG_X2APIC => {
                "qemu64,+x2apic,+pdpe1gb,+rdtscp,+smep,+smap,+umip"
            }
            Accel::Tcg => "qemu64,+pdpe1gb,+rdtscp,+smep,+smap,+umip",
        }
    }

    /// All arguments of a run, without the program.
    pub fn arguments(&self, machine: &Machine<'_>) -> Arguments {
        let options = machine.options;
        let counts = options.mode == Mode::Bench;
        let given = |option: &str| options.qemu_arguments.iter().any(|argument| argument == option);
        let mut arguments = machine.medium.arguments();
        let mut add = |group: &[&OsStr]| arguments.push(group.iter().map(|&part| part.to_owned()).collect());

        add(&["-M".as_ref(), machine_value(options).as_ref()]);
        // A second -accel would be a fallback, not a replacement.
        if !given("-accel") {
            let accel = match machine.accel {
                Accel::Kvm => "kvm",
                Accel::Tcg if counts => "tcg,thread=single",
                Accel::Tcg => "tcg,thread=multi",
            };
            add(&["-accel".as_ref(), accel.as_ref()]);
            if counts {
                add(&["-icount".as_ref(), bench::ICOUNT.as_ref()]);
            }
        }
        let cpu = options
            .cpu
            .as_ref()
            .map_or_else(|| self.default_cpu(options.mode, machine.accel).to_owned(), ToString::to_string);
        add(&["-cpu".as_ref(), cpu.as_ref()]);
        add(&["-smp".as_ref(), options.smp.to_string().as_ref()]);
        add(&["-m".as_ref(), options.mem.to_string().as_ref()]);
        add(&["-nodefaults".as_ref()]);
        if options.machine.name() != "microvm" {
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
        arguments.extend(grouped(&options.qemu_arguments));
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

/// Refuses a machine type that the user gives QEMU and that cannot load the kernel: QEMU says nothing of it, and the machine
/// stays in its firmware.
///
/// # Errors
/// The type is older than PVH.
pub fn check(options: &Options) -> Result<(), Error> {
    if options.emulator != Kind::Qemu || options.boot != Door::Pvh {
        return Ok(());
    }
    let words = options.qemu_arguments.iter().filter_map(|word| word.to_str());
    let types = words.clone().zip(words.skip(1)).filter(|(option, _)| ["-M", "-machine"].contains(option));
    for (_, value) in types {
        let name = value.split(',').next().unwrap_or_default();
        let name = name.strip_prefix("type=").unwrap_or(name);
        let version = ["pc-i440fx-", "pc-q35-"].iter().find_map(|family| name.strip_prefix(family));
        let major = version.and_then(|version| version.split('.').next()?.parse::<u32>().ok());
        if major.is_some_and(|major| major < FIRST_WITH_PVH) {
            return Err(Error::MachineWithoutPvh { machine: name.to_owned() });
        }
    }
    Ok(())
}

/// The user's machine, with what octopod wants of it; the user's own properties come last, where they win.
fn machine_value(options: &Options) -> String {
    let machine = &options.machine;
    let ours = match machine.name() {
        // A serial port for the log, the clocks that the timer is calibrated against, and no words of QEMU's own on
        // the kernel's command line.
        "microvm" => ",isa-serial=on,pit=on,pic=on,rtc=on,auto-kernel-cmdline=off",
        _ => "",
    };
    format!("{}{ours}{}", machine.name(), machine.properties())
}

/// QEMU ends a value at a comma, and takes two for one.
pub(crate) fn escape_commas(value: &OsStr) -> OsString {
    let mut escaped = Vec::with_capacity(value.len());
    for &byte in value.as_bytes() {
        escaped.push(byte);
        if byte == b',' {
            escaped.push(byte);
        }
    }
    OsString::from_vec(escaped)
}

/// Each option with what follows it.
fn grouped(arguments: &[OsString]) -> Arguments {
    let mut groups = Arguments::new();
    for argument in arguments {
        match groups.last_mut() {
            Some(group) if !argument.as_bytes().starts_with(b"-") => group.push(argument.clone()),
            _ => groups.push(vec![argument.clone()]),
        }
    }
    groups
}

/// An argument as a shell would take it.
pub(crate) fn quoted(argument: &OsStr) -> Vec<u8> {
    // Only a NUL byte cannot be quoted, and no argument of a program can hold one.
    shlex::bytes::try_quote(argument.as_bytes())
        .map_or_else(|_| argument.as_bytes().to_vec(), |quoted| quoted.into_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn script(major: u32, accel: Accel, arguments: &[&str]) -> String {
        let options = Options::try_parse_from([&["octopod"], arguments].concat()).unwrap();
        let qemu = Qemu {
            program: "/usr/bin/qemu-system-x86_64".into(),
            version: Version { major, minor: 0, micro: 0 },
        };
        let machine = Machine {
            options: &options,
            accel,
            medium: &Medium::Kernel {
                file: "/k/octopod-kernel".into(),
                command_line: options.kernel_command_line(),
                module: None,
            },
            qmp: Some(QmpSocket::Connects(Path::new("/tmp/a,b/qmp"))),
            trace_file: options.trace.then_some(Path::new("/r,s/trace.bin")),
        };
        // Which harmless characters are quoted is the quoting library's affair.
        String::from_utf8(qemu.script(&qemu.arguments(&machine), &[])).unwrap().replace('\'', "")
    }

    #[test]
    fn the_default_command_line() {
        let expected = r#"exec /usr/bin/qemu-system-x86_64 \
    -kernel /k/octopod-kernel \
    -append 'work=stress stress.seconds=5' \
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
        let script = script(10, Accel::Tcg, &["--seconds", "5", "--", "-d", "int"]);
        let expected = expected.replace('\'', "");
        assert_eq!(script.split_once("exec ").unwrap().1, expected.strip_prefix("exec ").unwrap());
    }

    #[test]
    fn a_machine_type_from_before_pvh_is_refused() {
        let refusal = |arguments: &[&str]| {
            let options = Options::try_parse_from([&["octopod", "boot"], arguments].concat()).unwrap();
            check(&options).err().map(|error| (error.to_string(), error.verdict().status()))
        };
        for machine in ["pc-i440fx-2.12", "pc-q35-3.1", "type=pc-q35-2.4,usb=off"] {
            let (words, status) = refusal(&["--", "-M", machine]).unwrap();
            assert!(words.contains("--boot multiboot1") && status == 2, "{words}");
        }
        for arguments in [
            &["--", "-M", "pc-q35-4.0"][..],
            &["--", "-M", "pc-i440fx-10.0"],
            &["--", "-machine", "memory-backend=ram"],
            &["--boot", "multiboot1", "--", "-M", "pc-i440fx-2.12"],
            &["--", "-d", "pc-q35-2.4"],
        ] {
            assert_eq!(refusal(arguments), None, "{arguments:?}");
        }
    }

    #[test]
    fn a_trace_has_a_port_of_its_own() {
        let script = script(10, Accel::Tcg, &["boot", "--trace"]);
        for option in [
            "-chardev file,id=trace,path=/r,,s/trace.bin ",
            "-device isa-debugcon,iobase=0xe9,chardev=trace ",
        ] {
            assert!(script.contains(option), "{script}");
        }
        assert!(script.contains("work=boot trace=on"), "{script}");
    }

    #[test]
    fn an_older_tcg_is_not_asked_for_what_it_lacks() {
        assert!(!script(7, Accel::Tcg, &["boot"]).contains("x2apic"));
        assert!(script(7, Accel::Kvm, &["boot"]).contains("-cpu host"));
        assert!(script(7, Accel::Tcg, &["boot", "--cpu", "qemu64,-nx"]).contains("-cpu qemu64,-nx \\"));
    }

    #[test]
    fn the_bench_counts_instructions() {
        let script = script(10, Accel::Tcg, &["bench"]);
        for option in ["-accel tcg,thread=single", "-icount shift=0,sleep=off", "-smp 2 "] {
            assert!(script.contains(option), "{script}");
        }
        assert!(!script.contains("x2apic"), "{script}");
    }

    #[test]
    fn a_users_machine_and_accelerator_win() {
        let script = script(
            10,
            Accel::Tcg,
            &["boot", "--machine", "microvm,acpi=off", "--", "-accel", "tcg,thread=single"],
        );
        assert!(script.contains("auto-kernel-cmdline=off,acpi=off"), "{script}");
        assert!(!script.contains("thread=multi") && !script.contains("-vga"), "{script}");
    }
}
