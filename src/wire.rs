//! What the kernel tells a program: single lines on the serial port, each [`MARKER`] followed by one JSON
//! object, and an exit code written to QEMU's `isa-debug-exit` device. Bochs has no such device: there the records alone
//! say how it ended.
//!
//! The launcher links this very file, so the two sides cannot disagree. Every record is of bounded size: what
//! grows with the number of CPUs is sent as one record for each. Strings are generic, so that the kernel borrows
//! (`Record<&str>`) and the launcher owns (`Record<String>`). Times are integers in the unit that the field names.

use serde::{Deserialize, Serialize};

mod bench;
mod interrupts;
mod last_words;
mod memory;
mod panic;
mod stage;
mod stress;
mod time;
mod trace;
mod warning;

pub use bench::Bench;
pub use interrupts::{COUNTS_IN_RECORD, Interrupts};
pub use last_words::{LAST_WORDS_BYTES, LastWords, last_words_magic, set_last_message};
pub use memory::{Arena, FrameCounts, Memory, ORDERS, PageTables, Pages, Region};
pub use panic::{Frame, LOCKS_IN_RECORD, Panic, PanicCpu, PanicFrame, Registers};
pub use stage::BootStage;
pub use stress::{BUCKETS_IN_RECORD, Bucket, Cycles, Latency, Progress, Stress, StressCpu};
pub use time::{Clock, LATENESS_BUCKETS, Timers, lateness_bucket};
pub use trace::{
    EVENTS_IN_RECORD, MAX_TRACE_PART_BYTES, PanicEvents, TRACE_MAGIC, TRACE_PORT, TRACE_PORT_READS,
    TraceClass, TraceEvent, TracePart, Traced,
};
pub use warning::{Warning, WarningFrame};

/// Begins each line that is meant for a program. Everything else on the serial port is for people.
pub const MARKER: &str = "@octopod ";

/// The I/O port of the `isa-debug-exit` device that the launcher adds to the machine.
pub const EXIT_PORT: u16 = 0xf4;

/// The I/O port by which Bochs is ended: it takes [`SHUTDOWN`], byte by byte.
pub const SHUTDOWN_PORT: u16 = 0x8900;

/// What ends Bochs.
pub const SHUTDOWN: &[u8; size_of::<u64>()] = b"Shutdown";

/// The longest line that the kernel sends for a program, marker and line end included, in bytes.
pub const MAX_RECORD_BYTES: usize = 1280;

/// How a run ended, as written to [`EXIT_PORT`].
///
/// QEMU ends with status `(code << 1) | 1`. None of these can be mistaken for QEMU's own 0 (which it also returns
/// for a triple fault under `-no-reboot`) or 1 (it did not start).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// The verdict is pass.
    Pass = 0x10,
    /// The verdict is fail.
    Fail = 0x11,
    /// The kernel panicked, or took an exception that nothing handles.
    Panicked = 0x12,
    /// The kernel refused the machine.
    Refused = 0x13,
    /// An option on the kernel command line is unknown or malformed.
    Usage = 0x14,
}

impl ExitCode {
    /// All of them.
    pub const ALL: [ExitCode; 5] =
        [ExitCode::Pass, ExitCode::Fail, ExitCode::Panicked, ExitCode::Refused, ExitCode::Usage];

    /// The exit status that QEMU turns this code into.
    pub const fn qemu_status(self) -> i32 {
        ((self as i32) << 1) | 1
    }

    /// The code behind an exit status of QEMU's; `None` where QEMU ended for a reason of its own.
    pub fn from_qemu_status(status: i32) -> Option<ExitCode> {
        ExitCode::ALL.into_iter().find(|code| code.qemu_status() == status)
    }
}

