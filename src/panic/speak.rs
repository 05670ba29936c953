//! What a dying CPU says, to people and to the launcher.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};

use super::{Death, OTHERS, Victim, backtrace, last_words, remains, stage};
use crate::boot::handoff;
use crate::console::{LastWords as Line, LineBuffer};
use crate::cpu::CpuId;
use crate::cpu::registers::read_tsc;
use crate::wire::{Frame, LastWords, Panic, PanicCpu, PanicFrame, Record, Registers};

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

/// What can be said without formatting anything that is not this module's own.
pub fn first_words<'a>(me: CpuId, death: &Death, location: &'a Location) -> LastWords<&'a str> {
    LastWords {
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
    }
}

/// All of it.
pub fn speak(line: &mut Line, me: CpuId, death: &Death, words: LastWords<&str>) {
    let message = LineBuffer::<300>::format(death.message);
    let words = LastWords { message: message.as_str(), ..words };
    // SAFETY: the one CPU that ends the run.
    unsafe { last_words::leave(&words) };
    say(line, &words, death.is_exception.then(|| death.registers.rip()));
    say_registers(line, death.registers);
    for address in backtrace(death.registers.rbp()) {
        let _ = writeln!(line, "  {address:#018x}");
        line.send(&Record::Frame(Frame { address }));
    }
    say_all(line, me);
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
    let first = last_words::read();
    let text = LineBuffer::<300>::format(format_args!(
        "a panic whose message panics: {}, at {}",
        message.as_str(),
        place.as_str()
    ));
    let words = LastWords { message: text.as_str(), ..first.unwrap_or_default() };
    // SAFETY: the one CPU that ends the run.
    unsafe { last_words::leave(&words) };
    say(line, &words, None);
    for &address in &words.calls {
        let _ = writeln!(line, "  {address:#018x}");
        line.send(&Record::Frame(Frame { address }));
    }
    say_all(line, me);
}

/// The message, with which everything is said if nothing else is.
fn say(line: &mut Line, words: &LastWords<&str>, rip: Option<u64>) {
    let location = (!words.location.is_empty()).then_some(words.location);
    // The line drops what it cannot send; it never fails.
    let _ = writeln!(line, "\noctopod: cpu{} panicked: {}", words.cpu, words.message);
    if let Some(location) = location {
        let _ = writeln!(line, "  at {location}");
    }
    let _ = writeln!(line, "  in stage {}", words.stage);
    line.send(&Record::Panic(Panic {
        cpu: words.cpu,
        message: words.message,
        location,
        rip,
        slide: words.slide,
        stage: Some(words.stage),
    }));
    HAS_SPOKEN.store(true, Ordering::Release);
}

fn say_registers(line: &mut Line, registers: &Registers) {
    for (index, (name, value)) in registers.named().enumerate() {
        let end = if index % 4 == 3 { "\n" } else { "" };
        let _ = write!(line, "  {name:<6} {value:016x}{end}");
    }
}

/// Each CPU in turn, this one among them.
fn say_all(line: &mut Line, me: CpuId) {
    match OTHERS.get() {
        Some(others) => others.visit(&mut |victim| say_one(line, me, &victim)),
        // Then there is no other CPU yet.
        None => {
            let (state, stage, remains) = ("panicked", stage(), remains::own());
            say_one(line, me, &Victim { cpu: me, state, stage, was_stopped: true, remains });
        }
    }
    let _ = writeln!(line, "octopod: end of the last words");
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
    // Its own have been said.
    let calls = (cpu != me && is_known).then(|| remains.frames());
    for address in calls.into_iter().flatten() {
        let _ = writeln!(line, "  {address:#018x}");
        line.send(&Record::PanicFrame(PanicFrame { cpu: cpu.0, address }));
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
