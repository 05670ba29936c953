//! A project in a folder of its own, outside the checkout, and what its commands say.

#![allow(dead_code, reason = "each test uses a part")]

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use octopod_ci::base::{Workspace, WorkspaceKind};
use rustix::process::{Pid, Signal, kill_process};

/// Variables by which the cargo of this test describes it; the project's own cargo sets them anew.
const OF_OUTER_CARGO: [&str; 9] = [
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "CARGO_PKG_NAME",
    "CARGO_PKG_VERSION",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "RUSTFLAGS",
    "OUT_DIR",
    "OCTOPOD_ROOT",
];

/// A project.
pub(crate) struct Project {
    pub(crate) folder: PathBuf,
    pub(crate) target: PathBuf,
    /// The launcher's program.
    pub(crate) launcher: PathBuf,
    _parent: tempfile::TempDir,
}

/// What a command said, and its status.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: Option<i32>,
    pub(crate) text: String,
}

impl Project {
    /// A new project on the checkout.
    pub(crate) fn new(name: &str, more: &[&str]) -> Project {
        let root = Workspace::find().unwrap().root;
        Project::made(name, launcher(), &[&["--path", root.to_str().unwrap()], more].concat())
    }

    /// A new project with the checkout's locked dependencies. All projects of the tests share what they build.
    pub(crate) fn made(name: &str, launcher: PathBuf, more: &[&str]) -> Project {
        let words = [&["octopod", "new", name], more].concat();
        Project::typed(name, launcher, &shlex::try_join(words).unwrap())
    }

    /// The project that a line of a shell makes in an empty folder.
    pub(crate) fn typed(name: &str, launcher: PathBuf, line: &str) -> Project {
        let checkout = Workspace::find().unwrap();
        let parent = tempfile::tempdir().unwrap();
        let project = Project {
            folder: parent.path().join(name),
            target: checkout.own().join("tests/projects"),
            launcher,
            _parent: parent,
        };
        let parent = project.folder.parent().unwrap();
        let made = said(project.command(Path::new("sh"), parent).args(["-c", line]));
        assert_eq!(made.status, Some(0), "{made:?}");
        fs::copy(checkout.root.join("Cargo.lock"), project.folder.join("Cargo.lock")).unwrap();
        project
    }

    /// A command in a folder, with this launcher in the path.
    pub(crate) fn command(&self, program: &Path, folder: &Path) -> Command {
        let mut command = outside(program);
        let bin = self.launcher.parent().unwrap().to_owned();
        let paths = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths([bin].into_iter().chain(env::split_paths(&paths))).unwrap();
        command.env("PATH", path).env("CARGO_TARGET_DIR", &self.target).current_dir(folder);
        command
    }

    /// Runs cargo.
    pub(crate) fn cargo(&self, words: &[&str]) -> Said {
        said(self.command(&cargo(), &self.folder).args(words))
    }

    /// Runs cargo with these variables.
    pub(crate) fn cargo_with(&self, variables: &[(&str, &str)], words: &[&str]) -> Said {
        said(self.command(&cargo(), &self.folder).envs(variables.iter().copied()).args(words))
    }

    /// Runs cargo with this home.
    pub(crate) fn cargo_at(&self, home: &Path, words: &[&str]) -> Said {
        said(self.command(&cargo(), &self.folder).env("CARGO_HOME", home).args(words))
    }

    /// Runs the launcher.
    pub(crate) fn octopod(&self, words: &[&str]) -> Said {
        said(self.command(&self.launcher, &self.folder).args(words))
    }

    /// Runs the launcher in a folder of the project.
    pub(crate) fn octopod_in(&self, folder: &str, words: &[&str]) -> Said {
        said(self.command(&self.launcher, &self.folder.join(folder)).args(words))
    }

    /// Runs the launcher, which reads these lines.
    pub(crate) fn octopod_reads(&self, lines: &str, words: &[&str]) -> Said {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(lines.as_bytes()).unwrap();
        file.rewind().unwrap();
        said(self.command(&self.launcher, &self.folder).args(words).stdin(file))
    }

    /// Starts a command that writes progress, and ends it by a signal when it has begun its work.
    pub(crate) fn ends_by(&self, signal: Signal, words: &[&str]) {
        let (output, input) = io::pipe().unwrap();
        let mut command = self.command(&self.launcher, &self.folder);
        command.args(words).args(["--progress", "1", "--out", "signal"]);
        command.stdout(input.try_clone().unwrap()).stderr(input);
        let mut child = command.spawn().unwrap();
        drop(command);
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("pairs")), "the work begins");
        kill_process(Pid::from_child(&child), signal).unwrap();
        // To the end of all that have the pipe: the program has ended as well.
        let rest: Vec<_> = lines.collect();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:#?}");
        let report = fs::read(self.folder.join("signal/report.json")).unwrap();
        let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
        assert_eq!(report["verdict"], "interrupted");
        fs::remove_dir_all(self.folder.join("signal")).unwrap();
    }

    /// Writes a file.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Appends to a file.
    pub(crate) fn add(&self, path: &str, text: &str) {
        let old = fs::read_to_string(self.folder.join(path)).unwrap();
        self.write(path, &(old + text));
    }

    /// Replaces a part of a file.
    pub(crate) fn replace(&self, path: &str, old: &str, new: &str) {
        let text = fs::read_to_string(self.folder.join(path)).unwrap();
        assert!(text.contains(old), "{path} has no {old}");
        self.write(path, &text.replace(old, new));
    }
}

/// All projects share a target folder, where their runs would stay: each has copies of kernels.
impl Drop for Project {
    fn drop(&mut self) {
        // As the launcher names it.
        let Ok(root) = fs::canonicalize(&self.folder) else { return };
        let target = self.target.clone();
        let workspace = Workspace { root, target, kind: WorkspaceKind::Folder };
        // A project that has run nothing has no folder there.
        let _ = fs::remove_dir_all(workspace.own());
    }
}

/// A command that does not know of the cargo that runs the tests.
pub(crate) fn outside(program: &Path) -> Command {
    let mut command = Command::new(program);
    for name in OF_OUTER_CARGO {
        command.env_remove(name);
    }
    // The machine may be busy with other tests, and with anything else.
    command.env("OCTOPOD_TIMEOUT", "1800");
    command
}

/// The program of the cargo that runs the tests.
fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

/// The launcher's program.
pub(crate) fn launcher() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_octopod"))
}

/// Runs a command to its end.
pub(crate) fn said(command: &mut Command) -> Said {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    // Names of tests are padded.
    let text = text.lines().map(|line| match line.split_once(" ... ") {
        Some((name, result)) => format!("{} ... {result}\n", name.trim_end()),
        None => format!("{line}\n"),
    });
    let text = text.collect();
    Said { status: status.code(), text }
}

impl Said {
    /// Checks the status and that the text has these parts.
    #[track_caller]
    pub(crate) fn expect(&self, status: i32, parts: &[&str]) {
        let missing: Vec<_> = parts.iter().filter(|part| !self.text.contains(**part)).collect();
        assert!(
            self.status == Some(status) && missing.is_empty(),
            "status {status} with {missing:?}: {}",
            self.text
        );
    }
}
