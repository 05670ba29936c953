//! The protocol between kernel and launcher: records on the serial port, each one line with a [`RecordFrame`] and a JSON
//! object, and an exit code written to QEMU's `isa-debug-exit` device. Bochs has no such device; there the last record is the
//! result.
//!
//! The launcher links this module, so both sides use the same types. Every record has a bounded size: data for each CPU is sent in
//! one record per CPU. Strings are generic: the kernel borrows (`Record<&str>`), the launcher owns (`Record<String>`). Times are
//! integers; the name of the field ends in the unit.

use serde::{Deserialize, Serialize};

mod bench;
mod boot;
mod defect;
mod exit;
mod fact;
mod figure;
mod frame;
mod heap;
mod hex;
mod interrupts;
pub mod little_endian;
mod lock_wait;
mod memory;
mod panic;
mod panic_record;
mod report_request;
mod sched;
mod stage;
mod stress;
mod test;
mod thread;
mod time;
mod trace;
mod trace_words;
mod warning;

pub use bench::Bench;
pub use boot::{
    Boot, BootStages, BringUp, BringUpProgress, Cpu, ExpectedCpus, MAX_ABSENT_CPUS, STAGES_IN_RECORD,
    StagesUs,
};
pub use defect::Defect;
pub use exit::{EXIT_PORT, ExitCode, SHUTDOWN, SHUTDOWN_PORT};
pub use fact::Fact;
pub use figure::Figure;
pub use frame::{MARKER, MAX_FRAME_BYTES, NONCE_DIGITS, NONCE_PARAMETER, Nonce, RecordFrame};
pub use heap::{CALLS_IN_SITE, CLASSES_IN_RECORD, Heap, HeapClass, HeapCpu, HeapSite};
pub use interrupts::{COUNTS_IN_RECORD, Interrupts};
pub use lock_wait::LockWait;
pub use memory::{FrameCounts, Memory, MemoryRegion, ORDERS, PageTables, Pages, ZoneCounts};
pub use panic::{
    BacktraceFrame, CALLS_IN_THREAD, LOCKS_IN_RECORD, MAX_PANIC_THREADS, Panic, PanicContextLine, PanicCpu,
    PanicFrame, PanicThread, PanicWait, Registers,
};
pub use panic_record::{PANIC_RECORD_BYTES, PanicRecord, complete_panic_record, panic_record_magic};
pub use report_request::{REPORT_REQUEST, REPORT_REQUEST_PORT, REPORT_REQUESTED};
pub use sched::{
    SCHED_BUCKETS, SchedCpu, SwitchesByReason, depth_bucket, depth_top, latency_bucket, latency_top,
};
pub use stage::BootStage;
pub use stress::{
    BUCKETS_IN_RECORD, Bucket, Cycles, Fragmentation, LANES_IN_RECORD, Latency, MAX_SCORES, Progress,
    Scheduling, Stress, StressCpu, cpus_per_lane,
};
pub use test::{TestPhase, TestStep};
pub use thread::{MAX_THREADS, ThreadRow};
pub use time::{Clock, LATENESS_BUCKETS, Lateness, Timers, lateness_bucket};
pub use trace::{
    EVENTS_IN_RECORD, FIRST_PROGRAM_EVENT, MAX_TRACE_PART_BYTES, PROGRAM_EVENT, PanicEvents, RecordedEvent,
    TRACE_MAGIC, TRACE_PORT, TRACE_PORT_READS, TraceClass, TraceEvent, TracePart,
};
pub use trace_words::{LeaveReason, NO_THREAD, ThreadLeft, thread_in};
pub use warning::{Warning, WarningFrame};

/// The maximum size of a record's JSON, in bytes.
pub const MAX_JSON_BYTES: usize = 1920;

/// The maximum size of a record's line, with its frame and line end, in bytes.
pub const MAX_RECORD_BYTES: usize = MAX_JSON_BYTES + MAX_FRAME_BYTES;

