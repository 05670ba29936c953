//! Runs the quick commands of the documentation.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use octopod_ci::commands::cli;

use super::commands::{Typed, parse};

/// The commands that are parsed but not run, and why.
pub(crate) const NOT_RUN: &[(&str, &str)] = &[
    ("cargo test --workspace", "runs this test"),
    (".ci/run", "runs this test"),
    ("OCTOPOD_BLESS=1 cargo test -p octopod-ci --test suite docs::", "runs this test"),
    ("cargo test -p octopod --lib memory::frames", "part of `cargo test --workspace`"),
    ("cargo test -p octopod-ci --test boot cpus-2", "part of `cargo test --workspace`"),
    (
        "cargo doc -p octopod --target x86_64-unknown-none --open",
        "opens a browser; .ci/run builds these pages",
    ),
    ("cargo bench -p octopod", "minutes"),
    ("cargo bench -p octopod -- order9", "minutes"),
    ("cargo run -- bench", "the row bench of the boot matrix"),
    ("cargo run -- boot --smp 64 --machine pc", "64 CPUs; the rows cpus-64 and pc of the boot matrix"),
    ("cargo run -- boot --boot uefi", "needs GRUB and OVMF; rows of the boot matrix"),
    ("cargo run -- boot --emulator bochs", "needs Bochs; rows of the boot matrix"),
    ("cargo run -- doctor", "its status depends on the host"),
    ("cargo run -- gdb --smp 4", "waits for gdb; ci/tests/gdb.rs"),
    ("cargo run -- matrix --tier full frames-fault", "minutes"),
    ("cargo run -- matrix --tier full --shard 1/4", "minutes"),
    ("cargo run -- matrix --tier full --shard 2/4", "minutes"),
    (
        "cargo run -- run --example heap_misuse --debug --append 'heap.checked=on misuse=overrun'",
        "panics; the row heap-checked-overrun of the boot matrix",
    ),
    (
        "cargo run -- boot --inject invert_mutexes --append locks.checked=on",
        "panics; the row fault-invert-mutexes of the boot matrix",
    ),
    (
        "cargo run -- run --example extensions --smp 4 --append items=5",
        "the row example-extensions of the boot matrix",
    ),
    ("cargo run -- report", "writes the page of the checkout's newest run, whichever that is"),
    (
        "cargo run -- report --merge shards",
        "needs the results of all shards; the unit tests of `report::shards`",
    ),
    ("cargo run -- soak boots --count 22", "minutes"),
    ("cargo run -- stress --seconds 60 --workloads remote,storm --seed 0x2a", "a minute"),
    ("cargo run -- stress --seconds 60 --workloads remote,storm --seed 0x2a --json report.json", "a minute"),
    ("cargo run -- stress --allocator octopod,magazine,locked", "a minute"),
    (
        "cargo run -- stress --allocator octopod,magazine,locked --seconds 60 --pictures ci/pictures",
        "a minute",
    ),
    (
        "cargo run -- stress --smp 1 --mem 1G --workloads churn0_50,churn5_50,churn9_90 --seconds 300 --seed 7",
        "minutes",
    ),
    (
        "cargo run --release -- stress --host --mem 1G --cpus 1 --workloads churn5_50 --seconds 60 --seed 7",
        "builds the launcher once more",
    ),
    (
        "cargo run -- stress --heap octopod,talc,linked_list,buddy,wf_alloc --smp 8",
        "a minute; the row stress-heaps-all of the boot matrix",
    ),
    ("cargo run -- stress --heap octopod,talc,linked_list,buddy --seconds 40 --pictures heaps", "a minute"),
    (
        "cargo run -- stress --workloads hackbench,schbench --seconds 10",
        "the row stress-8 of the boot matrix",
    ),
    (
        "cargo run -- stress --scheduler fair,round_robin --seconds 20 --pictures schedulers",
        "the row stress-schedulers-compared of the boot matrix",
    ),
    (
        "cargo run -- stress --smp 8 --workloads sched_yield,ping_pong,hackbench,mutex --seconds 3600",
        "an hour; the row stress-schedulers-soak of the boot matrix",
    ),
    (
        "cargo run --release -- stress --host --heap octopod,wf_alloc --mem 64M",
        "builds the launcher once more",
    ),
    ("cargo run --release -- stress --host", "builds the launcher once more; ci/tests/outside.rs"),
    ("cargo run --release -- stress --host --allocator magazine", "builds the launcher once more"),
];