/// One line for a program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record<S> {
    /// Once, when the last CPU is online or given up.
    Boot(Boot<S>),
    /// Once for each CPU that the firmware lists as usable.
    Cpu(Cpu<S>),
    /// Once for each region of the memory map, in ascending order, when the frame allocator stands.
    Region(Region<S>),
    /// Once, before the work, if the walk of the page tables found nothing wrong.
    PageTables(PageTables),
    /// Once, before the work.
    Memory(Memory),
    /// Once for each node's part of a zone, before the work and after it.
    Arena(Arena<S>),
    /// Before the verdict, once for each CPU that has asked the frame allocator for anything.
    FrameCounts(FrameCounts),
    /// Once, when the first workload has ended; never where the kernel only boots.
    Work(Work),
    /// Now and then while a workload runs, by a timer of the BSP's.
    Progress(Progress<S>),
    /// Once for each workload, when it has ended.
    Stress(Stress<S>),
    /// Once for each workload and CPU, before the workload's [`Record::Stress`].
    StressCpu(StressCpu<S>),
    /// For each [`BUCKETS_IN_RECORD`] buckets of a workload's latencies, before the workload's [`Record::Stress`].
    Latency(Latency<S>),
    /// Once for each benchmark, when it has been measured.
    Bench(Bench<S>),
    /// Whenever a CPU does not do what it should, and the run goes on.
    Warning(Warning<S>),
    /// One for each return address, innermost first, after [`Record::Warning`]; others' records may come between.
    WarningFrame(WarningFrame),
    /// Before the verdict: once for each vector that an interrupt came on, and for each [`COUNTS_IN_RECORD`] CPUs.
    Interrupts(Interrupts<S>),
    /// Once, after [`Record::Boot`], when it is known what the time is read from.
    Clock(Clock<S>),
    /// Once, when the self-test's timers have expired.
    Timers(Timers<S>),
    /// Once, before the verdict.
    Events(Events),
    /// The machine cannot run octopod; the reason is one line. Ends the run with [`ExitCode::Refused`].
    Refused(Reason<S>),
    /// The command line is wrong. Ends the run with [`ExitCode::Usage`].
    Usage(Reason<S>),
    /// Last words. Ends the run with [`ExitCode::Panicked`].
    Panic(Panic<S>),
    /// One for each return address, innermost first, after [`Record::Panic`].
    Frame(Frame),
    /// After these, one for each CPU that was called.
    PanicCpu(PanicCpu<S>),
    /// One for each return address, innermost first, after the [`Record::PanicCpu`] of a CPU that was not the first.
    PanicFrame(PanicFrame),
    /// After these, each CPU's last trace events.
    PanicEvents(PanicEvents),
    /// The run's result, the last record of a run that did not panic.
    Verdict(Verdict<S>),
}

/// How the kernel came up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Boot<S> {
    /// The boot protocol that the loader spoke: `pvh`, `multiboot1` or `multiboot2`.
    pub protocol: S,
    /// What the direct map's base was drawn from: `rdseed`, `rdrand`, `tsc`, or `off`.
    pub kaslr: S,
    /// Where physical address 0 is seen.
    #[serde(with = "hex")]
    pub direct_map_base: u64,
    /// What to subtract from an address to find it in the kernel's ELF file.
    #[serde(with = "hex")]
    pub slide: u64,
    /// The local APIC's mode: `xapic` or `x2apic`.
    pub apic_mode: S,
    /// What the TSC was calibrated against: `cpuid`, `hypervisor`, `hpet`, `pm_timer` or `pit`.
    pub clock_source: S,
    /// The TSC's frequency, in kHz.
    pub tsc_khz: u64,
    /// The local APIC timer's frequency before its divider, in kHz.
    pub apic_timer_khz: u64,
    /// CPUs that the firmware lists as usable.
    pub cpus_listed: u32,
    /// CPUs that came online.
    pub cpus_online: u32,
    /// From rt0's first look at the TSC to the last CPU online, in microseconds.
    pub entry_to_online_us: u64,
    /// From the first INIT to the last CPU online, in microseconds.
    pub init_to_online_us: u64,
    /// How the other CPUs were called, and what they cost.
    pub bring_up: BringUp,
}

/// How the other CPUs were called, and what they cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BringUp {
    /// The wait after the first INIT that older processors need, in microseconds.
    pub init_delay_us: u64,
    /// How many times start-up IPIs were sent, to all CPUs or to those that had given no sign of life.
    pub start_up_rounds: u32,
    /// What the local APIC's error status register held after INIT and after any of those rounds, all in one.
    pub apic_error_status: u32,
    /// What each further CPU costs in memory: area, stacks, lines in tables. In bytes.
    pub bytes_per_cpu: u64,
    /// Frames that all CPUs but the first took together, page tables included, but not their rings of trace events.
    pub frames_taken: u64,
    /// The ring of trace events that each CPU has besides, in bytes.
    pub trace_bytes_per_cpu: u64,
    /// The page below 1 MiB that the CPUs woke up in; 0 where there was none.
    #[serde(with = "hex")]
    pub trampoline_page: u64,
}

