mod typing;

use proptest::prelude::*;

use super::command::{Command, Tracing, View};
use super::complete::{Completion, complete, each_candidate};
use super::keys::{Key, Keys};
use super::parse::{UsageError, Vocabulary, parse};
use super::table::{Argument, MAX_STRESS_MS, ROWS, Value};
use crate::cpu::CpuId;
use crate::stress::workloads::PAIRS;

const VOCABULARY: Vocabulary =
    Vocabulary { benchmarks: &["frame_pair_order0", "frame_pair_order3", "self_ipi"] };

fn parsed(line: &str) -> Option<Command> {
    parse(line, &VOCABULARY).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn refused(line: &str) -> String {
    let error = parse(line, &VOCABULARY).expect_err(line);
    error.to_string()
}

/// A valid word for an argument.
fn example(argument: Argument) -> &'static str {
    match argument {
        Argument::Word(word) => word,
        Argument::Command => "mem",
        Argument::Cpu => "3",
        Argument::Thread => "70000",
        Argument::Address => "0xffff800000000000",
        Argument::Milliseconds => "250",
        Argument::Workload => "storm",
        Argument::Benchmark => "self_ipi",
    }
}

#[test]
fn every_form_of_every_command_is_understood_and_shown_by_its_usage() {
    for (index, row) in ROWS.iter().enumerate() {
        assert!(ROWS[..index].iter().all(|earlier| earlier.name != row.name), "{} twice", row.name);
        for form in row.forms {
            let words: Vec<_> = form.iter().copied().map(example).collect();
            let line = format!("{} {}", row.name, words.join(" "));
            assert!(parsed(&line).is_some(), "{line}");
            let usage =
                form.iter().fold(row.name.to_owned(), |usage, argument| format!("{usage} {argument}"));
            assert!(row.to_string().split(" | ").any(|shown| shown == usage), "{row}: {usage}");
        }
    }
}

#[test]
fn a_line_parses_to_its_command() {
    for (line, command) in [
        ("cpus", Command::Cpus),
        ("  cpus\t ", Command::Cpus),
        ("mem", Command::Memory(View::Summary)),
        ("mem map", Command::Memory(View::Map)),
        ("mem heap", Command::Memory(View::Heap)),
        ("mem mappings", Command::Memory(View::Mappings)),
        ("mem tables 4096", Command::Memory(View::Tables(4096))),
        ("mem tables 0xFFFF800000000000", Command::Memory(View::Tables(0xffff_8000_0000_0000))),
        ("stress", Command::Stress { workload: None, ms: None }),
        ("stress 5", Command::Stress { workload: None, ms: Some(5) }),
        ("stress pairs", Command::Stress { workload: Some(&PAIRS), ms: None }),
        ("stress pairs 600000", Command::Stress { workload: Some(&PAIRS), ms: Some(MAX_STRESS_MS) }),
        ("bench self_ipi", Command::Bench(Some("self_ipi"))),
        ("call 4095", Command::Call(CpuId(4095))),
        ("backtrace", Command::Backtrace(None)),
        ("backtrace 0", Command::Backtrace(Some(CpuId(0)))),
        ("trace dump", Command::Trace(Tracing::Dump)),
        ("threads", Command::Threads),
        ("thread 18446744073709551615", Command::Thread(u64::MAX)),
        ("top", Command::Top),
        ("help", Command::Help(None)),
        ("poweroff", Command::PowerOff),
    ] {
        assert_eq!(parsed(line), Some(command), "{line}");
    }
    let Some(Command::Help(Some(row))) = parsed("help mem") else { panic!("no help") };
    assert_eq!(ROWS[row].name, "mem");
    assert_eq!([parsed(""), parsed("   \t")], [None, None]);
}

