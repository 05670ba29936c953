//! Every static spin lock of the kernel has a name, for reports of lock waits.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// The lock types.
const TYPES: [&str; 2] = ["SpinLock<", "SpinLockIrq<"];

fn package() -> PathBuf {
    env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this test").into()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The static locks that a source declares, each with whether the source names it.
fn locks(source: &str) -> Vec<(&str, bool)> {
    let declared = source.lines().filter_map(|line| {
        let (_, declaration) = line.trim_start().split_once("static ")?;
        let (name, of_type) = declaration.split_once(": ")?;
        TYPES.iter().any(|lock| of_type.starts_with(lock)).then_some(name)
    });
    let is_named = |name: &str| {
        ["name_lock!(", "name_lock!(per_cpu "].iter().any(|call| source.contains(&format!("{call}{name})")))
    };
    declared.map(|name| (name, is_named(name))).collect()
}

#[test]
fn every_static_lock_of_the_kernel_has_a_name() {
    let mut files = Vec::new();
    sources(&package().join("src"), &mut files);
    let (mut count, mut nameless) = (0, Vec::new());
    for file in &files {
        let source = fs::read_to_string(file).unwrap();
        for (name, is_named) in locks(&source) {
            count += 1;
            if !is_named {
                nameless.push(format!("{}: {name}", file.display()));
            }
        }
    }
    assert!(count > 15, "only {count} locks were found in {} files: the test has gone blind", files.len());
    assert!(nameless.is_empty(), "give them names by `name_lock!`:\n{}", nameless.join("\n"));
}

/// Sources that may use the spin locks of the crate `spin`, which have no name and no report, and the reason.
const OTHER_LOCKS: &[(&str, &str)] = &[
    ("src/boot/collect.rs", "taken once, before any other CPU runs"),
    ("src/boot/command_line/registered.rs", "on the host alone"),
    ("src/memory/frames/sync.rs", "on the host alone"),
    ("src/shell/session.rs", "taken by the one thread of the console, which keeps it"),
    ("src/stress/failure.rs", "on the host alone"),
    ("src/stress/heap/foreign/buddy.rs", "the lock that users of this heap have"),
    ("src/stress/heap/foreign/linked_list.rs", "the lock that users of this heap have"),
    ("src/stress/heap/foreign/talc.rs", "the lock that users of this heap have"),
];

#[test]
fn no_other_spin_locks_are_used() {
    let (package, mut files) = (package(), Vec::new());
    sources(&package.join("src"), &mut files);
    let is_one = |line: &str| {
        let code = line.split("//").next().unwrap_or_default();
        ["spin::Mutex", "spin::mutex", "SpinMutex", "spin::RwLock"].iter().any(|lock| code.contains(lock))
            || code.contains("use spin::{") && (code.contains("Mutex") || code.contains("RwLock"))
    };
    let has_one = |file: &&PathBuf| fs::read_to_string(file).unwrap().lines().any(is_one);
    let name = |file: &PathBuf| file.strip_prefix(&package).unwrap().to_str().unwrap().to_owned();
    let mut found: Vec<String> = files.iter().filter(has_one).map(name).collect();
    found.sort();
    let listed: Vec<&str> = OTHER_LOCKS.iter().map(|(file, _)| *file).collect();
    assert_eq!(found, listed, "a wait for such a lock is in no report: use `SpinLock` or `SpinLockIrq`");
}

#[test]
fn a_lock_without_a_name_is_found() {
    let source = "pub static A: SpinLockIrq<u8> = x;\ncrate::name_lock!(A);\nstatic B: SpinLockIrq<u8> = x;\n\
                  static QUEUE: SpinLock<u8> = x;\ncrate::name_lock!(per_cpu QUEUE);\nstatic C: Once<u8> = x;";
    assert_eq!(locks(source), [("A", true), ("B", false), ("QUEUE", true)]);
}
