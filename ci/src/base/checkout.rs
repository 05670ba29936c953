//! Finds the checkout that a command works on. It is found when the launcher runs, so that a copied or moved clone, two
//! clones with one target folder, and an installed launcher each work on the right tree.

use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::base::Error;
use crate::base::process::capture;

/// Names the checkout, where it is to be another than the one that would be found.
pub const VARIABLE: &str = "OCTOPOD_ROOT";

/// The package whose program the launcher is, as cargo calls it.
const LAUNCHER: &str = "octopod-ci";

/// A checkout of octopod: the workspace, and cargo's target folder for it.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// The folder of the workspace's Cargo.toml.
    pub root: PathBuf,
    /// Cargo's target folder.
    pub target: PathBuf,
}

impl Workspace {
    /// The checkout that this process works on.
    ///
    /// # Errors
    /// There is none where it is looked for.
    pub fn find() -> Result<Workspace, Error> {
        let root = Hints::of_this_process().find()?;
        let target = target_folder(&root);
        Ok(Workspace { root, target })
    }

    /// The launcher's own folder for this checkout. Where several checkouts share a target folder, each has its own.
    pub fn own(&self) -> PathBuf {
        let shared = self.shared();
        if self.target.starts_with(&self.root) {
            return shared;
        }
        let name = self.root.file_name().unwrap_or_default().to_string_lossy();
        let mut hasher = DefaultHasher::new();
        self.root.hash(&mut hasher);
        shared.join(format!("{name}-{:016x}", hasher.finish()))
    }

    /// The launcher's folder that all checkouts with this target folder share.
    pub fn shared(&self) -> PathBuf {
        self.target.join("octopod")
    }
}

/// The time limit of git for naming a commit.
const GIT_LIMIT: Duration = Duration::from_secs(10);

