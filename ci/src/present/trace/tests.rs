use octopod::wire::{
    FIRST_PROGRAM_EVENT, LeaveReason, NO_THREAD, RecordedEvent, TRACE_MAGIC, ThreadLeft, TraceEvent,
    TracePart,
};
use serde_json::{Value, json};

use std::path::Path;

use super::*;
use crate::kernel::Symbols;
use crate::kernel::registry::EventEntry;

fn stream(parts: &[TracePart]) -> Vec<u8> {
    let mut bytes = TRACE_MAGIC.to_vec();
    parts.iter().for_each(|part| bytes.extend(postcard::to_stdvec(part).unwrap()));
    bytes
}

fn event(event: TraceEvent, tsc: u64, a: u64) -> TracePart {
    TracePart::Event(RecordedEvent { tsc, event: event as u16, a, b: 0 })
}

const START: TracePart =
    TracePart::Start { tsc_hz: 1_000_000_000, entry_tsc: 1000, skew_cycles: 20, slide: 0 };

fn parts() -> Vec<TracePart> {
    vec![
        START,
        TracePart::Cpu { cpu: 0, recorded: 10, lost: 5 },
        event(TraceEvent::BootStage, 1000, 0),
        event(TraceEvent::BootStage, 9000, 1),
        // Its beginning is lost.
        event(TraceEvent::CallEnd, 1500, 7),
        event(TraceEvent::InterruptEnter, 2000, 0xf0),
        event(TraceEvent::CallBegin, 2100, 7),
        event(TraceEvent::CallEnd, 2200, 7),
        event(TraceEvent::InterruptExit, 2300, 0xf0),
        // Recorded in the middle of another, so earlier and behind it.
        event(TraceEvent::FrameDrain, 2250, 0),
        TracePart::Cpu { cpu: 1, recorded: 1, lost: 0 },
        event(TraceEvent::InterruptEnter, 2400, 0xf2),
        event(TraceEvent::OutOfMemory, 3000, 0),
        TracePart::Event(RecordedEvent { tsc: 3100, event: FIRST_PROGRAM_EVENT, a: 7, b: 0 }),
        TracePart::End { events: 11 },
    ]
}

