//! The report of a run for programs: `report.json`, schema 2 (`docs/report.md`), and the exit status.
//!
//! [`Report::assemble`] builds it from the kernel's records and the launcher's findings, without side effects. The report
//! contains no path of the machine that wrote it, except those in its command lines.

use std::io;
use std::path::Path;

use octopod::wire::{
    Boot, Clock, Cpu, Events, Fact, Figure, FrameCounts, Memory, MemoryRegion, PageTables, TestPhase,
    TestStep, ThreadRow, Timers,
};
use serde::{Deserialize, Serialize};

use crate::base::files::output;
use crate::report::Judgement;
use crate::run::Seen;

use crate::base::VerdictKind;
use crate::kernel::StackFrame;
use crate::report::bench::{self, BenchReport};
use crate::report::heap::{self, HeapReport, HeapSiteReport};
use crate::report::interrupts::{self, InterruptReport};
use crate::report::lateness::{self, LatenessReport};
use crate::report::memory::{self, ZoneReport};
use crate::report::origin::OriginReport;
use crate::report::panic::PanicReport;
use crate::report::scheduler::{self, SchedulerReport};
use crate::report::stress::{self, StressReport};
use crate::report::trace::TraceReport;
use crate::report::warning::{self, WarningReport};

/// The report's format. A field may be added within a number; it takes a new one to change or remove one.
/// New fields are optional or have `serde(default)`, so stored reports of earlier versions can be read.
pub const SCHEMA: u32 = 2;

/// The oldest format that can still be read: its fields of other names are known.
pub const OLDEST_SCHEMA: u32 = 1;

/// The whole report.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The result.
    pub verdict: VerdictKind,
    /// The reason for the verdict, unless it is a pass.
    pub reason: Option<String>,
    /// The origin of the report, and the command that repeats the run.
    #[serde(default)]
    pub origin: OriginReport,
    /// The kernel's command line.
    pub command_line: String,
    /// The launcher's choices and measurements; absent if there was no run.
    pub host: Option<HostReport>,
    /// The booted kernel; absent if none was booted.
    pub kernel: Option<KernelReport>,
    /// The bring-up of the kernel.
    pub boot: Option<BootReport>,
    /// The times at which the boot reached its stages, in order.
    #[serde(default)]
    pub boot_stages: Vec<BootStageReport>,
    /// The CPUs that the firmware lists.
    pub cpus: Vec<Cpu<String>>,
    /// The frame allocator's counts.
    pub memory: Option<MemoryReport>,
    /// The heap's counts at the end of the work; absent if it had nothing.
    #[serde(default)]
    pub heap: Option<HeapReport>,
    /// The call sites that a checked heap has named.
    #[serde(default)]
    pub heap_sites: Vec<HeapSiteReport>,
    /// The workloads, in the order in which they ran.
    pub stress: Vec<StressReport>,
    /// The costs, in the order of their measurement.
    #[serde(default)]
    pub bench: Vec<BenchReport>,
    /// The tests that began, in the order in which they ran.
    #[serde(default)]
    pub tests: Vec<TestReport>,
    /// The interrupts that were taken, by vector and CPU, in the order of the vectors.
    #[serde(default)]
    pub interrupts: Vec<InterruptReport>,
    /// The clock source.
    pub clock: Option<Clock<String>>,
    /// The result of the self-test's timers; absent if they did not run.
    pub timers: Option<Timers<String>>,
    /// The lateness of the timers, for each CPU that had any.
    #[serde(default)]
    pub lateness: Vec<LatenessReport>,
    /// The program's own figures, in the order in which they came.
    #[serde(default)]
    pub figures: Vec<FigureReport>,
    /// The threads that had not ended at the end of the work, and the one that used its stack most deeply.
    #[serde(default)]
    pub threads: Vec<ThreadRow<String>>,
    /// The scheduler's counts, for each CPU that has switched.
    #[serde(default)]
    pub scheduler: Vec<SchedulerReport>,
    /// The facts that parts of the kernel have determined.
    #[serde(default)]
    pub facts: Vec<Fact<String>>,
    /// The counts of events.
    pub events: Option<Events>,
    /// Problems that did not end the run.
    #[serde(default)]
    pub warnings: Vec<WarningReport>,
    /// The panic record.
    pub panic: Option<PanicReport>,
    /// The trace, if one was requested and recorded.
    pub trace: Option<TraceReport>,
    /// Record lines that could not be read.
    pub unreadable_records: u64,
}