#[test]
fn a_bad_line_gets_one_line_with_the_usage() {
    for (line, answer) in [
        ("foo", "foo: no such command; `help` lists them"),
        ("CPUS", "CPUS: no such command; `help` lists them"),
        ("cpus now", "cpus: \"now\" is one word too many; usage: cpus"),
        ("call", "call: an argument is missing; usage: call CPU"),
        ("call x", "call: \"x\" is not a CPU's number, 0 to 4095; usage: call CPU"),
        ("call 4096", "call: \"4096\" is not a CPU's number, 0 to 4095; usage: call CPU"),
        ("call +1", "call: \"+1\" is not a CPU's number, 0 to 4095; usage: call CPU"),
        ("call -1", "call: \"-1\" is not a CPU's number, 0 to 4095; usage: call CPU"),
        ("call 1 2", "call: \"2\" is one word too many; usage: call CPU"),
        (
            "mem up",
            "mem: \"up\" is not understood; usage: mem | mem map | mem frames | mem heap | mem mappings | mem tables ADDRESS",
        ),
        (
            "mem tables",
            "mem: an argument is missing; usage: mem | mem map | mem frames | mem heap | mem mappings | mem tables ADDRESS",
        ),
        (
            "mem tables 0xzz",
            "mem: \"0xzz\" is not an address, as 0x100000; usage: mem | mem map | mem frames | mem heap | mem mappings | mem tables ADDRESS",
        ),
        ("trace", "trace: an argument is missing; usage: trace on | trace off | trace dump"),
        ("help me", "help: \"me\" is not a command; usage: help | help COMMAND"),
        ("bench x", "bench: \"x\" is not a benchmark; usage: bench | bench BENCHMARK"),
    ] {
        assert_eq!(refused(line), answer);
    }
    for line in
        ["stress 0", "stress 600001", "stress replay", "stress pairs x", "stress 5 pairs", "stress pairs 5 5"]
    {
        assert!(
            refused(line).contains("usage: stress | stress WORKLOAD | stress MS | stress WORKLOAD MS"),
            "{line}"
        );
    }
}

fn candidates(line: &str) -> Vec<&'static str> {
    let mut names = Vec::new();
    each_candidate(line, &VOCABULARY, &mut |name| names.push(name));
    names
}

#[test]
fn words_complete_to_valid_arguments() {
    for (line, completion) in [
        ("cp", Completion::One("us")),
        ("cpus", Completion::One("")),
        ("o", Completion::Several("")),
        ("of", Completion::One("fline")),
        ("  of", Completion::One("fline")),
        ("mem t", Completion::One("ables")),
        ("mem ", Completion::Several("")),
        ("mem tables ", Completion::Nothing),
        ("stress fr", Completion::One("agmentation")),
        ("stress pairs ", Completion::Nothing),
        ("bench f", Completion::Several("rame_pair_order")),
        ("help of", Completion::One("fline")),
        ("foo ", Completion::Nothing),
        ("x", Completion::Nothing),
        ("call ", Completion::Nothing),
        ("cpus a b c d", Completion::Nothing),
    ] {
        assert_eq!(complete(line, &VOCABULARY), completion, "{line:?}");
    }
    assert_eq!(candidates("mem "), ["map", "frames", "heap", "mappings", "tables"]);
    assert_eq!(candidates("p"), ["panic", "poweroff"]);
    assert_eq!(candidates("").len(), ROWS.len());
    assert!(!candidates("stress ").contains(&"replay"));
}

fn keys(bytes: &[u8]) -> (Vec<Key>, u64) {
    let mut keys = Keys::new();
    let found = bytes.iter().filter_map(|byte| keys.push(*byte)).collect();
    (found, keys.take_noise())
}

