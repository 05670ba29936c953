//! A heap of a project's own, under the workloads and checks of octopod.

use super::*;

/// The heap of `docs/kernels.md`.
fn documented() -> String {
    let page = include_str!("../../../docs/kernels.md");
    let (_, example) = page.split_once("```rust\noctopod::heap! {").expect("the page has the example");
    let (example, _) = example.split_once("```\n").unwrap();
    format!("octopod::heap! {{{example}")
}

const HEAD: &str = "#![no_std]
#![no_main]

use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{AcqRel, Relaxed};

use octopod::stress::heap::*;

octopod::program!(octopod::stages::stress);

octopod::workload! {
    /// Each CPU allocates an object and frees it.
    pub static MINE = \"mine\",
    heap: |worker| {
        while worker.has_next_round() {
            if let Some(object) = worker.allocate_object(Layout::new::<u64>()) {
                worker.free_held_object(object);
            }
        }
    },
}

";

#[test]
fn a_heap_of_a_project_runs_under_the_workloads_and_its_faults_are_found() {
    let project = Project::new("heap-of-mine", &[]);
    project.write("src/main.rs", &format!("{HEAD}{}", documented()));
    let with = |options: &[&str]| {
        let stress = ["stress", "--debug", "--smp", "4", "--seconds", "1", "--quiet"];
        project.octopod(&[&stress, options].concat())
    };
    let pass = ["PASS  4 CPUs", "nothing lost, nothing allocated twice"];
    with(&["--heap", "cells,talc", "--workloads", "box64,heap_random,mine"]).expect(0, &pass);
    // Without a list of workloads, those of octopod's heaps and the program's own.
    with(&["--heap", "cells", "--json", "all.json"]).expect(0, &pass);
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(project.folder.join("all.json")).unwrap()).unwrap();
    let workloads: Vec<_> = report["stress"].as_array().unwrap().iter().map(|one| &one["workload"]).collect();
    assert!(["heap_pairs", "mine"].iter().all(|name| workloads.contains(&&(*name).into())), "{workloads:?}");
    with(&["--heap", "none"]).expect(2, &["\"none\" is not known", "wf_alloc, cells)"]);

    // It allocates a cell twice: the bit stays.
    let taken = "word.fetch_update(AcqRel, Relaxed, |bits| (bits != 0).then(|| bits & (bits - 1))).ok()?";
    let broken = "Some(word.load(Relaxed)).filter(|bits| *bits != 0)?";
    project.replace("src/main.rs", taken, broken);
    let bulk = ["--heap", "cells", "--workloads", "box64"];
    with(&bulk).expect(1, &["was allocated to cpu", "had it"]);
    project.replace("src/main.rs", broken, taken);

    // It loses what is freed.
    let freed = "match self.words[cell / 64].fetch_or(1 << (cell % 64), AcqRel) >> (cell % 64) & 1";
    project.replace("src/main.rs", freed, "match self.words[cell / 64].load(Relaxed) & 0");
    with(&bulk).expect(1, &["the heap counted 0 objects before and ", " after, when all were free"]);
    project.replace("src/main.rs", "match self.words[cell / 64].load(Relaxed) & 0", freed);

    // More than there is room for, with the one that is there.
    let more = |number| {
        let item = format!("pub static MORE_{number} = \"more_{number}\"");
        format!("octopod::workload! {{ {item}, run: |worker| while worker.has_next_round() {{}}, }}\n")
    };
    let whole = fs::read_to_string(project.folder.join("src/main.rs")).unwrap();
    project.add("src/main.rs", &(0..8).map(more).collect::<String>());
    let refused = project.octopod(&["boot", "--debug", "--smp", "1"]);
    refused.expect(2, &["the program registers 9 workloads; there is room for 8"]);
    project.write("src/main.rs", &whole);

    // Two of one name.
    project.replace("src/main.rs", "= \"cells\"", "= \"talc\"");
    let refused = project.octopod(&["boot", "--debug"]);
    refused.expect(2, &["src/main.rs:", ": talc is also the name of one of octopod's own heaps"]);
}
