//! The page of joined shards.

use maud::{Markup, html};
use quick_junit::{TestCase, TestCaseStatus};

use crate::base::VerdictKind;
use crate::present::page::{colour, text, whole};
use crate::report::shards::Joined;

/// The page.
pub fn page(joined: &Joined) -> String {
    let verdict = joined.verdict();
    let word = if verdict == VerdictKind::Pass { "PASS" } else { "FAIL" };
    let body = html! {
        h1 { "Shards: " span class=(colour(verdict)) { (word) } }
        p { (joined.summary()) }
        @if !joined.problems.is_empty() {
            h2.bad { "Problems of the shards" }
            @for problem in &joined.problems { p { (text(problem)) } }
        }
        table {
            thead { tr { th { "command" } th { "shard" } th { "passed" } th { "failed" } th { "skipped" } th { "s" } th { "octopod" } } }
            tbody { @for shard in &joined.shards {
                @let counts = shard.counts();
                tr {
                    td { (text(&shard.command)) } td { (shard.shard) } td { (counts.passed) } td { (counts.failed) }
                    td { (counts.skipped) } td { (shard.time.as_secs()) }
                    td { (text(shard.octopod.as_deref().unwrap_or("unknown"))) }
                }
            } }
        }
        @if joined.failures().next().is_some() { h2.bad { "Failures" } }
        @for (shard, case) in joined.failures() { (failure(&format!("{} {}", shard.command, shard.shard), case)) }
    };
    whole(&format!("octopod: shards: {}", word.to_lowercase()), body)
}

fn failure(shard: &str, case: &TestCase) -> Markup {
    let TestCaseStatus::NonSuccess { message, description, .. } = &case.status else { return html! {} };
    html! {
        h3 { (text(&case.name)) " (" (text(shard)) ")" }
        @if let Some(message) = message { p.lines { (text(message)) } }
        @if let Some(description) = description { details { summary { "all" } pre { (text(description)) } } }
    }
}
