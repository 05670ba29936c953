//! The GitHub action: its shell steps run here as a runner would run them, and its file names what exists.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use octopod_ci::base::Workspace;
use serde_json::Value;

use crate::launcher::fake::write_program;
use crate::project::folder::Project;

/// The folder of a job's runner, in which the action's step runs.
pub(crate) struct Job {
    temporary: tempfile::TempDir,
    /// The inputs `smp` and `accel`.
    inputs: [&'static str; 2],
}

/// What a step has left.
#[derive(Debug)]
pub(crate) struct Step {
    status: Option<i32>,
    summary: String,
    results: PathBuf,
    suffix: String,
}

impl Job {
    pub(crate) fn new(inputs: [&'static str; 2]) -> Job {
        Job { temporary: tempfile::tempdir().unwrap(), inputs }
    }

    /// Runs the action's step with this command, in the checkout.
    fn run(&self, command: &str) -> Step {
        let checkout = Workspace::find().unwrap();
        let launcher = Path::new(env!("CARGO_BIN_EXE_octopod"));
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let bin = launcher.parent().unwrap().to_owned();
        let path = std::env::join_paths([bin].into_iter().chain(std::env::split_paths(&paths))).unwrap();
        let mut step = Command::new(checkout.root.join("ci/action/run"));
        self.finish(step.current_dir(&checkout.root).env("PATH", path), command)
    }

    /// The same in a project.
    pub(crate) fn run_in(&self, project: &Project, command: &str) -> Step {
        let script = Workspace::find().unwrap().root.join("ci/action/run");
        self.finish(&mut project.command(&script, &project.folder), command)
    }

    fn finish(&self, step: &mut Command, command: &str) -> Step {
        let folder = self.temporary.path();
        let [summary, output] = ["summary.md", "output"].map(|name| folder.join(name));
        let [smp, accel] = self.inputs;
        let ended = step
            .env("RUNNER_TEMP", folder)
            .env("GITHUB_OUTPUT", &output)
            .env("GITHUB_STEP_SUMMARY", &summary)
            .env("OCTOPOD_COMMAND", command)
            .env("OCTOPOD_SMP", smp)
            .env("OCTOPOD_ACCEL", accel)
            .output()
            .unwrap();
        let outputs = fs::read_to_string(&output).unwrap();
        let value = |name: &str| {
            let prefix = format!("{name}=");
            outputs.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap().to_owned()
        };
        let mut text = fs::read_to_string(&summary).unwrap_or_default();
        text.push_str(&String::from_utf8_lossy(&ended.stderr));
        let step = Step {
            status: ended.status.code(),
            summary: text,
            results: value("folder").into(),
            suffix: value("suffix"),
        };
        // The runner has a file of each for each step.
        let _ = [&output, &summary].map(fs::remove_file);
        step
    }
}

impl Step {
    #[track_caller]
    pub(crate) fn expect(&self, status: i32, part: &str) {
        assert_eq!(self.status, Some(status), "{self:?}");
        assert!(self.summary.contains(part), "no {part}: {self:?}");
    }

