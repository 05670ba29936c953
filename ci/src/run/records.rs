//! Reads the lines of the serial port and collects the kernel's records.
//!
//! [`framing`] separates records from text, [`plausible`] refuses impossible numbers, and [`Seen`] collects the rest.

use octopod::wire::{
    Bench, Boot, Bucket, Clock, Cpu, Defect, Events, ExitReason, Fact, Figure, Fragmentation, FrameCounts,
    Heap, HeapClass, HeapCpu, HeapSite, Interrupts, Lateness, Memory, MemoryRegion, PageTables, Panic,
    PanicContextLine, PanicCpu, PanicThread, PanicWait, Progress, REPORT_REQUESTED, Record, SchedCpu, Stress,
    StressCpu, TestStep, ThreadRow, Timers, Verdict, Warning, WorkStart, ZoneCounts,
};

pub mod framing;
pub mod plausible;
pub mod step;

pub use framing::{Framing, Order, Reading, Unreadable, draw_nonce};
pub use step::Step;

/// Return addresses beyond this many say nothing more.
const MAX_FRAMES: usize = 256;

/// Records of one kind beyond this many can only come from a kernel that has lost its way.
const MAX_OF_A_KIND: usize = 1 << 16;

/// No run has more results than this: workloads by allocators by numbers of CPUs.
const MAX_RESULTS: usize = 1024;

/// Lines that could not be read, and records that came once more, are counted; this many are kept as well.
const MAX_KEPT: usize = 5;

/// A trace event in a record: its TSC, its number, and its two words.
pub type TracedWords = (u64, u16, u64, u64);

