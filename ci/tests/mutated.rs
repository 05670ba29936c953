//! Recorded serial logs with every kind of damage: reading, judging and drawing never panic, and no run passes without its
//! evidence.

use octopod::wire::ExitCode;
use octopod_ci::machine::EmulatorKind;
use octopod_ci::present::{page, pictures, table};
use octopod_ci::report::verdict::{RunEvidence, judge};
use octopod_ci::report::{Judgement, Requested, RequestedWork};
use octopod_ci::run::records::{Framing, draw_nonce};
use octopod_ci::run::{End, Seen};
use octopod_ci::{Report, VerdictKind, parse};
use proptest::prelude::*;
use proptest::sample::Index;

/// A log, and what its run was asked for.
struct Log {
    text: &'static str,
    arguments: &'static [&'static str],
    passes: bool,
}

const LOGS: [Log; 4] = [
    Log { text: include_str!("logs/boot.log"), arguments: &["boot", "--smp", "4"], passes: true },
    Log {
        text: include_str!("logs/stress.log"),
        arguments: &[
            "stress",
            "--smp",
            "4",
            "--seconds",
            "1",
            "--workloads",
            "pairs,bulk,random,remote,mixed_orders,fragmentation,hotplug,interrupts,storm",
        ],
        passes: true,
    },
    Log {
        text: include_str!("logs/compared.log"),
        arguments: &[
            "stress",
            "--smp",
            "2",
            "--workloads",
            "pairs,storm",
            "--allocator",
            "octopod,locked",
            "--cpus",
            "1,2",
        ],
        passes: true,
    },
    Log { text: include_str!("logs/panic.log"), arguments: &["shell", "--smp", "2"], passes: false },
];

impl Log {
    fn asked(&self) -> Requested {
        let launch = parse(self.arguments).unwrap().0;
        Requested::of(&launch.machine, &launch.command_line, false)
    }

    fn lines(&self) -> Vec<Vec<u8>> {
        self.text.lines().map(|line| line.as_bytes().to_vec()).collect()
    }
}

/// A change of a log.
#[derive(Clone, Debug)]
enum Change {
    Remove(Index),
    Repeat(Index),
    Swap(Index, Index),
    /// One of a line's numbers becomes another.
    Number(Index, Index, u64),
    Byte(Index, Index, u8),
    Cut(Index, Index),
    Insert(Index, String),
    Twice,
}

fn change() -> impl Strategy<Value = Change> {
    let number = prop_oneof![
        Just(0),
        Just(1),
        Just(60_000),
        Just(1 << 53),
        Just(u64::from(u32::MAX)),
        Just(u64::MAX),
        any::<u64>(),
    ];
    let text = prop_oneof![
        any::<String>(),
        Just("@octopod {\"verdict\":{\"pass\":true,\"reason\":null,\"free_frames_after\":1}}".to_owned()),
        Just("@octopod:".to_owned()),
        Just("a\rb\u{9b}2J\u{202e}".to_owned()),
    ];
    let index = any::<Index>;
    prop_oneof![
        1 => index().prop_map(Change::Remove),
        1 => index().prop_map(Change::Repeat),
        1 => (index(), index()).prop_map(|(a, b)| Change::Swap(a, b)),
        8 => (index(), index(), number).prop_map(|(line, at, to)| Change::Number(line, at, to)),
        4 => (index(), index(), any::<u8>()).prop_map(|(line, at, to)| Change::Byte(line, at, to)),
        1 => (index(), index()).prop_map(|(line, at)| Change::Cut(line, at)),
        1 => (index(), text).prop_map(|(line, text)| Change::Insert(line, text)),
        1 => Just(Change::Twice),
    ]
}

impl Change {
    fn make(&self, lines: &mut Vec<Vec<u8>>) {
        if lines.is_empty() {
            return;
        }
        let count = lines.len();
        match self {
            Change::Remove(line) => drop(lines.remove(line.index(count))),
            Change::Repeat(line) => lines.insert(line.index(count), lines[line.index(count)].clone()),
            Change::Swap(one, other) => lines.swap(one.index(count), other.index(count)),
            Change::Number(line, at, to) => replace_number(&mut lines[line.index(count)], *at, *to),
            Change::Byte(line, at, to) => {
                let line = &mut lines[line.index(count)];
                if !line.is_empty() {
                    let at = at.index(line.len());
                    line[at] = *to;
                }
            }
            Change::Cut(line, at) => {
                let line = &mut lines[line.index(count)];
                line.truncate(at.index(line.len() + 1));
            }
            Change::Insert(line, text) => lines.insert(line.index(count), text.as_bytes().to_vec()),
            Change::Twice => lines.extend_from_within(..),
        }
    }
}

fn replace_number(line: &mut Vec<u8>, at: Index, to: u64) {
    // Behind the frame: its own numbers are changed as bytes.
    let begin = line.iter().position(|byte| *byte == b'{').unwrap_or(0);
    let digits = |at: usize| line[at].is_ascii_digit();
    let starts: Vec<usize> =
        (begin..line.len()).filter(|at| digits(*at) && (*at == 0 || !digits(at - 1))).collect();
    if starts.is_empty() {
        return;
    }
    let start = starts[at.index(starts.len())];
    let end = (start..line.len()).find(|at| !digits(*at)).unwrap_or(line.len());
    line.splice(start..end, to.to_string().into_bytes());
}

