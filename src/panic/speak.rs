//! What a dying CPU says, to people and to the launcher.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};

use super::{Death, OTHERS, Victim, backtrace, last_words, remains, stage};
use crate::boot::handoff;
use crate::console::{LastWords as Line, LineBuffer, Places};
use crate::cpu::CpuId;
use crate::cpu::per_cpu::gs_base;
use crate::cpu::registers::read_tsc;
use crate::sync;
use crate::trace::{self, ring::Ring};
use crate::wire::{
    BacktraceFrame, EVENTS_IN_RECORD, LastWords, Panic, PanicCpu, PanicEvents, PanicFrame, PanicWait, Record,
    RecordedEvent, Registers,
};

/// So many of each CPU's last trace events are told.
const EVENTS: usize = 32;

/// Where in the source, as text.
pub type Location = LineBuffer<80>;

/// Whether the message has gone out.
static HAS_SPOKEN: AtomicBool = AtomicBool::new(false);

/// Where a death happened; empty for an exception.
pub fn location(death: &Death) -> Location {
    let mut text = Location::new();
    if let Some(at) = death.location {
        let _ = write!(text, "{}:{}", at.file(), at.line());
    }
    text
}

/// Leaves in memory what can be said without formatting anything that is not this module's own.
#[inline(never)]
pub fn leave_first_words(me: CpuId, death: &Death) {
    let location = location(death);
    let words = LastWords {
        cpu: me.0,
        panics: 1,
        rip: death.registers.rip(),
        rsp: death.registers.rsp(),
        tsc: read_tsc(),
        slide: handoff().slide,
        stage: stage(),
        location: location.as_str(),
        message: "",
        calls: backtrace(death.registers.rbp()).take(LastWords::<&str>::MAX_CALLS).collect(),
    };
    // SAFETY: called by the one CPU that died first, once.
    unsafe { last_words::leave(&words) };
}

/// All of it.
pub fn speak(line: &mut Line, me: CpuId, death: &Death) {
    let message = say_first(line, me, death);
    say_registers(line, death.registers);
    for address in backtrace(death.registers.rbp()) {
        let _ = writeln!(line, "  {address:#018x}");
        line.send(&Record::BacktraceFrame(BacktraceFrame { address }));
    }
    say_all(line, me, message);
}

/// The message, in a function of its own, whose stack the rest does not need.
#[inline(never)]
fn say_first(line: &mut Line, me: CpuId, death: &Death) -> &'static str {
    let message = LineBuffer::<300>::format(death.message);
    // SAFETY: the one CPU that ends the run, and nothing of the block is in use.
    let words = unsafe { last_words::complete(message.as_str(), panics(me)) }.unwrap_or_default();
    say(line, &words, message.as_str(), death.is_exception.then(|| death.registers.rip()));
    words.message
}

/// How many CPUs have panicked.
fn panics(me: CpuId) -> u32 {
    let mut count = 1;
    if let Some(others) = OTHERS.get() {
        others.visit(&mut |victim| {
            count += u32::from(victim.cpu != me && victim.remains.has_panicked());
        });
    }
    count
}

/// After a panic in [`speak`]: what it was, and of the rest what has not been said, unless that was what went wrong.
pub fn speak_again(line: &mut Line, me: CpuId, death: &Death) {
    let place = location(death);
    let message = LineBuffer::<200>::format(death.message);
    let _ = writeln!(line, "\noctopod: cpu {me} panicked over its last words: {}", message.as_str());
    let _ = writeln!(line, "  at {}", place.as_str());
    if HAS_SPOKEN.load(Ordering::Acquire) {
        return;
    }
    // It cannot be said what it panicked of first, but where.
    let text = LineBuffer::<300>::format(format_args!(
        "a panic whose message panics: {}, at {}",
        message.as_str(),
        place.as_str()
    ));
    // SAFETY: the one CPU that ends the run; what the first time has used of the block is not used again.
    let words = unsafe { last_words::complete(text.as_str(), panics(me)) }.unwrap_or_default();
    say(line, &words, text.as_str(), None);
    for &address in &words.calls {
        let _ = writeln!(line, "  {address:#018x}");
        line.send(&Record::BacktraceFrame(BacktraceFrame { address }));
    }
    say_all(line, me, words.message);
}

