//! The verdict for each combination of sources.

use std::time::Duration;

use octopod::wire::{Panic, Progress, REPORT_REQUESTED, TestPhase, Verdict};

use super::*;
use crate::report::sample;
use crate::run::records::{Framing, Step, draw_nonce};

const PASS: i32 = ExitCode::Pass.qemu_status();

/// A machine of four CPUs that has booted and says so.
fn said(pass: bool) -> Seen {
    let reason = (!pass).then(|| "2 frames lost".to_owned());
    let seen = sample::seen(4, &[], &[]);
    Seen { verdict: Some(Verdict { pass, reason, free_frames_after: 32_000 }), ..seen }
}

fn panicked() -> Seen {
    let location = Some("src/a.rs:7".to_owned());
    Seen {
        panic: Some(Panic { cpu: 3, message: "oh".to_owned(), location, ..Panic::default() }),
        ..Seen::default()
    }
}

/// A run in QEMU that was asked for nothing but a boot of four CPUs.
fn run<'a>(end: &'a End, seen: &'a Seen, asked: &'a Requested) -> RunEvidence<'a> {
    RunEvidence {
        emulator: EmulatorKind::Qemu,
        end,
        shutdown: None,
        seen,
        backtrace: &[],
        first_line: None,
        last_line: None,
        complaint: "",
        asked,
    }
}

fn boot() -> Requested {
    Requested { cpus: Some(4), may_miss_cpus: false, is_named_kernel: false, work: RequestedWork::Boot }
}

fn on(end: End, seen: &Seen) -> (VerdictKind, String) {
    judged(&run(&end, seen, &boot()))
}

fn deadline() -> End {
    End::Deadline(TimeLimit::of_run(Duration::from_secs(9)))
}

fn judged(run: &RunEvidence<'_>) -> (VerdictKind, String) {
    let judged = judge(run);
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
    for end in [End::Interrupted, End::Signal(11), deadline()] {
        assert_ne!(on(end, &said(true)).0, VerdictKind::Pass);
    }
}

#[test]
fn a_named_kernel_without_the_work_is_a_mistake_of_the_user() {
    let stress = RequestedWork::Stress { parts: vec![("pairs", "octopod")], cpus: vec![] };
    for (work, name) in [(stress, "stress"), (RequestedWork::Bench, "bench")] {
        let judge = |is_named_kernel| {
            let asked = Requested { is_named_kernel, work: work.clone(), ..boot() };
            let without = Seen { memory: None, ..said(true) };
            judged(&run(&End::Status(PASS), &without, &asked))
        };
        let (kind, reason) = judge(true);
        assert_eq!(kind, VerdictKind::Usage);
        assert!(reason.contains(&format!("this kernel has no {name}")), "{reason}");
        assert_eq!(judge(false).0, VerdictKind::Fail);
    }
}

#[test]
fn records_that_contradict_a_pass_make_it_a_failure() {
    let mut garbled = said(true);
    garbled.read(&Framing::new(draw_nonce()).read("@octopod {"));
    let lossy = octopod::wire::Stress { lost: 1, ..sample::stress("pairs", "octopod", 8) };
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
    let (seen, asked) = (Seen::default(), boot());
    let last_line = Some("octopod: this processor lacks NX");
    let (_, reason) = judged(&RunEvidence { last_line, ..run(&end, &seen, &asked) });
    assert_eq!(reason, "octopod: this processor lacks NX");
}

#[test]
fn qemus_own_statuses_have_their_own_verdicts() {
    let (seen, asked, silent) = (said(true), boot(), Seen::default());
    let (kind, reason) = on(End::Status(0), &Seen { verdict: None, ..seen.clone() });
    assert_eq!(kind, VerdictKind::Panic);
    assert!(reason.starts_with("QEMU reset or powered off without a verdict (a triple fault?)"));
    let complaint = "invalid accelerator nope\n";
    let failed = judged(&RunEvidence { complaint, ..run(&End::Status(1), &silent, &asked) });
    assert_eq!(failed, (VerdictKind::Error, "QEMU did not start: invalid accelerator nope".to_owned()));
    let (kind, reason) = on(End::Status(7), &silent);
    assert_eq!(kind, VerdictKind::Error);
    assert!(reason.contains("status 7"));
}

