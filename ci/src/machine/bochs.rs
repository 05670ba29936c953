//! Bochs: a machine that interprets every instruction, performs checks that TCG omits, and has features that TCG lacks, such as
//! the TSC-deadline mode of the APIC timer.
//!
//! It has no exit device. The kernel ends it by a Bochs port, and reports its result by records alone.

use std::path::PathBuf;

use crate::base::Version;
use crate::machine::MachineConfig;
use crate::machine::arguments::quoted;

/// A Bochs that answers.
#[derive(Clone, Debug)]
pub struct Bochs {
    /// The program.
    pub program: PathBuf,
    /// The version that it reports.
    pub version: Version,
    /// True if it was built with its debugger, where it waits for a command before it starts.
    pub has_debugger: bool,
    /// Its screen: `nogui` where it has that, else `term`, which wants the name of a terminal but not a terminal.
    pub display: &'static str,
}

/// The `--cpu` of a run whose user names none: x2APIC, TSC-deadline, RDRAND, SMEP.
pub const DEFAULT_CPU: &str = "corei7_haswell_4770";

/// The default chipset of Bochs.
pub const MACHINE: &str = "i440fx";

/// Instructions in a second of the machine's time, which runs by this count and by nothing else. So it is the TSC's
/// frequency too.
const INSTRUCTIONS_PER_SECOND: u32 = 50_000_000;

/// Bochs puts guest memory beyond this into a file.
const MAX_HOST_MIB: u64 = 2048;

/// Bochs's files in the run's folder: its configuration, its debugger's commands, and its output.
const CONFIGURATION: &str = "bochsrc";
const COMMANDS: &str = "bochs.commands";
const PRINTED: &str = "bochs.out";

/// The debugger's commands: run; and where the machine stops for whatever reason, quit, which shows all registers.
const RUN_AND_QUIT: &str = "continue\nquit\n";

/// Bochs's messages when the kernel has ended it, and when a CPU has a triple fault.
const SHUTDOWN: &str = "Shutdown port: shutdown requested";
const TRIPLE_FAULT: &str = "exception with no resolution";

impl Bochs {
    /// The files in the run's folder for it, besides the ISO image.
    pub fn files(&self, config: &MachineConfig, iso: &str) -> Vec<(&'static str, String)> {
        let mut files = vec![(CONFIGURATION, self.configuration(config, iso))];
        if self.has_debugger {
            files.push((COMMANDS, RUN_AND_QUIT.to_owned()));
        }
        files
    }

    /// All names in it are relative to the run's folder. Its log goes to its standard error, as is usual.
    fn configuration(&self, config: &MachineConfig, iso: &str) -> String {
        let cpu = config.cpu.as_ref().map_or_else(|| DEFAULT_CPU.to_owned(), ToString::to_string);
        let mib = config.mem.bytes() >> 20;
        format!(
            "cpu: count={}, ips={INSTRUCTIONS_PER_SECOND}, reset_on_triple_fault=0, model={cpu}\n\
             memory: guest={mib}, host={}\n\
             ata0-master: type=cdrom, path=\"{iso}\", status=inserted\n\
             boot: cdrom\n\
             com1: enabled=1, mode=file, dev=/dev/fd/3\n\
             clock: sync=none\n\
             display_library: {}\n\
             plugin_ctrl: speaker=0\n\
             panic: action=fatal\n",
            config.smp,
            mib.min(MAX_HOST_MIB),
            self.display,
        )
    }

    /// The script that runs it, by the launcher or by hand. The serial port is descriptor 3, the standard output.
    pub fn script(&self) -> Vec<u8> {
        let program = quoted(self.program.as_os_str());
        let commands = if self.has_debugger { format!(" -rc {COMMANDS}") } else { String::new() };
        let head = "#!/bin/sh\n# The run's machine is in bochsrc; what the kernel says goes to the standard output.\n\
                    cd \"$(dirname \"$0\")\" && TERM=vt100 exec ";
        let tail = format!(" -q -f {CONFIGURATION}{commands} \"$@\" 3>&1 >{PRINTED} </dev/null\n");
        [head.as_bytes(), &program, tail.as_bytes()].concat()
    }
}

/// The parsed lines of Bochs's standard error. Each line begins with the time, a letter for its kind, and
/// its origin, as in `00255773420i[CPU3  ] | RIP=ffff812f87dd71b2`.
#[derive(Debug, Default)]
pub struct Log {
    /// True if the kernel has ended it.
    pub shut_down: bool,
    /// The CPUs' registers, as QEMU would list them; it shows them whenever it ends.
    pub registers: String,
    cpu: String,
    halted: bool,
}

