//! Joins the results of shards, which are JUnit files, into one verdict. A shard that is missing, or that did not end well, is a
//! failure, whatever the others say.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::base::files::output;
use crate::base::shard::Shard;
use crate::base::{Error, VerdictKind, text};

/// The properties of a suite by which shards are joined.
const COMMAND: &str = "command";
const SHARD: &str = "shard";
const STATUS: &str = "status";
const OCTOPOD: &str = "octopod";

/// The suite of the problems of the shards themselves.
const PROBLEMS: &str = "shards";

/// The end of a command of which several machines may run a shard each.
#[derive(Clone, Copy, Debug)]
pub struct ShardEnd<'a> {
    /// The command.
    pub command: &'a str,
    /// The shard, if it ran one.
    pub shard: Option<Shard>,
    /// The exit status.
    pub status: u8,
    /// octopod's version and commit.
    pub octopod: &'a str,
}

impl ShardEnd<'_> {
    /// Writes its results to the file of `--junit`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, suite: TestSuite, path: &Path) -> Result<(), Error> {
        output::write(path, self.document(suite).as_bytes()).map_err(Error::unwritable("--junit", path))
    }

    /// The JUnit XML of its results: the suite, with what [`join`] needs.
    pub fn document(&self, mut suite: TestSuite) -> String {
        describe(&mut suite, self.command, self.shard, self.status);
        suite.add_property((OCTOPOD, self.octopod));
        let time = suite.time.or_else(|| suite.test_cases.iter().map(|case| case.time).sum());
        if let Some(time) = time {
            suite.set_time(time);
        }
        let mut report = Report::new("octopod");
        time.map(|time| report.set_time(time));
        report.add_test_suite(suite);
        // It only fails where a writer does.
        report.to_string().unwrap_or_default()
    }
}

fn describe(suite: &mut TestSuite, command: &str, shard: Option<Shard>, status: u8) {
    suite.add_property((COMMAND, command));
    if let Some(shard) = shard {
        suite.add_property((SHARD, shard.to_string().as_str()));
    }
    suite.add_property((STATUS, status.to_string().as_str()));
}

/// The numbers of results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardCounts {
    /// Passed.
    pub passed: usize,
    /// Failed, or were not started.
    pub failed: usize,
    /// Were not run.
    pub skipped: usize,
}

impl ShardCounts {
    fn of(cases: &[TestCase]) -> ShardCounts {
        let mut counts = ShardCounts::default();
        for case in cases {
            match case.status {
                TestCaseStatus::Success { .. } => counts.passed += 1,
                TestCaseStatus::NonSuccess { .. } => counts.failed += 1,
                TestCaseStatus::Skipped { .. } => counts.skipped += 1,
            }
        }
        counts
    }
}

/// The results of one shard.
#[derive(Clone, Debug)]
pub struct ShardResult {
    /// The command.
    pub command: String,
    /// The shard.
    pub shard: Shard,
    /// octopod's version and commit, where the file has them.
    pub octopod: Option<String>,
    /// The exit status.
    pub status: u8,
    /// Its duration.
    pub time: Duration,
    /// The results.
    pub cases: Vec<TestCase>,
}

impl ShardResult {
    fn of(suite: TestSuite) -> Result<ShardResult, String> {
        let property = |name: &str| {
            let found = suite.properties.iter().find(|property| property.name == *name);
            found.map(|property| property.value.to_string())
        };
        let need = |name: &str| property(name).ok_or_else(|| format!("suite {} has no {name}", &*suite.name));
        let wrong = |name: &str| format!("suite {}: the {name} cannot be read", &*suite.name);
        Ok(ShardResult {
            command: need(COMMAND)?,
            shard: property(SHARD).map_or(Ok(Shard::WHOLE), |text| text.parse()).map_err(|_| wrong(SHARD))?,
            octopod: property(OCTOPOD),
            status: need(STATUS)?.parse().map_err(|_| wrong(STATUS))?,
            time: suite.time.unwrap_or_default(),
            cases: suite.test_cases,
        })
    }

    /// The numbers of its results.
    pub fn counts(&self) -> ShardCounts {
        ShardCounts::of(&self.cases)
    }

    fn is_bad(&self) -> bool {
        self.counts().failed > 0
    }
}

/// The results of all shards.
#[derive(Clone, Debug, Default)]
pub struct Joined {
    /// The shards, by command and number.
    pub shards: Vec<ShardResult>,
    /// The problems of the shards themselves.
    pub problems: Vec<String>,
}

