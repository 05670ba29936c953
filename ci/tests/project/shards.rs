//! Results of several files of tests, and of several machines that run a part each.

use super::*;

/// Tests of a file that has the name of the package's program.
const TESTS: &str = "#![no_std]
#![no_main]

octopod::test_main!();

#[octopod::test]
fn one() {}

#[octopod::test]
fn two() {}
";

#[test]
fn shards_of_several_files_of_tests_are_merged() {
    let project = Project::new("herd", &[]);
    project.replace("Cargo.toml", "smp = 8", "smp = 2");
    project.write("tests/herd.rs", TESTS);
    let target = "[[test]]\nname = \"herd\"\nharness = false\n\n[package.metadata";
    project.replace("Cargo.toml", "[package.metadata", target);

    project.cargo_with(&[("OCTOPOD_JUNIT", "whole")], &["test"]).expect(0, &["1 passed", "2 passed"]);
    let merged = project.octopod(&["report", "--merge", "whole"]);
    merged.expect(0, &["3 passed, 0 failed, 0 skipped in 2 shards"]);

    // A list is no run.
    let list = ["test", "--", "--list"];
    project.cargo_with(&[("OCTOPOD_JUNIT", "list")], &list).expect(0, &["one: test"]);
    assert!(!project.folder.join("list").exists());

    for shard in ["1/2", "2/2"] {
        let variables = [("OCTOPOD_JUNIT", "shards"), ("OCTOPOD_SHARD", shard)];
        project.cargo_with(&variables, &["test"]).expect(0, &["1 passed"]);
    }
    let merged = project.octopod(&["report", "--merge", "shards"]);
    merged.expect(0, &["3 passed, 0 failed, 0 skipped in 4 shards"]);

    fs::remove_dir_all(project.folder.join("shards/tests.herd-2-of-2")).unwrap();
    let missing = "test herd (tests/herd.rs): shard 2/2 is missing";
    project.octopod(&["report", "--merge", "shards"]).expect(1, &[missing]);
}
