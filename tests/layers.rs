//! Checks the order of the layers: reads every source under `src/` and fails on an import upward, and on a loop among modules of
//! one layer. `LAYERS` is the order; a new top-level module must be added to it.
//!
//! An import is any path that leaves its own top-level module: in a `use`, in an expression or a type, in the arguments of a
//! macro or in its definition. Code under `#[cfg(test)]` is exempt. Calls by symbol name from assembly, and paths that a
//! procedural macro generates, are not found.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

#[path = "layers/edges.rs"]
mod edges;

use edges::{Edge, Source, edges_of, edges_within};

/// Each top-level module and its layer. A module may import from lower layers, and from its own if there is no loop.
const LAYERS: &[(&str, u8)] = &[
    ("config", 0),
    ("wire", 0),
    ("cpu", 1),
    ("sync", 2),
    ("console", 2),
    ("trace", 2),
    ("boot", 3),
    // Every module that can panic imports it, so it is a low layer, and stops the other CPUs by a hook.
    ("panic", 3),
    ("memory", 4),
    ("interrupts", 5),
    ("acpi", 5),
    ("apic", 6),
    ("time", 7),
    ("smp", 8),
    ("sched", 9),
    ("audit", 10),
    ("selftest", 10),
    ("stress", 10),
    ("bench", 10),
    ("shell", 10),
    ("faults", 11),
    ("options", 11),
    ("report", 11),
    ("program", 11),
    ("stages", 11),
    ("lib", 11),
    ("main", 11),
];

/// Modules whose sub-modules import each other in one direction only. None of them imports from its parent's re-exports.
const WITHOUT_LOOPS: &[&[&str]] = &[
    &["memory"],
    &["memory", "frames"],
    &["memory", "cache"],
    &["memory", "paging"],
    &["memory", "mmio"],
    &["memory", "audit"],
];

#[test]
fn sub_modules_import_each_other_in_one_direction() {
    let mut sources = Vec::new();
    read_sources(&package(), &package().join("src"), &mut Vec::new(), &mut sources);
    for root in WITHOUT_LOOPS {
        let edges = edges_within(&sources, root);
        assert!(!edges.is_empty(), "no import was found within {root:?}: the test finds nothing");
        let lines = inner_violations(root, &edges);
        assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
    }
}

/// Each import of a sub-module from its parent's re-exports, and a loop among sub-modules.
fn inner_violations(root: &[&str], edges: &BTreeSet<Edge>) -> Vec<String> {
    let own_name = root.last().copied().unwrap_or_default();
    let (upward, sideways): (Vec<_>, Vec<_>) = edges.iter().partition(|edge| edge.to == own_name);
    let mut lines: Vec<_> = upward
        .iter()
        .map(|edge| format!("{}: {} imports from {own_name}, of which it is a part", edge.place, edge.from))
        .collect();
    let mut graph: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for edge in sideways {
        graph.entry(&edge.from).or_default().insert(&edge.to);
    }
    lines.extend(find_loop(&graph).into_iter().flat_map(|ring| loop_lines(ring, edges)));
    lines
}

#[test]
fn the_kernel_keeps_its_layers() {
    let mut sources = Vec::new();
    read_sources(&package(), &package().join("src"), &mut Vec::new(), &mut sources);
    let found = edges_of(&sources);
    assert!(!found.is_empty(), "no import was found in {} files: the test finds nothing", sources.len());
    let violations = violations(LAYERS, &sources, &found);
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

/// The package's folder, from cargo at run time: the program may have been built in another.
fn package() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this test").into()
}

/// Reads every `.rs` file of a folder, each with the path of its module in the file system.
fn read_sources(package: &Path, folder: &Path, modules: &mut Vec<String>, sources: &mut Vec<Source>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let stem = path.file_stem().unwrap().to_str().unwrap().to_string();
        if path.is_dir() {
            modules.push(stem);
            read_sources(package, &path, modules, sources);
            modules.pop();
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(package).unwrap().to_str().unwrap().to_string();
            sources.push(Source::new(name, fs::read_to_string(&path).unwrap()));
        }
    }
}

