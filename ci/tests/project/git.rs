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

#[test]
fn a_project_on_a_git_repository_boots_eight_cpus() {
    // The present files as a commit of a new repository, so that the test needs no checkout and sees what is not committed.
    let scratch = tempfile::tempdir().unwrap();
    let (repository, home) = (scratch.path().join("octopod.git"), scratch.path().join("home"));
    let checkout = Workspace::find().unwrap().root;
    git(&repository, &checkout, &["init", "--quiet"]);
    git(&repository, &checkout, &["add", "--all"]);
    git(&repository, &checkout, &["commit", "--quiet", "--message", "files"]);
    home_without_repositories(&home);

    let url = format!("file://{}", repository.display());
    let project = Project::made("visitor", launcher(), &["--git", &url]);
    let ran = project.cargo_at(&home, &["run"]);
    ran.expect(0, &["8 CPUs are online", "hello from CPU 7", "PASS  8 CPUs"]);
    let lock = fs::read_to_string(project.folder.join("Cargo.lock")).unwrap();
    assert!(lock.contains(&format!("git+{url}#")), "{lock}");
}
