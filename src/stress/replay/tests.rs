use std::format;
use std::string::ToString;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

fn error_of(text: &str) -> std::string::String {
    check(text.as_bytes()).expect_err(text).to_string()
}

#[test]
fn each_cpu_gets_its_events_in_their_order() {
    let text = b"# two CPUs\n+0 0 1\n\n+1 9 0\n  -0 0\n+2 18 1\n";
    let size = measure(text).unwrap();
    assert_eq!(size, TraceSize { events: 4, runs: 3, cpus: 2 });
    let tables = TraceTables::new(&size);
    let trace = tables.load(text).unwrap();
    let order = |number| Order::new(number).unwrap();
    let of = |cpu| trace.of(cpu).collect::<Vec<_>>();
    assert_eq!(of(0), [AllocEvent::Alloc { id: 1, order: order(9) }, AllocEvent::Free { id: 0 }]);
    assert_eq!(
        of(1),
        [AllocEvent::Alloc { id: 0, order: order(0) }, AllocEvent::Alloc { id: 2, order: order(18) }]
    );
    assert_eq!(of(2), []);
    assert!(trace.runs.iter().all(|run| run.load(Ordering::Relaxed) == 0));
}

#[test]
fn the_parts_of_a_split_have_the_next_numbers() {
    let text = b"+0 18 0\n+1 2 0\n=1 0 4 1\n+6 1 0\n-5 1\n=0 17 2 0\n-8 1\n";
    let size = check(text).unwrap();
    assert_eq!(size, TraceSize { events: 7, runs: 9, cpus: 2 });
    let tables = TraceTables::new(&size);
    let trace = tables.load(text).unwrap();
    let order = |number| Order::new(number).unwrap();
    let split = |id, of, count, first| AllocEvent::Split { id, order: order(of), count, first };
    assert_eq!(
        trace.of(1).collect::<Vec<_>>(),
        [split(1, 0, 4, 2), AllocEvent::Free { id: 5 }, AllocEvent::Free { id: 8 }]
    );
    assert_eq!(trace.of(0).last(), Some(split(0, 17, 2, 7)));
    assert!(trace.runs.iter().all(|run| run.load(Ordering::Relaxed) == 0));
}

#[test]
fn an_error_names_its_line() {
    for (text, expected) in [
        ("", "line 1: the trace ends without an event"),
        ("# nothing\n\n", "line 3: the trace ends without an event"),
        ("+0 0 0\nx\n", "line 2: none of `+ID ORDER CPU`, `=ID ORDER COUNT CPU` and `-ID CPU`"),
        ("+0 0\n", "line 1: the CPU is missing, or not a plain decimal number"),
        ("+ 0 0 0\n", "line 1: the run's number is missing, or not a plain decimal number"),
        ("+0 -1 0\n", "line 1: the order is missing, or not a plain decimal number"),
        ("+0 19 0\n", "line 1: order 19 is above 18"),
        ("+0 0 4096\n", "line 1: CPU 4096 is above 4095"),
        ("+0 0 4294967296\n", "line 1: the CPU is missing, or not a plain decimal number"),
        ("+0 0 0 0\n", "line 1: the end of the line is missing, or not a plain decimal number"),
        ("+1 0 0\n", "line 1: the run is called 1, and the next in order is 0"),
        ("\n+0 0 0\n-1 0\n", "line 3: run 1 is freed and was not allocated before"),
        ("+0 0 0\n-0 0\n#\n-0 1\n", "line 4: run 0 is freed a second time"),
        ("+0 2 0\n=0 1 2 0\n-0 0\n", "line 3: run 0 is freed a second time"),
        ("+0 2 0\n=0 1 2 0\n-2 0\n-3 0\n", "line 4: run 3 is freed and was not allocated before"),
        ("+0 2 0\n=0 1 3 0\n", "line 2: a run of order 2 does not have 3 parts of order 1"),
        ("+0 2 0\n=0 3 1 0\n", "line 2: a run of order 2 does not have 1 parts of order 3"),
        ("+0 2 0\n=0 1 0\n", "line 2: the CPU is missing, or not a plain decimal number"),
        (
            "+0 2 0\n=0 1 4294967295 0\n",
            "line 2: a run of order 18 does not have 4294967295 parts of order 1",
        ),
        ("=0 1 2 0\n", "line 1: run 0 is freed and was not allocated before"),
    ] {
        assert_eq!(error_of(text), expected, "{text:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = check(&text);
    }

    #[test]
    fn a_written_trace_is_read_back(steps in proptest::collection::vec((0u8..=18, 0u32..9, any::<bool>()), 1..60)) {
        let (mut text, mut alive, mut runs, mut events) = (std::string::String::new(), Vec::new(), 0, 0);
        for (order, cpu, frees) in steps {
            if frees && !alive.is_empty() {
                let id: u32 = alive.swap_remove(order as usize % alive.len());
                text += &format!("-{id} {cpu}\n");
            } else {
                text += &format!("+{runs} {order} {cpu}\n");
                alive.push(runs);
                runs += 1;
            }
            events += 1;
        }
        let size = check(text.as_bytes()).unwrap();
        prop_assert_eq!((size.runs, size.events), (runs as usize, events));
        let tables = TraceTables::new(&size);
        let trace = tables.load(text.as_bytes()).unwrap();
        prop_assert_eq!((0..size.cpus).map(|cpu| trace.of(cpu).count()).sum::<usize>(), events);
    }
}
