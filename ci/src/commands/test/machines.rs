//! The machines of the tests: those that need the same machine run in one boot, until one of them ends it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use octopod::testing::TestList;

use crate::base::values::{MachineType, Smp};
use crate::base::{Error, Observer, VerdictKind};
use crate::commands::launch::Launch;
use crate::commands::runs::launch_with;
use crate::kernel::StackFrame;
use crate::kernel::registry::TestEntry;
use crate::present::page;
use crate::report::Outcome;
use crate::report::document::TestReport;

/// The launcher waits this much longer for a test than the kernel, which knows where it hangs.
const GRACE: Duration = Duration::from_secs(60);

/// A failed test shows so many of the kernel's lines.
const MAX_LINES: usize = 200;

/// The result of a test: nothing, or what failed.
pub(super) type TestResult = Result<(), String>;

/// A test that has run.
pub(super) struct Ran {
    /// Its name.
    pub(super) name: String,
    /// Its result.
    pub(super) result: TestResult,
    /// The time that it took, if it is known.
    pub(super) time: Option<Duration>,
}

/// All tests that are to run, and their results as they come.
pub(super) struct Machines {
    launch: Launch,
    tests: Vec<TestEntry>,
    results: Mutex<BTreeMap<u16, TestResult>>,
    /// The times of those that returned, or took too long.
    times: Mutex<BTreeMap<u16, Duration>>,
    boots: AtomicU32,
}

impl Machines {
    /// Of these tests; each boot is like `launch`.
    pub(super) fn new(launch: Launch, tests: Vec<TestEntry>) -> Machines {
        let (results, times) = (Mutex::new(BTreeMap::new()), Mutex::new(BTreeMap::new()));
        Machines { launch, tests, results, times, boots: AtomicU32::new(0) }
    }

    /// The result of a test. Boots, if it has not run yet, with all others that need the same machine.
    pub(super) fn result(&self, number: u16, observer: &mut dyn Observer) -> TestResult {
        let mut results = self.results.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        while !results.contains_key(&number) {
            let Some(test) = self.tests.iter().find(|test| test.number == number) else {
                return Err("this test was not selected".to_owned());
            };
            let machine = self.machine_of(test);
            let is_next = |other: &&TestEntry| {
                self.machine_of(other) == machine
                    && !results.contains_key(&other.number)
                    && other.number >= number
            };
            let batch: Vec<&TestEntry> = self.tests.iter().filter(is_next).collect();
            results.extend(self.boot(&machine, &batch, observer));
        }
        results[&number].clone()
    }

    /// The results so far, with the names of the tests and the times that are known.
    pub(super) fn results(&self) -> Vec<Ran> {
        let results = self.results.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let times = self.times.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let ran = |test: &TestEntry| {
            let result = results.get(&test.number)?.clone();
            Some(Ran { name: test.name().to_owned(), result, time: times.get(&test.number).copied() })
        };
        self.tests.iter().filter_map(ran).collect()
    }

    /// The machine of a test, and its CPUs: at least as many as the test runs on.
    fn machine_of(&self, test: &TestEntry) -> (Option<String>, Option<u32>) {
        let more = Some(test.cpus).filter(|cpus| *cpus > self.launch.machine.smp.cpus());
        (test.machine.clone(), more)
    }

    /// Boots for tests of one machine. Returns the results of those that ran, at least of the first.
    fn boot(
        &self,
        machine: &(Option<String>, Option<u32>),
        batch: &[&TestEntry],
        observer: &mut dyn Observer,
    ) -> Vec<(u16, TestResult)> {
        let Some(first) = batch.first() else { return Vec::new() };
        let launch = match self.launch_for(machine, batch) {
            Ok(launch) => launch,
            Err(reason) => return vec![(first.number, Err(reason))],
        };
        let mut outcome = launch_with(&launch, observer);
        page::leave(&mut outcome, launch.output.pictures.as_deref(), observer);
        let time = |ran: &TestReport| Some((u16::try_from(ran.number).ok()?, Duration::from_micros(ran.us?)));
        let times = outcome.report.tests.iter().filter_map(time);
        self.times.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).extend(times);
        let results = results(batch, &outcome);
        match results.is_empty() {
            true => vec![(first.number, Err(failure(&outcome)))],
            false => results,
        }
    }

    fn launch_for(
        &self,
        (machine, cpus): &(Option<String>, Option<u32>),
        batch: &[&TestEntry],
    ) -> Result<Launch, String> {
        let mut launch = self.launch.clone();
        if let Some(machine) = machine {
            launch.machine.machine = machine.parse::<MachineType>().map_err(|error| error.to_string())?;
        }
        if let Some(cpus) = cpus {
            launch.machine.smp = cpus.to_string().parse::<Smp>().map_err(|error| error.to_string())?;
        }
        let numbers: Vec<u16> = batch.iter().map(|test| test.number).collect();
        // What does not fit into the list runs in the next boot.
        let (list, rest) = TestList::of(&numbers);
        let fits = &batch[..numbers.len() - rest.len()];
        let list = std::fmt::from_fn(|f| octopod::boot::command_line::FromText::write(&list, f));
        launch.command_line.own.push(format!("test.run={list}"));
        // Where the user names a folder, each boot has one in it.
        let boot = self.boots.fetch_add(1, Ordering::Relaxed) + 1;
        launch.output.out = launch.output.out.map(|folder| folder.join(boot.to_string()));
        let longest = fits.iter().map(|test| test.timeout).max().unwrap_or_default();
        launch.run.limit = longest + GRACE.max(launch.run.limit);
        Ok(launch)
    }
}

