//! A project on octopod in a git repository.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use octopod_ci::base::Workspace;

use super::folder::{Project, launcher};

/// Runs git on the files of `checkout`, with a repository that lies in another folder.
fn git(repository: &Path, checkout: &Path, words: &[&str]) {
    let output = Command::new("git")
        .arg("--git-dir")
        .arg(repository)
        .arg("--work-tree")
        .arg(checkout)
        .args(["-c", "user.name=octopod", "-c", "user.email=octopod@localhost", "-c", "commit.gpgsign=false"])
        .args(words)
        .output()
        .unwrap();
    assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes a repository with the present files of `checkout` as a commit: a test sees what is not committed there.
pub(crate) fn commit_all(repository: &Path, checkout: &Path) {
    git(repository, checkout, &["init", "--quiet"]);
    git(repository, checkout, &["add", "--all"]);
    git(repository, checkout, &["commit", "--quiet", "--message", "files"]);
}

/// Writes the files of the repository's commit into a new folder.
pub(crate) fn check_out(repository: &Path, folder: &Path) {
    fs::create_dir(folder).unwrap();
    git(repository, folder, &["reset", "--quiet", "--hard"]);
}

/// A home of cargo's that has all of the present one but the repositories, so that none is left there.
fn home_without_repositories(folder: &Path) {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.unwrap_or_else(|| env::home_dir().unwrap().join(".cargo"));
    fs::create_dir(folder).unwrap();
    for entry in fs::read_dir(home).unwrap().map(Result::unwrap) {
        if entry.file_name() != "git" {
            std::os::unix::fs::symlink(entry.path(), folder.join(entry.file_name())).unwrap();
        }
    }
}

/// The set-up that README.md shows: three lines, without their comments.
fn set_up() -> [String; 3] {
    let page = include_str!("../../../README.md");
    let (_, block) = page.split_once("```text\ncargo install ").expect("README.md has the set-up");
    let (block, _) = block.split_once("\n```").unwrap();
    let lines = format!("cargo install {block}");
    let lines: Vec<String> =
        lines.lines().map(|line| line.split(" # ").next().unwrap().trim_end().to_owned()).collect();
    lines.try_into().expect("three commands")
}

#[test]
fn a_project_on_a_git_repository_boots_eight_cpus() {
    // A repository of its own: the test needs none of the checkout.
    let scratch = tempfile::tempdir().unwrap();
    let (repository, home) = (scratch.path().join("octopod.git"), scratch.path().join("home"));
    let checkout = Workspace::find().unwrap().root;
    commit_all(&repository, &checkout);
    home_without_repositories(&home);

    let url = format!("file://{}", repository.display());
    // As README.md shows it, but for the launcher, which is built.
    let [made, ran, tested] = set_up().map(|line| line.replace("URL", &url));
    let (installed, made) = made.split_once(" && ").unwrap();
    assert_eq!(installed, format!("cargo install --locked --git {url} octopod-ci"));
    let project = Project::typed("hello", launcher(), made);
    let readme = fs::read_to_string(project.folder.join("README.md")).unwrap();
    // The same, without the path of this machine.
    let installs = format!("\n{} ", installed.replace(&url, "URL"));
    assert!(readme.contains(&installs) && !readme.contains(&url), "the project says the same: {readme}");
    assert_eq!((&*ran, &*tested), ("cd hello && cargo run", "cargo test"));
    let ran = project.cargo_at(&home, &["run"]);
    ran.expect(0, &["8 CPUs are online", "hello from CPU 7", "PASS  8 CPUs"]);
    project.cargo_at(&home, &["test"]).expect(0, &["1 passed"]);
    let lock = fs::read_to_string(project.folder.join("Cargo.lock")).unwrap();
    assert!(lock.contains(&format!("git+{url}#")), "{lock}");
}
