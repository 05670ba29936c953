//! The panic report: text on the console, and records for the launcher.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};

use ap_trampoline::Stage;

use super::hooks::{CpuStatus, PanicCause, SMP_OPS, boot_stage, stage, tsc_khz};
use super::{backtrace_of, context, crash_state, record, threads};
use crate::boot::handoff;
use crate::console::{LineBuffer, LockWaitSites, PanicOutput};
use crate::cpu::CpuId;
use crate::cpu::per_cpu::gs_base;
use crate::cpu::registers::read_tsc;
use crate::sync;
use crate::trace::{self, ring::Ring};
use crate::wire::{
    BacktraceFrame, BootStage, EVENTS_IN_RECORD, Panic, PanicCpu, PanicEvents, PanicFrame, PanicRecord,
    PanicWait, Record, RecordedEvent, Registers,
};

/// How many of each CPU's newest trace events are sent.
const EVENTS: usize = 32;

/// A source location as `FILE:LINE`. The path of a dependency in cargo's folders may be longer: it keeps its end.
pub(crate) type Location = LineBuffer<80>;

/// Whether the panic message was printed and sent.
static IS_MESSAGE_SENT: AtomicBool = AtomicBool::new(false);

/// The source location of a panic; empty for an exception.
pub(crate) fn location(cause: &PanicCause) -> Location {
    cause.location.map(|at| Location::source_line(at.file(), at.line())).unwrap_or_default()
}

/// Writes the panic record without the message: formatting that runs code of other modules, which may panic.
#[inline(never)]
pub(crate) fn write_panic_record(me: CpuId, cause: &PanicCause) {
    let location = location(cause);
    let record = PanicRecord {
        cpu: me.0,
        panics: 1,
        rip: cause.registers.rip(),
        rsp: cause.registers.rsp(),
        tsc: read_tsc(),
        slide: handoff().slide,
        stage: stage(),
        location: location.as_str(),
        message: "",
        frames: backtrace_of(cause.registers).take(PanicRecord::<&str>::MAX_FRAMES).collect(),
    };
    // SAFETY: `panic_now` calls this after it has won the exchange, on one CPU and once; no reference to the record exists yet.
    unsafe { record::write(&record) };
}

/// Prints and sends the whole report.
pub(crate) fn print_panic(line: &mut PanicOutput, me: CpuId, cause: &PanicCause) {
    let message = print_message(line, me, cause);
    print_registers(line, cause.registers);
    for address in backtrace_of(cause.registers) {
        let _ = writeln!(line, "  {address:#018x}");
        line.send(&Record::BacktraceFrame(BacktraceFrame { address }));
    }
    print_cpus(line, me, message);
}

/// Prints the message and completes the panic record. Not inlined: its buffers must not stay on the stack during the rest.
#[inline(never)]
fn print_message(line: &mut PanicOutput, me: CpuId, cause: &PanicCause) -> &'static str {
    let message = LineBuffer::<300>::format(cause.message);
    // SAFETY: only the CPU that won the exchange in `panic_now` calls this, and no reference to the record exists yet.
    let record = unsafe { record::complete(message.as_str(), panics(me)) }.unwrap_or_default();
    print_head(line, &record, message.as_str(), cause.is_exception.then(|| cause.registers.rip()));
    record.message
}

/// The number of CPUs that have panicked.
fn panics(me: CpuId) -> u32 {
    let mut count = 1;
    if let Some(ops) = SMP_OPS.get() {
        ops.visit(&mut |status| {
            count += u32::from(status.cpu != me && status.crash_state.has_panicked());
        });
    }
    count
}

/// Reports a panic that occurred in [`print_panic`]. If the first message was not printed, prints what the panic record holds
/// and the other CPUs. Returns whether the report is whole: the panic was that of a program's line.
pub(crate) fn print_nested(line: &mut PanicOutput, me: CpuId, cause: &PanicCause) -> bool {
    let location = location(cause);
    let message = LineBuffer::<200>::format(cause.message);
    let _ = writeln!(line, "\noctopod: cpu{me} panicked again during the panic report: {}", message.as_str());
    let _ = writeln!(line, "  at {}", location.as_str());
    if IS_MESSAGE_SENT.load(Ordering::Acquire) {
        let is_whole = context::go_on_after(line, message.as_str(), location.as_str());
        if is_whole {
            threads::print(line);
            let _ = writeln!(line, "octopod: end of the panic report of cpu{me}");
        }
        return is_whole;
    }
    // The first message cannot be formatted, but its location is in the record.
    let text = LineBuffer::<300>::format(format_args!(
        "a panic whose message panics: {}, at {}",
        message.as_str(),
        location.as_str()
    ));
    // SAFETY: only the CPU that won the exchange in `panic_now` calls this. The interrupted `print_panic`, which may hold a
    // reference, never resumes (`panic_nested` does not return).
    let record = unsafe { record::complete(text.as_str(), panics(me)) }.unwrap_or_default();
    print_head(line, &record, text.as_str(), None);
    for &address in &record.frames {
        let _ = writeln!(line, "  {address:#018x}");
        line.send(&Record::BacktraceFrame(BacktraceFrame { address }));
    }
    print_cpus(line, me, record.message);
    false
}

