//! A project whose cargo configuration lacks one of its lines: what is said has the line.

use super::*;

const CONFIGURATION: &str = ".cargo/config.toml";
const TARGET: &str = "[build] target = \"x86_64-unknown-none\"";
const RUNNER: &str = "[target.x86_64-unknown-none] runner = \"octopod run\"";

/// Runs `checks` while a line is missing.
fn without(project: &Project, line: &str, checks: impl FnOnce()) {
    let (_, setting) = line.split_once("] ").unwrap();
    project.replace(CONFIGURATION, setting, "");
    checks();
    let (section, _) = line.split_once(' ').unwrap();
    project.replace(CONFIGURATION, section, &format!("{section}\n{setting}"));
}

#[test]
fn a_build_for_the_host_ends_with_the_line_of_the_target() {
    for template in ["kernel", "allocator"] {
        let project = Project::new("visitor", &["--template", template]);
        without(&project, TARGET, || {
            for command in ["build", "run", "test"] {
                let built = project.cargo(&[command]);
                built.expect(101, &[TARGET]);
                let first = built.text.lines().find(|line| line.starts_with("error")).unwrap();
                assert!(first.contains(TARGET), "{template}: the first error has the line: {}", built.text);
            }
            project.octopod(&["doctor"]).expect(2, &[TARGET]);
        });
        let complete = project.octopod(&["doctor"]);
        assert!(!complete.text.contains("write into .cargo/config.toml"), "{}", complete.text);
    }
}

#[test]
fn a_missing_runner_is_named_by_the_commands_that_build_the_kernel() {
    let project = Project::new("visitor", &[]);
    without(&project, RUNNER, || {
        // A signal ends it, which leaves no status: Linux cannot load it, and nothing of octopod is called.
        let ran = project.cargo(&["run"]);
        assert_eq!(ran.status, None, "docs/kernels.md says so: {}", ran.text);
        project.octopod(&["doctor"]).expect(2, &[RUNNER]);
        for command in ["run", "boot"] {
            project.octopod(&[command, "--debug"]).expect(0, &[RUNNER, "PASS  8 CPUs"]);
        }
    });
    let complete = project.octopod(&["boot", "--debug"]);
    complete.expect(0, &["PASS  8 CPUs"]);
    assert!(!complete.text.contains(RUNNER), "{}", complete.text);
}
