//! What the kernel tells a program: single lines on the serial port, each a [`RecordFrame`] followed by one JSON
//! object, and an exit code written to QEMU's `isa-debug-exit` device. Bochs has no such device: there the records alone
//! say how it ended.
//!
//! The launcher links this very file, so the two sides cannot disagree. Every record is of bounded size: what
//! grows with the number of CPUs is sent as one record for each. Strings are generic, so that the kernel borrows
//! (`Record<&str>`) and the launcher owns (`Record<String>`). Times are integers in the unit that the field names.

use serde::{Deserialize, Serialize};

mod bench;
mod boot;
mod defect;
mod exit;
mod frame;
mod hex;
mod interrupts;
mod last_words;
pub mod little_endian;
mod lock_wait;
mod memory;
mod panic;
mod stage;
mod stress;
mod time;
mod trace;
mod warning;

pub use bench::Bench;
pub use boot::{
    Boot, BootStages, BringUp, BringUpProgress, Cpu, ExpectedCpus, MAX_ABSENT_CPUS, STAGES_IN_RECORD,
    StagesUs,
};
pub use defect::Defect;
pub use exit::{EXIT_PORT, ExitCode, SHUTDOWN, SHUTDOWN_PORT};
pub use frame::{MARKER, MAX_FRAME_BYTES, NONCE_DIGITS, NONCE_PARAMETER, Nonce, RecordFrame};
pub use interrupts::{COUNTS_IN_RECORD, Interrupts};
pub use last_words::{LAST_WORDS_BYTES, LastWords, complete_last_words, last_words_magic};
pub use lock_wait::LockWait;
pub use memory::{FrameCounts, Memory, ORDERS, PageTables, Pages, Region, ZoneCounts};
pub use panic::{BacktraceFrame, LOCKS_IN_RECORD, Panic, PanicCpu, PanicFrame, PanicWait, Registers};
pub use stage::BootStage;
pub use stress::{
    BUCKETS_IN_RECORD, Bucket, Cycles, LANES_IN_RECORD, Latency, Progress, Stress, StressCpu, cpus_per_lane,
};
pub use time::{Clock, LATENESS_BUCKETS, Lateness, Timers, lateness_bucket};
pub use trace::{
    EVENTS_IN_RECORD, MAX_TRACE_PART_BYTES, PanicEvents, RecordedEvent, TRACE_MAGIC, TRACE_PORT,
    TRACE_PORT_READS, TraceClass, TraceEvent, TracePart,
};
pub use warning::{Warning, WarningFrame};

/// The longest record as JSON, in bytes.
pub const MAX_JSON_BYTES: usize = 1600;

/// The longest line that the kernel sends for a program, frame and line end included, in bytes.
pub const MAX_RECORD_BYTES: usize = MAX_JSON_BYTES + MAX_FRAME_BYTES;

/// One line for a program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record<S> {
    /// Now and then while the boot processor waits for the others.
    #[serde(alias = "arrivals")]
    BringUpProgress(BringUpProgress),
    /// Once, when the last CPU is online or given up.
    Boot(Boot<S>),
    /// Once for each CPU that the firmware lists as usable; of those that did not come online only for the first
    /// [`MAX_ABSENT_CPUS`].
    Cpu(Cpu<S>),
    /// Once for each region of the memory map, in ascending order, when the frame allocator stands.
    Region(Region<S>),
    /// Once, before the work, if the walk of the page tables found nothing wrong.
    PageTables(PageTables),
    /// Once, before the work.
    Memory(Memory),
    /// Once for each node's part of a zone, before the work and after it.
    #[serde(alias = "arena")]
    ZoneCounts(ZoneCounts<S>),
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
    /// Whenever a description by firmware, the boot loader or the command line proves wrong, and the run goes on.
    Defect(Defect<S>),
    /// One for each return address, innermost first, after [`Record::Warning`]; others' records may come between.
    WarningFrame(WarningFrame),
    /// Before the verdict: once for each vector that an interrupt came on, and for each [`COUNTS_IN_RECORD`] CPUs.
    Interrupts(Interrupts<S>),
    /// Once, after [`Record::Boot`], when it is known what the time is read from.
    Clock(Clock<S>),
    /// Once, before the verdict.
    BootStages(BootStages<S>),
    /// Before the verdict, for each CPU whose timers have expired; more than one where the buckets do not fit in it.
    Lateness(Lateness),
    /// Once, when the self-test's timers have expired.
    Timers(Timers<S>),
    /// Whenever the console is ready for a line.
    Prompt,
    /// After the verdict, where the machine is then reset and no exit code is written.
    Reset,
    /// Once, before the verdict.
    Events(Events),
    /// The machine cannot run octopod; the reason is one line. Ends the run with [`ExitCode::Refused`].
    Refused(Reason<S>),
    /// The command line is wrong. Ends the run with [`ExitCode::Usage`].
    Usage(Reason<S>),
    /// Last words. Ends the run with [`ExitCode::Panicked`].
    Panic(Panic<S>),
    /// One for each return address, innermost first, after [`Record::Panic`].
    #[serde(alias = "frame")]
    BacktraceFrame(BacktraceFrame),
    /// After these, one for each CPU that was called.
    PanicCpu(PanicCpu<S>),
    /// After the [`Record::PanicCpu`] of a CPU that waits for a spin lock.
    PanicWait(PanicWait<S>),
    /// One for each return address, innermost first, after the [`Record::PanicCpu`] of a CPU that was not the first.
    PanicFrame(PanicFrame),
    /// After these, each CPU's last trace events.
    PanicEvents(PanicEvents),
    /// The run's result, the last record of a run that did not panic.
    Verdict(Verdict<S>),
}

/// When the work began.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// From rt0's first look at the TSC to when everything is ready for the first unit of work, in microseconds.
    pub entry_to_work_us: u64,
}

/// What was counted on the way, over all CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Events {
    /// Frees that the allocator refused.
    #[serde(alias = "double_free_caught")]
    pub invalid_frees: u64,
    /// Spurious interrupts, from the local APICs and the legacy PIC.
    pub spurious: u64,
    /// Interrupts on vectors that nothing has registered.
    pub unexpected_interrupts: u64,
    /// APIC timer interrupts.
    pub timer_interrupts: u64,
    /// Calls that another CPU did not answer in time.
    #[serde(alias = "unanswered_requests")]
    pub ipi_call_timeouts: u64,
    /// How often the watchdog found a CPU stuck.
    pub watchdog_alarms: u64,
    /// How often a CPU has waited for a spin lock for longer than the watchdog's time.
    pub lock_stalls: u64,
    /// Non-maskable interrupts that no CPU had sent.
    #[serde(alias = "nmis")]
    pub unexpected_nmis: u64,
    /// Lines of the log that could be neither written nor kept.
    pub log_lines_lost: u64,
    /// APs that came after their time-out, or without a start-up IPI of this boot, and were parked.
    #[serde(alias = "cpus_sent_away")]
    pub late_cpus_parked: u32,
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
    #[serde(alias = "frames_free_after")]
    pub free_frames_after: u64,
}