fn layer_of(layers: &[(&str, u8)], module: &str) -> Option<u8> {
    layers.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

/// The violations of the order, one line each.
fn violations(layers: &[(&str, u8)], sources: &[Source], edges: &BTreeSet<Edge>) -> Vec<String> {
    let importing = edges.iter().flat_map(|edge| [&*edge.from, &*edge.to]);
    let modules: BTreeSet<&str> = sources.iter().map(Source::top).chain(importing).collect();
    let unplaced = modules.iter().filter(|module| layer_of(layers, module).is_none());
    let mut lines: Vec<_> = unplaced
        .map(|module| format!("`{module}` has no place: give it a layer in tests/layers.rs"))
        .collect();
    let mut sideways: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for edge in edges {
        let (Some(from), Some(to)) = (layer_of(layers, &edge.from), layer_of(layers, &edge.to)) else {
            continue;
        };
        if to > from {
            lines.push(format!(
                "{}: {} (layer {from}) imports upward from {} (layer {to})",
                edge.place, edge.from, edge.to
            ));
        } else if to == from {
            sideways.entry(&edge.from).or_default().insert(&edge.to);
        }
    }
    lines.extend(find_loop(&sideways).into_iter().flat_map(|ring| loop_lines(ring, edges)));
    lines
}

/// A loop, with an import for each of its steps.
fn loop_lines(mut ring: Vec<&str>, edges: &BTreeSet<Edge>) -> Vec<String> {
    ring.push(ring[0]);
    let first = format!("modules of one layer import each other in a loop: {}", ring.join(" -> "));
    let steps = ring.windows(2).filter_map(|step| {
        let edge = edges.iter().find(|edge| edge.from == step[0] && edge.to == step[1])?;
        Some(format!("  {}: {} imports from {}", edge.place, edge.from, edge.to))
    });
    [first].into_iter().chain(steps).collect()
}

/// A loop in the graph, if there is one. Modules that import from no remaining module are removed repeatedly; what remains are
/// loops and paths into them.
fn find_loop<'a>(graph: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Option<Vec<&'a str>> {
    let mut rest = graph.clone();
    loop {
        let names: BTreeSet<&str> = rest.keys().copied().collect();
        let before = rest.len();
        rest.retain(|_, targets| targets.iter().any(|target| names.contains(target)));
        if rest.len() == before {
            break;
        }
    }
    let mut walk = vec![*rest.keys().next()?];
    loop {
        let next = rest[walk.last()?].iter().copied().find(|target| rest.contains_key(target))?;
        if let Some(start) = walk.iter().position(|module| *module == next) {
            return Some(walk.split_off(start));
        }
        walk.push(next);
    }
}

/// The order for the tests of this test, independent of the kernel's.
const SAMPLE_LAYERS: &[(&str, u8)] = &[
    ("config", 0),
    ("cpu", 1),
    ("sync", 2),
    ("memory", 4),
    ("acpi", 5),
    ("interrupts", 5),
    ("smp", 8),
    ("bench", 10),
    ("shell", 10),
    ("audit", 10),
    ("selftest", 10),
    ("stress", 10),
    ("trace", 10),
    ("work", 10),
    ("lib", 11),
    ("main", 11),
];

/// The violations in a crate of these files.
fn check(files: &[(&str, &str)]) -> Vec<String> {
    let sources: Vec<_> =
        files.iter().map(|(name, text)| Source::new(format!("src/{name}"), text.to_string())).collect();
    violations(SAMPLE_LAYERS, &sources, &edges_of(&sources))
}

/// Each syntax of an import from `smp`, in a file of `cpu`, a lower layer.
#[test]
fn an_import_upward_is_found_however_it_is_written() {
    for text in [
        "use crate::smp::call;",
        "use crate::smp;",
        "pub use crate::smp as above;",
        "use crate::{config, smp};",
        "use crate::{config::{self, A}, smp::{self, b::c}};",
        "use octopod::smp::call;",
        "use ::octopod::{smp};",
        "use super::super::smp::call;",
        "use super::super::{smp, config};",
        "use super::{super::smp, id};",
        "fn f() { use crate::smp::call; }",
        "fn f() { crate::smp::call(); }",
        "fn f() { super::super::smp::call(); }",
        "fn f(x: &[crate::smp::CpuSet]) {}",
        "fn f<T: crate::smp::Settle>() {}",
        "impl crate::smp::Settle for X {}",
        "impl X { fn f() -> Option<crate::smp::CpuSet> { None } }",
        "fn f() { match x { crate::smp::A => {} _ => {} } }",
        "fn f() { let _ = X { a: [crate::smp::B; 3] }; }",
        "static S: fn() = crate::smp::call;",
        "fn f() { panic!(\"{}\", crate::smp::count()); }",
        "fn f() { vec![(1, [crate::smp::count()])]; }",
        "fn f() { core::arch::asm!(\"call {}\", sym crate::smp::call); }",
        "macro_rules! m { ($x:expr) => { $crate::smp::call($x) }; }",
        "macro_rules! m { () => { use $crate::{config, smp::call}; }; }",
        "m! { use super::super::{smp}; }",
        "#[cfg(not(test))] use crate::smp;",
        "#[cfg(any(test, loom))] use crate::smp;",
        "mod inner { use super::super::super::smp; }",
        "mod inner { fn f() { crate::smp::call() } }",
        "#[derive(crate::smp::Trace)] struct X;",
        "use crate::r#smp::call;",
        "crate::smp::declare! { static X: u8 = 0; }",
        "fn f() { crate::smp_call!(1); }",
        "use crate::smp_call;",
        "fn f() { smp::call(); } use crate::*;",
    ] {
        let smp = "pub fn call() {} #[macro_export] macro_rules! smp_call { () => {}; }";
        let found =
            check(&[("cpu/per_cpu.rs", text), ("smp/mod.rs", smp), ("config.rs", ""), ("lib.rs", "")]);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        let above = if text.contains('*') { "lib (layer 11)" } else { "smp (layer 8)" };
        assert_eq!(
            found[0],
            format!("src/cpu/per_cpu.rs:1: cpu (layer 1) imports upward from {above}"),
            "{text}"
        );
    }
}

#[test]
fn other_paths_are_accepted() {
    for text in [
        "use crate::cpu::id::CpuId;",
        "use crate::{cpu, config, sync::SpinLockIrq};",
        "use super::super::super::cpu::id;",
        "use super::smp;",
        "use self::smp::call;",
        "use smp::call;",
        "fn f() { smp::call(); other::crate_::smp::x(); }",
        "pub(crate) fn f() {} pub(super) fn g() {} pub(in crate::smp) fn h() {}",
        "//! [`crate::smp`]\n/// [`crate::smp::call`]\nfn f() {}",
        "fn f() { log!(\"crate::smp::call\", a.smp, b::smp::c); }",
        "#[cfg(test)] mod tests { use crate::smp; }",
        "#[cfg(test)] use crate::smp;",
        "#[cfg(all(test, target_os = \"linux\"))] fn f() { crate::smp::call(); }",
        "impl X { #[cfg(test)] fn f() { crate::smp::call(); } }",
        "#[cfg(test)] mod tests;",
        "use crate::per_cpu; crate::per_cpu! { static X: u8 = 0; }",
    ] {
        let found = check(&[
            ("memory/frames/magazine.rs", text),
            (
                "memory/frames/magazine/tests.rs",
                if text.ends_with("mod tests;") { "use crate::smp;" } else { "" },
            ),
            ("cpu/mod.rs", "#[macro_export] macro_rules! per_cpu { () => { $crate::cpu::x() }; }"),
            ("config.rs", ""),
            ("sync.rs", ""),
            ("smp.rs", "use crate::memory::frames;"),
            ("lib.rs", "pub mod cpu; pub mod memory; pub mod smp; pub use smp::call;"),
            ("main.rs", "fn main() { octopod::smp::call() }"),
        ]);
        assert_eq!(found, [""; 0], "{text}");
    }
}

#[test]
fn a_test_file_is_exempt_only_where_its_declaration_is() {
    let found =
        check(&[("cpu/mod.rs", "mod tests;"), ("cpu/tests.rs", "\n\nuse crate::smp;"), ("smp.rs", "")]);
    assert_eq!(found, ["src/cpu/tests.rs:3: cpu (layer 1) imports upward from smp (layer 8)"]);
    let found = check(&[
        ("cpu.rs", "#[cfg(test)]\nmod tests;"),
        ("cpu/tests.rs", "mod deep;"),
        ("cpu/tests/deep.rs", "use crate::smp;"),
        ("smp.rs", ""),
    ]);
    assert_eq!(found, [""; 0]);
}

#[test]
fn a_loop_within_a_layer_is_found() {
    let interrupts = ("interrupts/mod.rs", "use crate::acpi::madt;");
    assert_eq!(check(&[interrupts, ("acpi.rs", "")]), [""; 0]);
    assert_eq!(
        check(&[interrupts, ("acpi.rs", "fn f() { crate::interrupts::register() }")]),
        [
            "modules of one layer import each other in a loop: acpi -> interrupts -> acpi",
            "  src/acpi.rs:1: acpi imports from interrupts",
            "  src/interrupts/mod.rs:1: interrupts imports from acpi",
        ]
    );
}

#[test]
fn a_long_loop_is_found_and_a_way_into_it_is_not_part_of_it() {
    let found = check(&[
        ("bench.rs", "use crate::stress;"),
        ("stress.rs", "use crate::{shell, trace};"),
        ("shell.rs", "use crate::work;"),
        ("work.rs", "use crate::{stress, trace};"),
        ("trace.rs", ""),
    ]);
    assert_eq!(
        found[0],
        "modules of one layer import each other in a loop: stress -> shell -> work -> stress"
    );
}

#[test]
fn a_module_without_a_layer_is_refused() {
    assert_eq!(
        check(&[("drivers/mod.rs", "")]),
        ["`drivers` has no place: give it a layer in tests/layers.rs"]
    );
    let inline = check(&[("lib.rs", "pub mod drivers { use crate::cpu; }"), ("cpu.rs", "")]);
    assert_eq!(inline, ["`drivers` has no place: give it a layer in tests/layers.rs"]);
}

#[test]
fn inline_modules_of_the_root_are_modules_like_any_other() {
    let found = check(&[("lib.rs", "pub mod cpu {\nuse crate::smp;\nuse super::smp::x; }\npub mod smp {}")]);
    let message = |line| format!("src/lib.rs:{line}: cpu (layer 1) imports upward from smp (layer 8)");
    assert_eq!(found, [message(2), message(3)]);
}

#[test]
fn a_loop_among_sub_modules_is_found() {
    let within = |files: &[(&str, &str)]| {
        let sources: Vec<_> =
            files.iter().map(|(name, text)| Source::new(format!("src/{name}"), text.to_string())).collect();
        inner_violations(&["memory"], &edges_within(&sources, &["memory"]))
    };
    let init =
        ("memory/init.rs", "use super::paging::tables; use crate::cpu; use crate::memory::frames::Order;");
    let paging = ("memory/paging/tables.rs", "use super::entry; use crate::memory::frames;");
    let frames =
        ("memory/frames.rs", "#[cfg(test)] use super::init; mod inner { use super::super::frames; }");
    let root = ("memory/mod.rs", "pub use init::init; use self::frames::Order;");
    assert_eq!(within(&[root, init, paging, frames]), [""; 0]);
    assert_eq!(
        within(&[root, init, paging, ("memory/frames.rs", "fn f() { crate::memory::init::init() }")]),
        [
            "modules of one layer import each other in a loop: frames -> init -> frames",
            "  src/memory/frames.rs:1: frames imports from init",
            "  src/memory/init.rs:1: init imports from frames",
        ]
    );
    for text in ["use super::Order;", "use crate::memory::*;", "fn f() -> super::Order {}"] {
        assert_eq!(
            within(&[root, init, paging, ("memory/frames.rs", text)]),
            ["src/memory/frames.rs:1: frames imports from memory, of which it is a part"],
            "{text}"
        );
    }
}