/// The message, with which everything is said if nothing else is.
fn say(line: &mut Line, words: &LastWords<&str>, message: &str, rip: Option<u64>) {
    let location = (!words.location.is_empty()).then_some(words.location);
    // The line drops what it cannot send; it never fails.
    let _ = writeln!(line, "\noctopod: cpu{} panicked: {message}", words.cpu);
    if let Some(location) = location {
        let _ = writeln!(line, "  at {location}");
    }
    let _ = writeln!(line, "  in stage {}", words.stage);
    line.send(&Record::Panic(Panic {
        cpu: words.cpu,
        message,
        location,
        rip,
        slide: words.slide,
        stage: Some(words.stage),
        tsc: Some(words.tsc),
        tsc_khz: super::tsc_khz(),
    }));
    HAS_SPOKEN.store(true, Ordering::Release);
}

fn say_registers(line: &mut Line, registers: &Registers) {
    for (index, (name, value)) in registers.named().enumerate() {
        let end = if index % 4 == 3 { "\n" } else { "" };
        let _ = write!(line, "  {name:<6} {value:016x}{end}");
    }
}

/// Each CPU in turn, this one among them; and the message again, which may have left the screen.
fn say_all(line: &mut Line, me: CpuId, message: &str) {
    match OTHERS.get() {
        Some(others) => others.visit(&mut |victim| say_one(line, me, &victim)),
        // Then there is no other CPU yet.
        None => {
            let (state, stage, remains) = ("panicked", stage(), remains::own());
            say_one(
                line,
                me,
                &Victim { cpu: me, state, stage, was_stopped: true, gs_base: gs_base(), remains },
            );
        }
    }
    let _ = writeln!(line, "octopod: end of the last words of cpu{me}: {message}");
}

fn say_one(line: &mut Line, me: CpuId, victim: &Victim) {
    let Victim { cpu, stage, remains, was_stopped, .. } = *victim;
    let message = if cpu == me { None } else { remains.message() };
    let state = match (cpu == me || message.is_some(), was_stopped) {
        (true, _) => "panicked",
        (false, true) => "stopped",
        (false, false) => victim.state,
    };
    // What a CPU left before may be long past.
    let is_known = cpu == me || was_stopped || message.is_some();
    let registers = remains.registers().filter(|_| is_known);
    let locks = if is_known { remains.locks() } else { heapless::Vec::new() };
    let _ = write!(line, "cpu {cpu} {state}, stage {stage}");
    if let Some(registers) = registers {
        let _ = write!(line, ", RIP {:#x}", registers.rip());
    }
    if let Some(message) = message {
        let _ = write!(line, ": {message}");
    }
    let _ = writeln!(line);
    if !locks.is_empty() {
        let _ = writeln!(line, "  holds {}", Listed(&locks));
    }
    line.send(&Record::PanicCpu(PanicCpu { cpu: cpu.0, state, stage, message, registers, locks }));
    // SAFETY: areas are never freed.
    if let Some(wait) = unsafe { sync::wait_of(cpu, victim.gs_base) }.filter(|_| is_known) {
        let _ = writeln!(line, "  {wait}");
        line.send(&Record::PanicWait(PanicWait { cpu: cpu.0, wait: Places::of(&wait).record(&wait) }));
    }
    // SAFETY: areas live for good.
    say_events(line, cpu, unsafe { trace::ring_of(victim.gs_base) });
    // Its own have been said.
    let calls = (cpu != me && is_known).then(|| remains.frames());
    for address in calls.into_iter().flatten() {
        let _ = writeln!(line.aside(), "  {address:#018x}");
        line.send(&Record::PanicFrame(PanicFrame { cpu: cpu.0, address }));
    }
}

/// For the launcher alone, which knows what the numbers mean.
fn say_events(line: &mut Line, cpu: CpuId, ring: Option<Ring<'static>>) {
    let mut events = ring.into_iter().flat_map(|ring| ring.newest(EVENTS)).flatten().peekable();
    while events.peek().is_some() {
        let events = events.by_ref().take(EVENTS_IN_RECORD);
        let events = events.map(|RecordedEvent { tsc, event, a, b }| (tsc, event, a, b)).collect();
        line.send(&Record::PanicEvents(PanicEvents { cpu: cpu.0, events }));
    }
}

struct Listed<'a>(&'a [&'static str]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            let before = if index == 0 { "" } else { ", " };
            write!(f, "{before}{name}")?;
        }
        Ok(())
    }
}
