//! Holds the order of the launcher's layers: reads every source under `ci/src` and fails on an import upward, on a cycle of
//! modules at any level, on a layer without a module, on a module without a layer, and on a use of the command line's parser
//! below the commands.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

#[path = "layers/imports.rs"]
mod imports;

use imports::{Crate, Source};

/// The layers, the lowest first: each top-level module may import from those before it.
const LAYERS: [&str; 10] =
    ["base", "machine", "setup", "kernel", "run", "report", "present", "host", "commands", "main"];

/// What only the commands see, of the crates that the launcher is built on.
const OF_THE_COMMANDS: [&str; 2] = ["clap", "clap_complete"];

#[test]
fn the_launcher_keeps_its_layers() {
    let package = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this test"));
    let mut sources = Vec::new();
    read_sources(&package, &package.join("src"), &mut sources);
    let launcher = Crate::of("octopod_ci", &sources);
    assert!(launcher.imports.len() > 500, "{} imports were found", launcher.imports.len());
    let found = violations(&LAYERS, &launcher);
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

fn read_sources(package: &Path, folder: &Path, sources: &mut Vec<Source>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            read_sources(package, &path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(package).unwrap().to_str().unwrap();
            sources.push(Source::new(name, &fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Everything that breaks the order, one line each.
fn violations(layers: &[&str], found: &Crate) -> Vec<String> {
    let top = |module: &str| module.split("::").next().unwrap_or_default().to_owned();
    let tops: BTreeSet<String> =
        found.modules.iter().map(|module| top(module)).filter(|module| !module.is_empty()).collect();
    let layer = |module: &str| layers.iter().position(|layer| *layer == module);
    let mut lines = Vec::new();
    lines.extend(
        tops.iter()
            .filter(|module| layer(module).is_none())
            .map(|module| format!("module `{module}` has no layer: give it one in ci/tests/layers.rs")),
    );
    lines.extend(
        layers
            .iter()
            .filter(|layer| !tops.contains(**layer))
            .map(|layer| format!("layer `{layer}` has no module")),
    );
    for import in &found.imports {
        let (from, to) = (top(&import.from), top(&import.to));
        // The library's root names what is in it.
        if let (Some(at), Some(above)) = (layer(&from), layer(&to))
            && above > at
        {
            lines.push(format!("{}: {} imports upward from {}", import.place, import.from, import.to));
        }
    }
    let commands = layer("commands").unwrap_or(usize::MAX);
    for (name, import) in &found.outside {
        if OF_THE_COMMANDS.contains(&name.as_str())
            && layer(&top(&import.from)).is_some_and(|at| at < commands)
        {
            lines.push(format!("{}: {} uses {name}, which only commands see", import.place, import.from));
        }
    }
    let mut graph: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for import in found.imports.iter().filter(|import| !import.from.is_empty()) {
        graph.entry(&import.from).or_default().insert(&import.to);
    }
    for cycle in cycles(&mut graph) {
        lines.push(format!("modules import each other in a cycle: {}", cycle.join(" -> ")));
        for step in cycle.windows(2) {
            let first = found.imports.iter().find(|import| import.from == step[0] && import.to == step[1]);
            lines.extend(
                first.map(|import| format!("  {}: {} imports {}", import.place, import.from, import.to)),
            );
        }
    }
    lines
}

/// Cycles of a graph, until none is left: of each, one edge is taken away.
fn cycles<'a>(graph: &mut BTreeMap<&'a str, BTreeSet<&'a str>>) -> Vec<Vec<&'a str>> {
    let mut found = Vec::new();
    loop {
        let mut rest = graph.clone();
        // What imports nothing of the rest is in no cycle.
        loop {
            let names: BTreeSet<&str> = rest.keys().copied().collect();
            rest.values_mut().for_each(|targets| targets.retain(|target| names.contains(target)));
            let before = rest.len();
            rest.retain(|_, targets| !targets.is_empty());
            if rest.len() == before {
                break;
            }
        }
        let Some(start) = rest.keys().next().copied() else { return found };
        let mut walk = vec![start];
        let cycle = loop {
            let next = *rest[walk[walk.len() - 1]].first().expect("each has an import in the rest");
            if let Some(begin) = walk.iter().position(|module| *module == next) {
                walk.push(next);
                break walk.split_off(begin);
            }
            walk.push(next);
        };
        let (last, first) = (cycle[cycle.len() - 2], cycle[cycle.len() - 1]);
        graph.get_mut(last).expect("it is in the cycle").remove(first);
        found.push(cycle);
    }
}

/// What the check finds in a crate of these files, whose layers are `low`, `high` and `commands`.
fn check(files: &[(&str, &str)]) -> Vec<String> {
    let root = [("lib.rs", ""), ("low/mod.rs", ""), ("high/mod.rs", ""), ("commands.rs", "")];
    let given = |name: &str| files.iter().any(|(file, _)| *file == name);
    let all = root.iter().filter(|(name, _)| !given(name)).chain(files);
    let sources: Vec<_> = all.map(|(name, text)| Source::new(&format!("src/{name}"), text)).collect();
    violations(&["low", "high", "commands"], &Crate::of("octopod_ci", &sources))
}

#[test]
fn an_import_upward_is_found_however_it_is_written() {
    for text in [
        "use crate::high;",
        "use crate::high::x;",
        "pub use crate::high::x as y;",
        "use crate::{low::b, high::{self, x}};",
        "use super::super::high::x;",
        "use octopod_ci::high;",
        "fn f() { crate::high::x() }",
        "fn f(x: crate::high::X) {}",
        "impl crate::high::T for X {}",
        "fn f() { println!(\"{}\", crate::high::x()) }",
        "#[derive(crate::high::D)] struct X;",
        "mod inner { use crate::high::x; }",
        "#[cfg(not(test))] use crate::high::x;",
        // By a name that the root has of it.
        "use crate::exported;",
    ] {
        let found = check(&[("low/a.rs", text), ("low/b.rs", ""), ("lib.rs", "pub use high::exported;")]);
        let upward = found.iter().filter(|line| line.contains("imports upward from high")).count();
        assert!(upward > 0 && upward == found.len(), "{text}: {found:?}");
    }
}

#[test]
fn a_module_may_import_from_below_and_tests_from_anywhere() {
    let found = check(&[
        (
            "high/a.rs",
            "use crate::low::b; use super::c; use std::fs; fn f() { std::fs::read(\"crate::commands\"); }",
        ),
        ("high/c.rs", "//! [`crate::commands`]\npub(in crate::high) fn f() {}"),
        ("low/b.rs", "#[cfg(test)] mod tests { use crate::high; } #[cfg(test)] use crate::commands;"),
        ("low/d.rs", "#[cfg(test)] mod tests;"),
        ("low/d/tests.rs", "use crate::high::a;"),
        ("commands.rs", "use clap::Parser; use crate::high::a;"),
    ]);
    assert_eq!(found, [""; 0]);
}

#[test]
fn a_cycle_is_found_at_every_level() {
    let of_siblings =
        check(&[("low/a.rs", "use super::b::x;"), ("low/b.rs", "fn f() { crate::low::a::y() }")]);
    assert_eq!(
        of_siblings,
        [
            "modules import each other in a cycle: low::a -> low::b -> low::a",
            "  src/low/a.rs:1: low::a imports low::b",
            "  src/low/b.rs:1: low::b imports low::a",
        ]
    );
    let with_the_parent = check(&[("low/mod.rs", "mod a; fn f() { a::x() }"), ("low/a.rs", "use super::f;")]);
    assert_eq!(with_the_parent[0], "modules import each other in a cycle: low -> low::a -> low");
    // A facade does not hide that `a` and `b` need each other.
    let behind_a_facade = check(&[
        ("low/mod.rs", "mod a; mod b; pub use a::X; pub use b::Y;"),
        ("low/a.rs", "use super::Y;"),
        ("low/b.rs", "use crate::low::X;"),
    ]);
    assert_eq!(behind_a_facade[0], "modules import each other in a cycle: low::a -> low::b -> low::a");
    let long = check(&[
        ("low/a.rs", "use super::b::c;"),
        ("low/b/mod.rs", "mod c;"),
        ("low/b/c.rs", "use crate::low::d;"),
        ("low/d.rs", "use super::a;"),
    ]);
    assert_eq!(long[0], "modules import each other in a cycle: low::a -> low::b::c -> low::d -> low::a");
    assert_eq!(check(&[("low/a.rs", "use super::b::x;"), ("low/b.rs", "fn f() {}")]), [""; 0]);
}

#[test]
fn a_layer_without_a_module_and_a_module_without_a_layer_are_found() {
    let sources = [Source::new("src/lib.rs", ""), Source::new("src/odd.rs", "")];
    assert_eq!(
        violations(&["low"], &Crate::of("octopod_ci", &sources)),
        ["module `odd` has no layer: give it one in ci/tests/layers.rs", "layer `low` has no module"]
    );
}

#[test]
fn only_commands_see_the_parser_of_the_command_line() {
    let found = check(&[("high/a.rs", "#[derive(clap::Args)] struct X;\nuse clap::ValueEnum;")]);
    assert_eq!(
        found,
        [
            "src/high/a.rs:1: high::a uses clap, which only commands see",
            "src/high/a.rs:2: high::a uses clap, which only commands see",
        ]
    );
}
