//! What a page holds, and what it must not.

use scraper::{Html, Selector};

use super::*;
use crate::base::VerdictKind;
use crate::report::sample::{HOSTILE, hostile, report, seen};
use crate::run::folder::PICTURES;

fn page_of(report: &Report) -> String {
    page(report, &pictures::all(report).unwrap())
}

/// The page as a browser understands it, which finds nothing to complain of.
fn parsed(page: &str) -> Html {
    let html = Html::parse_document(page);
    assert!(html.errors.is_empty(), "{:?}", html.errors);
    html
}

fn count(html: &Html, selector: &str) -> usize {
    html.select(&Selector::parse(selector).unwrap()).count()
}

#[test]
fn a_page_is_whole_and_needs_nothing_else() {
    let page = page_of(&report(&seen(8, &["pairs", "storm"], &["octopod", "locked"])));
    let html = parsed(&page);
    assert_eq!(count(&html, "script, link, iframe, img, object, embed, base, [src], [href], [onload]"), 0);
    for outside in ["http:", "https:", "url(", "@import"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert_eq!(count(&html, "figure"), PICTURES.len());
    assert_eq!(count(&html, "figure .wide svg"), PICTURES.len());
    assert_eq!(count(&html, "figure .narrow svg"), PICTURES.len());
}

#[test]
fn every_cpu_and_every_workload_is_in_it() {
    for cpus in [1, 8, 300, 1024] {
        let page = page_of(&report(&seen(cpus, &["pairs", "storm"], &["octopod"])));
        let html = parsed(&page);
        // Each CPU's stamps and its lateness, and the regions of the memory map.
        assert_eq!(count(&html, "details .tall tr td:first-child + td + td"), 2 * cpus as usize + 4);
        for name in ["pairs", "storm", "APIC timer", "first page", "timer interrupts", "protected_mode"] {
            assert!(page.contains(name), "{name}");
        }
        let last = format!("<td>{0}</td><td>{0}</td><td>online</td>", cpus - 1);
        assert!(page.contains(&last), "{last}");
    }
}

#[test]
fn what_a_machine_says_is_never_markup() {
    let page = page_of(&hostile());
    assert!(page.matches("&lt;script&gt;alert(1)").count() > 20);
    assert!(!page.contains("<script") && !page.contains("<img"));
    assert!(!page.contains(['\u{1b}', '\u{0}']));
    let html = parsed(&page);
    assert_eq!(count(&html, "script, img"), 0);
    assert!(html.root_element().text().any(|text| text.contains(&HOSTILE[..25])));
}

#[test]
fn the_same_report_makes_the_same_page() {
    let seen = seen(300, &["pairs"], &["octopod", "locked"]);
    let read_back: Report = serde_json::from_str(&report(&seen).to_json()).unwrap();
    assert_eq!(page_of(&report(&seen)), page_of(&read_back));
}

#[test]
fn a_run_that_said_nothing_has_a_page() {
    let mut silent = report(&crate::run::Seen::default());
    (silent.verdict, silent.reason) = (VerdictKind::Timeout, Some("no answer within 1 s".to_owned()));
    let page = page_of(&silent);
    assert_eq!(count(&parsed(&page), "figure"), 0);
    assert!(page.contains("TIMEOUT") && page.contains("no answer within 1 s"));
}

#[test]
fn many_warnings_do_not_hide_the_rest() {
    let mut report = report(&seen(8, &["pairs"], &["octopod"]));
    let call = crate::kernel::StackFrame {
        address: "0xffff800000101234".to_owned(),
        function: Some("octopod::smp::wait".to_owned()),
        location: Some("src/smp/mod.rs:7".to_owned()),
        inlined: true,
    };
    let warning = crate::report::warning::WarningReport {
        cpu: 3,
        kind: "watchdog".to_owned(),
        message: "no interrupt".to_owned(),
        table: None,
        address: None,
        offset: None,
        wait: None,
        backtrace: vec![call; 30],
    };
    report.warnings = vec![warning; 20];
    let html = parsed(&page_of(&report));
    assert_eq!(count(&html, ".tall > details:not([open]) > summary"), 20);
    assert_eq!(count(&html, "details > ol.calls > li"), 600);
}
