//! Checks the layers of the kernel and of the launcher, and the hooks of the kernel. It reads every source and fails on
//!
//! - an import upward, a module without a layer, and a layer without a module;
//! - a cycle: at every level, the sub-modules of a module, and the module's own items, import each other in one direction;
//! - a use of a crate of the workspace by one that is below it;
//! - a hook that is not in the table, and a row of the table without a hook.
//!
//! The tables are in `layers/table.rs`, the rules for an import in `layers/imports.rs`, those for a hook in `layers/hooks.rs`.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "layers/hooks.rs"]
mod hooks;
#[path = "layers/imports.rs"]
mod imports;
#[path = "layers/order.rs"]
mod order;
#[path = "layers/table.rs"]
mod table;

use imports::{Crate, Source};
use order::{layer_of, top, violations};
use table::{HOOKS, Hook, LAUNCHER_LAYERS, LAYERS};

/// The names of the crates of the workspace.
const WORKSPACE: [&str; 4] = ["octopod", "octopod_ci", "ap_trampoline", "octopod_payload"];

/// The crates that only the launcher's commands use.
const OF_COMMANDS: [&str; 2] = ["clap", "clap_complete"];

#[test]
fn the_kernel_keeps_its_layers() {
    let kernel = Crate::of("octopod", &read_sources("src"));
    assert!(kernel.imports.len() > 1000, "{} imports were found", kernel.imports.len());
    let mut lines = violations(LAYERS, &kernel);
    lines.extend(foreign_uses("octopod", &["ap_trampoline"], &kernel));
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

#[test]
fn the_launcher_keeps_its_layers() {
    let launcher = Crate::of("octopod_ci", &read_sources("ci/src"));
    assert!(launcher.imports.len() > 500, "{} imports were found", launcher.imports.len());
    let mut lines = violations(LAUNCHER_LAYERS, &launcher);
    lines.extend(foreign_uses("octopod_ci", &["octopod", "octopod_payload"], &launcher));
    lines.extend(parser_below_commands(LAUNCHER_LAYERS, &launcher));
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

/// The trampoline and the unpacker are below the kernel, and have no layers of their own.
#[test]
fn the_trampoline_and_the_unpacker_use_no_crate_of_the_workspace() {
    for (folder, name) in [("ap_trampoline", "ap_trampoline"), ("unpacker", "octopod_payload")] {
        let found = Crate::of(name, &read_sources(folder));
        assert!(!found.outside.is_empty(), "no path into another crate was found in {folder}");
        let lines = foreign_uses(name, &[], &found);
        assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
    }
}

#[test]
fn the_table_lists_every_hook() {
    let sources = read_sources("src");
    let kernel = Crate::of("octopod", &sources);
    let mut assembly = Vec::new();
    read_assembly(&package().join("src"), &mut assembly);
    let lines = hook_violations(LAYERS, HOOKS, &sources, &kernel, &assembly);
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

/// The uses of crates of the workspace other than those in `may_use`.
fn foreign_uses(name: &str, may_use: &[&str], found: &Crate) -> Vec<String> {
    let is_foreign = |other: &str| WORKSPACE.contains(&other) && other != name && !may_use.contains(&other);
    let uses = found.outside.iter().filter(|(other, _)| is_foreign(other));
    uses.map(|(other, import)| format!("{}: {name} uses {other}", import.place)).collect()
}

/// The uses of the command line's parser below the commands.
fn parser_below_commands(layers: &[(&str, u8)], found: &Crate) -> Vec<String> {
    let commands = layer_of(layers, "commands");
    let uses = found.outside.iter().filter(|(name, import)| {
        OF_COMMANDS.contains(&name.as_str()) && layer_of(layers, top(&import.from)) < commands
    });
    uses.map(|(name, import)| {
        format!("{}: {} uses {name}, which only commands use", import.place, import.from)
    })
    .collect()
}

fn hook_violations(
    layers: &[(&str, u8)],
    table: &[Hook],
    sources: &[Source],
    kernel: &Crate,
    assembly: &[(String, String)],
) -> Vec<String> {
    hooks::violations(table, kernel, &hooks::find(layers, sources, kernel, assembly))
}

/// The package's folder, from cargo at run time: the program may have been built in another.
fn package() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this test").into()
}

/// Reads every `.rs` file of the crate in `folder`.
fn read_sources(folder: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for path in files_of(&package().join(folder), "rs") {
        let name = path.strip_prefix(package()).unwrap().to_str().unwrap();
        sources.push(Source::new(folder, name, &fs::read_to_string(&path).unwrap()));
    }
    sources
}

/// Reads every assembly file in `folder`, each with its top-level module.
fn read_assembly(folder: &Path, files: &mut Vec<(String, String)>) {
    for path in files_of(folder, "S") {
        let module = path.strip_prefix(folder).unwrap().components().next().unwrap();
        files.push((module.as_os_str().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap()));
    }
}

/// The files with the extension in a folder and its sub-folders.
fn files_of(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    let (folders, mut files): (Vec<_>, Vec<_>) = entries.into_iter().partition(|path| path.is_dir());
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files.extend(folders.iter().flat_map(|folder| files_of(folder, extension)));
    files
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
    ("stress", 10),
    ("trace", 10),
    ("work", 10),
    ("lib", 11),
    ("main", 11),
];

/// A crate of these files, with an empty module for each other module of `layers`.
fn sources_of(layers: &[(&str, u8)], files: &[(&str, &str)]) -> Vec<Source> {
    let is_given = |module: &str| {
        files.iter().any(|(name, text)| {
            name.split(['/', '.']).next() == Some(module)
                || *name == "lib.rs" && text.contains(&format!("mod {module} {{"))
        })
    };
    let others =
        layers.iter().filter(|(module, _)| !is_given(module)).map(|(module, _)| (format!("{module}.rs"), ""));
    let given = files.iter().map(|(name, text)| (name.to_string(), *text));
    given.chain(others).map(|(name, text)| Source::new("src", &format!("src/{name}"), text)).collect()
}

/// The violations in a crate of these files, and of an empty module for each other layer.
fn check(files: &[(&str, &str)]) -> Vec<String> {
    violations(SAMPLE_LAYERS, &Crate::of("octopod", &sources_of(SAMPLE_LAYERS, files)))
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
        "use crate::exported;",
        "fn f() { smp::call(); } use crate::*;",
    ] {
        let smp = "pub fn call() {} #[macro_export] macro_rules! smp_call { () => {}; }";
        let found =
            check(&[("cpu/per_cpu.rs", text), ("smp/mod.rs", smp), ("lib.rs", "pub use smp::exported;")]);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        let above = if text.contains('*') { "lib (layer 11)" } else { "smp (layer 8)" };
        assert!(found[0].starts_with("src/cpu/per_cpu.rs:1: cpu::per_cpu"), "{text}: {found:?}");
        assert!(found[0].ends_with(&format!(" (layer 1) imports upward from {above}")), "{text}: {found:?}");
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
        "std::of_smp! { static X: u8 = 0; }",
    ] {
        let found = check(&[
            ("memory/frames/magazine.rs", text),
            (
                "memory/frames/magazine/tests.rs",
                if text.ends_with("mod tests;") { "use crate::smp;" } else { "" },
            ),
            ("cpu/mod.rs", "#[macro_export] macro_rules! per_cpu { () => { $crate::cpu::x() }; }"),
            ("smp.rs", "use crate::memory::frames; #[macro_export] macro_rules! of_smp { () => {}; }"),
            ("lib.rs", "pub mod cpu; pub mod memory; pub mod smp; pub use smp::call;"),
            ("main.rs", "fn main() { octopod::smp::call() }"),
        ]);
        assert_eq!(found, [""; 0], "{text}");
    }
}

#[test]
fn a_test_file_is_exempt_only_where_its_declaration_is() {
    let found = check(&[("cpu/mod.rs", "mod tests;"), ("cpu/tests.rs", "\n\nuse crate::smp;")]);
    assert_eq!(found, ["src/cpu/tests.rs:3: cpu::tests (layer 1) imports upward from smp (layer 8)"]);
    let found = check(&[
        ("cpu.rs", "#[cfg(test)]\nmod tests;"),
        ("cpu/tests.rs", "mod deep;"),
        ("cpu/tests/deep.rs", "use crate::smp;"),
    ]);
    assert_eq!(found, [""; 0]);
}

#[test]
fn a_cycle_within_a_layer_is_found() {
    let interrupts = ("interrupts/mod.rs", "use crate::acpi::madt;");
    assert_eq!(check(&[interrupts]), [""; 0]);
    assert_eq!(
        check(&[interrupts, ("acpi.rs", "fn f() { crate::interrupts::register() }")]),
        [
            "modules import each other in a cycle: acpi -> interrupts -> acpi",
            "  src/acpi.rs:1: acpi imports register from interrupts",
            "  src/interrupts/mod.rs:1: interrupts imports madt from acpi",
        ]
    );
}

#[test]
fn a_long_cycle_is_found_and_a_path_into_it_is_not_part_of_it() {
    let found = check(&[
        ("bench.rs", "use crate::stress;"),
        ("stress.rs", "use crate::{shell, trace};"),
        ("shell.rs", "use crate::work;"),
        ("work.rs", "use crate::{stress, trace};"),
    ]);
    assert_eq!(found[0], "modules import each other in a cycle: shell -> work -> stress -> shell");
}

#[test]
fn a_module_without_a_layer_and_a_layer_without_a_module_are_found() {
    let unplaced = "`drivers` has no layer: give it one in tests/layers/table.rs";
    assert_eq!(check(&[("drivers/mod.rs", "")]), [unplaced]);
    assert_eq!(check(&[("lib.rs", "pub mod drivers { use crate::cpu; }")]), [unplaced]);
    let sources = [Source::new("src", "src/lib.rs", ""), Source::new("src", "src/odd.rs", "")];
    assert_eq!(
        violations(&[("lib", 1), ("low", 0)], &Crate::of("octopod", &sources)),
        ["`odd` has no layer: give it one in tests/layers/table.rs", "the layer of `low` has no module"]
    );
}

#[test]
fn inline_modules_of_the_root_are_modules_like_any_other() {
    let found = check(&[("lib.rs", "pub mod cpu {\nuse crate::smp;\nuse super::smp::x; }\npub mod smp {}")]);
    let message = |line| format!("src/lib.rs:{line}: cpu (layer 1) imports upward from smp (layer 8)");
    assert_eq!(found, [message(2), message(3)]);
}

#[test]
fn a_cycle_among_sub_modules_is_found_at_every_level() {
    let root = ("memory/mod.rs", "mod frames; mod init; mod paging; use init::X; pub use frames::Order;");
    let init = ("memory/init.rs", "use super::frames::{Order, y};");
    let paging = ("memory/paging/mod.rs", "mod walk; use crate::memory::frames;");
    let walk = ("memory/paging/walk.rs", "use super::super::frames;");
    assert_eq!(check(&[root, init, paging, walk, ("memory/frames.rs", "use crate::config;")]), [""; 0]);
    let siblings = [root, init, paging, walk, ("memory/frames.rs", "fn f() { super::init::x() }")];
    assert_eq!(
        check(&siblings),
        [
            "modules import each other in a cycle: memory::frames -> memory::init -> memory::frames",
            "  src/memory/frames.rs:1: memory::frames imports x from memory::init",
            "  src/memory/init.rs:1: memory::init imports Order from memory::frames",
        ]
    );
    // `mod child;` alone is no import.
    assert_eq!(check(&[("memory/mod.rs", "mod a; fn f() {}"), ("memory/a.rs", "use super::f;")]), [""; 0]);
    let with_the_parent =
        check(&[("memory/mod.rs", "mod a; fn f() { a::x() }"), ("memory/a.rs", "use super::f;")]);
    assert_eq!(with_the_parent[0], "modules import each other in a cycle: memory -> memory::a -> memory");
    // A re-export does not hide that `a` and `b` import each other.
    let re_exported = check(&[
        ("memory/mod.rs", "mod a; mod b; pub use a::X; pub use b::Y;"),
        ("memory/a.rs", "use super::Y;"),
        ("memory/b.rs", "use crate::memory::X;"),
    ]);
    assert_eq!(re_exported[0], "modules import each other in a cycle: memory::a -> memory::b -> memory::a");
    // Nor does the name of a module that was imported.
    let by_a_name = check(&[
        ("memory/mod.rs", "mod a; mod b; pub use a::x;"),
        ("memory/a.rs", "use super::b::Y;"),
        ("memory/b.rs", "use crate::memory;\nfn f() { memory::x() }"),
    ]);
    assert!(
        by_a_name.contains(&"  src/memory/b.rs:2: memory::b imports x from memory::a".to_owned()),
        "{by_a_name:?}"
    );
    // No file of `a` is part of a cycle of files, but `a` and `b` import each other.
    let of_folders = check(&[
        ("memory/a/mod.rs", "mod c; mod d;"),
        ("memory/a/c.rs", "use super::super::b;"),
        ("memory/a/d.rs", ""),
        ("memory/b.rs", "use super::a::d::x;"),
    ]);
    assert_eq!(of_folders[0], "modules import each other in a cycle: memory::a -> memory::b -> memory::a");
    let within = check(&[("memory/a/b/c.rs", "use super::d::x;"), ("memory/a/b/d.rs", "use super::c;")]);
    assert_eq!(
        within[0],
        "modules import each other in a cycle: memory::a::b::c -> memory::a::b::d -> memory::a::b::c"
    );
}

#[test]
fn only_commands_use_the_parser_of_the_command_line() {
    let layers = [("low", 0), ("commands", 1), ("lib", 2)];
    let sources = sources_of(
        &layers,
        &[
            ("low/a.rs", "#[derive(clap::Args)] struct X;\nuse clap::ValueEnum;"),
            ("commands.rs", "use clap::Parser;"),
        ],
    );
    assert_eq!(
        parser_below_commands(&layers, &Crate::of("octopod_ci", &sources)),
        [
            "src/low/a.rs:1: low::a uses clap, which only commands use",
            "src/low/a.rs:2: low::a uses clap, which only commands use",
        ]
    );
}

#[test]
fn a_use_of_another_crate_of_the_workspace_is_found() {
    let trampoline =
        Crate::of("ap_trampoline", &[Source::new("x", "x/lib.rs", "use core::fmt;\nuse octopod::smp;")]);
    assert_eq!(foreign_uses("ap_trampoline", &[], &trampoline), ["x/lib.rs:2: ap_trampoline uses octopod"]);
    assert_eq!(foreign_uses("ap_trampoline", &["octopod"], &trampoline), [""; 0]);
}

/// Each kind of hook, in and out of the table.
#[test]
fn a_hook_that_is_not_in_the_table_and_a_row_without_a_hook_are_found() {
    let row = |name, lower, set_by, setters| Hook { name, lower, set_by, setters, purpose: "" };
    let found = |table: &[Hook], files: &[(&str, &str)], assembly: &[(&str, &str)]| {
        let sources = sources_of(SAMPLE_LAYERS, files);
        let kernel = Crate::of("octopod", &sources);
        let assembly: Vec<_> =
            assembly.iter().map(|(module, text)| (module.to_string(), text.to_string())).collect();
        hook_violations(SAMPLE_LAYERS, table, &sources, &kernel, &assembly)
    };
    let missing =
        |name, lower| [format!("the hook {name} of {lower} is not in the table of tests/layers/table.rs")];

    let of_sync = ("sync/clock.rs", "static CLOCK: Hook<fn() -> u64> = Hook::new(); pub fn set_clock() {}");
    let of_smp = ("smp.rs", "use crate::sync; fn f() { sync::clock::set_clock(now); }");
    assert_eq!(found(&[], &[of_sync, of_smp], &[]), missing("CLOCK", "sync::clock"));
    assert_eq!(
        found(&[row("CLOCK", "sync::clock", "set_clock", &["smp"])], &[of_sync, of_smp], &[]),
        [""; 0]
    );
    assert_eq!(
        found(&[row("CLOCK", "sync::clock", "set_clock", &["acpi"])], &[of_sync, of_smp], &[]),
        ["CLOCK of sync::clock is set by {\"smp\"}, the table says {\"acpi\"}"]
    );
    assert_eq!(
        found(&[row("CLOCK", "sync", "set_clock", &["smp"])], &[("sync.rs", ""), of_smp], &[]),
        ["the table lists the hook CLOCK of sync, which does not exist"]
    );
    for hidden in [
        "static X: Once<fn()> = Once::new();",
        "type F = fn(u8); static X: Once<F> = Once::new();",
        "struct S { f: fn() } static X: spin::Once<S> = Once::new();",
        "per_cpu! { static X: Once<&'static dyn T> = Once::new(); }",
    ] {
        let lines = found(&[], &[("sync.rs", hidden)], &[]);
        assert_eq!(lines, ["sync: the static X is a hook: make it a sync::Hook"], "{hidden}");
    }

    let of_stubs = [("cpu", "jmp entry\n")];
    let entry = ("smp.rs", "#[unsafe(no_mangle)] extern \"C\" fn entry() {}");
    assert_eq!(found(&[], &[entry], &of_stubs), missing("entry", "cpu"));
    assert_eq!(found(&[row("entry", "cpu", "", &["smp"])], &[entry], &of_stubs), [""; 0]);
    // A call downward, or in the same module, is no hook.
    assert_eq!(found(&[], &[entry], &[("shell", "call entry")]), [""; 0]);
    assert_eq!(found(&[], &[entry], &[("smp", "call entry")]), [""; 0]);

    let fault = ("stress.rs", "use crate::cpu; static_call! { cpu::id::flush(a: u64) => f, if |_| true; }");
    let flush = ("cpu/id.rs", "patchable! { pub fn flush(a: u64) { f() } }");
    assert_eq!(found(&[], &[flush, fault], &[]), missing("flush", "cpu::id"));
    assert_eq!(found(&[row("flush", "cpu::id", "static_call", &["stress"])], &[flush, fault], &[]), [""; 0]);

    let rows = "#[macro_export] macro_rules! row { ($n:expr) => { #[used] #[unsafe(link_section = \".rows\")] static R: Row = $n; } }";
    let rows = ("sync.rs", &*format!("struct Row {{ f: fn() }} {rows}"));
    let users = [rows, ("smp.rs", "crate::row!(f);"), ("acpi.rs", "crate::row!(f);")];
    assert_eq!(found(&[], &users, &[]), missing("row", "sync"));
    assert_eq!(found(&[row("row", "sync", "row", table::ANY)], &users, &[]), [""; 0]);
}
