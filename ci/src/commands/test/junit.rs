//! The results of tests as JUnit XML.

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use crate::base::text;
use crate::commands::test::machines::Ran;

/// The results, and the names of the tests that are ignored.
pub(super) fn suite(results: &[Ran], ignored: &[String]) -> TestSuite {
    let mut suite = TestSuite::new("kernel");
    for Ran { name, result, time } in results {
        let mut status = match result {
            Ok(()) => TestCaseStatus::success(),
            Err(_) => TestCaseStatus::non_success(NonSuccessKind::Failure),
        };
        if let Err(failure) = result {
            status.set_message(text::headline(failure)).set_description(failure.as_str());
        }
        let mut case = TestCase::new(name.as_str(), status);
        time.map(|time| case.set_time(time));
        suite.add_test_case(case);
    }
    suite.add_test_cases(ignored.iter().map(|name| TestCase::new(name.as_str(), TestCaseStatus::skipped())));
    suite
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::report::shards::ShardEnd;

    #[test]
    fn a_failure_has_its_headline_a_test_its_time_and_an_ignored_one_is_skipped() {
        let ran = |name: &str, result: Result<(), &str>, ms| Ran {
            name: name.to_owned(),
            result: result.map_err(str::to_owned),
            time: Some(Duration::from_millis(ms)).filter(|time| !time.is_zero()),
        };
        let failure = "the kernel failed after the test:\ncpu 0 panicked at a.rs:7:\nleft: 1\nright: 2";
        let results = [ran("a", Ok(()), 1500), ran("b", Err(failure), 0), ran("d", Err("no pass\nmore"), 0)];
        let end = ShardEnd { command: "test", shard: None, status: 101, octopod: "octopod 1.0" };
        let text = end.document(suite(&results, &["c".to_owned()]));
        let parsed = roxmltree::Document::parse(&text).unwrap();
        let cases: Vec<_> = parsed.descendants().filter(|node| node.has_tag_name("testcase")).collect();
        let child = |case: usize, name: &str| cases[case].children().find(|node| node.has_tag_name(name));
        assert_eq!(
            cases.iter().map(|case| case.attribute("name")).collect::<Vec<_>>(),
            ["a", "b", "d", "c"].map(Some)
        );
        assert_eq!(
            cases.iter().map(|case| case.attribute("time")).collect::<Vec<_>>(),
            [Some("1.500"), None, None, None]
        );
        let message = |case: usize| child(case, "failure").unwrap().attribute("message");
        let headline = "the kernel failed after the test: cpu 0 panicked at a.rs:7: left: 1";
        assert_eq!([message(1), message(2)], [Some(headline), Some("no pass")]);
        assert!(child(3, "skipped").is_some() && child(0, "skipped").is_none());
        assert_eq!(parsed.root_element().attribute("tests"), Some("4"));
    }
}