/// Joins files: each with its name, and its text or the reason why it cannot be read.
pub fn join(files: impl IntoIterator<Item = (String, Result<String, String>)>) -> Joined {
    let mut joined = Joined::default();
    for (name, file) in files {
        let read = |text: String| Report::deserialize_from_str(&text).map_err(|error| error.to_string());
        match file.and_then(read) {
            Err(problem) => joined.problems.push(format!("{name}: {problem}")),
            Ok(report) if report.test_suites.is_empty() => {
                joined.problems.push(format!("{name}: no results"));
            }
            Ok(report) => {
                for suite in report.test_suites {
                    match ShardResult::of(suite) {
                        Ok(shard) => joined.shards.push(shard),
                        Err(problem) => joined.problems.push(format!("{name}: {problem}")),
                    }
                }
            }
        }
    }
    joined.shards.sort_by(|one, other| (&one.command, one.shard).cmp(&(&other.command, other.shard)));
    let problems: Vec<String> = joined.by_command().values().flat_map(|shards| problems(shards)).collect();
    joined.problems.extend(problems);
    joined
}

/// The problems of the shards of one command.
fn problems(shards: &[&ShardResult]) -> Vec<String> {
    let mut problems = Vec::new();
    let Some(first) = shards.first() else { return problems };
    let (command, of) = (&first.command, first.shard.of());
    for shard in shards.iter().filter(|shard| shard.shard.of() != of) {
        problems.push(format!("{command}: shard {} is not one of {of}", shard.shard));
    }
    for number in 1..=of {
        match shards.iter().filter(|shard| shard.shard.of() == of && shard.shard.number() == number).count() {
            0 => problems.push(format!("{command}: shard {number}/{of} is missing")),
            1 => {}
            count => problems.push(format!("{command}: shard {number}/{of} is there {count} times")),
        }
    }
    for shard in shards {
        if shard.status != 0 && !shard.is_bad() {
            problems.push(format!("{command}: shard {} ended with status {}", shard.shard, shard.status));
        }
        if shard.octopod != first.octopod {
            let name = |shard: &ShardResult| {
                shard.octopod.clone().unwrap_or_else(|| "an unknown version".to_owned())
            };
            let (own, others) = (name(shard), name(first));
            problems.push(format!(
                "{command}: shard {} is of {own}, shard {} of {others}",
                shard.shard, first.shard
            ));
        }
    }
    problems
}

impl Joined {
    /// The shards of each command.
    pub fn by_command(&self) -> BTreeMap<&str, Vec<&ShardResult>> {
        let mut groups: BTreeMap<&str, Vec<&ShardResult>> = BTreeMap::new();
        self.shards.iter().for_each(|shard| groups.entry(&shard.command).or_default().push(shard));
        groups
    }

    /// All results that are failures.
    pub fn failures(&self) -> impl Iterator<Item = (&ShardResult, &TestCase)> {
        let is_failure = |case: &&TestCase| matches!(case.status, TestCaseStatus::NonSuccess { .. });
        self.shards
            .iter()
            .flat_map(move |shard| shard.cases.iter().filter(is_failure).map(move |case| (shard, case)))
    }

    /// The numbers of results; a problem counts as a failure.
    pub fn counts(&self) -> ShardCounts {
        let all = self.shards.iter().map(ShardResult::counts).fold(ShardCounts::default(), |all, one| {
            ShardCounts {
                passed: all.passed + one.passed,
                failed: all.failed + one.failed,
                skipped: all.skipped + one.skipped,
            }
        });
        ShardCounts { failed: all.failed + self.problems.len(), ..all }
    }

    /// The verdict. Shards without any result that passed are no pass.
    pub fn verdict(&self) -> VerdictKind {
        match self.counts() {
            ShardCounts { failed: 0, passed: 1.., .. } => VerdictKind::Pass,
            _ => VerdictKind::Fail,
        }
    }

    /// The results in one line.
    pub fn summary(&self) -> String {
        let ShardCounts { passed, failed, skipped } = self.counts();
        let shards = text::count(self.shards.len(), "shard");
        format!("{passed} passed, {failed} failed, {skipped} skipped in {shards}")
    }

