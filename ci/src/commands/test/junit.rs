//! The results of tests as JUnit XML.

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use crate::commands::test::machines::TestResult;

/// The results.
pub(super) fn suite(results: &[(String, TestResult)]) -> TestSuite {
    let mut suite = TestSuite::new("kernel");
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
    suite
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::shards::ShardEnd;

    #[test]
    fn a_failure_has_its_first_line_as_message() {
        let results = [("a".to_owned(), Ok(())), ("b".to_owned(), Err("cpu 0 panicked\nmore".to_owned()))];
        let end = ShardEnd { command: "test", shard: None, status: 101, octopod: "octopod 1.0" };
        let text = end.document(suite(&results));
        let parsed = roxmltree::Document::parse(&text).unwrap();
        let cases: Vec<_> = parsed.descendants().filter(|node| node.has_tag_name("testcase")).collect();
        assert_eq!(cases.len(), 2);
        let failure = cases[1].children().find(|node| node.has_tag_name("failure")).unwrap();
        assert_eq!(failure.attribute("message"), Some("cpu 0 panicked"));
    }
}
