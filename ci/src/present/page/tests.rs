//! The contents of a page, and contents that it must not have.

use octopod::wire::SchedCpu;
use scraper::{Html, Selector};

use super::*;
use crate::base::VerdictKind;
use crate::kernel::StackFrame;
use crate::report::sample::{HOSTILE, hostile, report, seen};
use crate::run::Seen;
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
    let call = StackFrame {
        address: "0xffff800000101234".to_owned(),
        function: Some("octopod::smp::wait".to_owned()),
        location: Some("src/smp/mod.rs:7".to_owned()),
        inlined: true,
        is_library: false,
    };
    let warning = crate::report::warning::WarningReport {
        cpu: 3,
        kind: "watchdog".to_owned(),
        message: "no interrupt".to_owned(),
        table: None,
        address: None,
        offset: None,
        wait: None,
        backtrace: (0..30).map(|at| StackFrame { address: format!("{at:#x}"), ..call.clone() }).collect(),
    };
    report.warnings = vec![warning; 20];
    let html = parsed(&page_of(&report));
    assert_eq!(count(&html, ".tall > details:not([open]) > summary"), 20);
    assert_eq!(count(&html, "details > ol.calls > li"), 600);
}

#[test]
fn a_page_names_what_ran_its_origin_and_how_to_repeat_it() {
    let mut report = report(&seen(8, &["pairs"], &["octopod"]));
    report.origin = crate::report::origin::OriginReport {
        version: "9.8.7".to_owned(),
        commit: Some("0123456789ab-dirty".to_owned()),
        date: "2026-01-02 03:04:05 UTC".to_owned(),
        host: "linux x86_64, 2 CPUs".to_owned(),
        repeat: Some("cargo run -- stress --seed=0x1f --smp 8".to_owned()),
        seed: Some("0x1f".to_owned()),
        emulator_command: Some("qemu-system-x86_64 -kernel RUN/octopod-kernel".to_owned()),
    };
    let html = parsed(&page_of(&report));
    let of = |selector: &str| {
        let selector = Selector::parse(selector).unwrap();
        html.select(&selector).map(|one| one.text().collect::<String>()).collect::<Vec<_>>()
    };
    assert_eq!(of("h1"), ["Stress on 8 CPUs: PASS"]);
    assert_eq!(of("title"), ["octopod: Stress on 8 CPUs: pass"]);
    let (names, values) = (of("dt"), of("dd"));
    let value = |name: &str| names.iter().position(|one| one == name).map(|at| values[at].as_str());
    let origin = &report.origin;
    assert_eq!(value("octopod"), Some("9.8.7, commit 0123456789ab-dirty"));
    assert_eq!((value("date"), value("host")), (Some(&*origin.date), Some(&*origin.host)));
    assert_eq!((value("repeat"), value("seed")), (origin.repeat.as_deref(), origin.seed.as_deref()));
    assert_eq!(value("emulator"), origin.emulator_command.as_deref());
    assert_eq!(value("kernel's version"), Some("octopod 0.1.0"));
    // Each workload, allocator and stage that has run.
    for name in ["pairs", "octopod", "clock", "verdict"] {
        assert!(names.iter().any(|one| one == name), "{name}: {names:?}");
    }
}

