//! The parts of programs that `docs/kernels.md` shows, and parts of other pages: each compiles in a project, with what its text assumes.

use super::*;

/// A part: a text in it, and what stands before and after it.
type Part = (&'static str, &'static str, &'static str);

const PARTS: [Part; 11] = [
    ("octopod::option!", "", ""),
    ("report::figure(", "pub fn report(made: u64, elapsed_ns: u64, longest: u64) {", "}"),
    (
        "octopod::trace_event!",
        "pub struct Item { id: u64 }\npub fn record(item: &Item, queue: &[u64]) {",
        "}",
    ),
    ("octopod::panic_context!", "static QUEUED: AtomicU64 = AtomicU64::new(0);", ""),
    // Its lines behind the variable stand in a function.
    ("ProgramVector::allocate", "pub fn interrupts() -> Result<(), Reason> {", "Ok(()) }"),
    (
        "octopod::self_test!",
        "mod queue { pub fn push(_: u32) {} pub fn pop() -> Option<u32> { None } }",
        "pub fn is_armed() -> bool { LOSE_ITEM.is_armed() }",
    ),
    ("#[octopod::test", "", ""),
    ("octopod::bench!", "fn hash(value: u64) -> u64 { value }", ""),
    ("octopod::workload!", "", ""),
    ("Reason::of_program(", "", ""),
    // Its module is the template's.
    (ALLOCATOR, "", ""),
];

const ALLOCATOR: &str = "octopod::frame_allocator!";

/// Parts of other pages.
const OTHERS: [(&str, Part); 2] = [
    (
        include_str!("../../../docs/frames.md"),
        (
            "FrameRange::alloc_in",
            "use octopod::memory::{FrameRange, frames::{FrameRequest, NodeId, Nodes, Order, ZoneType}};",
            "",
        ),
    ),
    (
        include_str!("../../../docs/smp.md"),
        ("smp::call(", "pub fn calls() -> Result<(), Reason> {", "Ok(()) }"),
    ),
];

/// Other tests compile these: of the template, `tests/own_allocator.rs`, and `heaps.rs`.
const ELSEWHERE: [&str; 3] = ["octopod::program!", "impl FrameSource for", "octopod::heap!"];

const USED: &str = "#[allow(unused_imports)]
use {core::sync::atomic::{AtomicU64, Ordering}, octopod::interrupts::ProgramVector, octopod::prelude::*};
#[allow(unused_imports)]
use octopod::selftest::{CheckResult, failed};
";

/// The blocks of Rust of a page.
fn blocks_of(page: &str) -> impl Iterator<Item = &str> {
    page.split("```rust\n").skip(1).map(|rest| rest.split("```\n").next().unwrap())
}

#[test]
fn the_parts_of_programs_that_the_documentation_shows_compile() {
    let blocks = blocks_of(include_str!("../../../docs/kernels.md"));
    let mut program = "#![no_std]\n#![no_main]\noctopod::program!(octopod::stages::stress);\n".to_owned();
    let project = Project::new("documented", &[]);
    let mut left = PARTS.to_vec();
    for (number, block) in blocks.enumerate() {
        if ELSEWHERE.iter().any(|text| block.contains(text)) {
            continue;
        }
        let index = left.iter().position(|(text, ..)| block.contains(text));
        let (_, before, after) = left.remove(index.unwrap_or_else(|| panic!("no test compiles\n{block}")));
        if block.contains(ALLOCATOR) {
            let module = include_str!("../../templates/allocator/src/allocator.rs");
            project.write(&format!("src/part_{number}/allocator.rs"), module);
        }
        let block = match block.split_once("\n\nlet ") {
            Some((items, lines)) => format!("{items}\n{before}\nlet {lines}"),
            None => format!("{before}\n{block}"),
        };
        program += &format!("pub mod part_{number} {{\n{USED}{block}{after}\n}}\n");
    }
    assert!(left.is_empty(), "docs/kernels.md does not show {left:?}");
    for (number, (page, (text, before, after))) in OTHERS.into_iter().enumerate() {
        let block = blocks_of(page).find(|block| block.contains(text)).unwrap_or_else(|| panic!("no {text}"));
        program += &format!("pub mod other_{number} {{\n{USED}{before}\n{block}{after}\n}}\n");
    }
    project.write("src/main.rs", &program);
    // With `cfg(test)`, which tests need.
    project.cargo(&["test", "--no-run"]).expect(0, &["Finished"]);
}