impl Workspace {
    /// The commit that is checked out, with `-dirty` behind it if tracked files differ from it; `None` where git does not
    /// know.
    pub fn commit(&self) -> Option<String> {
        let mut git = Command::new("git");
        git.arg("-C").arg(&self.root).args(["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]);
        // A hook of another repository sets these.
        git.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").env_remove("GIT_INDEX_FILE");
        let answer = capture(&mut git, GIT_LIMIT).ok().filter(|answer| answer.status.success())?;
        Some(answer.stdout.trim().to_owned()).filter(|commit| !commit.is_empty())
    }
}

/// The places where the checkout is searched, in order.
#[derive(Clone, Debug, Default)]
struct Hints {
    /// The user's choice.
    named: Option<PathBuf>,
    /// The folder of the launcher's package, if cargo has started it.
    package: Option<PathBuf>,
    /// The current folder.
    here: Option<PathBuf>,
    /// The launcher's program.
    program: Option<PathBuf>,
}

impl Hints {
    fn of_this_process() -> Hints {
        let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let is_launcher = variable("CARGO_PKG_NAME").is_some_and(|name| name == LAUNCHER);
        Hints {
            named: variable(VARIABLE).map(PathBuf::from),
            package: variable("CARGO_MANIFEST_DIR").filter(|_| is_launcher).map(PathBuf::from),
            here: env::current_dir().ok(),
            program: env::current_exe().ok(),
        }
    }

    fn find(&self) -> Result<PathBuf, Error> {
        if let Some(named) = &self.named {
            let root = fs::canonicalize(named).ok().filter(|folder| is_checkout(folder));
            return root.ok_or_else(|| {
                let path = named.display();
                Error::Failed(format!("{path}, which {VARIABLE} names, is no checkout of octopod"))
            });
        }
        let places = [&self.package, &self.here, &self.program];
        let found = places.into_iter().flatten().find_map(|place| {
            let place = fs::canonicalize(place).ok()?;
            place.ancestors().find(|folder| is_checkout(folder)).map(Path::to_path_buf)
        });
        found.ok_or_else(|| {
            let here = self.here.clone().unwrap_or_default();
            Error::Failed(format!(
                "no checkout of octopod at {} or above it: change to one, or name one by {VARIABLE}=DIR",
                here.display()
            ))
        })
    }
}

/// Returns whether a folder is the root of octopod's workspace.
fn is_checkout(folder: &Path) -> bool {
    let package = |manifest: &Path| -> Option<String> {
        let table: toml::Table = fs::read_to_string(manifest).ok()?.parse().ok()?;
        Some(table.get("package")?.get("name")?.as_str()?.to_owned())
    };
    package(&folder.join("Cargo.toml")).as_deref() == Some("octopod")
        && package(&folder.join("ci/Cargo.toml")).as_deref() == Some(LAUNCHER)
}

/// Cargo's target folder: cargo reads a relative one against the current folder.
fn target_folder(root: &Path) -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR").filter(|folder| !folder.is_empty()) {
        Some(folder) => std::path::absolute(&folder).unwrap_or_else(|_| folder.into()),
        None => root.join("target"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that looks like a checkout.
    fn checkout(parent: &Path, name: &str) -> PathBuf {
        let root = parent.join(name);
        fs::create_dir_all(root.join("ci")).unwrap();
        fs::create_dir_all(root.join("target/debug")).unwrap();
        fs::write(root.join("Cargo.toml"), "[package]\nname = \"octopod\"\n").unwrap();
        fs::write(root.join("ci/Cargo.toml"), "[package]\nname = \"octopod-ci\"\n").unwrap();
        fs::write(root.join("target/debug/octopod"), "").unwrap();
        fs::canonicalize(root).unwrap()
    }

    #[test]
    fn cargo_knows_best_then_the_current_folder_then_the_program() {
        let parent = tempfile::tempdir().unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| checkout(parent.path(), name));
        let program = Some(c.join("target/debug/octopod"));
        let here = Some(b.join("ci"));
        let all = Hints { package: Some(a.join("ci")), here, program, named: None };
        assert_eq!(all.find().unwrap(), a);
        assert_eq!(Hints { package: None, ..all.clone() }.find().unwrap(), b);
        let elsewhere = Some(parent.path().to_owned());
        assert_eq!(Hints { package: None, here: elsewhere.clone(), ..all.clone() }.find().unwrap(), c);
        let installed = Hints { program: Some("/usr/bin/env".into()), ..Hints::default() };
        assert_eq!(Hints { here: Some(b.clone()), ..installed.clone() }.find().unwrap(), b);
        let error = Hints { here: elsewhere, ..installed }.find().unwrap_err();
        assert_eq!(error.verdict().status(), 2);
        assert!(error.to_string().contains(VARIABLE), "{error}");
    }

    #[test]
    fn a_folder_that_the_user_names_is_taken_or_refused() {
        let parent = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| checkout(parent.path(), name));
        let hints = Hints { named: Some(b.clone()), here: Some(a), ..Hints::default() };
        assert_eq!(hints.find().unwrap(), b);
        let named = Some(parent.path().to_owned());
        let error = Hints { named, ..hints }.find().unwrap_err().to_string();
        assert!(error.contains(parent.path().to_str().unwrap()), "{error}");
    }

    #[test]
    fn a_moved_checkout_is_found_where_it_is_now() {
        let parent = tempfile::tempdir().unwrap();
        let old = checkout(parent.path(), "old");
        let new = old.with_file_name("new");
        fs::rename(&old, &new).unwrap();
        let hints = Hints { program: Some(new.join("target/debug/octopod")), ..Hints::default() };
        assert_eq!(hints.find().unwrap(), new);
    }

    #[test]
    fn checkouts_with_one_target_folder_have_folders_of_their_own() {
        let workspace = |root: &str, target: &str| Workspace { root: root.into(), target: target.into() };
        assert_eq!(workspace("/a", "/a/target").own(), Path::new("/a/target/octopod"));
        let [a, b] = ["/x/octopod", "/y/octopod"].map(|root| workspace(root, "/t"));
        assert_ne!(a.own(), b.own());
        assert_eq!(a.shared(), b.shared());
        assert!(a.own().starts_with("/t/octopod"), "{}", a.own().display());
    }
}
