//! The trace in the format of Chrome's trace viewer, which Perfetto reads too: one object with a list of events, and a track (a
//! "thread") for each CPU.
//!
//! A begin and its end become one complete event, because an unpaired half confuses a viewer. An end without its begin is
//! omitted. A begin without its end ends with the trace.

use std::io::{self, Write};

use octopod::wire::{FIRST_PROGRAM_EVENT, RecordedEvent, TraceEvent};
use serde_json::{Map, Value, json};

use crate::present::trace::stream::{CpuTrace, Start};
use crate::report::event_names::{EventNames, program_arguments};
use crate::report::trace::TraceReport;

/// The one process there is.
const PROCESS: u32 = 1;

/// The event that begins what this one ends.
fn begun_by(event: TraceEvent) -> Option<TraceEvent> {
    match event {
        TraceEvent::InterruptExit => Some(TraceEvent::InterruptEnter),
        TraceEvent::CallEnd => Some(TraceEvent::CallBegin),
        TraceEvent::ShootdownEnd => Some(TraceEvent::ShootdownBegin),
        _ => None,
    }
}

fn begins(event: TraceEvent) -> bool {
    TraceEvent::ALL.iter().any(|end| begun_by(*end) == Some(event))
}

fn category(event: TraceEvent) -> &'static str {
    match event {
        TraceEvent::BootStage | TraceEvent::CpuStage => "stage",
        TraceEvent::InterruptEnter | TraceEvent::InterruptExit => "interrupt",
        TraceEvent::TimerArm | TraceEvent::TimerExpire => "timer",
        TraceEvent::CallSend | TraceEvent::CallBegin | TraceEvent::CallEnd => "call",
        TraceEvent::FrameRefill | TraceEvent::FrameDrain => "frames",
        TraceEvent::DrainOthers | TraceEvent::OutOfMemory => "frames",
        TraceEvent::ShootdownBegin | TraceEvent::ShootdownEnd | TraceEvent::TlbFlush => "shootdown",
        TraceEvent::CpuOffline | TraceEvent::CpuOnline => "hotplug",
        TraceEvent::BenchHot | TraceEvent::BenchRare => "bench",
    }
}

/// A trace, as it will be written.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    start: Start,
    /// The CPUs with the numbers of the events that they have lost.
    cpus: Vec<(u32, u64)>,
    /// Events that came.
    events: u64,
    items: Vec<Item>,
}

impl Timeline {
    /// One without a CPU.
    pub(crate) fn new(start: Start) -> Timeline {
        Timeline { start, ..Timeline::default() }
    }

    /// Adds what a CPU has recorded.
    pub(crate) fn add(&mut self, cpu: &CpuTrace) {
        self.cpus.push((cpu.cpu, cpu.lost));
        self.events += cpu.events.len() as u64;
        self.items.extend(track(cpu));
    }

    /// Puts all in the order of time.
    pub(crate) fn sort(&mut self) {
        // The longer of two that begin together holds the other.
        self.items.sort_by_key(|item| (item.begin.tsc, std::cmp::Reverse(item.end_tsc())));
    }

    /// Returns the counts of the trace.
    pub(crate) fn report(&self) -> TraceReport {
        let lost = self.cpus.iter().fold(0, |all: u64, (_, lost)| all.saturating_add(*lost));
        TraceReport { cpus: self.cpus.len(), events: self.events, lost }
    }

    /// Writes the whole document, one event a line.
    ///
    /// # Errors
    /// The writer's error.
    pub(crate) fn write(&self, out: &mut dyn Write, names: &EventNames) -> io::Result<()> {
        let Start { tsc_hz, entry_tsc, skew_cycles, .. } = self.start;
        let clock = Clock { entry_tsc, hz: if tsc_hz == 0 { 1_000_000_000 } else { tsc_hz } };
        // The format knows nothing but microseconds. Without a frequency a cycle is shown as a nanosecond, and the name states it.
        let is_timed = tsc_hz != 0;
        let name = if is_timed { "octopod" } else { "octopod (1 ns = 1 TSC cycle: frequency unknown)" };
        out.write_all(b"{\"traceEvents\":[\n")?;
        serde_json::to_writer(&mut *out, &meta("process_name", None, json!({ "name": name })))?;
        let mut event = |event: Value| {
            out.write_all(b",\n")?;
            serde_json::to_writer(&mut *out, &event).map_err(io::Error::from)
        };
        for (cpu, _) in &self.cpus {
            event(meta("thread_name", Some(*cpu), json!({ "name": format!("CPU {cpu}") })))?;
            event(meta("thread_sort_index", Some(*cpu), json!({ "sort_index": cpu })))?;
        }
        for item in &self.items {
            event(item.json(&clock, names))?;
        }
        let other = json!({
            "lost_events": self.report().lost,
            "tsc_hz": tsc_hz,
            "time_unit": if is_timed { "us" } else { "1000 TSC cycles" },
            "skew_ns": is_timed.then(|| skew_cycles as f64 / clock.hz as f64 * 1e9),
        });
        writeln!(out, "\n],\"displayTimeUnit\":\"ns\",\"otherData\":{other}}}")
    }
}

