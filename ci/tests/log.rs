//! The log of eight CPUs that write at once while NMIs strike them, line by line: none is torn, and each CPU's lines are
//! there in their order. And what a filter leaves out is left out.

#[path = "guest/mod.rs"]
mod guest;

use guest::Guest;
use octopod::wire::ExitCode;

const CPUS: usize = 8;

/// What each line of the self-test ends in, so that its end can be missed.
const END: &str = ", end of line";

/// A line of the log in its parts: `[  0.123456]    3 selftest: text`, or with `[  12.34 Mc]` for the time.
fn parts(line: &str) -> Option<(&str, usize, &str, &str)> {
    let (time, rest) = line.strip_prefix('[')?.split_once("] ")?;
    let (cpu, rest) = rest.trim_start().split_once(' ')?;
    let (target, text) = rest.split_once(": ")?;
    let number = time.strip_suffix(" Mc").unwrap_or(time).trim_start();
    let (whole, decimals) = number.split_once('.')?;
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = target.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    (is_number(whole) && is_number(decimals) && is_name).then_some((time, cpu.parse().ok()?, target, text))
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