/// The results of the tests that ran in a boot.
fn results(batch: &[&TestEntry], outcome: &Outcome) -> Vec<(u16, TestResult)> {
    let mut results = Vec::new();
    let mut has_returned = false;
    for ran in &outcome.report.tests {
        let Some(test) = batch.iter().find(|test| u32::from(test.number) == ran.number) else { continue };
        let result = match ran.passed {
            true if test.should_panic => Err("the test did not panic, as it should".to_owned()),
            true => Ok(()),
            false => ended(test, ran, outcome),
        };
        results.push((test.number, result));
        has_returned = ran.passed;
    }
    // Nothing else shows a failure that no test is in.
    if let Some((_, last)) = results.last_mut().filter(|_| has_returned && outcome.status != 0) {
        let own = last.as_ref().err().map(|own| format!("{own}\n")).unwrap_or_default();
        *last = Err(format!("{own}the kernel failed after the test:\n{}", failure(outcome)));
    }
    results
}

/// The result of a test that did not return.
fn ended(test: &TestEntry, ran: &TestReport, outcome: &Outcome) -> TestResult {
    let is_panic = outcome.report.verdict == VerdictKind::Panic && !ran.timed_out;
    let panic = outcome.report.panic.as_ref().filter(|_| is_panic);
    match panic {
        Some(panic) if test.should_panic && panic.message.contains(&test.expected) => Ok(()),
        Some(panic) if test.should_panic => Err(format!(
            "the test panicked with another message than \"{}\": {}\n{}",
            test.expected,
            panic.message,
            failure(outcome)
        )),
        _ => Err(failure(outcome)),
    }
}

/// The description of a failed boot: the panic with its calls, or the verdict's reason; the test's own log; the run's page.
fn failure(outcome: &Outcome) -> String {
    let mut lines = Vec::new();
    match (&outcome.report.panic, &outcome.report.reason) {
        (Some(panic), _) if !panic.requested => {
            let place = panic.place().map(|place| format!(" at {place}")).unwrap_or_default();
            lines.push(format!("cpu {} panicked{place}:\n{}", panic.cpu, panic.message));
            lines.push("calls, innermost first:".to_owned());
            lines.extend(own_calls(&panic.backtrace).iter().map(call));
        }
        (_, Some(reason)) => lines.push(reason.clone()),
        (_, None) if outcome.unwritten.is_empty() => lines.push("the machine ended".to_owned()),
        (_, None) => {}
    }
    lines.extend(outcome.unwritten.iter().map(Error::to_string));
    lines.push("log of the test:".to_owned());
    lines.extend(own_log(&outcome.serial).iter().map(|line| format!("    {line}")));
    if let Some(folder) = &outcome.run_dir {
        lines.push(format!("all of the run: {}", folder.display()));
    }
    lines.join("\n")
}

/// The calls between the panic's machinery and what runs the test.
fn own_calls(backtrace: &[StackFrame]) -> &[StackFrame] {
    let is = |frame: &StackFrame, prefix: &str| {
        frame.function.as_deref().is_some_and(|function| function.starts_with(prefix))
    };
    let machinery = ["__rustc::", "core::panicking::", "core::result::unwrap_failed", "core::option::"];
    let begin = backtrace.iter().position(|frame| !machinery.iter().any(|prefix| is(frame, prefix)));
    let own = &backtrace[begin.unwrap_or(0)..];
    let end = own.iter().rposition(|frame| is(frame, "octopod::testing::run_one"));
    &own[..end.filter(|end| *end > 0).unwrap_or(own.len())]
}

fn call(frame: &StackFrame) -> String {
    let function = frame.function.as_deref().unwrap_or(&frame.address);
    match &frame.location {
        Some(location) => format!("    {function} at {location}"),
        None => format!("    {function}"),
    }
}

