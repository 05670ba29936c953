//! The trace in the format of Chrome's trace viewer, which Perfetto reads too: one object with a list of events. There are three groups of
//! tracks (the format's processes): what happens on each CPU, which thread each CPU runs, and what each thread does. An arrow (the format's
//! flow) leads from what woke a thread to the thread.
//!
//! A begin and its end become one complete event, because an unpaired half confuses a viewer. An end without its begin is
//! omitted. A begin without its end ends with the trace.

use std::io::{self, Write};

use octopod::wire::{FIRST_PROGRAM_EVENT, RecordedEvent, TraceEvent};
use serde_json::{Map, Value, json};

use crate::present::trace::stream::{CpuTrace, Start};
use crate::present::trace::threads::{Events, Span, State, Threads};
use crate::report::event_names::{EventNames, program_arguments};
use crate::report::trace::TraceReport;

/// The group of what happens on each CPU.
const CPUS: u32 = 1;
/// The group of the threads that CPUs run.
const RUNNING: u32 = 2;
/// The group of what threads do.
const THREADS: u32 = 3;

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
        TraceEvent::ThreadSwitch
        | TraceEvent::ThreadWake
        | TraceEvent::ThreadSpawn
        | TraceEvent::ThreadSteal
        | TraceEvent::ThreadMigrate => "scheduler",
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
    threads: Events,
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
        self.threads.add(cpu.cpu, &cpu.events);
    }

    /// Adds the name of a thread.
    pub(crate) fn name(&mut self, thread: u64, name: String) {
        self.threads.name(thread, name);
    }

    /// Follows the threads, and puts all in the order of time.
    pub(crate) fn finish(&mut self) {
        let Threads { on_cpus, states, arrows } = self.threads.follow();
        let span = |(group, of): (u32, fn(&Span) -> u64)| {
            move |span: &Span| Item {
                group,
                track: of(span),
                begin: span.begin,
                end: Some(span.end),
                what: if group == RUNNING { What::Runs(span.thread) } else { What::State(span.state) },
            }
        };
        let cpu_of = |span: &Span| match span.state {
            State::Running { cpu } => cpu.into(),
            _ => 0,
        };
        self.items.extend(on_cpus.iter().map(span((RUNNING, cpu_of))));
        self.items.extend(states.iter().map(span((THREADS, |span| span.thread))));
        for (id, arrow) in arrows.iter().enumerate() {
            let (group, track) = arrow.waker.map_or((CPUS, arrow.cpu.into()), |waker| (THREADS, waker));
            let item = |group, track, what| Item { group, track, begin: arrow.tsc, end: None, what };
            self.items.push(item(group, track, What::ArrowFrom(id)));
            self.items.push(item(THREADS, arrow.woken, What::ArrowTo(id)));
        }
        // The longer of two that begin together holds the other.
        self.items.sort_by_key(|item| (item.begin, std::cmp::Reverse(item.end.unwrap_or(item.begin))));
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
        serde_json::to_writer(&mut *out, &meta("process_name", CPUS, None, json!({ "name": name })))?;
        let mut event = |event: Value| {
            out.write_all(b",\n")?;
            serde_json::to_writer(&mut *out, &event).map_err(io::Error::from)
        };
        let mut threads: Vec<_> =
            self.items.iter().filter(|item| item.group == THREADS).map(|item| item.track).collect();
        threads.sort_unstable();
        threads.dedup();
        let groups = if threads.is_empty() { vec![CPUS] } else { vec![CPUS, RUNNING] };
        for group in groups {
            for (cpu, _) in &self.cpus {
                let track = Some(u64::from(*cpu));
                event(meta("thread_name", group, track, json!({ "name": format!("CPU {cpu}") })))?;
                event(meta("thread_sort_index", group, track, json!({ "sort_index": cpu })))?;
            }
        }
        if !threads.is_empty() {
            event(meta("process_name", RUNNING, None, json!({ "name": "threads by CPU" })))?;
            event(meta("process_name", THREADS, None, json!({ "name": "threads" })))?;
        }
        for thread in threads {
            event(meta("thread_name", THREADS, Some(thread), json!({ "name": self.threads.title(thread) })))?;
            event(meta("thread_sort_index", THREADS, Some(thread), json!({ "sort_index": thread })))?;
        }
        for item in &self.items {
            event(item.json(&clock, names, &self.threads))?;
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

fn meta(name: &str, group: u32, track: Option<u64>, arguments: Value) -> Value {
    let mut event = json!({ "ph": "M", "name": name, "pid": group, "args": arguments });
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

/// A slice of a track, a mark on it, or an end of an arrow.
#[derive(Clone, Copy, Debug)]
struct Item {
    group: u32,
    track: u64,
    begin: u64,
    /// `None` for what has no length.
    end: Option<u64>,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// `None` for an event of the program.
    Event(Option<TraceEvent>, RecordedEvent),
    /// A CPU runs this thread.
    Runs(u64),
    /// A state of a thread.
    State(State),
    /// The beginning of the arrow with this number.
    ArrowFrom(usize),
    /// Its end.
    ArrowTo(usize),
}

impl Item {
    fn json(&self, clock: &Clock, names: &EventNames, threads: &Events) -> Value {
        let (name, category, arguments) = match self.what {
            What::Event(Some(event), traced) => {
                (names.title(event, traced.a), category(event), names.arguments(event, traced.a, traced.b))
            }
            What::Event(None, traced) => match names.of_program(traced.event) {
                Some(own) => (own.name.clone(), "program", program_arguments(own, traced.a, traced.b)),
                None => (format!("event {}", traced.event), "program", Map::new()),
            },
            What::Runs(thread) => {
                (threads.title(thread), "thread", Map::from_iter([("thread".to_owned(), json!(thread))]))
            }
            What::State(state) => {
                let (name, argument) = match state {
                    State::Running { cpu } => ("running".to_owned(), ("cpu", json!(cpu))),
                    State::Runnable { since } => ("runnable".to_owned(), ("since", json!(since))),
                    State::Waiting { state } => (state.to_owned(), ("for", json!(state))),
                };
                (name, "thread", Map::from_iter([(argument.0.to_owned(), argument.1)]))
            }
            What::ArrowFrom(_) | What::ArrowTo(_) => ("wake".to_owned(), "wake", Map::new()),
        };
        let mut json = json!({
            "name": name,
            "cat": category,
            "pid": self.group,
            "tid": self.track,
            "ts": clock.at(self.begin),
            "args": arguments,
        });
        match (self.what, self.end) {
            (What::ArrowFrom(id), _) => {
                json["ph"] = json!("s");
                json["id"] = json!(id);
            }
            (What::ArrowTo(id), _) => {
                json["ph"] = json!("f");
                json["id"] = json!(id);
                // It ends at the slice that is there, not at the next one.
                json["bp"] = json!("e");
            }
            (_, Some(end)) => {
                json["ph"] = json!("X");
                json["dur"] = json!(((clock.at(end) - clock.at(self.begin)) * 1e3).round() / 1e3);
            }
            (_, None) => {
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
        group: CPUS,
        track: cpu.cpu.into(),
        begin: begin.tsc,
        end,
        what: What::Event(Some(event), *begin),
    };
    let last_tsc = cpu.events.last().map_or(0, |event| event.tsc);
    let mut items = Vec::new();
    let mut open: Vec<(TraceEvent, &RecordedEvent)> = Vec::new();
    let mut stage: Option<(TraceEvent, &RecordedEvent)> = None;
    for traced in &cpu.events {
        if traced.event >= FIRST_PROGRAM_EVENT {
            let what = What::Event(None, *traced);
            items.push(Item { group: CPUS, track: cpu.cpu.into(), begin: traced.tsc, end: None, what });
            continue;
        }
        let Some(event) = TraceEvent::from_number(traced.event) else { continue };
        if event == TraceEvent::ThreadSwitch {
            // An interrupt that preempts a thread has ended; its end is recorded when the thread runs again, on whatever CPU.
            if let Some(at) = open.iter().position(|(open, _)| *open == TraceEvent::InterruptEnter) {
                items.extend(open.drain(at..).map(|(event, begin)| item(begin, event, Some(traced.tsc))));
            }
        }
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