/// Reads, judges, and draws all that a run leaves.
fn judged(lines: &[Vec<u8>], asked: &Requested) -> (Seen, Judgement) {
    let (mut framing, mut seen) = (Framing::new(draw_nonce()), Seen::default());
    for line in lines.iter().flat_map(|line| line.split(|byte| *byte == b'\n')) {
        let reading = framing.read(&String::from_utf8_lossy(line));
        seen.read(&reading);
    }
    let witnesses = RunEvidence {
        emulator: EmulatorKind::Qemu,
        end: &End::Status(ExitCode::Pass.qemu_status()),
        shutdown: None,
        seen: &seen,
        backtrace: &[],
        first_line: None,
        last_line: None,
        complaint: "",
        asked,
    };
    let judgement = judge(&witnesses);
    let report = Report::assemble(judgement.clone(), String::new(), None, None, &seen, Vec::new());
    let drawn = pictures::all(&report).unwrap_or_else(|error| panic!("{error}"));
    let page = page::page(&report, &drawn);
    let shown = [table::summary(&report).concat(), table::interrupts(&report.interrupts).concat()].concat();
    assert!(!shown.contains(['\u{9b}', '\u{202e}', '\r', '\n']), "{shown}");
    assert!(!page.contains(['\u{9b}', '\u{202e}']));
    // A written report can be read again, with equal numbers.
    let folder = tempfile::tempdir().unwrap();
    report.write(&folder.path().join("report.json")).unwrap();
    octopod_ci::report::read::read(folder.path()).unwrap();
    (seen, judgement)
}

/// The meaning of a pass, without the launcher's own rules for it.
fn has_evidence(seen: &Seen, asked: &Requested) -> bool {
    let (Some(boot), Some(verdict)) = (&seen.boot, &seen.verdict) else { return false };
    let online = seen.cpus.iter().filter(|cpu| cpu.state == "online").count();
    let RequestedWork::Stress { parts, cpus } = &asked.work else {
        return verdict.pass && Some(boot.cpus_online) == asked.cpus && online == boot.cpus_online as usize;
    };
    let done = |workload: &str, allocator: &str, cpus: Option<u32>| {
        let mut same =
            seen.stress.iter().filter(|one| one.workload == workload && one.allocator == allocator);
        same.any(|one| cpus.is_none_or(|cpus| cpus == one.cpus) && one.operations > 0 && one.lost == 0)
    };
    let counts: Vec<_> = if cpus.is_empty() { vec![None] } else { cpus.iter().copied().map(Some).collect() };
    let all = counts
        .iter()
        .all(|count| parts.iter().all(|(workload, allocator)| done(workload, allocator, *count)));
    let memory = seen.memory.is_some_and(|memory| memory.free_frames_before == verdict.free_frames_after);
    all && memory
        && verdict.pass
        && Some(boot.cpus_online) == asked.cpus
        && online == boot.cpus_online as usize
}

#[test]
fn an_unchanged_log_has_the_verdict_of_its_run() {
    for log in &LOGS {
        let (_, judgement) = judged(&log.lines(), &log.asked());
        assert_eq!(judgement.kind == VerdictKind::Pass, log.passes, "{:?}: {judgement:?}", log.arguments);
    }
}

#[test]
fn a_record_that_is_missing_or_comes_twice_costs_the_pass() {
    let log = &LOGS[0];
    let records = log
        .lines()
        .iter()
        .enumerate()
        .filter(|(_, line)| line.starts_with(b"@octopod:"))
        .map(|(at, _)| at)
        .collect::<Vec<_>>();
    assert!(records.len() > 20);
    for at in records {
        let mut without = log.lines();
        without.remove(at);
        assert_ne!(judged(&without, &log.asked()).1.kind, VerdictKind::Pass, "without line {at}");
        let mut twice = log.lines();
        twice.insert(at, twice[at].clone());
        assert_ne!(judged(&twice, &log.asked()).1.kind, VerdictKind::Pass, "line {at} twice");
    }
    let twice = [log.lines(), log.lines()].concat();
    let (_, judgement) = judged(&twice, &log.asked());
    assert_eq!(judgement.kind, VerdictKind::Panic, "{judgement:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_logs_neither_panic_nor_pass_without_evidence(
        which in 0..LOGS.len(),
        changes in prop::collection::vec(change(), 1..6),
    ) {
        let log = &LOGS[which];
        let (mut lines, asked) = (log.lines(), log.asked());
        changes.iter().for_each(|change| change.make(&mut lines));
        let (seen, judgement) = judged(&lines, &asked);
        if judgement.kind == VerdictKind::Pass {
            prop_assert!(has_evidence(&seen, &asked), "{changes:?}");
        }
    }
}