#[test]
fn an_end_of_qemus_own_is_explained() {
    let (quiet, silent, asked) = (End::Status(0), Seen::default(), boot());
    let cause = |reason: &str| Shutdown { reason: reason.to_owned() };
    for (reason, kind, words) in [
        ("guest-reset", VerdictKind::Panic, "the machine was reset (a triple fault?) before"),
        ("guest-shutdown", VerdictKind::Fail, "the kernel powered the machine off before"),
        ("guest-panic", VerdictKind::Panic, "the guest told QEMU of a panic"),
        ("host-signal", VerdictKind::Error, "a signal ended QEMU before"),
        ("host-qmp-quit", VerdictKind::Error, "QEMU received quit over QMP"),
        ("host-invented", VerdictKind::Error, "QEMU ended the machine (host-invented)"),
    ] {
        let (found, sentence) =
            judged(&RunEvidence { shutdown: Some(&cause(reason)), ..run(&quiet, &silent, &asked) });
        assert_eq!(found, kind, "{reason}");
        assert!(sentence.starts_with(words), "{reason}: {sentence}");
    }
    // Without QMP there are its own words, and those that come where a machine's would.
    let complaint = "qemu: terminating on signal 15 from pid 1 (init)";
    let by_signal = judged(&RunEvidence { complaint, ..run(&quiet, &silent, &asked) });
    assert_eq!(
        by_signal,
        (VerdictKind::Error, "signal 15 ended QEMU before the kernel's verdict".to_owned())
    );
    let complaint = "qemu-system-x86_64: QEMU: Terminated via GDBstub";
    let shutdown = cause("guest-shutdown");
    let by_gdb =
        judged(&RunEvidence { complaint, shutdown: Some(&shutdown), ..run(&quiet, &silent, &asked) });
    let reason = "gdb ended the machine before the kernel's verdict".to_owned();
    assert_eq!(by_gdb, (VerdictKind::Interrupted, reason));
    let (first_line, last_line) = (Some("QEMU emulator version 10.0.2"), Some("Copyright"));
    let (kind, reason) = judged(&RunEvidence { first_line, last_line, ..run(&quiet, &silent, &asked) });
    assert_eq!(kind, VerdictKind::Error);
    assert!(reason.ends_with("before it ran a machine, as it does for `help` and `-version`; it said: QEMU emulator version 10.0.2"), "{reason}");
    let last_line = Some("octopod: up");
    let (kind, _) = judged(&RunEvidence { last_line, ..run(&quiet, &silent, &asked) });
    assert_eq!(kind, VerdictKind::Panic);
    // A run that was ended before, or gave a code, is what it was.
    let pass = End::Status(PASS);
    let (kind, _) =
        judged(&RunEvidence { shutdown: Some(&cause("guest-shutdown")), ..run(&pass, &said(true), &asked) });
    assert_eq!(kind, VerdictKind::Pass);
}

#[test]
fn a_second_boot_is_a_reset_whatever_came_of_it() {
    let again = Seen { booted_again: true, ..said(true) };
    let expected = (VerdictKind::Panic, "the machine was reset: the kernel booted a second time".to_owned());
    for end in [End::Status(PASS), End::SecondBoot, deadline(), End::Status(0)] {
        assert_eq!(on(end, &again), expected);
    }
    assert_eq!(on(End::Interrupted, &again).0, VerdictKind::Interrupted);
}

