//! The GitHub action: its shell steps run here as a runner would run them, and its file names what exists.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use octopod_ci::base::Workspace;

/// Runs the action's step with this command. Returns its status, the step's summary, and the folder of the results.
fn run(command: &str, smp: &str) -> (Option<i32>, String, String) {
    let checkout = Workspace::find().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let launcher = Path::new(env!("CARGO_BIN_EXE_octopod"));
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let bin = launcher.parent().unwrap().to_owned();
    let path = std::env::join_paths([bin].into_iter().chain(std::env::split_paths(&paths))).unwrap();
    let [summary, output] = ["summary.md", "output"].map(|name| folder.path().join(name));
    let status = Command::new(checkout.root.join("ci/action/run"))
        .current_dir(&checkout.root)
        .env("PATH", path)
        .env("RUNNER_TEMP", folder.path())
        .env("GITHUB_OUTPUT", &output)
        .env("GITHUB_STEP_SUMMARY", &summary)
        .env("OCTOPOD_COMMAND", command)
        .env("OCTOPOD_SMP", smp)
        .env("OCTOPOD_ACCEL", "tcg")
        .output()
        .unwrap()
        .status;
    let results = fs::read_to_string(output).unwrap();
    let results = results.trim().strip_prefix("folder=").unwrap().to_owned();
    let files = fs::read_dir(Path::new(&results).join("run")).into_iter().flatten();
    let files: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    (status.code(), fs::read_to_string(summary).unwrap(), files.join(" "))
}

#[test]
fn a_pass_and_a_refusal_are_the_steps_own() {
    let (status, summary, files) = run("boot --quiet", "2");
    assert_eq!(status, Some(0), "{summary}");
    assert!(summary.contains("PASS  2 CPUs"), "{summary}");
    assert!(["report.json", "report.html", "serial.log"].iter().all(|file| files.contains(file)), "{files}");
    let (status, summary, _) = run("boot --no-such-option", "");
    assert_eq!(status, Some(2), "{summary}");
    assert!(summary.contains("--no-such-option"), "{summary}");
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
        let path = tools.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
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
fn its_file_names_its_scripts_and_inputs() {
    let root = Workspace::find().unwrap().root;
    let text = fs::read_to_string(root.join("action.yml")).unwrap();
    for script in ["ci/action/key", "ci/action/install", "ci/action/run"] {
        assert!(text.contains(script) && root.join(script).is_file(), "{script}");
    }
    // What a step installs is what the cache keeps.
    let kept = "~/.cache/octopod/${{ steps.cache.outputs.key }}\n";
    assert!(text.contains(kept) && text.contains("OCTOPOD_CACHE_KEY: ${{ steps.cache.outputs.key }}"));
    let script = fs::read_to_string(root.join("ci/action/run")).unwrap();
    for input in ["command", "smp", "accel"] {
        let variable = format!("OCTOPOD_{}", input.to_uppercase());
        assert!(text.contains(&format!("{variable}: ${{{{ inputs.{input} }}}}")), "{input}");
        let is_read = script.contains(&variable) || script.contains("for name in smp accel");
        assert!(is_read, "{input}");
    }
}