fn document() -> Value {
    let symbols = Symbols::read(Path::new("/nonexistent"), Path::new("/"));
    let fields = ["id".to_owned(), String::new()];
    let queued = EventEntry { name: "item queued".to_owned(), fields };
    let names = EventNames::new(&symbols, 0, [(0xf0, "call".to_owned())]).with_program(vec![queued]);
    assert_eq!(names.line(FIRST_PROGRAM_EVENT, 7, 0), "item queued, id 7");
    assert_eq!(names.line(FIRST_PROGRAM_EVENT + 1, 7, 0), "event 33");
    let mut text = Vec::new();
    timeline(&*stream(&parts())).unwrap().write(&mut text, &names).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// All sections of a stream.
fn read(bytes: &[u8]) -> Result<Vec<Section>, StreamError> {
    let mut all = Vec::new();
    sections(bytes, |section| all.push(section)).map(|()| all)
}

#[test]
fn what_is_cut_or_no_trace_is_refused() {
    let whole = stream(&parts());
    assert_eq!(read(&whole).unwrap().len(), 3);
    assert_eq!(read(&[]), Err(StreamError::Empty));
    assert_eq!(read(b"SeaBIOS"), Err(StreamError::NoMagic));
    for length in TRACE_MAGIC.len()..whole.len() {
        assert!(matches!(read(&whole[..length]), Err(StreamError::Cut { .. })), "{length}");
    }
    let fewer = stream(&[START, TracePart::End { events: 1 }]);
    assert_eq!(read(&fewer), Err(StreamError::Count { sent: 1, came: 0 }));
    assert_eq!(read(&[&TRACE_MAGIC[..], &[99]].concat()), Err(StreamError::Part { at: TRACE_MAGIC.len() }));
}

#[test]
fn what_was_sent_before_a_second_start_counts_for_nothing() {
    let cpu = |cpu| TracePart::Cpu { cpu, recorded: 1, lost: 3 };
    let drain = || event(TraceEvent::FrameDrain, 2000, 0);
    let parts = [START, cpu(0), drain(), START, cpu(1), drain(), TracePart::End { events: 2 }];
    let report = timeline(&*stream(&parts)).unwrap().report();
    assert_eq!((report.cpus, report.events, report.lost), (1, 1, 3));
}

/// A panic before the kernel knows its TSC sends a trace all the same.
#[test]
fn without_a_frequency_times_are_called_cycles() {
    let start = TracePart::Start { tsc_hz: 0, entry_tsc: 1000, skew_cycles: 20, slide: 0 };
    let cpu = TracePart::Cpu { cpu: 0, recorded: 1, lost: 0 };
    let parts = [start, cpu, event(TraceEvent::FrameDrain, 3500, 0), TracePart::End { events: 1 }];
    let symbols = Symbols::read(Path::new("/nonexistent"), Path::new("/"));
    let mut text = Vec::new();
    timeline(&*stream(&parts)).unwrap().write(&mut text, &EventNames::new(&symbols, 0, [])).unwrap();
    let document: Value = serde_json::from_slice(&text).unwrap();
    let events = document["traceEvents"].as_array().unwrap();
    assert!(events[0]["args"]["name"].as_str().unwrap().contains("1 ns = 1 TSC cycle"), "{document}");
    assert_eq!(events.last().unwrap()["ts"], json!(2.5));
    let other = &document["otherData"];
    assert_eq!((&other["time_unit"], &other["skew_ns"]), (&json!("1000 TSC cycles"), &Value::Null));
}

#[test]
fn the_document_has_a_track_for_each_cpu_and_whole_events() {
    let document = document();
    let events = document["traceEvents"].as_array().unwrap();
    let tracks: Vec<_> = events.iter().filter(|event| event["name"] == "thread_name").collect();
    assert_eq!(tracks.iter().map(|track| &track["args"]["name"]).collect::<Vec<_>>(), ["CPU 0", "CPU 1"]);
    let shown = |event: &Value| (event["name"].clone(), event["ts"].as_f64().unwrap(), event["dur"].as_f64());
    let timed: Vec<_> = events.iter().filter(|event| event["ph"] != "M").map(shown).collect();
    let expected = [
        ("loader", 0.0, Some(8.0)),
        ("call", 1.0, Some(0.3)),
        ("call 0x7", 1.1, Some(0.1)),
        ("frame drain", 1.25, None),
        // Its end had not come.
        ("vector 0xf2", 1.4, Some(0.7)),
        ("out of memory", 2.0, None),
        ("item queued", 2.1, None),
        ("options", 8.0, Some(0.0)),
    ];
    assert_eq!(timed, expected.map(|(name, ts, dur)| (json!(name), ts, dur)));
    assert_eq!(
        document["otherData"],
        json!({ "lost_events": 5, "tsc_hz": 1_000_000_000, "time_unit": "us", "skew_ns": 20.0 })
    );
}

/// Thread 7 of CPU 0 wakes thread 8, which CPU 1 runs until it blocks; an interrupt preempts thread 7.
#[test]
fn threads_have_tracks_with_their_states_and_wake_ups() {
    let switch = |tsc, next, left: Option<(u64, LeaveReason)>| {
        let b = left.map_or(NO_THREAD, |(thread, reason)| ThreadLeft { thread, reason }.word());
        TracePart::Event(RecordedEvent { tsc, event: TraceEvent::ThreadSwitch as u16, a: next, b })
    };
    let mut name = [0; 24];
    name[..4].copy_from_slice(b"main");
    let parts = [
        START,
        TracePart::Cpu { cpu: 0, recorded: 9, lost: 5 },
        event(TraceEvent::FrameDrain, 1500, 0),
        event(TraceEvent::ThreadWake, 2000, 8),
        event(TraceEvent::InterruptEnter, 2700, 0xf0),
        switch(2800, 9, Some((7, LeaveReason::Preempted))),
        event(TraceEvent::InterruptExit, 2900, 0xf0),
        TracePart::Cpu { cpu: 1, recorded: 2, lost: 0 },
        switch(2500, 8, None),
        switch(3000, NO_THREAD, Some((8, LeaveReason::Blocked))),
        event(TraceEvent::FrameDrain, 3500, 0),
        TracePart::Thread { id: 7, name },
        TracePart::End { events: 8 },
    ];
    let symbols = Symbols::read(Path::new("/nonexistent"), Path::new("/"));
    let mut text = Vec::new();
    timeline(&*stream(&parts)).unwrap().write(&mut text, &EventNames::new(&symbols, 0, [])).unwrap();
    let document: Value = serde_json::from_slice(&text).unwrap();
    let events = document["traceEvents"].as_array().unwrap();
    let titles: Vec<_> = events
        .iter()
        .filter(|event| event["name"] == "thread_name" && event["pid"] == 3)
        .map(|event| event["args"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(titles, ["main (7)", "thread 8", "thread 9"]);
    let slices = |group: u32| -> Vec<_> {
        let slices = events.iter().filter(|event| event["ph"] == "X" && event["pid"] == group);
        slices
            .map(|event| {
                let number = |name: &str| event[name].as_f64().unwrap();
                (number("tid") as u64, event["name"].as_str().unwrap(), number("ts"), number("dur"))
            })
            .collect()
    };
    // The interrupt ends with the switch, though its end was recorded when the next thread had run on.
    assert_eq!(slices(1), [(0, "vector 0xf0", 1.7, 0.1)]);
    assert_eq!(slices(2), [(0, "main (7)", 0.5, 1.3), (1, "thread 8", 1.5, 0.5), (0, "thread 9", 1.8, 0.7)]);
    let states = [
        (7, "running", 0.5, 1.3),
        (8, "runnable", 1.0, 0.5),
        (8, "running", 1.5, 0.5),
        (7, "runnable", 1.8, 0.7),
        (9, "running", 1.8, 0.7),
        (8, "blocked", 2.0, 0.5),
    ];
    assert_eq!(slices(3), states);
    let ends = |phase: &str| -> Vec<_> {
        let ends = events.iter().filter(|event| event["ph"] == phase);
        ends.map(|event| {
            (event["id"].clone(), event["pid"].clone(), event["tid"].clone(), event["ts"].clone())
        })
        .collect()
    };
    assert_eq!(ends("s"), [(json!(0), json!(3), json!(7), json!(1.0))]);
    assert_eq!(ends("f"), [(json!(0), json!(3), json!(8), json!(1.0))]);
}