#[test]
fn bochs_is_judged_by_the_records_and_its_end() {
    let asked = boot();
    let judged = |end: &End, seen: &Seen, complaint: &str| {
        judged(&RunEvidence { emulator: EmulatorKind::Bochs, complaint, ..run(end, seen, &asked) })
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

/// A workload on eight CPUs.
fn bulk_on_locked() -> Progress<String> {
    Progress {
        workload: "bulk".to_owned(),
        allocator: "locked".to_owned(),
        cpus: 8,
        index: 0,
        of: 1,
        elapsed_ms: 1,
        budget_ms: 2,
        operations: 3,
        lanes: Default::default(),
    }
}

#[test]
fn a_deadline_says_how_far_the_kernel_came() {
    let silent = "no answer within 9 s: nothing came on the serial line".to_owned();
    assert_eq!(on(deadline(), &Seen::default()), (VerdictKind::Timeout, silent));
    assert_eq!(on(deadline(), &panicked()).0, VerdictKind::Panic);
    let seen = Seen { progress: Some(bulk_on_locked()), ..Seen::default() };
    let last = "no verdict within 9 s; last seen in workload bulk on locked with 8 CPUs";
    assert_eq!(on(deadline(), &seen).1, last);

    // The launcher has requested a report, which has a call of the program.
    let call = StackFrame {
        address: "0x1".to_owned(),
        function: Some("visitor::Bitmap::alloc".to_owned()),
        location: Some("src/allocator.rs:31".to_owned()),
        is_library: false,
        inlined: false,
    };
    let report = Panic { cpu: 3, message: REPORT_REQUESTED.to_owned(), ..Panic::default() };
    let seen = Seen { panic: Some(report), ..seen };
    let (end, asked, backtrace) = (deadline(), boot(), [call]);
    let reason = |backtrace| judged(&RunEvidence { backtrace, ..run(&end, &seen, &asked) }).1;
    assert_eq!(reason(&backtrace), format!("{last}, cpu 3 in visitor::Bitmap::alloc (src/allocator.rs:31)"));
    assert_eq!(reason(&[]), last, "octopod's own kernel has none");

    // The program hangs in its own function.
    let seen = Seen { progress: None, verdict: None, panic: seen.panic, ..said(true) };
    assert_eq!(
        judged(&RunEvidence { backtrace: &backtrace, ..run(&end, &seen, &asked) }).1,
        "no verdict within 9 s, though the CPUs came online, cpu 3 in visitor::Bitmap::alloc (src/allocator.rs:31)"
    );
}

#[test]
fn a_panic_in_a_workload_names_that() {
    let progress = Progress { cpus: 4, ..bulk_on_locked() };
    let seen = Seen { progress: Some(progress), ..panicked() };
    let (kind, reason) = on(End::Status(ExitCode::Panicked.qemu_status()), &seen);
    assert_eq!(kind, VerdictKind::Panic);
    assert!(reason.contains(", in workload bulk on locked with 4 CPUs"), "{reason}");
}

/// A limit that begins again at each step says nothing about the time of the whole run.
#[test]
fn a_deadline_of_a_step_names_the_step() {
    let reason = |step, seen: &Seen| {
        on(End::Deadline(TimeLimit { limit: Duration::from_secs(9), since: Some(step) }), seen).1
    };
    assert_eq!(
        reason(Step::Cpu(3), &Seen::default()),
        "no answer and no further step within 9 s after the report of CPU 3: nothing came on the serial line"
    );
    let booted = Seen { verdict: None, ..said(true) };
    assert_eq!(
        reason(Step::BringUp, &booted),
        "no verdict and no further step within 9 s after the bring-up of the CPUs, though the CPUs came online"
    );
    let workload = Step::Workload { name: "pairs".to_owned(), allocator: "octopod".to_owned(), cpus: 4 };
    assert_eq!(
        reason(workload, &said(true)),
        "the kernel's verdict is pass, but the machine did not end within 9 s after workload pairs on octopod with 4 CPUs"
    );
    let panic = reason(Step::Test(TestPhase::Begun), &panicked());
    assert!(panic.ends_with("(and the machine did not end within 9 s after the begin of a test)"), "{panic}");
}

#[test]
fn a_panic_is_named_with_its_place_on_the_first_line() {
    let panic = |message: &str, location: Option<&str>| {
        let (message, location) = (message.to_owned(), location.map(str::to_owned));
        Seen { panic: Some(Panic { cpu: 2, message, location, ..Panic::default() }), ..said(false) }
    };
    let frame = |address: &str, function: Option<&str>, location: Option<&str>| StackFrame {
        address: address.to_owned(),
        function: function.map(str::to_owned),
        location: location.map(str::to_owned),
        inlined: false,
        is_library: false,
    };
    let backtrace = [
        frame("0x0", None, None),
        frame("0x1", Some("core::ptr::read"), Some("library/core/src/ptr/mod.rs:9")),
        frame("0x1", Some("octopod::smp::wait"), Some("src/smp/mod.rs:7")),
        frame("0x2", Some("octopod::rust_entry"), Some("src/stages.rs:1")),
    ];
    let (end, asked) = (End::Status(ExitCode::Panicked.qemu_status()), boot());
    let reason = |seen: &Seen, backtrace: &[StackFrame]| {
        judged(&RunEvidence { backtrace, ..run(&end, seen, &asked) }).1
    };
    // Of a program, its own place comes first.
    let program = [&backtrace[2..3], &[frame("0x3", Some("visitor::main"), Some("src/main.rs:9"))]].concat();
    assert_eq!(
        reason(&panic("no memory", Some("/o/src/smp/mod.rs:7")), &program),
        "CPU 2: no memory, at visitor::main (src/main.rs:9), in /o/src/smp/mod.rs:7"
    );
    assert_eq!(
        reason(&panic("page fault", None), &program),
        "CPU 2: page fault, at visitor::main (src/main.rs:9), in octopod::smp::wait (src/smp/mod.rs:7)"
    );
    assert_eq!(reason(&panic("a bug", Some("src/main.rs:9")), &program), "CPU 2: a bug, at src/main.rs:9");
    // An exception.
    let fault = panic("page fault", None);
    assert_eq!(reason(&fault, &backtrace), "CPU 2: page fault, at octopod::smp::wait (src/smp/mod.rs:7)");
    assert_eq!(
        reason(&fault, &backtrace[..2]),
        "CPU 2: page fault, at core::ptr::read (library/core/src/ptr/mod.rs:9)"
    );
    assert_eq!(reason(&fault, &backtrace[..1]), "CPU 2: page fault");
    // Further lines of a message stay behind its place.
    let assertion = panic("assertion failed\n  left: 1\n right: 2", Some("src/a.rs:3"));
    assert_eq!(
        reason(&assertion, &backtrace),
        "CPU 2: assertion failed, at src/a.rs:3\n  left: 1\n right: 2"
    );
    let again = Seen { booted_again: true, ..assertion };
    let expected =
        "CPU 2: assertion failed, at src/a.rs:3 (and the kernel booted a second time)\n  left: 1\n right: 2";
    assert_eq!(reason(&again, &backtrace), expected);
}

#[test]
fn a_report_that_the_launcher_requested_is_no_panic() {
    let message = octopod::wire::REPORT_REQUESTED.to_owned();
    let panic = Panic { message, stage: Some("aps".to_owned()), ..Panic::default() };
    let reported = Seen { panic: Some(panic.clone()), ..Seen::default() };
    let expected = "no verdict within 9 s, in stage aps".to_owned();
    assert_eq!(on(deadline(), &reported), (VerdictKind::Timeout, expected));
    let booted = Seen { panic: Some(panic), verdict: None, ..said(true) };
    assert_eq!(on(deadline(), &booted).1, "no verdict within 9 s, though the CPUs came online");
    // Without the launcher's request it is a panic like any other.
    assert_eq!(on(End::Status(ExitCode::Panicked.qemu_status()), &reported).0, VerdictKind::Panic);
}