fn meta(name: &str, track: Option<u32>, arguments: Value) -> Value {
    let mut event = json!({ "ph": "M", "name": name, "pid": PROCESS, "args": arguments });
    if let Some(track) = track {
        event["tid"] = json!(track);
    }
    event
}

struct Clock {
    entry_tsc: u64,
    hz: u64,
}

impl Clock {
    /// Microseconds, the format's unit, to the nanosecond.
    fn us(&self, cycles: u64) -> f64 {
        (cycles as f64 / self.hz as f64 * 1e9).round() / 1e3
    }

    fn at(&self, tsc: u64) -> f64 {
        self.us(tsc.saturating_sub(self.entry_tsc))
    }
}

/// A slice of a track, or a mark on it.
#[derive(Clone, Copy, Debug)]
struct Item {
    cpu: u32,
    /// `None` for an event of the program.
    event: Option<TraceEvent>,
    begin: RecordedEvent,
    /// `None` for a mark.
    end: Option<u64>,
}

impl Item {
    fn end_tsc(&self) -> u64 {
        self.end.unwrap_or(self.begin.tsc)
    }

    fn json(&self, clock: &Clock, names: &EventNames) -> Value {
        let Item { cpu, event, begin, end } = *self;
        let (name, category, arguments) = match (event, names.of_program(begin.event)) {
            (Some(event), _) => {
                (names.title(event, begin.a), category(event), names.arguments(event, begin.a, begin.b))
            }
            (None, Some(own)) => (own.name.clone(), "program", program_arguments(own, begin.a, begin.b)),
            (None, None) => (format!("event {}", begin.event), "program", Map::new()),
        };
        let mut json = json!({
            "name": name,
            "cat": category,
            "pid": PROCESS,
            "tid": cpu,
            "ts": clock.at(begin.tsc),
            "args": arguments,
        });
        match end {
            Some(end) => {
                json["ph"] = json!("X");
                json["dur"] = json!(((clock.at(end) - clock.at(begin.tsc)) * 1e3).round() / 1e3);
            }
            None => {
                json["ph"] = json!("i");
                json["s"] = json!("t");
            }
        }
        json
    }
}

/// A CPU's events.
fn track(cpu: &CpuTrace) -> Vec<Item> {
    let item = |begin: &RecordedEvent, event: TraceEvent, end: Option<u64>| Item {
        cpu: cpu.cpu,
        event: Some(event),
        begin: *begin,
        end,
    };
    let last_tsc = cpu.events.last().map_or(0, |event| event.tsc);
    let mut items = Vec::new();
    let mut open: Vec<(TraceEvent, &RecordedEvent)> = Vec::new();
    let mut stage: Option<(TraceEvent, &RecordedEvent)> = None;
    for traced in &cpu.events {
        if traced.event >= FIRST_PROGRAM_EVENT {
            items.push(Item { cpu: cpu.cpu, event: None, begin: *traced, end: None });
            continue;
        }
        let Some(event) = TraceEvent::from_number(traced.event) else { continue };
        if matches!(event, TraceEvent::BootStage | TraceEvent::CpuStage) {
            // A stage lasts until the next; what was begun in the last one and has not ended has lost its end.
            if let Some((event, begin)) = stage.replace((event, traced)) {
                items.push(item(begin, event, Some(traced.tsc)));
            }
        } else if let Some(begun) = begun_by(event) {
            let same = |(open, begin): &(TraceEvent, &RecordedEvent)| *open == begun && begin.a == traced.a;
            if let Some(at) = open.iter().rposition(same) {
                // Events that are still open above it have lost their end.
                for (event, begin) in open.drain(at..) {
                    items.push(item(begin, event, Some(traced.tsc)));
                }
            }
        } else if begins(event) {
            open.push((event, traced));
        } else {
            items.push(item(traced, event, None));
        }
    }
    for (event, begin) in open.into_iter().chain(stage) {
        items.push(item(begin, event, Some(last_tsc)));
    }
    items
}