#[test]
fn a_key_has_several_sequences() {
    use Key::*;
    for (bytes, key) in [
        (b"\x1b[A".as_slice(), Up),
        (b"\x1bOA", Up),
        (b"\x10", Up),
        (b"\x1b[B", Down),
        (b"\x1b[1;5C", Right),
        (b"\x1b[D", Left),
        (b"\x1b[H", Home),
        (b"\x1b[1~", Home),
        (b"\x01", Home),
        (b"\x1b[F", End),
        (b"\x1bOF", End),
        (b"\x1b[4~", End),
        (b"\x1b[3~", Delete),
        (b"\x08", Backspace),
        (b"\x7f", Backspace),
        (b"\r", Enter),
        (b"\n", Enter),
        (b"\r\n", Enter),
        (b"\x03", Interrupt),
        (b"\x04", EndOfInput),
        (b"\x15", EraseBefore),
        (b"\t", Tab),
        (b"~", Text(b'~')),
    ] {
        assert_eq!(keys(bytes), (vec![key], 0), "{bytes:?}");
    }
    assert_eq!(keys(b"\n\r").0, [Enter, Enter]);
}

#[test]
fn bytes_that_are_no_key_are_counted() {
    assert_eq!(keys(b"\xc3\xa9\xff\x00\x07"), (vec![], 5));
    // An unknown sequence, a key with Alt, and a sequence without an end.
    assert_eq!(keys(b"\x1b[5~\x1bx"), (vec![], 2));
    assert_eq!(keys(b"\x1b[0000000000000000000a").1, 1);
    // A truncated sequence consumes neither the next line nor the next sequence.
    assert_eq!(keys(b"\x1b[\r"), (vec![Key::Enter], 1));
    assert_eq!(keys(b"\x1b[12\x1b[A"), (vec![Key::Up], 1));
    assert_eq!(keys(b"\x1b\x03"), (vec![Key::Interrupt], 1));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn any_line_parses_or_fails_in_one_line(line in "[ -~]{0,120}") {
        if let Err(error) = parse(&line, &VOCABULARY) {
            prop_assert!(!error.to_string().contains('\n'));
        }
        complete(&line, &VOCABULARY);
    }

    /// Nearly valid lines reach deeper than random characters.
    #[test]
    fn any_words_parse_or_fail(line in "(mem|stress|call|help|bench|backtrace)( (map|tables|pairs|storm|self_ipi|[0-9]{1,7}|0x[0-9a-f]{1,17}|cpus)){0,4} ?") {
        if let Err(UsageError::Unknown { name }) = parse(&line, &VOCABULARY) {
            prop_assert!(false, "{name} is a command");
        }
        complete(&line, &VOCABULARY);
    }

    #[test]
    fn any_number_is_read_back(cpu in 0..4096u32, address: u64, ms in 1..=MAX_STRESS_MS) {
        prop_assert_eq!(parsed(&format!("offline {cpu}")), Some(Command::Offline { cpu: CpuId(cpu), breaks_affinity: false }));
        let breaks = Command::Offline { cpu: CpuId(cpu), breaks_affinity: true };
        prop_assert_eq!(parsed(&format!("offline {cpu} break")), Some(breaks));
        prop_assert_eq!(parsed(&format!("mem tables {address:#x}")), Some(Command::Memory(View::Tables(address))));
        prop_assert_eq!(parsed(&format!("stress {ms}")), Some(Command::Stress { workload: None, ms: Some(ms) }));
    }

    #[test]
    fn a_control_character_takes_effect_after_any_noise(noise in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut keys = Keys::new();
        for byte in noise {
            keys.push(byte);
        }
        prop_assert_eq!(keys.push(0x03), Some(Key::Interrupt));
        prop_assert_eq!(keys.push(b'a'), Some(Key::Text(b'a')));
    }
}

/// Every offered completion is a valid argument.
#[test]
fn offered_completions_are_valid() {
    for row in ROWS {
        for name in candidates(&format!("{} ", row.name)) {
            let line = format!("{} {name}", row.name);
            let is_understood = match parse(&line, &VOCABULARY) {
                Ok(command) => command.is_some(),
                Err(error) => matches!(error, UsageError::Missing { .. }),
            };
            assert!(is_understood, "{line}");
        }
    }
    assert_eq!(Argument::Cpu.read("3", &VOCABULARY), Some(Value::Cpu(CpuId(3))));
}