/// The log from the begin of the last test on, without the kernel's report of a panic. Of a machine that has not begun any, the
/// end of all.
fn own_log(serial: &[String]) -> &[String] {
    let begins = serial.iter().rposition(|line| line.contains(" testing: test "));
    let own = &serial[begins.unwrap_or(0)..];
    let end = own.iter().position(|line| line.starts_with("octopod: cpu")).filter(|_| begins.is_some());
    let own = &own[..end.unwrap_or(own.len())];
    &own[own.len().saturating_sub(MAX_LINES)..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::registry::Entry;
    use crate::report::{Judgement, Report};
    use crate::run::Seen;

    fn entry(number: u16, should_panic: bool) -> TestEntry {
        let (name, summary, file) = (format!("t::{number}"), String::new(), "t.rs".to_owned());
        TestEntry {
            number,
            entry: Entry { name, summary, file, line: 1 },
            cpus: 1,
            timeout: Duration::from_secs(1),
            should_panic,
            ignore: false,
            expected: String::new(),
            machine: None,
        }
    }

    /// The outcome of a boot in which these tests began: number, whether it returned, whether it took too long.
    fn outcome(kind: VerdictKind, tests: &[(u32, bool, bool)]) -> Outcome {
        let reason = Some("a lock is held".to_owned()).filter(|_| kind != VerdictKind::Pass);
        let judgement = Judgement { kind, reason };
        let mut report = Report::assemble(judgement, String::new(), None, None, &Seen::default(), Vec::new());
        let report_of = |&(number, passed, timed_out)| TestReport { number, passed, timed_out, us: None };
        report.tests = tests.iter().map(report_of).collect();
        if kind == VerdictKind::Panic {
            report.panic = crate::report::sample::hostile().panic;
        }
        Outcome::without_a_run(report)
    }

    #[test]
    fn a_failure_after_the_last_test_is_its_own() {
        let (one, two) = (entry(1, false), entry(2, false));
        let both: [&TestEntry; 2] = [&one, &two];
        let passed = [(1, true, false), (2, true, false)];
        let of = |kind, tests: &[(u32, bool, bool)]| results(&both, &outcome(kind, tests));
        assert_eq!(of(VerdictKind::Pass, &passed), [(1, Ok(())), (2, Ok(()))]);
        for kind in [VerdictKind::Fail, VerdictKind::Panic, VerdictKind::Timeout, VerdictKind::Error] {
            let [(1, Ok(())), (2, Err(text))] = &of(kind, &passed)[..] else { panic!("{kind:?}") };
            assert!(text.starts_with("the kernel failed after the test:\n"), "{text}");
            // Before the next one has begun.
            let [(1, Err(text))] = &of(kind, &passed[..1])[..] else { panic!("{kind:?}") };
            assert!(text.starts_with("the kernel failed after the test:\n"), "{text}");
        }
        let [(1, Ok(())), (2, Err(text))] =
            &of(VerdictKind::Panic, &[(1, true, false), (2, false, false)])[..]
        else {
            panic!("the test that runs has failed")
        };
        assert!(!text.contains("after the test"), "{text}");
        // Something that was asked for is not there.
        let mut lacking = outcome(VerdictKind::Pass, &passed);
        lacking.lacks(Error::Failed("no trace".to_owned()));
        let [(1, Ok(())), (2, Err(text))] = &results(&both, &lacking)[..] else { panic!("it passes") };
        assert!(text.contains("no trace"), "{text}");
        // A test with a failure of its own.
        let odd = entry(1, true);
        let [(1, Err(text))] = &results(&[&odd], &outcome(VerdictKind::Fail, &passed[..1]))[..] else {
            panic!("it passes")
        };
        assert!(text.starts_with("the test did not panic") && text.contains("a lock is held"), "{text}");
    }

    #[test]
    fn a_test_that_takes_too_long_has_not_panicked_as_it_should() {
        let test = entry(1, true);
        let of = |timed_out| results(&[&test], &outcome(VerdictKind::Panic, &[(1, false, timed_out)]));
        assert_eq!(of(false), [(1, Ok(()))]);
        assert!(matches!(&of(true)[..], [(1, Err(_))]));
    }

    #[test]
    fn the_log_of_a_test_is_what_came_after_its_begin() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let boot = "[ 0.1] cpu0 stages: up\n[ 0.2] cpu0 testing: test a\n[ 0.3] cpu0 a: 1\n";
        let panicked = lines(&format!(
            "{boot}[ 0.4] cpu0 testing: test b\n[ 0.5] cpu1 b: 2\n\noctopod: cpu0 panicked: no"
        ));
        assert_eq!(own_log(&panicked), &panicked[3..6]);
        let not_begun = lines("[ 0.1] cpu0 stages: up\noctopod: cpu0 panicked: no");
        assert_eq!(own_log(&not_begun), &not_begun[..]);
    }
}
