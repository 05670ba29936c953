//! The results of tests as JUnit XML.

use std::io;
use std::path::Path;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::base::files::output;
use crate::base::shard::Shard;
use crate::commands::test::machines::TestResult;
use crate::report::shards;

/// Writes the results.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write(
    path: &Path,
    results: &[(String, TestResult)],
    shard: Option<Shard>,
    status: u8,
) -> io::Result<()> {
    output::write(path, document(results, shard, status).as_bytes())
}

fn document(results: &[(String, TestResult)], shard: Option<Shard>, status: u8) -> String {
    let mut suite = TestSuite::new("kernel");
    shards::describe(&mut suite, "test", shard, status);
    for (name, result) in results {
        let mut status = match result {
            Ok(()) => TestCaseStatus::success(),
            Err(_) => TestCaseStatus::non_success(NonSuccessKind::Failure),
        };
        if let Err(text) = result {
            status.set_message(text.lines().next().unwrap_or_default()).set_description(text.as_str());
        }
        suite.add_test_case(TestCase::new(name.as_str(), status));
    }
    let mut report = Report::new("octopod test");
    report.add_test_suite(suite);
    // It only fails where a writer does.
    report.to_string().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_has_its_first_line_as_message() {
        let results = [("a".to_owned(), Ok(())), ("b".to_owned(), Err("cpu 0 panicked\nmore".to_owned()))];
        let text = document(&results, None, 101);
        let parsed = roxmltree::Document::parse(&text).unwrap();
        let cases: Vec<_> = parsed.descendants().filter(|node| node.has_tag_name("testcase")).collect();
        assert_eq!(cases.len(), 2);
        let failure = cases[1].children().find(|node| node.has_tag_name("failure")).unwrap();
        assert_eq!(failure.attribute("message"), Some("cpu 0 panicked"));
    }
}