/// A test that began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestReport {
    /// Its number in the kernel's file.
    pub number: u32,
    /// True if it returned.
    pub passed: bool,
    /// True if it did not return within its time.
    #[serde(default)]
    pub timed_out: bool,
    /// Microseconds from its begin to its return or time-out; `None` if there was neither.
    #[serde(default)]
    pub us: Option<u64>,
}

impl TestReport {
    fn all(steps: &[TestStep]) -> Vec<TestReport> {
        let mut tests: Vec<TestReport> = Vec::new();
        let mut begun_us = 0;
        for step in steps {
            let last = tests.last_mut().filter(|test| test.number == step.number);
            let us = Some(step.us.saturating_sub(begun_us));
            match (step.phase, last) {
                (TestPhase::Begun, _) => {
                    begun_us = step.us;
                    let (passed, timed_out) = (false, false);
                    tests.push(TestReport { number: step.number, passed, timed_out, us: None });
                }
                (TestPhase::Passed, Some(test)) => (test.passed, test.us) = (true, us),
                (TestPhase::TimedOut, Some(test)) => (test.timed_out, test.us) = (true, us),
                (TestPhase::Passed | TestPhase::TimedOut, None) => {}
            }
        }
        tests
    }
}

/// A figure that the program has reported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FigureReport {
    /// Its name.
    pub name: String,
    /// Its unit; may be empty.
    pub unit: String,
    /// The figure.
    pub value: f64,
}

impl FigureReport {
    fn of(figure: &Figure<String>) -> FigureReport {
        let value = figure.total as f64 / figure.count as f64;
        FigureReport { name: figure.name.clone(), unit: figure.unit.clone(), value }
    }
}

/// The launcher's choices and measurements.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostReport {
    /// The host's operating system.
    pub os: String,
    /// The host's architecture.
    pub arch: String,
    /// The boot protocol by which the kernel was entered, as `--boot` takes it.
    #[serde(alias = "door")]
    pub boot_protocol: String,
    /// `qemu` or `bochs`.
    #[serde(default)]
    pub emulator: String,
    /// Its version.
    #[serde(default)]
    pub emulator_version: String,
    /// QEMU's version; absent if it was not QEMU.
    pub qemu_version: Option<String>,
    /// `kvm` or `tcg`; `interpreter` in Bochs.
    pub accel: String,
    /// QEMU's `-M`, or Bochs's chipset.
    pub machine: String,
    /// QEMU's `-cpu`, or Bochs's model.
    pub cpu: String,
    /// QEMU's `-smp`.
    pub smp: String,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// From the emulator's start until the kernel said that its CPUs are online, in milliseconds.
    pub qemu_start_to_online_ms: Option<u64>,
    /// From the emulator's start to its end, in milliseconds.
    pub wall_ms: u64,
}

/// The booted kernel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KernelReport {
    /// The cargo profile and features that it was built with; `given` for a file named by the user.
    pub variant: String,
    /// Bytes that the loader copies to memory, without symbols and debug information.
    pub image_bytes: u64,
    /// The same for the compressed kernel and its unpacker; absent if it is not compressed.
    pub compressed_bytes: Option<u64>,
}

/// A stage of the boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootStageReport {
    /// Its name.
    pub stage: String,
    /// Its beginning, in microseconds after the kernel's entry. It ended when the next one began.
    pub began_us: u64,
}

impl BootStageReport {
    fn of((stage, began_us): &(String, u64)) -> BootStageReport {
        BootStageReport { stage: stage.clone(), began_us: *began_us }
    }
}

/// The bring-up of the kernel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BootReport {
    /// The text of the kernel.
    #[serde(flatten)]
    pub kernel: Boot<String>,
    /// As in [`HostReport`].
    pub accel: Option<String>,
    /// From the kernel's entry to the first unit of work, in microseconds; absent where it only boots.
    pub entry_to_work_us: Option<u64>,
}