/// One CPU that the firmware lists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cpu<S> {
    /// octopod's own dense number.
    pub cpu: u32,
    /// The hardware's number.
    pub apic_id: u32,
    /// `online`, `failed`, or `not_called` where there is no page to wake up in, or its APIC ID cannot be reached.
    pub state: S,
    /// Where it was last seen, if it failed.
    pub failed_stage: Option<S>,
    /// When it reached each stage, in microseconds after rt0's first look at the TSC.
    pub stages_us: StagesUs,
}

/// When a CPU reached each stage of its bring-up; `None` for a stage it did not reach or, on the BSP, has not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StagesUs {
    /// The BSP sent it its first start-up IPI.
    pub sipi_sent: Option<u64>,
    /// It executed the trampoline's first instruction.
    pub real_mode: Option<u64>,
    /// It runs 32-bit code.
    pub protected_mode: Option<u64>,
    /// It runs 64-bit code and has claimed its slot.
    pub long_mode: Option<u64>,
    /// It has its per-CPU area, and runs on the kernel's page tables.
    pub gs: Option<u64>,
    /// Its GDT, TSS and the IDT are loaded.
    pub idt: Option<u64>,
    /// Its local APIC is enabled.
    pub apic: Option<u64>,
    /// Its APIC timer is set up.
    pub timer: Option<u64>,
    /// It takes work.
    pub online: Option<u64>,
}

impl StagesUs {
    /// All stages by their names, in the order in which a CPU goes through them.
    pub fn in_order(&self) -> [(&'static str, Option<u64>); 9] {
        [
            ("sipi_sent", self.sipi_sent),
            ("real_mode", self.real_mode),
            ("protected_mode", self.protected_mode),
            ("long_mode", self.long_mode),
            ("gs", self.gs),
            ("idt", self.idt),
            ("apic", self.apic),
            ("timer", self.timer),
            ("online", self.online),
        ]
    }
}

/// When the work began.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// From rt0's first look at the TSC to the first unit of work, in microseconds.
    pub entry_to_work_us: u64,
}

/// What was counted on the way, over all CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Events {
    /// Frees that the allocator refused.
    pub double_free_caught: u64,
    /// Spurious interrupts, from the local APICs and the legacy PIC.
    pub spurious: u64,
    /// Interrupts on vectors that nothing has registered.
    pub unexpected_interrupts: u64,
    /// APIC timer interrupts.
    pub timer_interrupts: u64,
    /// Calls that another CPU did not answer in time.
    pub unanswered_requests: u64,
    /// How often the watchdog found a CPU stuck.
    pub watchdog_alarms: u64,
    /// Non-maskable interrupts that no CPU had sent.
    pub nmis: u64,
    /// Lines of the log that could be neither written nor kept.
    pub log_lines_lost: u64,
    /// CPUs that came after they had been given up, or that nobody had called, and halted.
    pub cpus_sent_away: u32,
}

/// One line that says why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reason<S> {
    /// The reason, without a full stop.
    pub reason: S,
}

/// The run's result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict<S> {
    /// Whether all is well.
    pub pass: bool,
    /// If not, the first reason why not.
    pub reason: Option<S>,
    /// Free frames after the work.
    pub frames_free_after: u64,
}

/// Addresses as hexadecimal strings: many a program that reads JSON keeps 53 bits of a number.
mod hex {
    use core::fmt;

    use serde::de::{Error, Unexpected, Visitor};
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{value:#x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        struct Hex;
        impl Visitor<'_> for Hex {
            type Value = u64;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a hexadecimal number as a string, with 0x before it")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
                let digits = text.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
                digits.ok_or(E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Hex)
    }
}

#[cfg(test)]
mod tests {
    use super::{ExitCode, MARKER};

    #[test]
    fn rt0_which_knows_no_rust_writes_the_same_marker() {
        let source = include_str!("boot/door.S");
        // \173 is an opening brace there.
        assert!(source.contains(&format!("\\r\\n{MARKER}\\173")));
    }

    #[test]
    fn exit_codes_cannot_be_mistaken_for_qemus_own() {
        for code in ExitCode::ALL {
            assert!(code.qemu_status() > 1);
            assert_eq!(ExitCode::from_qemu_status(code.qemu_status()), Some(code));
        }
        assert_eq!(ExitCode::from_qemu_status(0), None);
        assert_eq!(ExitCode::from_qemu_status(1), None);
    }
}
