//! The trace in the format of Chrome's trace viewer, which Perfetto reads too: one object with a list of events, a track
//! (a "thread") for each CPU.
//!
//! What has a beginning and an end is one complete event: halves whose other half was lost would confuse a viewer. An end
//! whose beginning is lost is left out; what had not ended when the trace did ends there.

use octopod::wire::{TraceEvent, Traced};
use serde_json::{Value, json};

use super::stream::{CpuTrace, Trace};
use super::words::Words;

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
        TraceEvent::ShootdownBegin | TraceEvent::ShootdownEnd | TraceEvent::Forget => "shootdown",
        TraceEvent::CpuLeaves | TraceEvent::CpuReturns => "hotplug",
        TraceEvent::BenchHot | TraceEvent::BenchRare => "bench",
    }
}

/// The whole document.
pub fn document(trace: &Trace, words: &Words) -> Value {
    let clock = Clock {
        entry_tsc: trace.entry_tsc,
        hz: if trace.tsc_hz == 0 { 1_000_000_000 } else { trace.tsc_hz },
    };
    let lost = trace.lost();
    let mut events = vec![meta("process_name", None, json!({ "name": "octopod" }))];
    for cpu in &trace.cpus {
        events.push(meta("thread_name", Some(cpu.cpu), json!({ "name": format!("CPU {}", cpu.cpu) })));
        events.push(meta("thread_sort_index", Some(cpu.cpu), json!({ "sort_index": cpu.cpu })));
    }
    let mut timed: Vec<_> = trace.cpus.iter().flat_map(|cpu| track(cpu, &clock, words)).collect();
    // The longer of two that begin together holds the other.
    timed.sort_by_key(|item| (item.start_tsc, std::cmp::Reverse(item.end_tsc)));
    events.extend(timed.into_iter().map(|item| item.json));
    json!({
        "traceEvents": events,
        "displayTimeUnit": "ns",
        "otherData": {
            "lost_events": lost,
            "tsc_hz": trace.tsc_hz,
            "skew_ns": trace.skew_cycles as f64 / clock.hz as f64 * 1e9,
        },
    })
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

struct Item {
    start_tsc: u64,
    end_tsc: u64,
    json: Value,
}

/// A CPU's events.
fn track(cpu: &CpuTrace, clock: &Clock, words: &Words) -> Vec<Item> {
    let item = |begin: &Traced, event: TraceEvent, end_tsc: Option<u64>| {
        let mut json = json!({
            "name": words.title(event, begin.a),
            "cat": category(event),
            "pid": PROCESS,
            "tid": cpu.cpu,
            "ts": clock.at(begin.tsc),
            "args": words.arguments(event, begin.a, begin.b),
        });
        match end_tsc {
            Some(end) => {
                json["ph"] = json!("X");
                json["dur"] = json!(((clock.at(end) - clock.at(begin.tsc)) * 1e3).round() / 1e3);
            }
            None => {
                json["ph"] = json!("i");
                json["s"] = json!("t");
            }
        }
        Item { start_tsc: begin.tsc, end_tsc: end_tsc.unwrap_or(begin.tsc), json }
    };
    let last_tsc = cpu.events.last().map_or(0, |event| event.tsc);
    let mut items = Vec::new();
    let mut open: Vec<(TraceEvent, &Traced)> = Vec::new();
    let mut stage: Option<(TraceEvent, &Traced)> = None;
    for traced in &cpu.events {
        let Some(event) = TraceEvent::from_number(traced.event) else { continue };
        if matches!(event, TraceEvent::BootStage | TraceEvent::CpuStage) {
            // A stage lasts until the next; what was begun in the last one and has not ended has lost its end.
            if let Some((event, begin)) = stage.replace((event, traced)) {
                items.push(item(begin, event, Some(traced.tsc)));
            }
        } else if let Some(begun) = begun_by(event) {
            let same = |(open, begin): &(TraceEvent, &Traced)| *open == begun && begin.a == traced.a;
            if let Some(at) = open.iter().rposition(same) {
                // What is still open above it has lost its end.
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