/// Without a browser: what the width of a page depends on.
#[test]
fn tables_have_few_columns_and_keep_all_figures_on_a_narrow_screen() {
    let mut seen = seen(8, &["pairs"], &["octopod", "locked"]);
    let zone = |after| octopod::wire::ZoneCounts {
        after,
        node: 0,
        zone: "normal".to_owned(),
        frames_total: 1 << 20,
        free_frames: 1 << 19,
        free_by_order: [3; octopod::wire::ORDERS],
    };
    seen.zones = vec![zone(false), zone(true)];
    seen.frame_counts = vec![octopod::wire::FrameCounts::default()];
    let class = octopod::wire::HeapClass {
        object_bytes: 64,
        live: 7001,
        slabs: 14,
        ..octopod::wire::HeapClass::default()
    };
    (seen.heap, seen.heap_classes) = (Some(octopod::wire::Heap::default()), vec![class]);
    seen.scheduler = vec![SchedCpu { busy_ns: Some(1), ..SchedCpu::default() }];
    let html = parsed(&page_of(&report(&seen)));
    let rows = Selector::parse("table tr").unwrap();
    let rows_of_table = Selector::parse("tr").unwrap();
    let columns = html.select(&rows).map(|row| row.child_elements().count()).max();
    assert_eq!(columns, Some(14), "the workloads, which are stacked on a narrow screen, have the most");
    // Measured in a browser, 14 columns fit into the page's width if their heads and words are wrapped.
    let tables = Selector::parse("table").unwrap();
    let wide = html.select(&tables).filter(|table| {
        let heads = table.select(&rows_of_table).next().map(|row| row.child_elements().count());
        heads > Some(11)
    });
    let classes: Vec<_> = wide.map(|table| table.attr("class").unwrap_or_default()).collect();
    assert_eq!(classes.len(), 3, "{classes:?}");
    assert!(classes.iter().all(|class| class.split(' ').any(|one| one == "wrap")), "{classes:?}");
    let timed = Selector::parse("td.words[data-label='latency of']").unwrap();
    assert_eq!(html.select(&timed).count(), count(&html, "td[data-label=workload]"));
    // 3 frames of each order, in groups of 1, 4, 4, 1, 4 and 5 orders.
    let text: String = html.root_element().text().collect::<Vec<_>>().join(" ");
    assert!(text.contains("524,288 3 12 12 3 12 15"), "{text}");
    assert!(text.contains("7,001 0 0 14"), "{text}");
    let stacked = Selector::parse("table.stack td").unwrap();
    let labels: Vec<_> =
        html.select(&stacked).take(14).map(|cell| cell.attr("data-label").unwrap()).collect();
    assert_eq!(labels[..2], ["workload", "allocator"]);
    assert_eq!(labels[7..], ["refused", "unsupported", "latency of", "p50", "p99", "p99.9", "max"]);
    assert_eq!(html.select(&stacked).filter(|cell| cell.attr("data-label").is_none()).count(), 0);
}

#[test]
fn utilisation_is_shown_if_it_was_measured() {
    let mut seen = seen(2, &[], &[]);
    let mut counted = SchedCpu { cpu: 1, elapsed_ns: 4000, stolen: 1234, ..SchedCpu::default() };
    counted.switches.preempted = 5678;
    let mut measured = SchedCpu { busy_ns: Some(1000), longest_latency_ns: 3_000_000, ..counted.clone() };
    measured.latencies[octopod::wire::latency_bucket(3_000_000)] = 1;
    let text = |seen: &Seen| {
        let html = parsed(&page_of(&report(seen)));
        html.root_element().text().collect::<Vec<_>>().join(" ")
    };
    seen.scheduler = vec![counted];
    let page = text(&seen);
    assert!(page.contains("1 0 5,678 0 0 0 0 0 1,234") && !page.contains("utilisation"), "{page}");
    seen.scheduler = vec![measured];
    let page = text(&seen);
    assert!(page.contains("1 25.0 % 3.00 ms 3.00 ms 3.00 ms 3.00 ms – – –"), "{page}");
}

#[test]
fn a_recursion_is_folded_and_a_message_keeps_its_lines() {
    let mut report = hostile();
    let panic = report.panic.as_mut().unwrap();
    panic.message = "assertion failed\n  left: 1\n right: 2".to_owned();
    panic.stage = Some("work".to_owned());
    panic.backtrace = vec![panic.backtrace[0].clone(); 30];
    let page = page_of(&report);
    let html = parsed(&page);
    let calls = html.select(&Selector::parse("ol.calls").unwrap()).next().unwrap();
    assert_eq!(calls.child_elements().count(), 2);
    assert!(page.contains("... the call above, 29 more times"));
    assert!(page.contains("<p class=\"lines\">assertion failed\n  left: 1\n right: 2"));
    assert!(!page.contains("in stage"));
}

#[test]
fn a_report_at_the_time_limit_is_no_panic() {
    let mut report = hostile();
    let panic = report.panic.as_mut().unwrap();
    panic.message = "the request".to_owned();
    assert!(page_of(&report).contains("CPU 0 panicked"));
    report.panic.as_mut().unwrap().requested = true;
    let page = page_of(&report);
    assert!(page.contains("CPU 0 at the time limit") && !page.contains("CPU 0 panicked"));
    assert!(!page.contains("the request"));
}
