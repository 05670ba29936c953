//! The results of soaks as JUnit XML.

use std::io;
use std::path::Path;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::base::files::output;
use crate::base::shard::Shard;
use crate::base::{Error, text};
use crate::commands::soak::task::Ended;
use crate::report::shards;

/// The result of a soak.
pub(super) fn case(name: &str, ended: &Result<Ended, Error>, time: Duration) -> TestCase {
    let (kind, text) = match ended {
        Ok(Ended::Passed(_)) => (None, String::new()),
        Ok(Ended::Failed(text, _)) => (Some(NonSuccessKind::Failure), text.clone()),
        Err(error) => (Some(NonSuccessKind::Error), error.to_string()),
    };
    let mut status = kind.map_or_else(TestCaseStatus::success, TestCaseStatus::non_success);
    if kind.is_some() {
        status
            .set_message(text::line(text.lines().next().unwrap_or_default()))
            .set_description(text::lines(&text));
    }
    let mut case = TestCase::new(name, status);
    case.set_classname("soak").set_time(time);
    case
}

/// Writes the results.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write(
    path: &Path,
    cases: Vec<TestCase>,
    shard: Option<Shard>,
    exit_status: u8,
    octopod: &str,
) -> io::Result<()> {
    let mut suite = TestSuite::new("soak");
    suite.set_time(cases.iter().filter_map(|case| case.time).sum());
    shards::describe(&mut suite, "soak", shard, exit_status);
    suite.add_property(("octopod", octopod));
    suite.add_test_cases(cases);
    let mut report = Report::new("octopod");
    report.add_test_suite(suite);
    // It only fails where a writer does.
    output::write(path, report.to_string().unwrap_or_default().as_bytes())
}
