//! The results as JUnit XML, which CI systems show: a failure, an error (QEMU did not start) and a skip each in its own
//! element.

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use crate::base::text;
use crate::commands::matrix::result::{Ended, Results, RowResult};

/// The kernel's lines that a failed row shows; its folder has all of them.
const SERIAL_LINES: usize = 200;

/// The results.
pub(crate) fn suite(results: &Results) -> TestSuite {
    let name = match &results.shard {
        Some(shard) => format!("matrix {shard}"),
        None => "matrix".to_owned(),
    };
    let mut suite = TestSuite::new(name);
    suite.set_time(results.time);
    suite.add_property(("accel", results.accel));
    suite.add_property(("date", results.origin.date.as_str()));
    suite.add_property(("host", results.origin.host.as_str()));
    suite.add_property(("qemu", results.qemu_version.as_str()));
    suite.add_test_cases(results.rows.iter().map(case));
    suite
}

fn case(row: &RowResult) -> TestCase {
    let mut status = match &row.ended {
        Ended::Passed => TestCaseStatus::success(),
        Ended::Failed(_) => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Ended::NotStarted(_) => TestCaseStatus::non_success(NonSuccessKind::Error),
        Ended::Skipped(_) => TestCaseStatus::skipped(),
    };
    if let Some(reason) = row.ended.reason() {
        status.set_type(row.ended.name()).set_message(text::line(&reason));
    }
    if row.is_bad() {
        let details: Vec<_> = row.details(SERIAL_LINES).iter().map(|line| text::line(line)).collect();
        status.set_description(details.join("\n"));
    }
    let mut case = TestCase::new(text::line(&row.name), status);
    case.set_classname("matrix")
        .set_time(row.time)
        .add_property(("command", text::line(&row.command_line).as_str()));
    case
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::matrix::result::tests::results;
    use crate::report::shards::{self, ShardEnd};

    /// The whole file.
    fn to_xml() -> String {
        let (results, shard) = (results(), "2/3".parse().ok());
        let octopod = results.origin.octopod();
        let end = ShardEnd { command: "matrix", shard, status: results.status(), octopod: &octopod };
        end.document(suite(&results))
    }

    /// The element within the row's element.
    fn case_of(xml: &str, name: &str) -> String {
        let (_, rest) = xml.split_once(&format!("<testcase name=\"{name}\"")).expect(name);
        rest.split("</testcase>").next().unwrap_or_default().to_owned()
    }

    #[test]
    fn each_result_has_its_element() {
        let xml = to_xml();
        let suite = xml.lines().find(|line| line.contains("<testsuite ")).unwrap();
        for count in ["name=\"matrix 2/3\"", "tests=\"4\"", "skipped=\"1\"", "errors=\"1\"", "failures=\"1\""]
        {
            assert!(suite.contains(count), "{count}: {suite}");
        }
        assert!(xml.contains(", commit 0123456789ab"), "{xml}");
        assert_eq!(shards::join([("x".to_owned(), Ok(xml.clone()))]).shards[0].shard.to_string(), "2/3");
        let elements = ["<failure", "<error", "<skipped"];
        for (name, own) in [("good", None), ("bad", Some(0)), ("dead", Some(1)), ("old", Some(2))] {
            let case = case_of(&xml, name);
            let found = elements.map(|element| case.contains(element));
            let wanted = [0, 1, 2].map(|at| own == Some(at));
            assert_eq!(found, wanted, "{name}: {case}");
        }
    }

    #[test]
    fn a_failure_says_what_was_wrong_and_how_to_repeat_it() {
        let xml = to_xml();
        let bad = case_of(&xml, "bad");
        for part in
            ["status 1, not 0", "reason: 2 frames lost", "cargo run -- boot --accel tcg", "octopod: up &lt;3"]
        {
            assert!(bad.contains(part), "{part}: {bad}");
        }
        assert!(case_of(&xml, "dead").contains("message=\"QEMU did not start: no such machine\""));
        assert!(case_of(&xml, "old").contains("message=\"needs QEMU 9.0.0, and this is 7.2.0\""));
        assert!(case_of(&xml, "good").contains("time=\"1.500\""));
    }
}