    /// All results as one JUnit file: a suite for each command, and one for the problems.
    ///
    /// # Errors
    /// The text cannot be made.
    pub fn to_xml(&self) -> Result<String, Error> {
        let mut report = Report::new("octopod");
        for (command, shards) in self.by_command() {
            let mut suite = TestSuite::new(command);
            suite.set_time(shards.iter().map(|shard| shard.time).sum());
            if let Some(octopod) = shards.first().and_then(|shard| shard.octopod.as_deref()) {
                suite.add_property((OCTOPOD, octopod));
            }
            let status = if self.verdict() == VerdictKind::Pass { 0 } else { VerdictKind::Fail.status() };
            describe(&mut suite, command, None, status);
            suite.add_test_cases(shards.iter().flat_map(|shard| shard.cases.iter().cloned()));
            report.add_test_suite(suite);
        }
        if !self.problems.is_empty() {
            let mut suite = TestSuite::new(PROBLEMS);
            for problem in &self.problems {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
                status.set_message(text::line(problem));
                suite.add_test_case(TestCase::new(text::line(problem), status));
            }
            report.add_test_suite(suite);
        }
        Ok(report.to_string()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file of a shard with so many passed and failed results.
    fn file(
        command: &str,
        shard: &str,
        status: u8,
        [passed, failed]: [usize; 2],
    ) -> (String, Result<String, String>) {
        let mut suite = TestSuite::new(format!("{command} {shard}"));
        for number in 0..passed + failed {
            let status = match number < passed {
                true => TestCaseStatus::success(),
                false => TestCaseStatus::non_success(NonSuccessKind::Failure),
            };
            suite.add_test_case(TestCase::new(format!("{shard}-{number}"), status));
        }
        let end = ShardEnd { command, shard: shard.parse().ok(), status, octopod: "octopod 1.0" };
        (shard.to_owned(), Ok(end.document(suite)))
    }

    #[test]
    fn all_shards_together_pass() {
        let joined = join([file("matrix", "2/2", 0, [3, 0]), file("matrix", "1/2", 0, [2, 0])]);
        assert_eq!((joined.verdict(), joined.problems.len()), (VerdictKind::Pass, 0));
        assert_eq!(joined.summary(), "5 passed, 0 failed, 0 skipped in 2 shards");
        let xml = joined.to_xml().unwrap();
        let again = join([("merged".to_owned(), Ok(xml))]);
        assert_eq!(again.summary(), "5 passed, 0 failed, 0 skipped in 1 shard");
        assert_eq!(again.shards[0].cases[0].name.to_string(), "1/2-0");
    }

    #[test]
    fn a_failure_in_one_shard_is_one_of_the_whole() {
        let joined = join([file("matrix", "1/2", 0, [2, 0]), file("matrix", "2/2", 1, [2, 1])]);
        assert_eq!((joined.verdict(), joined.problems.len()), (VerdictKind::Fail, 0));
        assert_eq!(joined.failures().count(), 1);
    }

    #[test]
    fn what_is_wrong_with_a_shard_is_a_failure() {
        let whole = || file("matrix", "1/2", 0, [2, 0]);
        let cases = [
            (vec![whole()], "matrix: shard 2/2 is missing"),
            (vec![whole(), whole(), file("matrix", "2/2", 0, [1, 0])], "matrix: shard 1/2 is there 2 times"),
            (vec![whole(), file("matrix", "2/2", 130, [1, 0])], "matrix: shard 2/2 ended with status 130"),
            (vec![whole(), file("matrix", "2/3", 0, [1, 0])], "matrix: shard 2/3 is not one of 2"),
            (vec![("x".to_owned(), Err("no junit.xml".to_owned()))], "x: no junit.xml"),
            (vec![("x".to_owned(), Ok("<testsuites/>".to_owned()))], "x: no results"),
            (vec![("x".to_owned(), Ok("<testsuites".to_owned()))], "x: "),
        ];
        for (files, problem) in cases {
            let joined = join(files);
            assert_eq!(joined.verdict(), VerdictKind::Fail, "{problem}");
            assert!(joined.problems.iter().any(|found| found.starts_with(problem)), "{:?}", joined.problems);
            assert!(joined.to_xml().unwrap().contains(PROBLEMS));
        }
    }

    #[test]
    fn shards_of_two_versions_are_not_one_result() {
        let mut files = [file("matrix", "1/2", 0, [1, 0]), file("matrix", "2/2", 0, [1, 0])];
        let property = |commit: &str| format!("<properties><property name=\"octopod\" value=\"{commit}\"/>");
        for ((_, xml), commit) in files.iter_mut().zip(["a", "b"]) {
            let text = xml.as_ref().unwrap().replacen("<properties>", &property(commit), 1);
            *xml = Ok(text);
        }
        assert_eq!(join(files).problems, ["matrix: shard 2/2 is of b, shard 1/2 of a"]);
    }

    #[test]
    fn nothing_is_no_pass() {
        assert_eq!(join([]).verdict(), VerdictKind::Fail);
        assert_eq!(join([file("matrix", "1/1", 0, [0, 0])]).verdict(), VerdictKind::Fail);
    }
}
