//! The checkout that the launcher works on, for each location and each way to start it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::fake::{copy_program, launcher};

/// A folder that looks like a checkout, with a launcher where cargo puts it.
fn checkout(parent: &Path, name: &str) -> PathBuf {
    let root = parent.join(name);
    fs::create_dir_all(root.join("ci/src")).unwrap();
    fs::create_dir_all(root.join("target/debug")).unwrap();
    fs::write(root.join("Cargo.toml"), "[package]\nname = \"octopod\"\n").unwrap();
    fs::write(root.join("ci/Cargo.toml"), "[package]\nname = \"octopod-ci\"\n").unwrap();
    install(&root.join("target/debug/octopod"));
    fs::canonicalize(root).unwrap()
}

/// The launcher under another path: a link where that can be, since it is large.
fn install(path: &Path) {
    if fs::hard_link(launcher(), path).is_err() {
        copy_program(&launcher(), path);
    }
}

/// Where a launcher looks for the newest run, which is in its checkout. There is none.
fn looks_in(command: &mut Command) -> String {
    for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_TARGET_DIR", "OCTOPOD_ROOT"] {
        if !command.get_envs().any(|(set, _)| set == name) {
            command.env_remove(name);
        }
    }
    let output = command.arg("report").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_copied_and_a_moved_clone_are_their_own_trees() {
    let parent = tempfile::tempdir().unwrap();
    let [old, copy] = ["old", "copy"].map(|name| checkout(parent.path(), name));
    let moved = old.with_file_name("moved");
    fs::rename(&old, &moved).unwrap();
    for root in [&copy, &moved] {
        let newest = root.join("target/octopod/latest");
        // In the clone, below it, and from elsewhere.
        for here in [root.clone(), root.join("ci/src"), "/".into()] {
            let mut command = Command::new(root.join("target/debug/octopod"));
            let said = looks_in(command.current_dir(here));
            assert!(said.contains(newest.to_str().unwrap()), "{}: {said}", newest.display());
        }
    }
}

#[test]
fn an_installed_launcher_works_where_it_is_started() {
    let parent = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| checkout(parent.path(), name));
    let installed = parent.path().join("octopod");
    install(&installed);
    for (root, here) in [(&a, a.join("ci")), (&b, b.clone())] {
        let said = looks_in(Command::new(&installed).current_dir(here));
        assert!(said.contains(root.to_str().unwrap()), "{said}");
    }
    let said = looks_in(Command::new(&installed).current_dir(parent.path()));
    let here = parent.path().join("target/octopod/latest");
    assert!(said.contains(here.to_str().unwrap()), "{said}");
    let said = looks_in(Command::new(&installed).current_dir(&a).env("OCTOPOD_ROOT", &b));
    assert!(said.contains(b.to_str().unwrap()), "{said}");
    let said = looks_in(Command::new(&installed).current_dir(&a).env("OCTOPOD_ROOT", parent.path()));
    assert!(said.contains("no kernel at"), "{said}");
}

#[test]
fn two_clones_with_one_target_folder_keep_their_runs_apart() {
    let parent = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| checkout(parent.path(), name));
    let shared = parent.path().join("shared");
    // The environment that cargo sets for the launcher that it starts, whichever clone has built it.
    let newest = |root: &Path| {
        let mut command = Command::new(a.join("target/debug/octopod"));
        command.env("CARGO_TARGET_DIR", &shared).env("CARGO_MANIFEST_DIR", root.join("ci"));
        looks_in(command.env("CARGO_PKG_NAME", "octopod-ci").current_dir("/"))
    };
    let (of_a, of_b) = (newest(&a), newest(&b));
    for said in [&of_a, &of_b] {
        assert!(said.contains(shared.join("octopod").to_str().unwrap()), "{said}");
    }
    assert_ne!(of_a, of_b);
}

/// A clone with CRLF line ends could run none of its scripts.
#[test]
fn a_clone_of_any_line_ends_has_scripts_that_run() {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this test");
    let root = Path::new(&package).parent().unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir_all(source.join(".ci")).unwrap();
    for file in [".gitattributes", ".ci/run"] {
        fs::copy(root.join(file), source.join(file)).unwrap();
    }
    let git = |words: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=test", "-c", "user.email=test@example.org"]).args(words);
        let output = command.current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
    };
    git(&["init", "-q", "source"]);
    git(&["-C", "source", "add", "--all"]);
    git(&["-C", "source", "commit", "-q", "--message", "all"]);
    git(&["-c", "core.autocrlf=true", "clone", "-q", "source", "clone"]);
    let script = fs::read(folder.path().join("clone/.ci/run")).unwrap();
    assert!(!script.is_empty() && !script.contains(&b'\r'));
}