/// Runs commands of the launcher one after the other. Returns those that did not pass, with what they wrote.
pub(crate) fn failures(root: &Path, commands: &[String]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    // Files that commands read lie in the checkout; what they write does not.
    std::os::unix::fs::symlink(root.join("ci"), folder.path().join("ci")).unwrap();
    let mut failures = Vec::new();
    let mut runs: Vec<PathBuf> = Vec::new();
    // A comparison needs two runs.
    let (comparisons, others): (Vec<_>, Vec<_>) = commands.iter().partition(|text| text.contains(" OLD NEW"));
    for (number, text) in others.into_iter().chain(comparisons).enumerate() {
        let Ok(Typed::Launcher { words, input }) = parse(text) else {
            failures.push(format!("`{text}` is no command of the launcher: name it in NOT_RUN"));
            continue;
        };
        let out = folder.path().join(format!("out-{number}"));
        let words = words.into_iter().map(|word| match (word.as_str(), runs.as_slice()) {
            ("OLD", [old, ..]) => old.display().to_string(),
            ("NEW", [_, new, ..]) => new.display().to_string(),
            _ => word,
        });
        let words = with_options(words.collect(), &out);
        match run(root, folder.path(), &words, input.as_deref()) {
            Ok(()) if out.join("report.json").is_file() => runs.push(out),
            Ok(()) => {}
            Err(error) => failures.push(format!("`{text}`: {error}")),
        }
    }
    failures
}

/// The words with the options that keep a run apart from the checkout, where the command takes them.
fn with_options(mut words: Vec<String>, out: &Path) -> Vec<String> {
    if words.first().is_none_or(|word| word.starts_with('-') && word != "--help") {
        words.insert(0, "stress".to_owned());
    }
    let grammar = cli::command();
    let Some(command) = grammar.find_subcommand(&words[0]) else { return words };
    if words.iter().any(|word| word == "--help") {
        return words;
    }
    // An example is built for this alone, and its release build takes long.
    if words[0] == "run" && words.iter().any(|word| word == "--example") {
        words.insert(1, "--debug".to_owned());
    }
    let out = out.display().to_string();
    let mut at = words.iter().position(|word| word == "--").unwrap_or(words.len());
    for (option, value) in [("out", out.as_str()), ("accel", "tcg"), ("timeout", "600")] {
        let is_given = words.iter().any(|word| word.strip_prefix("--") == Some(option));
        if !is_given && command.get_arguments().any(|arg| arg.get_long() == Some(option)) {
            words.splice(at..at, [format!("--{option}"), value.to_owned()]);
            at += 2;
        }
    }
    words
}

fn run(root: &Path, folder: &Path, words: &[String], input: Option<&str>) -> Result<(), String> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_octopod"))
        .args(words)
        .current_dir(folder)
        .env("OCTOPOD_ROOT", root)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    if let (Some(mut pipe), Some(text)) = (child.stdin.take(), input) {
        pipe.write_all(text.as_bytes()).map_err(|error| error.to_string())?;
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("{words:?}: {}\n{out}{err}", output.status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_kept_apart_from_the_checkout() {
        let with = |words: &[&str]| {
            let words = words.iter().map(|word| (*word).to_owned()).collect();
            with_options(words, Path::new("/x")).join(" ")
        };
        assert_eq!(with(&[]), "stress --out /x --accel tcg --timeout 600");
        assert_eq!(
            with(&["boot", "--accel", "kvm", "--", "-d"]),
            "boot --accel kvm --out /x --timeout 600 -- -d"
        );
        assert_eq!(with(&["report", "a", "b"]), "report a b --out /x --timeout 600");
        assert_eq!(with(&["bench", "--help"]), "bench --help");
        assert_eq!(with(&["--help"]), "--help");
    }

    #[test]
    fn a_command_that_fails_is_found() {
        let root = super::super::root();
        let text = "cargo run -- report gone";
        let lines = failures(&root, &[text.to_owned(), "cargo test".to_owned()]);
        assert!(lines.len() == 2 && lines[0].starts_with(&format!("`{text}`: ")), "{lines:?}");
        assert!(lines[1].contains("name it in NOT_RUN"), "{lines:?}");
        assert_eq!(failures(&root, &["cargo run -- bench --help".to_owned()]), [""; 0]);
    }
}
