//! Finds the workspace that a command works on: a checkout of octopod, or a project of the user's own. It is found when the
//! launcher runs, so that a copied or moved clone, two clones with one target folder, and an installed launcher each work on
//! the right tree.

use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::base::Error;
use crate::base::process::capture;
use crate::base::project::{self, Project};

/// Names the checkout, where it is to be another than the one that would be found.
pub const VARIABLE: &str = "OCTOPOD_ROOT";

/// The package whose program the launcher is, as cargo calls it.
const LAUNCHER: &str = "octopod-ci";

/// The workspace of a command, and cargo's target folder for it.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// The folder of the workspace's Cargo.toml.
    pub root: PathBuf,
    /// Cargo's target folder.
    pub target: PathBuf,
    /// The kind of the workspace.
    pub kind: WorkspaceKind,
}

/// The kind of a workspace.
#[derive(Clone, Debug, PartialEq)]
pub enum WorkspaceKind {
    /// A checkout of octopod.
    Checkout,
    /// A project of the user's own that depends on octopod.
    Project(Box<Project>),
    /// A folder that has neither, for commands that need no source.
    Folder,
}

impl Workspace {
    /// The workspace that this process works on: a checkout or a project.
    ///
    /// # Errors
    /// There is none where it is looked for, or its manifest is wrong.
    pub fn find() -> Result<Workspace, Error> {
        Hints::of_this_process().find()
    }

    /// The same; where there is none, the current folder.
    ///
    /// # Errors
    /// A manifest is wrong.
    pub fn find_or_here() -> Result<Workspace, Error> {
        let hints = Hints::of_this_process();
        match hints.find() {
            Err(Error::NoWorkspace { folder }) if hints.named.is_none() => {
                Ok(Workspace { target: target_folder(&folder), root: folder, kind: WorkspaceKind::Folder })
            }
            found => found,
        }
    }

    /// The checkout at `root`.
    fn checkout(root: PathBuf) -> Workspace {
        Workspace { target: target_folder(&root), root, kind: WorkspaceKind::Checkout }
    }

    /// The checkout of octopod that this process works on.
    ///
    /// # Errors
    /// There is none where it is looked for.
    pub fn find_checkout() -> Result<Workspace, Error> {
        let found = Workspace::find()?;
        match found.kind {
            WorkspaceKind::Checkout => Ok(found),
            _ => Err(Error::NoCheckout { folder: found.root }),
        }
    }

    /// The project, if this is one.
    pub fn project(&self) -> Option<&Project> {
        match &self.kind {
            WorkspaceKind::Project(project) => Some(project),
            _ => None,
        }
    }

    /// The launcher's command line in this workspace, up to the command.
    pub fn launcher(&self) -> &'static str {
        match self.kind {
            WorkspaceKind::Checkout => "cargo run --",
            _ => "octopod",
        }
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

/// The places where the workspace is searched, in order.
#[derive(Clone, Debug, Default)]
struct Hints {
    /// The user's choice.
    named: Option<PathBuf>,
    /// The folder of the package whose program cargo runs: the launcher itself, or a kernel for which it is the runner.
    package: Option<PathBuf>,
    /// The current folder.
    here: Option<PathBuf>,
    /// The launcher's program.
    program: Option<PathBuf>,
}

impl Hints {
    fn of_this_process() -> Hints {
        let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        Hints {
            named: variable(VARIABLE).map(PathBuf::from),
            package: variable("CARGO_MANIFEST_DIR").map(PathBuf::from),
            here: env::current_dir().ok(),
            program: env::current_exe().ok(),
        }
    }

    fn find(&self) -> Result<Workspace, Error> {
        if let Some(named) = &self.named {
            let folder = fs::canonicalize(named).map_err(Error::file("find", named))?;
            return workspace_at(&folder)?.ok_or(Error::NoWorkspace { folder });
        }
        for place in [&self.package, &self.here].into_iter().flatten() {
            let Ok(place) = fs::canonicalize(place) else { continue };
            if let Some(found) = workspace_at(&place)? {
                return Ok(found);
            }
        }
        // The launcher of a checkout, called by its path from elsewhere.
        let program = self.program.as_ref().and_then(|program| fs::canonicalize(program).ok());
        let checkout = program.and_then(|program| checkout_above(&program));
        checkout.map(Workspace::checkout).ok_or_else(|| {
            let folder = self.here.clone().unwrap_or_default();
            Error::NoWorkspace { folder }
        })
    }
}

/// The workspace at a folder or above it. A project may lie inside a checkout, so the nearest manifest decides.
fn workspace_at(folder: &Path) -> Result<Option<Workspace>, Error> {
    let checkout = checkout_above(folder);
    let is_own = |root: &Path| {
        let nearest = folder.ancestors().find(|one| one.join("Cargo.toml").is_file());
        nearest.is_some_and(|nearest| MEMBERS.iter().any(|member| nearest == root.join(member)))
    };
    if let Some(root) = checkout.filter(|root| is_own(root)) {
        return Ok(Some(Workspace::checkout(root)));
    }
    let found = project::find(folder)?;
    Ok(found.map(|project::Found { project, root, target }| Workspace {
        root,
        target,
        kind: WorkspaceKind::Project(Box::new(project)),
    }))
}

/// The packages of octopod's workspace, by their folders.
const MEMBERS: [&str; 6] = ["", "ci", "ap_trampoline", "macros", "unpacker", "ci/fuzz"];

/// The nearest checkout at a path or above it.
fn checkout_above(path: &Path) -> Option<PathBuf> {
    path.ancestors().find(|folder| is_checkout(folder)).map(Path::to_path_buf)
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
        let root = |hints: Hints| hints.find().unwrap().root;
        assert_eq!(root(all.clone()), a);
        assert_eq!(root(Hints { package: None, ..all.clone() }), b);
        let elsewhere = Some(parent.path().to_owned());
        assert_eq!(root(Hints { package: None, here: elsewhere.clone(), ..all.clone() }), c);
        let installed = Hints { program: Some("/usr/bin/env".into()), ..Hints::default() };
        assert_eq!(root(Hints { here: Some(b.clone()), ..installed.clone() }), b);
        let error = Hints { here: elsewhere, ..installed }.find().unwrap_err();
        assert_eq!(error.verdict().status(), 2);
        assert!(error.to_string().contains(VARIABLE), "{error}");
    }

    #[test]
    fn a_folder_that_the_user_names_is_taken_or_refused() {
        let parent = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| checkout(parent.path(), name));
        let hints = Hints { named: Some(b.clone()), here: Some(a), ..Hints::default() };
        assert_eq!(hints.find().unwrap().root, b);
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
        assert_eq!(hints.find().unwrap().root, new);
    }

    #[test]
    fn checkouts_with_one_target_folder_have_folders_of_their_own() {
        let workspace = |root: &str, target: &str| Workspace {
            root: root.into(),
            target: target.into(),
            kind: WorkspaceKind::Checkout,
        };
        assert_eq!(workspace("/a", "/a/target").own(), Path::new("/a/target/octopod"));
        let [a, b] = ["/x/octopod", "/y/octopod"].map(|root| workspace(root, "/t"));
        assert_ne!(a.own(), b.own());
        assert_eq!(a.shared(), b.shared());
        assert!(a.own().starts_with("/t/octopod"), "{}", a.own().display());
    }
}