    /// The report of a run in the results, which has the other files as well.
    #[track_caller]
    fn report(&self, run: &str) -> Value {
        let folder = self.results.join(run);
        for file in ["report.html", "serial.log"] {
            assert!(folder.join(file).is_file(), "{file} is not in {}: {self:?}", folder.display());
        }
        serde_json::from_slice(&fs::read(folder.join("report.json")).unwrap()).unwrap()
    }
}

#[test]
fn a_pass_and_a_refusal_are_the_steps_own() {
    let job = Job::new(["2", "tcg"]);
    let pass = job.run("boot --quiet");
    pass.expect(0, "PASS  2 CPUs");
    assert_eq!(pass.report("run")["host"]["accel"], "tcg");
    job.run("boot --no-such-option").expect(2, "--no-such-option");
    job.run("boot --append 'kaslr=off").expect(2, "a quote in the command does not end");
}

#[test]
fn the_commands_own_options_win_and_their_words_may_be_quoted() {
    let job = Job::new(["4", "tcg"]);
    let boot = job.run("boot --quiet --smp 2 --append \"log=warn kaslr=off\"");
    boot.expect(0, "PASS  2 CPUs");
    let line = boot.report("run")["command_line"].as_str().unwrap().to_owned();
    assert!(line.contains("log=warn kaslr=off"), "{line}");
    // Nothing else that a shell would do.
    let evil = job.temporary.path().join("evil");
    job.run(&format!("boot --append '$(touch {0}) `touch {0}`'", evil.display())).expect(2, "touch");
    assert!(!evil.exists());
}

#[test]
fn inputs_that_a_command_does_not_take_do_not_concern_it() {
    let job = Job::new(["4", "tcg"]);
    job.run("completions bash").expect(0, "complete");
    let doctor = job.run("doctor");
    assert!(!doctor.summary.contains("error:"), "{doctor:?}");
    job.run("matrix no-such-row").expect(2, "no row of ");
    job.run("soak no-such-soak").expect(2, "no-such-soak");
    let results = job.run("matrix --tier fast --shard 2000/2000");
    results.expect(0, "0 passed, 0 failed");
    assert!(results.results.join("run/junit.xml").is_file(), "{results:?}");
}

#[test]
fn each_use_in_a_job_has_results_of_its_own() {
    let job = Job::new(["", ""]);
    let uses = [1, 2, 3].map(|_| job.run("completions bash"));
    assert_eq!(uses.each_ref().map(|one| one.suffix.as_str()), ["", "-2", "-3"]);
    assert_eq!(BTreeSet::from(uses.map(|one| one.results)).len(), 3);
    let text = fs::read_to_string(Workspace::find().unwrap().root.join("action.yml")).unwrap();
    let name = "name: octopod-${{ github.job }}-${{ strategy.job-index }}${{ steps.run.outputs.suffix }}\n";
    assert!(text.contains(name), "{text}");
}

#[test]
fn tests_of_a_project_have_the_inputs_and_leave_their_runs() {
    let project = Project::new("herald", &[]);
    project.replace("Cargo.toml", "smp = 8\n", "profile = \"dev\"\n");
    let job = Job::new(["2", "tcg"]);
    let test = job.run_in(&project, "test");
    test.expect(0, "1 passed");
    let report = test.report("run/src.main/1");
    assert_eq!(report["cpus"].as_array().unwrap().len(), 2);
    assert_eq!(report["host"]["accel"], "tcg");
    assert!(test.results.join("junit/src.main/junit.xml").is_file(), "{test:?}");

    // What the project says counts, and where it says nothing the input.
    project.replace("Cargo.toml", "mem = ", "smp = { run = 3 }\nmem = ");
    job.run_in(&project, "run --quiet").expect(0, "PASS  3 CPUs");
    job.run_in(&project, "boot --quiet").expect(0, "PASS  2 CPUs");
}

/// The key of the cache for an action with these files.
fn key(action: &Path) -> String {
    key_on(action, "X64", Some("ubuntu24"))
}

/// The same on a runner of this architecture and image.
fn key_on(action: &Path, architecture: &str, image: Option<&str>) -> String {
    let output = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new(Workspace::find().unwrap().root.join("ci/action/key"));
    match image {
        Some(image) => command.env("ImageOS", image),
        None => command.env_remove("ImageOS"),
    };
    let status = command
        .env("RUNNER_ARCH", architecture)
        .env("GITHUB_ACTION_PATH", action)
        .env("GITHUB_OUTPUT", output.path())
        .env("RUNNER_OS", "Linux")
        .status()
        .unwrap();
    assert!(status.success());
    fs::read_to_string(output).unwrap()
}

#[test]
fn a_change_of_a_source_is_another_cache() {
    let action = tempfile::tempdir().unwrap();
    let write = |path: &str, text| {
        let path = action.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("ci/src/a file.rs", "fn one() {}");
    write(".git/HEAD", "one");
    let first = key(action.path());
    assert!(first.starts_with("key=octopod-Linux-") && first.len() > 80, "{first}");
    write(".git/HEAD", "two");
    write("target/debug/octopod", "built");
    assert_eq!(key(action.path()), first);
    write("ci/src/a file.rs", "fn two() {}");
    let second = key(action.path());
    assert_ne!(second, first);
    write("src/new.rs", "");
    assert_ne!(key(action.path()), second);

    // A launcher does not run on another architecture, and may not on another image.
    let keys =
        [("X64", Some("ubuntu24")), ("ARM64", Some("ubuntu24")), ("X64", Some("ubuntu22")), ("X64", None)]
            .map(|(architecture, image)| key_on(action.path(), architecture, image));
    assert_eq!(BTreeSet::from(keys.clone()).len(), keys.len(), "{keys:?}");
}

#[test]
fn the_launcher_is_installed_once_for_each_key() {
    let folder = tempfile::tempdir().unwrap();
    let [tools, home, path_file, log] =
        ["tools", "home", "path", "cargo.log"].map(|name| folder.path().join(name));
    fs::create_dir_all(&tools).unwrap();
    let tool = |name: &str, script: &str| {
        write_program(&tools.join(name), &format!("#!/bin/sh\n{script}\n"));
    };
    // Cargo makes the file; the last argument is the root. An `octopod` in the path is of another version.
    tool(
        "cargo",
        "echo \"$@\" >> \"$CARGO_LOG\"; for root; do :; done; mkdir -p \"$root/bin\"; cp \"$0\" \"$root/bin/octopod\"",
    );
    for name in ["octopod", "rustup", "sudo", "qemu-system-x86_64"] {
        tool(name, "");
    }
    let install = |key: &str| {
        let status = Command::new(Workspace::find().unwrap().root.join("ci/action/install"))
            .env("PATH", format!("{}:/usr/bin:/bin", tools.display()))
            .env("HOME", &home)
            .env("CARGO_LOG", &log)
            .env("GITHUB_ACTION_PATH", "/the action")
            .env("GITHUB_PATH", &path_file)
            .env("OCTOPOD_CACHE_KEY", key)
            .status()
            .unwrap();
        assert!(status.success(), "{key}");
        let added = fs::read_to_string(&path_file).unwrap();
        let last = added.lines().last().unwrap().to_owned();
        assert_eq!(Path::new(&last), home.join(format!(".cache/octopod/{key}/bin")));
        assert!(Path::new(&last).join("octopod").is_file(), "{last}");
        fs::read_to_string(&log).unwrap().lines().count()
    };
    assert_eq!(["one", "one", "two", "one", "two"].map(install), [1, 1, 2, 2, 2]);
    let first = fs::read_to_string(&log).unwrap();
    assert!(first.starts_with("install --locked --path /the action/ci --root "), "{first}");
}

#[test]
fn nothing_is_installed_where_the_environment_forbids_it() {
    let folder = tempfile::tempdir().unwrap();
    let [tools, home, path_file, log] = ["tools", "home", "path", "log"].map(|name| folder.path().join(name));
    fs::create_dir_all(&tools).unwrap();
    // A runner without QEMU.
    for name in ["bash", "mkdir", "id"] {
        let found = ["/bin", "/usr/bin"].map(|folder| Path::new(folder).join(name));
        let program = found.iter().find(|path| path.is_file()).expect("a tool of every system");
        symlink(program, tools.join(name)).unwrap();
    }
    for name in ["cargo", "rustup", "sudo", "apt-get"] {
        write_program(&tools.join(name), "#!/bin/sh\necho \"${0##*/} $*\" >> \"$LOG\"\n");
    }
    let install = |forbidden: Option<&str>| {
        let _ = fs::remove_file(&log);
        let mut step = Command::new(tools.join("bash"));
        step.arg(Workspace::find().unwrap().root.join("ci/action/install"));
        step.env("PATH", &tools).env("HOME", &home).env("LOG", &log).env("OCTOPOD_CACHE_KEY", "key");
        step.env("GITHUB_ACTION_PATH", "/the action").env("GITHUB_PATH", &path_file);
        step.env_remove("OCTOPOD_NO_INSTALL");
        forbidden.map(|value| step.env("OCTOPOD_NO_INSTALL", value));
        let ended = step.output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
        let commands = fs::read_to_string(&log).unwrap();
        assert!(commands.starts_with("cargo install "), "{commands}");
        let installs = ["rustup target add", "apt-get install"].map(|part| commands.contains(part));
        let says =
            String::from_utf8_lossy(&ended.stdout).contains("QEMU is missing, and OCTOPOD_NO_INSTALL is set");
        (installs, says)
    };
    for allowed in [None, Some(""), Some("0")] {
        assert_eq!(install(allowed), ([true; 2], false), "{allowed:?}");
    }
    assert_eq!(install(Some("1")), ([false; 2], true));
}

#[test]
fn its_file_names_its_scripts_and_inputs() {
    let root = Workspace::find().unwrap().root;
    let text = fs::read_to_string(root.join("action.yml")).unwrap();
    for script in ["ci/action/key", "ci/action/install", "ci/action/run"] {
        assert!(text.contains(script) && root.join(script).is_file(), "{script}");
    }
    // What a step installs is what the cache keeps.
    let kept = "~/.cache/octopod/${{ steps.cache.outputs.key }}\n";
    assert!(text.contains(kept) && text.contains("OCTOPOD_CACHE_KEY: ${{ steps.cache.outputs.key }}"));
    assert!(text.contains("working-directory: ${{ inputs.working-directory }}\n"));
    for input in ["command", "smp", "accel"] {
        let variable = format!("OCTOPOD_{}", input.to_uppercase());
        assert!(text.contains(&format!("{variable}: ${{{{ inputs.{input} }}}}")), "{input}");
    }
}
