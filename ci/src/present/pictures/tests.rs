//! Every picture is valid SVG, for all reports.

use roxmltree::Document;

use super::*;
use crate::report::sample::{HOSTILE, hostile, report, seen};

/// Width, height and all words of an SVG; nothing lies outside of it.
fn looked_at(svg: &str) -> (f64, f64, Vec<String>) {
    let document = Document::parse(svg).unwrap_or_else(|error| panic!("{error}:\n{svg}"));
    let root = document.root_element();
    let size = |name| root.attribute(name).unwrap().parse::<f64>().unwrap();
    let (width, height) = (size("width"), size("height"));
    for node in root.descendants() {
        let number = |name| node.attribute(name).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
        assert!(number("x") + number("width") <= width, "{node:?}");
        for point in node.attribute("points").unwrap_or_default().split_whitespace() {
            let x: f64 = point.split(',').next().unwrap().parse().unwrap();
            assert!((0.0..=width).contains(&x), "{x} of {width}: {node:?}");
        }
        for (name, limit) in [("x", width), ("cx", width), ("x1", width), ("y", height), ("cy", height)] {
            if let Some(at) = node.attribute(name).and_then(|text| text.parse::<f64>().ok()) {
                assert!((0.0..=limit).contains(&at), "{name}={at} of {limit}: {node:?}");
            }
        }
    }
    let words = root.descendants().filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "text")));
    (width, height, words.filter_map(|node| node.text()).map(|text| text.trim().to_owned()).collect())
}

#[test]
fn every_picture_is_svg_that_stays_within_its_frame() {
    for cpus in [1, 2, 8, 32, 33, 300, 1024] {
        let report = report(&seen(cpus, &["pairs", "mixed_orders"], &["octopod", "magazine", "locked"]));
        let pictures = all(&report).unwrap();
        let names: Vec<_> = pictures.iter().map(|picture| picture.name).collect();
        assert_eq!(
            names,
            ["stages", "boot", "memory", "operations", "scaling", "latency", "fragmentation", "lateness"]
        );
        for picture in &pictures {
            let (width, height, words) = looked_at(&picture.file());
            assert_eq!(width, 960.0);
            assert!(height < 1_400.0 && !words.is_empty(), "{} of {cpus} CPUs: {height}", picture.name);
            let (width, _, _) = looked_at(picture.narrow());
            assert_eq!(width, 380.0);
            assert!(picture.file().contains("prefers-color-scheme: dark"));
        }
    }
}

#[test]
fn axes_have_names_and_lanes_their_cpus() {
    let report = report(&seen(300, &["pairs", "mixed_orders"], &["octopod", "locked"]));
    let pictures = all(&report).unwrap();
    let words = |at: usize| looked_at(&pictures[at].file()).2;
    let has = |at, wanted: &[&str]| {
        let words = words(at);
        wanted.iter().for_each(|word| assert!(words.iter().any(|found| found == word), "{word}: {words:?}"));
    };
    has(0, &["rt0", "clock", "20.0 ms", "ms since the kernel's entry"]);
    has(1, &["0–15", "288–299", "sipi_sent", "timer", "µs, since the CPU's first instruction"]);
    has(2, &["usable", "first page", "4 KiB", "size"]);
    has(3, &["pairs", "mixed_orders", "CPU", "operations"]);
    has(4, &["pairs", "octopod", "locked", "CPUs", "per second", "1", "300"]);
    has(5, &["pairs (with frees)", "locked", "TSC cycles", "samples", "1k"]);
    has(6, &["pairs", "octopod", "locked", "round", "score in %"]);
    has(7, &["all timers", "late by", "1 µs", "10 ms", "timers"]);
}

#[test]
fn a_cpu_that_did_not_come_is_named_with_its_stage() {
    let mut seen = seen(4, &[], &[]);
    let cpu = &mut seen.cpus[2];
    (cpu.state, cpu.failed_stage) = ("failed".to_owned(), Some("long_mode".to_owned()));
    let stages = &mut cpu.stages_us;
    (stages.gs, stages.idt, stages.apic, stages.timer, stages.online) = (None, None, None, None, None);
    let pictures = all(&report(&seen)).unwrap();
    let (_, _, words) = looked_at(&pictures[1].file());
    assert!(words.contains(&"failed, last seen in long_mode".to_owned()), "{words:?}");
    let names: Vec<_> = pictures.iter().map(|picture| picture.name).collect();
    assert_eq!(names, ["stages", "boot", "memory", "lateness"]);
}

#[test]
fn hostile_words_stay_words() {
    let pictures = all(&hostile()).unwrap();
    for picture in &pictures {
        let file = picture.file();
        assert!(!file.contains("<script") && !file.contains("<img"), "{}", picture.name);
        looked_at(&file);
        looked_at(picture.narrow());
    }
    let (_, _, words) = looked_at(&pictures[2].file());
    assert!(words.iter().any(|word| word.starts_with(&HOSTILE[..25])), "{words:?}");
}
