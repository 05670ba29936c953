//! The parts of programs that `docs/kernels.md` shows: each compiles in a project, with what its text assumes.

use super::*;

/// A part: a text in it, and what stands before and after it.
type Part = (&'static str, &'static str, &'static str);

const PARTS: [Part; 9] = [
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
];

/// Other tests compile these: of the template, `tests/own_allocator.rs`, and `heaps.rs`.
const ELSEWHERE: [&str; 3] = ["octopod::program!", "impl FrameSource for", "octopod::heap!"];

const USED: &str = "#[allow(unused_imports)]
use {core::sync::atomic::{AtomicU64, Ordering}, octopod::interrupts::ProgramVector, octopod::prelude::*};
#[allow(unused_imports)]
use octopod::selftest::{CheckResult, failed};
";

#[test]
fn the_parts_of_programs_that_the_documentation_shows_compile() {
    let page = include_str!("../../../docs/kernels.md");
    let blocks = page.split("```rust\n").skip(1).map(|rest| rest.split("```\n").next().unwrap());
    let mut program = "#![no_std]\n#![no_main]\noctopod::program!(octopod::stages::stress);\n".to_owned();
    let mut left = PARTS.to_vec();
    for (number, block) in blocks.enumerate() {
        if ELSEWHERE.iter().any(|text| block.contains(text)) {
            continue;
        }
        let index = left.iter().position(|(text, ..)| block.contains(text));
        let (_, before, after) = left.remove(index.unwrap_or_else(|| panic!("no test compiles\n{block}")));
        let block = match block.split_once("\n\nlet ") {
            Some((items, lines)) => format!("{items}\n{before}\nlet {lines}"),
            None => format!("{before}\n{block}"),
        };
        program += &format!("pub mod part_{number} {{\n{USED}{block}{after}\n}}\n");
    }
    assert!(left.is_empty(), "docs/kernels.md does not show {left:?}");
    let project = Project::new("documented", &[]);
    project.write("src/main.rs", &program);
    // With `cfg(test)`, which tests need.
    project.cargo(&["test", "--no-run"]).expect(0, &["Finished"]);
}