impl Log {
    /// Takes a line. Gives it back if it is a complaint.
    pub fn take<'a>(&mut self, line: &'a str) -> Option<&'a str> {
        let (head, text) = line.split_once("] ")?;
        let (kind, origin) = head.split_once('[')?;
        if let Some(number) = origin.trim_end().strip_prefix("CPU") {
            self.register_line(number, text);
        }
        if text.contains(SHUTDOWN) {
            self.shut_down = true;
            return None;
        }
        kind.ends_with('p').then_some(line)
    }

    fn register_line(&mut self, number: &str, text: &str) {
        if text.starts_with("CPU is in ") {
            self.halted = text.ends_with("(halted)");
        }
        let Some(registers) = text.strip_prefix("| ") else {
            return;
        };
        if self.cpu != number {
            self.cpu = number.to_owned();
            self.registers.push_str(&format!("CPU#{number}\n"));
        }
        self.registers.push_str(registers);
        if registers.starts_with("RIP=") || registers.starts_with("EIP=") {
            self.registers.push_str(&format!(" HLT={}", u8::from(self.halted)));
        }
        self.registers.push('\n');
    }
}

/// Returns whether a complaint is about a triple fault.
pub fn is_triple_fault(complaint: &str) -> bool {
    complaint.contains(TRIPLE_FAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bochs(has_debugger: bool) -> Bochs {
        let version = Version { major: 2, minor: 7, micro: 0 };
        Bochs { program: "/usr/bin/bochs".into(), version, has_debugger, display: "term" }
    }

    #[test]
    fn the_machine_is_what_the_configuration_says() {
        let (smp, mem) = ("4".parse().unwrap(), "4G".parse().unwrap());
        let cpu = Some("corei7_icelake_u".parse().unwrap());
        let config = MachineConfig { smp, mem, cpu, ..MachineConfig::default() };
        let files = bochs(true).files(&config, "octopod.iso");
        let [(_, configuration), (_, commands)] = &files[..] else { panic!("{files:?}") };
        let first: Vec<_> = configuration.lines().take(3).collect();
        let expected = [
            "cpu: count=4, ips=50000000, reset_on_triple_fault=0, model=corei7_icelake_u",
            "memory: guest=4096, host=2048",
            "ata0-master: type=cdrom, path=\"octopod.iso\", status=inserted",
        ];
        assert_eq!(first, expected);
        assert_eq!(commands, "continue\nquit\n");
        assert_eq!(bochs(false).files(&config, "octopod.iso").len(), 1);
    }

    #[test]
    fn only_a_script_for_a_debugger_continues() {
        let script = |has_debugger| String::from_utf8(bochs(has_debugger).script()).unwrap();
        assert!(script(true).contains("exec /usr/bin/bochs -q -f bochsrc -rc bochs.commands \"$@\" 3>&1"));
        assert!(script(false).contains("exec /usr/bin/bochs -q -f bochsrc \"$@\" 3>&1"));
    }

    #[test]
    fn the_log_tells_an_end_from_a_complaint_and_has_the_registers() {
        let mut log = Log::default();
        let told: Vec<_> = [
            "Bochs is exiting with the following message:",
            "00255773420i[CPU0  ] CPU is in long mode (active)",
            "00255773420i[CPU0  ] | RAX=0000000000000001  RBX=ffff812f80015168",
            "00255773420i[CPU0  ] | RIP=ffff812f87dd71b2 (ffff812f87dd71b2)",
            "00255773420i[CPU12 ] CPU is in long mode (halted)",
            "00255773420i[CPU12 ] | EIP=0000fff0 (0000fff0)",
            "00255773420p[UNMAP ] >>PANIC<< Shutdown port: shutdown requested",
        ]
        .into_iter()
        .filter_map(|line| log.take(line))
        .collect();
        assert!(told.is_empty() && log.shut_down, "{told:?}");
        assert_eq!(
            log.registers,
            "CPU#0\nRAX=0000000000000001  RBX=ffff812f80015168\nRIP=ffff812f87dd71b2 (ffff812f87dd71b2) HLT=0\n\
             CPU#12\nEIP=0000fff0 (0000fff0) HLT=1\n"
        );
        let panic = "00000000000p[      ] >>PANIC<< bochsrc:1: unknown CPU model";
        assert_eq!(Log::default().take(panic), Some(panic));
    }
}
