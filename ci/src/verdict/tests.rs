//! What follows from which witness.

use octopod::wire::{Panic, Verdict};

use super::*;

const PASS: i32 = ExitCode::Pass.qemu_status();

fn said(pass: bool) -> Seen {
    let reason = (!pass).then(|| "2 frames lost".to_owned());
    Seen { verdict: Some(Verdict { pass, reason, frames_free_after: 1 }), ..Seen::default() }
}

fn panicked() -> Seen {
    let location = Some("src/a.rs:7".to_owned());
    Seen {
        panic: Some(Panic { cpu: 3, message: "oh".to_owned(), location, ..Panic::default() }),
        ..Seen::default()
    }
}

fn on(end: End, seen: &Seen) -> (VerdictKind, String) {
    let judged = judge(Kind::Qemu, &end, seen, None, "");
    (judged.kind, judged.reason.unwrap_or_default())
}

#[test]
fn a_pass_needs_the_status_and_the_verdict() {
    assert_eq!(on(End::Status(PASS), &said(true)), (VerdictKind::Pass, String::new()));
    let (kind, reason) = on(End::Status(PASS), &Seen::default());
    assert_eq!(kind, VerdictKind::Fail);
    assert!(reason.contains("no verdict on the serial port"), "{reason}");
    for status in [0, 1, 2, ExitCode::Fail.qemu_status(), ExitCode::Panicked.qemu_status()] {
        assert_ne!(on(End::Status(status), &said(true)).0, VerdictKind::Pass, "{status}");
    }
    for end in [End::Interrupted, End::Signal(11), End::Deadline(Duration::from_secs(9))] {
        assert_ne!(on(end, &said(true)).0, VerdictKind::Pass);
    }
}

#[test]
fn records_that_contradict_a_pass_make_it_a_failure() {
    let mut garbled = said(true);
    garbled.take_unreadable("@octopod {");
    let lossy = octopod::wire::Stress {
        workload: "pairs".to_owned(),
        allocator: "octopod".to_owned(),
        cpus: 8,
        operations: 1,
        elapsed_us: 1,
        lost: 1,
        doubled: 0,
        cycles: Default::default(),
    };
    let refused = Seen { refused: Some("no NX".to_owned()), ..said(true) };
    let lost = Seen { stress: vec![lossy], ..said(true) };
    let panic = Seen { verdict: said(true).verdict, ..panicked() };
    for (seen, word) in [
        (said(false), "2 frames lost"),
        (garbled, "@octopod {"),
        (refused, "NX"),
        (lost, "pairs"),
        (panic, "oh"),
    ] {
        let (kind, reason) = on(End::Status(PASS), &seen);
        assert_eq!(kind, VerdictKind::Fail);
        assert!(reason.contains(word), "{reason}");
    }
}

#[test]
fn each_of_the_kernels_codes_has_its_verdict() {
    let kind = |code: ExitCode| on(End::Status(code.qemu_status()), &Seen::default()).0;
    assert_eq!(kind(ExitCode::Fail), VerdictKind::Fail);
    assert_eq!(kind(ExitCode::Panicked), VerdictKind::Panic);
    assert_eq!(kind(ExitCode::Refused), VerdictKind::Refused);
    assert_eq!(kind(ExitCode::Usage), VerdictKind::Usage);
    let failed = End::Status(ExitCode::Fail.qemu_status());
    assert_eq!(on(failed, &said(false)), (VerdictKind::Fail, "2 frames lost".to_owned()));
}

#[test]
fn a_refusal_without_its_record_still_has_its_line() {
    let end = End::Status(ExitCode::Refused.qemu_status());
    let judged = judge(Kind::Qemu, &end, &Seen::default(), Some("octopod: this processor lacks NX"), "");
    assert_eq!(judged.reason.unwrap(), "octopod: this processor lacks NX");
}

#[test]
fn qemus_own_statuses_are_told_apart() {
    let (kind, reason) = on(End::Status(0), &Seen::default());
    assert_eq!(kind, VerdictKind::Panic);
    assert!(reason.starts_with("QEMU reset or powered off without a verdict (a triple fault?)"));
    let judged = judge(Kind::Qemu, &End::Status(1), &Seen::default(), None, "invalid accelerator nope\n");
    assert_eq!(judged.kind, VerdictKind::Error);
    assert_eq!(judged.reason.unwrap(), "QEMU did not start: invalid accelerator nope");
    let (kind, reason) = on(End::Status(7), &Seen::default());
    assert_eq!(kind, VerdictKind::Error);
    assert!(reason.contains("status 7"));
}

#[test]
fn bochs_is_judged_by_the_records_and_its_end() {
    let judged = |end: &End, seen: &Seen, complaint| {
        let judged = judge(Kind::Bochs, end, seen, None, complaint);
        (judged.kind, judged.reason.unwrap_or_default())
    };
    let end = End::ShutDown;
    assert_eq!(judged(&end, &said(true), ""), (VerdictKind::Pass, String::new()));
    assert_eq!(judged(&end, &said(false), ""), (VerdictKind::Fail, "2 frames lost".to_owned()));
    assert_eq!(judged(&end, &Seen::default(), "").0, VerdictKind::Fail);
    let panic_after_all = Seen { verdict: said(true).verdict, ..panicked() };
    assert_eq!(judged(&end, &panic_after_all, "").0, VerdictKind::Panic);
    let refused = Seen { refused: Some("no NX".to_owned()), ..Seen::default() };
    assert_eq!(judged(&end, &refused, ""), (VerdictKind::Refused, "no NX".to_owned()));
    let usage = Seen { usage: Some("fro".to_owned()), ..Seen::default() };
    assert_eq!(judged(&end, &usage, ""), (VerdictKind::Usage, "fro".to_owned()));
    // It was not the kernel that ended these, whatever it has said.
    for (complaint, kind) in [
        (">>PANIC<< exception(): 3rd (13) exception with no resolution", VerdictKind::Panic),
        (">>PANIC<< bochsrc:1: directive not understood", VerdictKind::Error),
    ] {
        assert_eq!(judged(&End::Status(1), &said(true), complaint).0, kind);
        assert_eq!(judged(&End::Status(1), &Seen::default(), complaint).0, kind);
    }
    // QEMU's code for a pass means nothing here.
    assert_eq!(judged(&End::Status(PASS), &said(true), "").0, VerdictKind::Error);
}

#[test]
fn a_deadline_says_how_far_the_kernel_came() {
    let end = || End::Deadline(Duration::from_secs(9));
    assert_eq!(on(end(), &Seen::default()), (VerdictKind::Timeout, "no answer within 9 s".to_owned()));
    assert_eq!(on(end(), &panicked()).0, VerdictKind::Panic);
    let progress = Progress {
        workload: "bulk".to_owned(),
        allocator: "locked".to_owned(),
        cpus: 8,
        index: 0,
        of: 1,
        elapsed_ms: 1,
        budget_ms: 2,
        operations: 3,
        lanes: Default::default(),
    };
    let reason = on(end(), &Seen { progress: Some(progress), ..Seen::default() }).1;
    assert!(reason.contains("workload bulk on locked with 8 CPUs"), "{reason}");
}