/// Prints the message, the location, and the stage unless the boot is over, and sends the panic's first record.
fn print_head(line: &mut PanicOutput, record: &PanicRecord<&str>, message: &str, rip: Option<u64>) {
    let location = (!record.location.is_empty()).then_some(record.location);
    // Writing never fails: the console drops what it cannot send.
    let _ = writeln!(line, "\noctopod: cpu{} panicked: {message}", record.cpu);
    if let Some(location) = location {
        let _ = writeln!(line, "  at {location}");
    }
    if boot_stage().is_some_and(BootStage::is_boot) {
        let _ = writeln!(line, "  in stage {}", record.stage);
    }
    line.send(&Record::Panic(Panic {
        cpu: record.cpu,
        message,
        location,
        rip,
        slide: record.slide,
        stage: Some(record.stage),
        tsc: Some(record.tsc),
        tsc_khz: tsc_khz(),
    }));
    IS_MESSAGE_SENT.store(true, Ordering::Release);
}

fn print_registers(line: &mut PanicOutput, registers: &Registers) {
    for (index, (name, value)) in registers.named().enumerate() {
        let end = if index % 4 == 3 { "\n" } else { "" };
        let _ = write!(line, "  {name:<6} {value:016x}{end}");
    }
}

/// Prints each CPU, this one included, the program's own lines, and then the message again: the first one may have scrolled off
/// the screen.
fn print_cpus(line: &mut PanicOutput, me: CpuId, message: &str) {
    match SMP_OPS.get() {
        Some(ops) => ops.visit(&mut |status| print_cpu(line, me, &status)),
        // No other CPU runs yet.
        None => {
            let (state, stage, crash_state) = ("panicked", stage(), crash_state::own());
            print_cpu(
                line,
                me,
                &CpuStatus { cpu: me, state, stage, was_stopped: true, gs_base: gs_base(), crash_state },
            );
        }
    }
    context::print(line);
    threads::print(line);
    let _ = writeln!(line, "octopod: end of the panic report of cpu{me}: {message}");
}

/// The text for a [`PanicCpu::state`].
fn shown_state(is_reporting: bool, state: &'static str) -> &'static str {
    match state {
        "panicked" if !is_reporting => "also panicked",
        "silent" => "no response to NMI",
        state => state,
    }
}

fn print_cpu(line: &mut PanicOutput, me: CpuId, status: &CpuStatus) {
    let CpuStatus { cpu, stage, crash_state, was_stopped, .. } = *status;
    let message = if cpu == me { None } else { crash_state.message() };
    let state = match (cpu == me || message.is_some(), was_stopped) {
        (true, _) => "panicked",
        (false, true) => "stopped",
        (false, false) => status.state,
    };
    // State that the CPU saved for an earlier request is outdated.
    let is_known = cpu == me || was_stopped || message.is_some();
    let registers = crash_state.registers().filter(|_| is_known);
    let locks = if is_known { crash_state.locks() } else { heapless::Vec::new() };
    let _ = write!(line, "cpu {cpu}: {}", shown_state(cpu == me, state));
    if stage != Stage::Online.name() {
        let _ = write!(line, ", stage {stage}");
    }
    if let Some(registers) = registers {
        let _ = write!(line, ", RIP {:#x}", registers.rip());
    }
    if let Some(message) = message {
        let _ = write!(line, ": {message}");
    }
    let _ = writeln!(line);
    if !locks.is_empty() {
        let _ = writeln!(line, "  holds {}", CommaSeparated(&locks));
    }
    line.send(&Record::PanicCpu(PanicCpu { cpu: cpu.0, state, stage, message, registers, locks }));
    // SAFETY: `gs_base` is that of a per-CPU area (`SmpOps::visit`), and these are never freed (`CpuAreas`).
    if let Some(wait) = unsafe { sync::wait_of(cpu, status.gs_base) }.filter(|_| is_known) {
        let _ = writeln!(line, "  {wait}");
        line.send(&Record::PanicWait(PanicWait { cpu: cpu.0, wait: LockWaitSites::of(&wait).record(&wait) }));
    }
    // SAFETY: `gs_base` is that of a per-CPU area (`SmpOps::visit`), and these are never freed (`CpuAreas`).
    send_events(line, cpu, unsafe { trace::ring_of(status.gs_base) });
    // `print_panic` has printed this CPU's backtrace.
    let frames = (cpu != me && is_known).then(|| crash_state.frames());
    for address in frames.into_iter().flatten() {
        let _ = writeln!(line.serial_only(), "  {address:#018x}");
        line.send(&Record::PanicFrame(PanicFrame { cpu: cpu.0, address }));
    }
}

/// Sends a CPU's newest trace events. Only the launcher can decode them, so they are not printed.
fn send_events(line: &mut PanicOutput, cpu: CpuId, ring: Option<Ring<'static>>) {
    let mut events = ring.into_iter().flat_map(|ring| ring.newest(EVENTS)).flatten().peekable();
    while events.peek().is_some() {
        let events = events.by_ref().take(EVENTS_IN_RECORD);
        let events = events.map(|RecordedEvent { tsc, event, a, b }| (tsc, event, a, b)).collect();
        line.send(&Record::PanicEvents(PanicEvents { cpu: cpu.0, events }));
    }
}

/// Formats names as a list with commas.
struct CommaSeparated<'a>(&'a [&'static str]);

impl fmt::Display for CommaSeparated<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            let before = if index == 0 { "" } else { ", " };
            write!(f, "{before}{name}")?;
        }
        Ok(())
    }
}
