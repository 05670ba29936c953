//! Keeps the documentation true: its generated blocks equal what is generated from the sources, each link and each path leads
//! somewhere, each name is one of the sources', each command is one that the launcher or cargo takes, and the quick ones pass.
//!
//! `OCTOPOD_BLESS=1 cargo test -p octopod-ci --test suite docs::` rewrites the generated blocks.

mod blocks;
mod commands;
mod environment;
mod links;
mod page;
mod runs;
#[allow(dead_code, reason = "the documentation does not show all of it")]
#[path = "../../tests/layers/table.rs"]
mod table;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use octopod::boot::command_line::Named;
use octopod::stress::allocators::Allocator;
use octopod::stress::heap::Heap;
use octopod::stress::subject::SubjectKind;
use octopod::stress::workloads::Workload;
use octopod::wire::{BootStage, StagesUs};
use page::Page;

/// The most lines of README.md.
const README_LINES: usize = 250;

/// Sources whose documentation has generated blocks.
const SOURCES: [&str; 2] = ["src/lib.rs", "ci/src/lib.rs"];

/// The root of the checkout.
fn root() -> PathBuf {
    let package = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this test"));
    package.parent().expect("the package lies in the checkout").to_owned()
}

/// All pages: those of the root and of `docs/`.
fn pages() -> Vec<Page> {
    let root = root();
    let mut pages = Vec::new();
    for folder in ["", "docs/"] {
        let entries = fs::read_dir(root.join(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.ends_with(".md")).collect();
        names.sort();
        pages.extend(names.iter().map(|name| read(&root, &format!("{folder}{name}"))));
    }
    assert!(pages.len() > 15, "{} pages were found", pages.len());
    pages
}

fn read(root: &Path, name: &str) -> Page {
    Page::new(name, &fs::read_to_string(root.join(name)).unwrap())
}

#[track_caller]
fn assert_none(lines: &[String]) {
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

#[test]
fn generated_blocks_are_up_to_date() {
    let root = root();
    let is_to_bless = std::env::var_os("OCTOPOD_BLESS").is_some();
    let mut stale = Vec::new();
    let mut found = Vec::new();
    let files = pages().into_iter().map(|page| (page.name, ""));
    for (name, prefix) in files.chain(SOURCES.map(|name| (name.to_owned(), "//! "))) {
        let path = root.join(&name);
        let text = fs::read_to_string(&path).unwrap();
        let generate = |block: &str| {
            found.push(block.to_owned());
            blocks::generate(&root, block)
        };
        let fresh =
            blocks::replace(&text, prefix, generate).unwrap_or_else(|error| panic!("{name}: {error}"));
        if fresh != text && is_to_bless {
            fs::write(&path, &fresh).unwrap();
        } else if let Some((line, old, new)) = blocks::first_difference(&text, &fresh) {
            stale.push(format!("{name}:{line}: is\n  {old}\nand should be\n  {new}"));
        }
    }
    if !stale.is_empty() {
        stale.push("OCTOPOD_BLESS=1 cargo test -p octopod-ci --test suite docs:: rewrites them".to_owned());
    }
    assert_none(&stale);
    let unused: Vec<_> =
        blocks::NAMES.iter().filter(|name| !found.iter().any(|block| block == *name)).collect();
    assert!(unused.is_empty(), "no page has the blocks {unused:?}");
}

#[test]
fn links_paths_and_names_resolve() {
    let (root, pages) = (root(), pages());
    assert_none(&links::broken_links(&root, &pages));
    assert_none(&links::missing_paths(&root, &pages));
    assert_none(&links::unknown_names(&links::words_of_sources(&root), &pages));
    let links: usize = pages.iter().map(|page| page.links.len()).sum();
    assert!(links > 60, "{links} links were found");
}

#[test]
fn commands_are_well_formed() {
    let (checker, pages) = (commands::Checker::new(&root()), pages());
    let mut found = 0;
    let mut wrong = Vec::new();
    for page in &pages {
        let (lines, errors) = commands::lines_of(page);
        found += lines.len();
        wrong.extend(errors);
        for (line, text) in lines.iter().chain(&commands::inline(page)) {
            let checked = commands::parse(text).and_then(|command| checker.check(&command));
            wrong.extend(checked.err().map(|error| format!("{}:{line}: `{text}`: {error}", page.name)));
        }
    }
    // Those of `--help`.
    for (line, text) in commands::examples_of_help() {
        found += 1;
        let checked = commands::parse(&text).and_then(|command| checker.check(&command));
        wrong.extend(checked.err().map(|error| format!("--help:{line}: `{text}`: {error}")));
    }
    assert_none(&wrong);
    assert!(found > 50, "{found} commands were found");
}

#[test]
fn help_and_the_page_have_each_variable_of_the_environment() {
    let help = environment::of_help();
    let of_octopod: BTreeSet<String> =
        help.iter().filter(|name| name.starts_with("OCTOPOD_")).cloned().collect();
    assert_eq!(of_octopod, environment::of_sources(&root()));
    assert_eq!(help, environment::of_page(&fs::read_to_string(root().join("docs/launcher.md")).unwrap()));
}

#[test]
fn quick_commands_pass() {
    let mut all = Vec::new();
    for page in pages() {
        all.extend(commands::lines_of(&page).0.into_iter().map(|(_, text)| text));
    }
    let stale: Vec<_> =
        runs::NOT_RUN.iter().filter(|(text, _)| !all.iter().any(|line| line == text)).collect();
    assert!(stale.is_empty(), "no page has these commands: {stale:#?}");
    let is_run = |text: &String| !runs::NOT_RUN.iter().any(|(not_run, _)| not_run == text);
    let mut quick: Vec<_> = all.into_iter().filter(is_run).collect();
    quick.sort();
    quick.dedup();
    assert!(quick.len() > 10, "{quick:?}");
    assert_none(&runs::failures(&root(), &quick));
}

/// Words of a picture that are neither a name of the kernel's nor part of a longer text.
const WORDS_OF_PICTURES: [&str; 5] = ["round", "rt0", "samples", "size", "usable"];

/// The pictures of the documentation come from real runs, so they keep old names until they are drawn again.
#[test]
fn pictures_show_present_names() {
    let workloads = <&Workload>::all().iter().map(|one| one.name);
    let allocators = <&Allocator>::all().iter().map(|one| one.name);
    let heaps = <&Heap>::all().iter().map(|one| one.name);
    let stages = BootStage::ALL.iter().map(|stage| stage.name());
    let of_cpus = StagesUs::default().in_order().map(|(name, _)| name);
    let subjects = allocators.chain(heaps);
    let known: Vec<&str> =
        workloads.chain(subjects).chain(stages).chain(of_cpus).chain(WORDS_OF_PICTURES).collect();
    let mut unknown = Vec::new();
    let mut names = Vec::new();
    for entry in fs::read_dir(root().join("ci/pictures")).unwrap() {
        let path = entry.unwrap().path();
        for name in names_in(&fs::read_to_string(&path).unwrap()) {
            if !known.contains(&&*name) {
                unknown.push(format!("{}: {name}", path.display()));
            }
            names.push(name);
        }
    }
    assert_none(&unknown);
    // A workload of the kernel alone compares no allocators, and one of the scheduler neither.
    let is_shown = |one: &&Workload| one.on_host && one.kind() != SubjectKind::Scheduler;
    for workload in octopod::stress::workloads::defaults().filter(is_shown) {
        assert!(names.iter().any(|name| name == workload.name), "no picture shows {}", workload.name);
    }
}

/// The texts of a picture that have the form of a name.
fn names_in(picture: &str) -> Vec<String> {
    let html = scraper::Html::parse_document(picture);
    let texts = scraper::Selector::parse("text").unwrap();
    let texts = html.select(&texts).map(|text| text.text().collect::<String>().trim().to_owned());
    let is_of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    texts
        .filter(|text| {
            text.starts_with(|first: char| first.is_ascii_lowercase()) && text.bytes().all(is_of_name)
        })
        .collect()
}

#[test]
fn readme_is_short() {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(text.lines().count() <= README_LINES, "README.md has {} lines", text.lines().count());
}
