//! The log of eight CPUs that write at once while NMIs interrupt them: no line is torn, and the lines of each CPU are in order. A
//! filter removes exactly its lines.

use crate::guest::Guest;
use octopod::wire::ExitCode;

const CPUS: usize = 8;

/// The end of each line of the self-test, so that a truncated line is found.
const END: &str = ", end of line";

/// A line of the log in its parts, `[    0.123456] cpu3 selftest: text`: the time in microseconds, the CPU, the module, the text.
fn parts(line: &str) -> Option<(u64, usize, &str, &str)> {
    let (time, rest) = line.strip_prefix('[')?.split_once("] cpu")?;
    let (cpu, rest) = rest.split_once(' ')?;
    let (target, text) = rest.split_once(": ")?;
    let (seconds, decimals) = time.trim_start().split_once('.')?;
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = target.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if time.len() < 12 || decimals.len() != 6 || !is_number(seconds) || !is_number(decimals) || !is_name {
        return None;
    }
    let us = seconds.parse::<u64>().ok()? * 1_000_000 + decimals.parse::<u64>().ok()?;
    Some((us, cpu.parse().ok()?, target, text))
}

#[test]
fn time_stamps_are_in_seconds_from_the_first_line_and_never_go_back() {
    let mut guest = Guest::boot(&["boot", "--smp", "1"]);
    assert_eq!(guest.hear_out(), ExitCode::Pass, "{}", guest.lines.join("\n"));
    let times: Vec<u64> = guest.lines.iter().filter_map(|line| Some(parts(line)?.0)).collect();
    assert!(times.len() > 10 && times.is_sorted(), "{:#?}", guest.lines);
    // The calibrated clock says when the stage of the first line began, and when the next one did. The time stamp is from the
    // estimate that was made before.
    let began_us = |name: &str| guest.seen.boot_stages.iter().find(|stage| stage.0 == name).expect("stage").1;
    let (earliest, latest) = (began_us("loader") / 2, began_us("options") * 2);
    assert!((earliest..=latest).contains(&times[0]), "{} not in {earliest}..={latest}", times[0]);
}

#[test]
fn no_line_is_torn_while_nmis_log_among_eight_cpus() {
    let mut guest = Guest::boot(&["boot", "--smp", "8", "--append", "work=selftest selftest.parts=log"]);
    assert_eq!(guest.hear_out(), ExitCode::Pass, "{}", guest.lines.join("\n"));
    let mut next = [0; CPUS];
    let mut next_nmi = [0; CPUS];
    for line in guest.lines.iter().filter(|line| !line.starts_with("QEMU: ") && !line.trim().is_empty()) {
        let (_, cpu, target, text) = parts(line).unwrap_or_else(|| panic!("a torn line: {line:?}"));
        if target != "selftest" || !(text.starts_with("line ") || text.starts_with("NMI ")) {
            continue;
        }
        let (next, kind) = match text.starts_with("NMI ") {
            true => (&mut next_nmi, "NMI"),
            false => (&mut next, "line"),
        };
        let joined = if kind == "NMI" { "on" } else { "of" };
        assert_eq!(text, format!("{kind} {} {joined} cpu {cpu}{END}", next[cpu]));
        next[cpu] += 1;
    }
    assert!(next.iter().all(|lines| *lines == next[0] && *lines > 0), "{next:?}");
    assert!(next_nmi.iter().all(|lines| *lines > 0), "{next_nmi:?}");
    let lost = guest.seen.events.expect("events").log_lines_lost;
    let told: Vec<_> = guest.lines.iter().filter(|line| line.contains(" lines lost: ")).collect();
    assert!(told.iter().any(|line| line.contains(&format!(" {lost} lines lost: "))), "{lost} lost: {told:?}");
}

#[test]
fn a_filter_leaves_out_what_it_does_not_name() {
    let mut guest = Guest::boot(&["boot", "--smp", "2", "--log", "stages=info,off"]);
    assert_eq!(guest.hear_out(), ExitCode::Pass, "{}", guest.lines.join("\n"));
    let targets: Vec<_> = guest.lines.iter().filter_map(|line| Some(parts(line)?.2)).collect();
    // The first line is from before the command line was read.
    assert!(guest.lines.iter().any(|line| line.contains("stages: octopod ")), "{:#?}", guest.lines);
    assert!(targets.len() > 3 && targets.iter().all(|target| *target == "stages"), "{:#?}", guest.lines);
}

#[test]
fn a_panic_with_a_full_ring_loses_no_line() {
    let mut guest = Guest::boot(&["boot", "--smp", "4", "--inject", "panic_with_full_ring"]);
    assert_eq!(guest.hear_out(), ExitCode::Panicked, "{}", guest.lines.join("\n"));
    let is_waiting = |line: &&String| line.ends_with(" waits in the ring, whole");
    let waiting: Vec<_> = guest.lines.iter().filter(is_waiting).collect();
    for (number, line) in waiting.iter().enumerate() {
        assert_eq!(**line, format!("line {number} waits in the ring, whole"));
    }
    let told = format!("panic_with_full_ring, {} lines in the ring", waiting.len());
    assert!(
        waiting.len() > 100 && guest.lines.iter().any(|line| line.ends_with(&told)),
        "{:#?}",
        guest.lines
    );
}