/// All records of the kernel so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The bring-up of the kernel.
    pub boot: Option<Boot<String>>,
    /// The times at which it reached the stages of its boot, in microseconds after its entry.
    pub boot_stages: Vec<(String, u64)>,
    /// The CPUs, in the order in which they were reported.
    pub cpus: Vec<Cpu<String>>,
    /// The memory map.
    pub regions: Vec<MemoryRegion<String>>,
    /// The counts of the page-table audit.
    pub page_tables: Option<PageTables>,
    /// The frame allocator's counts.
    pub memory: Option<Memory>,
    /// The memory of each zone of each node, before and after the work.
    pub zones: Vec<ZoneCounts<String>>,
    /// The frame allocator's event counts per CPU.
    pub frame_counts: Vec<FrameCounts>,
    /// The heap's memory.
    pub heap: Option<Heap>,
    /// Its objects, by class and node.
    pub heap_classes: Vec<HeapClass>,
    /// The magazines of CPUs.
    pub heap_cpus: Vec<HeapCpu>,
    /// Call sites of a checked heap.
    pub heap_sites: Vec<HeapSite<String>>,
    /// The time at which the work began.
    pub work: Option<WorkStart>,
    /// The workload under way.
    pub progress: Option<Progress<String>>,
    /// The workloads that have ended.
    pub stress: Vec<Stress<String>>,
    /// Their latencies, in the same order.
    pub latencies: Vec<Vec<Bucket>>,
    /// The counts of the running workload.
    pub latencies_so_far: Vec<Bucket>,
    /// Their fragmentation scores, in tenths of a percent, in the same order.
    pub scores: Vec<Vec<u16>>,
    /// The scores of the workload whose report is next.
    pub scores_so_far: Vec<u16>,
    /// The share of each CPU in them, in the same order.
    pub shares: Vec<Vec<StressCpu<String>>>,
    /// The counts of the workload whose report is next.
    pub shares_so_far: Vec<StressCpu<String>>,
    /// The costs of operations.
    pub bench: Vec<Bench<String>>,
    /// The steps of tests.
    pub tests: Vec<TestStep>,
    /// Problems that did not end the run, each with the return addresses on the CPU's stack.
    pub warnings: Vec<(Warning<String>, Vec<u64>)>,
    /// Invalid descriptions by firmware, the boot loader or the command line.
    pub defects: Vec<Defect<String>>,
    /// The program's own figures.
    pub figures: Vec<Figure<String>>,
    /// The threads that have not ended, and the one that used its stack most deeply.
    pub threads: Vec<ThreadRow<String>>,
    /// The scheduler's counts, CPU by CPU.
    pub scheduler: Vec<SchedCpu>,
    /// The facts that parts of the kernel have determined.
    pub facts: Vec<Fact<String>>,
    /// The table of interrupts, as it came.
    pub interrupts: Vec<Interrupts<String>>,
    /// The clock source.
    pub clock: Option<Clock<String>>,
    /// The result of the self-test's timers.
    pub timers: Option<Timers<String>>,
    /// The lateness of all timers, CPU by CPU.
    pub lateness: Vec<Lateness>,
    /// The counts of events.
    pub events: Option<Events>,
    /// The reason why the kernel refused the machine.
    pub refused: Option<String>,
    /// The error in the kernel's command line.
    pub usage: Option<String>,
    /// The first CPU's panic record.
    pub panic: Option<Panic<String>>,
    /// The return addresses on its stack, innermost first.
    pub frames: Vec<u64>,
    /// The state of each CPU after a panic, with the return addresses on its stack.
    pub panic_cpus: Vec<(PanicCpu<String>, Vec<u64>)>,
    /// The spin locks that CPUs waited for when the kernel had panicked.
    pub panic_waits: Vec<PanicWait<String>>,
    /// The last trace events of each, each with TSC, number and words.
    pub panic_events: Vec<(u32, TracedWords)>,
    /// The lines that the program has added to the panic report.
    pub panic_context: Vec<PanicContextLine<String>>,
    /// The threads when the kernel had panicked.
    pub panic_threads: Vec<PanicThread<String>>,
    /// The run's result.
    pub verdict: Option<Verdict<String>>,
    /// True if the kernel has said that it resets the machine.
    pub reset: bool,
    /// The number of records that could not be read, or had numbers that cannot be true.
    pub unreadable: u64,
    /// The first few of those.
    pub unreadable_lines: Vec<Unreadable>,
    /// The number of records that were lost, by their numbers.
    pub lost: u64,
    /// The number of records that came once more, by their numbers.
    pub repeated: u64,
    /// Kinds of records that a run has once, and of which another came; the first few.
    pub not_once: Vec<&'static str>,
    /// True if the kernel has booted a second time.
    pub booted_again: bool,
    /// The last step of the run that is complete.
    pub last_step: Option<Step>,
    /// The number of steps of the run that are complete. It is bounded, so a kernel that hangs or repeats itself comes to an end of
    /// them.
    pub steps: usize,
}

impl Seen {
    /// Returns whether the kernel has panicked, which a report that the launcher requested is not.
    pub fn has_panicked(&self) -> bool {
        self.panic.as_ref().is_some_and(|panic| panic.message != REPORT_REQUESTED)
    }