/// The frame allocator's counts, before and after.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MemoryReport {
    /// The first record of the kernel.
    #[serde(flatten)]
    pub kernel: Memory,
    /// Free frames after the work, from the verdict.
    #[serde(alias = "frames_free_after")]
    pub free_frames_after: Option<u64>,
    /// The memory map: each region with what it is or was reserved for, in ascending order.
    #[serde(default)]
    pub regions: Vec<MemoryRegion<String>>,
    /// The pages by size and rights, if nothing was wrong with them.
    pub page_tables: Option<PageTables>,
    /// The zones of each NUMA node, with their free frames before and after the work.
    #[serde(default, alias = "arenas")]
    pub zones: Vec<ZoneReport>,
    /// Each CPU's calls of the frame allocator.
    #[serde(default)]
    pub calls: Vec<FrameCounts>,
}

impl Report {
    /// Puts a report together, without its origin. `backtrace` is `seen`'s frames with their symbols; those of the warnings are added
    /// later, from the symbols.
    pub fn assemble(
        judgement: Judgement,
        command_line: String,
        host: Option<HostReport>,
        kernel: Option<KernelReport>,
        seen: &Seen,
        backtrace: Vec<StackFrame>,
    ) -> Report {
        let accel = host.as_ref().map(|host| host.accel.clone());
        let free_frames_after = seen.verdict.as_ref().map(|verdict| verdict.free_frames_after);
        Report {
            schema: SCHEMA,
            verdict: judgement.kind,
            reason: judgement.reason,
            origin: OriginReport::default(),
            command_line,
            host,
            kernel,
            boot: seen.boot.clone().map(|kernel| BootReport {
                kernel,
                accel,
                entry_to_work_us: seen.work.map(|work| work.entry_to_work_us),
            }),
            boot_stages: seen.boot_stages.iter().map(BootStageReport::of).collect(),
            cpus: seen.cpus.clone(),
            memory: seen.memory.map(|kernel| MemoryReport {
                kernel,
                free_frames_after,
                regions: seen.regions.clone(),
                page_tables: seen.page_tables,
                zones: memory::zones(seen),
                calls: seen.frame_counts.clone(),
            }),
            heap: heap::report(seen),
            heap_sites: heap::sites(seen),
            stress: stress::reports(seen),
            bench: seen.bench.iter().map(bench::report).collect(),
            tests: TestReport::all(&seen.tests),
            interrupts: interrupts::reports(seen),
            clock: seen.clock.clone(),
            timers: seen.timers.clone(),
            lateness: lateness::reports(seen),
            figures: seen.figures.iter().map(FigureReport::of).collect(),
            threads: seen.threads.clone(),
            scheduler: scheduler::reports(seen),
            facts: seen.facts.clone(),
            events: seen.events,
            warnings: warning::reports(seen),
            panic: PanicReport::of(seen, backtrace),
            trace: None,
            unreadable_records: seen.unreadable,
        }
    }

    /// Adds figures of benchmarks.
    pub fn add_bench(&mut self, figures: &[octopod::wire::Bench<String>]) {
        self.bench.extend(figures.iter().map(bench::report));
    }

    /// Turns the verdict into a failure with this reason.
    pub fn fail(&mut self, reason: String) {
        self.verdict = VerdictKind::Fail;
        self.reason = Some(reason);
    }

    /// The unit of latencies: cycles on a machine, nanoseconds with threads of the host.
    pub fn latency_unit(&self) -> &'static str {
        if self.boot.is_some() { "TSC cycles" } else { "ns" }
    }

    /// The launcher's exit status.
    pub fn status(&self) -> u8 {
        self.verdict.status()
    }

    /// Writes the report atomically: a reader finds either all of it or the previous file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        output::write(path, self.to_json().as_bytes())
    }

    /// As text, with a line end.
    pub fn to_json(&self) -> String {
        let mut text =
            serde_json::to_string_pretty(self).unwrap_or_else(|error| format!("{{\"error\": \"{error}\"}}"));
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests;
