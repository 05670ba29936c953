//! The results of soaks as JUnit XML.

use std::time::Duration;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use crate::base::{Error, text};
use crate::commands::soak::task::Ended;

/// The result of a soak.
pub(super) fn case(name: &str, ended: &Result<Ended, Error>, time: Duration) -> TestCase {
    let (kind, text) = match ended {
        Ok(Ended::Passed(_)) => (None, String::new()),
        Ok(Ended::Failed(text, _)) => (Some(NonSuccessKind::Failure), text.clone()),
        Err(error) => (Some(NonSuccessKind::Error), error.to_string()),
    };
    let mut status = kind.map_or_else(TestCaseStatus::success, TestCaseStatus::non_success);
    if kind.is_some() {
        status.set_message(text::line(&text::headline(&text))).set_description(text::lines(&text));
    }
    let mut case = TestCase::new(name, status);
    case.set_classname("soak").set_time(time);
    case
}

/// The results.
pub(super) fn suite(cases: Vec<TestCase>) -> TestSuite {
    let mut suite = TestSuite::new("soak");
    suite.add_test_cases(cases);
    suite
}
