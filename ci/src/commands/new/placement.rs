//! The place of a new project among the workspaces of cargo in the folders above it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::process::capture;
use crate::base::{Error, cargo};

/// Cargo reads manifests only; it may wait for a lock of another one.
const LIMIT: Duration = Duration::from_secs(60);

/// The table that makes the project a workspace of its own.
const OWN_WORKSPACE: &str = "
# The workspace above this folder is not built for the kernel's target.
[workspace]
";

/// The workspace of a new project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    /// Its own, as no folder above it has another, or that one excludes it.
    Alone,
    /// Its own, by a table in its manifest; a folder above it has another one.
    Apart {
        /// The nearest package or workspace above it.
        above: PathBuf,
    },
    /// Another one, which names its members by a pattern.
    Member {
        /// Its manifest.
        workspace: PathBuf,
    },
}

impl Placement {
    /// A line for the user, unless the place is as expected.
    pub(super) fn note(&self) -> Option<String> {
        match self {
            Placement::Alone => None,
            Placement::Apart { above } => Some(format!(
                "Cargo.toml has [workspace]: the project is no member of the workspace at or above {}, which is not built for \
                 the kernel's target",
                above.display()
            )),
            Placement::Member { workspace } => Some(format!(
                "the project is a member of the workspace {}, by a pattern there; if that is built for another target, write \
                 the project into its `exclude`",
                workspace.display()
            )),
        }
    }
}

/// Determines the workspace of the project in `folder`, and gives it one of its own where another one above it does not take it.
/// Cargo itself decides: it knows patterns of members, `exclude`, and `package.workspace`.
///
/// # Errors
/// The manifest cannot be written; cargo refuses it.
pub(super) fn settle(folder: &Path) -> Result<Placement, Error> {
    let folder = fs::canonicalize(folder).map_err(Error::file("find", folder))?;
    let manifest = folder.join("Cargo.toml");
    let Some(above) = folder.ancestors().skip(1).find(|one| one.join("Cargo.toml").is_file()) else {
        return Ok(Placement::Alone);
    };
    match workspace_of(&manifest) {
        Ok(workspace) if workspace == manifest => return Ok(Placement::Alone),
        Ok(workspace) => return Ok(Placement::Member { workspace }),
        // Of a project that is no member, cargo says how it becomes one.
        Err(_) => {}
    }
    let text = fs::read_to_string(&manifest).map_err(Error::file("read", &manifest))?;
    fs::write(&manifest, text + OWN_WORKSPACE).map_err(Error::file("write", &manifest))?;
    workspace_of(&manifest)?;
    Ok(Placement::Apart { above: above.to_owned() })
}

/// The manifest of the workspace to which cargo counts a package.
fn workspace_of(manifest: &Path) -> Result<PathBuf, Error> {
    let mut command = cargo::command();
    command
        .args(["locate-project", "--workspace", "--message-format", "plain", "--manifest-path"])
        .arg(manifest);
    cargo::forget_outer_cargo(&mut command);
    let answer = capture(&mut command, LIMIT)?;
    match answer.status.success() {
        true => Ok(PathBuf::from(answer.stdout.trim())),
        false => Err(Error::Usage(format!("{}: {}", manifest.display(), answer.stderr.trim()))),
    }
}