    /// Enters the records of a line. Returns the record, if there is one that counts.
    pub fn read<'a>(&mut self, reading: &'a Reading) -> Option<&'a Record<String>> {
        self.unreadable += reading.cut;
        match reading.order {
            Order::Next => {}
            Order::Gap(records) => self.lost += u64::from(records),
            Order::Again => {
                self.repeated += 1;
                return None;
            }
            Order::SecondBoot => {
                self.booted_again = true;
                return None;
            }
            // The lines that looked like records were text.
            Order::First => *self = Seen::default(),
        }
        match reading.record.as_ref()? {
            Ok(record) => {
                self.take((**record).clone());
                Some(record)
            }
            Err(unreadable) => {
                self.unreadable += 1;
                push(&mut self.unreadable_lines, unreadable.clone(), MAX_KEPT);
                None
            }
        }
    }

    /// Enters a record.
    pub fn take(&mut self, record: Record<String>) {
        let step = Step::of(&record);
        if self.enter(record) && step.is_some() {
            self.steps += 1;
            self.last_step = step;
        }
    }

    /// Enters a record. Of one that can complete a step: returns whether it does, as it is no repetition and within the limit.
    fn enter(&mut self, record: Record<String>) -> bool {
        let mut is_kept = true;
        match record {
            Record::BringUpProgress(_) | Record::Prompt => {}
            Record::Boot(boot) => {
                // One boot has one such record, whatever else is lost.
                is_kept = self.boot.is_none();
                self.booted_again |= !is_kept;
                self.boot.get_or_insert(boot);
            }
            Record::BootStages(stages) => {
                let is_again = !self.boot_stages.is_empty();
                self.once("boot_stages", is_again);
                self.boot_stages = stages.began_us.into_iter().collect();
            }
            Record::Cpu(cpu) => {
                let is_again = self.cpus.iter().any(|known| known.cpu == cpu.cpu);
                self.once("cpu", is_again);
                is_kept = !is_again && keep(&mut self.cpus, cpu, MAX_OF_A_KIND);
            }
            Record::Region(region) => {
                let is_again = self.regions.last().is_some_and(|last| last.end > region.start);
                // The map has come, and begins once more.
                self.booted_again |= is_again && self.boot.is_some();
                self.once("region", is_again);
                push(&mut self.regions, region, MAX_OF_A_KIND);
            }
            Record::PageTables(tables) => {
                let is_again = self.page_tables.replace(tables).is_some();
                self.once("page_tables", is_again);
                is_kept = !is_again;
            }
            Record::Memory(memory) => {
                let is_again = self.memory.replace(memory).is_some();
                self.once("memory", is_again);
            }
            Record::ZoneCounts(zone) => push(&mut self.zones, zone, MAX_OF_A_KIND),
            Record::FrameCounts(counts) => push(&mut self.frame_counts, counts, MAX_OF_A_KIND),
            Record::Heap(heap) => {
                let is_again = self.heap.replace(heap).is_some();
                self.once("heap", is_again);
            }
            Record::HeapClass(class) => push(&mut self.heap_classes, class, MAX_OF_A_KIND),
            Record::HeapCpu(cpu) => push(&mut self.heap_cpus, cpu, MAX_OF_A_KIND),
            Record::HeapSite(site) => push(&mut self.heap_sites, site, MAX_RESULTS),
            // At the kernel's console the stress runs as often as it is asked to.
            Record::Work(work) => is_kept = self.work.replace(work).is_none(),
            Record::Progress(progress) => self.progress = Some(progress),
            Record::Stress(stress) => {
                self.progress = None;
                push(&mut self.shares, std::mem::take(&mut self.shares_so_far), MAX_RESULTS);
                push(&mut self.latencies, std::mem::take(&mut self.latencies_so_far), MAX_RESULTS);
                push(&mut self.scores, std::mem::take(&mut self.scores_so_far), MAX_RESULTS);
                is_kept = keep(&mut self.stress, stress, MAX_RESULTS);
            }
            Record::StressCpu(share) => push(&mut self.shares_so_far, share, MAX_OF_A_KIND),
            Record::Latency(part) => {
                for bucket in part.buckets {
                    // They ascend from one record to the next as well, or the record is another's.
                    if self.latencies_so_far.last().is_none_or(|(top, _)| *top < bucket.0) {
                        push(&mut self.latencies_so_far, bucket, MAX_OF_A_KIND);
                    }
                }
            }
            Record::Fragmentation(Fragmentation { scores, .. }) => {
                self.scores_so_far = scores.into_iter().collect();
            }
            Record::Bench(bench) => {
                let is_again = self.bench.iter().any(|known| known.name == bench.name);
                self.once("bench", is_again);
                is_kept = !is_again && keep(&mut self.bench, bench, MAX_RESULTS);
            }
            Record::Test(step) => is_kept = keep(&mut self.tests, step, MAX_OF_A_KIND),
            Record::Warning(warning) => push(&mut self.warnings, (warning, Vec::new()), MAX_OF_A_KIND),
            Record::Defect(defect) => push(&mut self.defects, defect, MAX_OF_A_KIND),
            Record::Figure(figure) => match self.figures.iter_mut().find(|known| known.name == figure.name) {
                Some(known) => *known = figure,
                None => push(&mut self.figures, figure, MAX_RESULTS),
            },
            Record::Thread(thread) => push(&mut self.threads, thread, MAX_OF_A_KIND),
            Record::SchedCpu(cpu) => push(&mut self.scheduler, cpu, MAX_OF_A_KIND),
            Record::Fact(fact) => push(&mut self.facts, fact, MAX_OF_A_KIND),
            Record::WarningFrame(frame) => {
                let last = self.warnings.iter_mut().rev().find(|(warning, _)| warning.cpu == frame.cpu);
                if let Some((_, frames)) = last {
                    push(frames, frame.address, MAX_FRAMES);
                }
            }
            Record::Interrupts(interrupts) => push(&mut self.interrupts, interrupts, MAX_OF_A_KIND),
            Record::Clock(clock) => {
                let is_again = self.clock.replace(clock).is_some();
                self.once("clock", is_again);
            }
            Record::Timers(timers) => self.timers = Some(timers),
            Record::Lateness(part) => push(&mut self.lateness, part, MAX_OF_A_KIND),
            Record::Reset => self.reset = true,
            Record::Events(events) => {
                let is_again = self.events.replace(events).is_some();
                self.once("events", is_again);
            }
            Record::Refused(ExitReason { reason }) => {
                let is_again = self.refused.replace(reason).is_some();
                self.once("refused", is_again);
            }
            Record::Usage(ExitReason { reason }) => {
                let is_again = self.usage.replace(reason).is_some();
                self.once("usage", is_again);
            }
            // A panic within the panic must not hide the one that began it.
            Record::Panic(panic) => drop(self.panic.get_or_insert(panic)),
            Record::BacktraceFrame(frame) => push(&mut self.frames, frame.address, MAX_FRAMES),
            Record::PanicCpu(cpu) => push(&mut self.panic_cpus, (cpu, Vec::new()), MAX_OF_A_KIND),
            Record::PanicWait(wait) => push(&mut self.panic_waits, wait, MAX_OF_A_KIND),
            Record::PanicFrame(frame) => {
                let last = self.panic_cpus.iter_mut().rev().find(|(known, _)| known.cpu == frame.cpu);
                if let Some((_, frames)) = last {
                    push(frames, frame.address, MAX_FRAMES);
                }
            }
            Record::PanicEvents(part) => {
                for event in part.events {
                    push(&mut self.panic_events, (part.cpu, event), MAX_OF_A_KIND);
                }
            }
            Record::PanicContextLine(line) => push(&mut self.panic_context, line, MAX_RESULTS),
            Record::PanicThread(thread) => push(&mut self.panic_threads, thread, MAX_RESULTS),
            Record::Verdict(verdict) => {
                // The first verdict counts: a later pass does not replace a failure.
                let is_again = self.verdict.is_some();
                self.once("verdict", is_again);
                self.verdict.get_or_insert(verdict);
            }
        }
        is_kept
    }

    fn once(&mut self, kind: &'static str, is_again: bool) {
        if is_again && !self.not_once.contains(&kind) {
            push(&mut self.not_once, kind, MAX_KEPT);
        }
    }
}

fn push<T>(list: &mut Vec<T>, item: T, limit: usize) {
    if list.len() < limit {
        list.push(item);
    }
}

/// The same. Returns whether the limit admits the item.
fn keep<T>(list: &mut Vec<T>, item: T, limit: usize) -> bool {
    let is_admitted = list.len() < limit;
    push(list, item, limit);
    is_admitted
}

#[cfg(test)]
mod tests;