/// A record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record<S> {
    /// Periodically while the BSP waits for the APs.
    #[serde(alias = "arrivals")]
    BringUpProgress(BringUpProgress),
    /// Once, when each CPU is online or has failed.
    Boot(Boot<S>),
    /// Once for each CPU that firmware lists as usable; of CPUs that did not come online only for the first
    /// [`MAX_ABSENT_CPUS`].
    Cpu(Cpu<S>),
    /// Once for each region of the memory map, in ascending order, after the frame allocator is set up.
    Region(MemoryRegion<S>),
    /// Once, before the work, if the page-table audit passed.
    PageTables(PageTables),
    /// Once, before the work.
    Memory(Memory),
    /// Once for each zone of each node, before the work and after it.
    #[serde(alias = "arena")]
    ZoneCounts(ZoneCounts<S>),
    /// Before the verdict, once for each CPU that has called the frame allocator.
    FrameCounts(FrameCounts),
    /// Before a verdict that is a pass, once if the heap has frames.
    Heap(Heap),
    /// Before the record of the heap, once for each class of each node that has slabs.
    HeapClass(HeapClass),
    /// Before the record of the heap, for each CPU that has objects in its magazines; several if the classes do not fit into one.
    HeapCpu(HeapCpu),
    /// Of a checked heap: before a panic about an object, its sites; before a verdict that is a pass, the sites with live objects.
    HeapSite(HeapSite<S>),
    /// Once, when the first workload has ended; never if the kernel only boots.
    Work(WorkStart),
    /// Periodically while a workload runs, by a timer of the BSP.
    Progress(Progress<S>),
    /// Once for each workload, when it has ended.
    Stress(Stress<S>),
    /// Once for each workload and CPU, before the workload's [`Record::Stress`].
    StressCpu(StressCpu<S>),
    /// For each [`BUCKETS_IN_RECORD`] buckets of a workload's latencies, before the workload's [`Record::Stress`].
    Latency(Latency<S>),
    /// Once for each workload that measures fragmentation, before its [`Record::Stress`].
    Fragmentation(Fragmentation<S>),
    /// Once for each benchmark, when it has been measured.
    Bench(Bench<S>),
    /// When a test begins, and when it has passed or takes too long.
    Test(TestStep),
    /// When a CPU does not respond or misses a deadline, and the run continues.
    Warning(Warning<S>),
    /// When a description by firmware, the boot loader or the command line is wrong, and the run continues.
    Defect(Defect<S>),
    /// Before the verdict, for threads that have not ended and the one that used its stack most deeply: at most [`MAX_THREADS`].
    Thread(ThreadRow<S>),
    /// Before the verdict, once for each CPU that has switched.
    SchedCpu(SchedCpu),
    /// When the program has measured something.
    Figure(Figure<S>),
    /// When a part of the kernel has determined something that a program may check.
    Fact(Fact<S>),
    /// One for each return address, innermost first, after [`Record::Warning`]; records of other CPUs can be in between.
    WarningFrame(WarningFrame),
    /// Before the verdict: once for each vector with interrupts, and for each [`COUNTS_IN_RECORD`] CPUs.
    Interrupts(Interrupts<S>),
    /// Once, after [`Record::Boot`], when the clocksource is selected.
    Clock(Clock<S>),
    /// Once, before the verdict.
    BootStages(BootStages<S>),
    /// Before the verdict, for each CPU whose timers have expired; several if the buckets do not fit into one.
    Lateness(Lateness),
    /// Once, when the timers of the self-test have expired.
    Timers(Timers<S>),
    /// When the shell is ready for a line.
    Prompt,
    /// After the verdict, before the machine is reset instead of writing an exit code.
    Reset,
    /// Once, before the verdict.
    Events(Events),
    /// The machine cannot run octopod. Ends the run with [`ExitCode::Refused`].
    Refused(ExitReason<S>),
    /// The command line is invalid. Ends the run with [`ExitCode::Usage`].
    Usage(ExitReason<S>),
    /// The kernel panicked. Ends the run with [`ExitCode::Panicked`].
    Panic(Panic<S>),
    /// One for each return address, innermost first, after [`Record::Panic`].
    #[serde(alias = "frame")]
    BacktraceFrame(BacktraceFrame),
    /// After these, one for each CPU that was started.
    PanicCpu(PanicCpu<S>),
    /// After the [`Record::PanicCpu`] of a CPU that waits for a spin lock.
    PanicWait(PanicWait<S>),
    /// One for each return address, innermost first, after the [`Record::PanicCpu`] of a CPU that did not panic first.
    PanicFrame(PanicFrame),
    /// After these, the last trace events of each CPU.
    PanicEvents(PanicEvents),
    /// After these, each line that the program adds.
    PanicContextLine(PanicContextLine<S>),
    /// After these, one for each of the newest threads, the newest first.
    PanicThread(PanicThread<S>),
    /// The result: the last record of a run that did not panic.
    Verdict(Verdict<S>),
}

impl<'a> Record<&'a str> {
    /// A fact that is a number.
    pub const fn number(subject: &'a str, name: &'a str, value: u64) -> Record<&'a str> {
        Record::Fact(Fact { subject, name, value: Some(value), text: None })
    }

    /// A fact that is a text.
    pub const fn text(subject: &'a str, name: &'a str, text: &'a str) -> Record<&'a str> {
        Record::Fact(Fact { subject, name, value: None, text: Some(text) })
    }
}

/// The beginning of the work.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkStart {
    /// Time from the kernel's entry to the first operation of the work, in microseconds.
    pub entry_to_work_us: u64,
}

/// Counts of events during the run, over all CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Events {
    /// Frees that the allocator rejected.
    #[serde(alias = "double_free_caught")]
    pub invalid_frees: u64,
    /// Spurious interrupts, from the local APICs and the legacy PIC.
    pub spurious: u64,
    /// Interrupts on vectors without a handler.
    pub unexpected_interrupts: u64,
    /// APIC timer interrupts.
    pub timer_interrupts: u64,
    /// Calls that the target CPU did not run in time.
    #[serde(alias = "unanswered_requests")]
    pub ipi_call_timeouts: u64,
    /// Number of times that the watchdog reported a CPU as stuck.
    pub watchdog_alarms: u64,
    /// Number of times that a CPU which the watchdog had reported took interrupts again.
    pub watchdog_recoveries: u64,
    /// Number of waits for a spin lock that exceeded the watchdog's time.
    pub lock_stalls: u64,
    /// NMIs that no CPU had sent.
    #[serde(alias = "nmis")]
    pub unexpected_nmis: u64,
    /// Log lines that could neither be written nor buffered.
    pub log_lines_lost: u64,
    /// APs that came online after their timeout, or without a start-up IPI of this boot, and were parked.
    #[serde(alias = "cpus_sent_away")]
    pub late_cpus_parked: u32,
}

/// The reason for the end of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExitReason<S> {
    /// One line, without a full stop.
    pub reason: S,
}

/// The result of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict<S> {
    /// Whether the run passed.
    pub pass: bool,
    /// The first reason of a failure.
    pub reason: Option<S>,
    /// Free frames after the work.
    #[serde(alias = "frames_free_after")]
    pub free_frames_after: u64,
}
