//! A cargo project of the user's own, whose kernel is built on octopod: found from a folder in it, with the settings of
//! `[package.metadata.octopod]`.

use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{CargoOpt, MetadataCommand, Package};
use toml::{Table, Value};

use crate::base::Error;
use crate::base::cargo;

/// The crate that every kernel depends on.
pub const CRATE: &str = "octopod";

/// The place of the settings, for messages.
pub const SETTINGS: &str = "[package.metadata.octopod]";

/// Settings that are no options of commands.
const OWN_SETTINGS: [&str; 2] = ["bin", "profile"];

/// A package with a kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Project {
    /// The package's name.
    pub name: String,
    /// The folder of its manifest.
    pub folder: PathBuf,
    /// The program that is its kernel: the setting `bin`, the default program, or the only one. `None` where there are several,
    /// or none.
    pub program: Option<String>,
    /// The names of all its programs.
    pub programs: Vec<String>,
    /// True if it has files of benchmarks, which are kernels of their own.
    pub has_benches: bool,
    /// The cargo profile that its kernel is built with: the setting `profile`, or `release`.
    pub profile: String,
    /// Options that its commands have by default: the other settings, each by the option's long name.
    pub options: Vec<(String, Value)>,
}

/// A package, its workspace's root and its target folder.
pub(crate) struct Found {
    pub(crate) project: Project,
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
}

/// Finds the project of `folder`: the nearest package at or above it that depends on octopod, or the only such member of the
/// workspace there. `None` where there is none.
///
/// # Errors
/// Cargo refuses the manifest, several members depend on octopod, or a setting is wrong.
pub(crate) fn find(folder: &Path) -> Result<Option<Found>, Error> {
    let Some(manifest) = folder.ancestors().map(|one| one.join("Cargo.toml")).find(|path| path.is_file())
    else {
        return Ok(None);
    };
    let text = fs::read_to_string(&manifest).map_err(Error::file("read", &manifest))?;
    let table: Table = text.parse().map_err(Error::format(&manifest))?;
    let is_package = table.contains_key("package");
    let mut command = MetadataCommand::new();
    command.manifest_path(&manifest).no_deps().features(CargoOpt::SomeFeatures(Vec::new()));
    if let Some(path) = std::env::var_os("CARGO") {
        command.cargo_path(path);
    }
    let mut outer = command.cargo_command();
    cargo::forget_outer_cargo(&mut outer);
    let output =
        outer.output().map_err(|source| Error::Program { program: "cargo metadata".to_owned(), source })?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(Error::Usage(format!("{}: {}", manifest.display(), words.trim())));
    }
    let metadata = String::from_utf8_lossy(&output.stdout);
    let metadata = MetadataCommand::parse(metadata.trim())
        .map_err(|error| Error::Failed(format!("cargo metadata of {}: {error}", manifest.display())))?;
    let depends = |package: &&Package| package.dependencies.iter().any(|dependency| dependency.name == CRATE);
    let members: Vec<&Package> = metadata.workspace_packages();
    let package = match is_package {
        true => {
            let here = members.into_iter().find(|package| package.manifest_path.as_std_path() == manifest);
            here.filter(depends)
        }
        false => match *members.into_iter().filter(depends).collect::<Vec<_>>() {
            [] => None,
            [only] => Some(only),
            ref several => {
                let names: Vec<_> = several.iter().map(|package| package.name.as_str()).collect();
                return Err(Error::Usage(format!(
                    "several packages depend on {CRATE}: change to the folder of {}",
                    names.join(" or ")
                )));
            }
        },
    };
    let Some(package) = package else { return Ok(None) };
    Ok(Some(Found {
        project: Project::of(package)?,
        root: metadata.workspace_root.clone().into(),
        target: metadata.target_directory.clone().into(),
    }))
}

impl Project {
    fn of(package: &Package) -> Result<Project, Error> {
        let manifest = package.manifest_path.as_std_path();
        let settings = package.metadata.get(CRATE).cloned().unwrap_or_default();
        let wrong = |problem: String| Error::Usage(format!("{}: {SETTINGS}: {problem}", manifest.display()));
        let settings = match settings {
            serde_json::Value::Null => Table::new(),
            table => Table::try_from(table).map_err(|error| wrong(error.to_string()))?,
        };
        let text = |key: &str| match settings.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(wrong(format!("`{key}` must be a string, not {other}"))),
        };
        let is_program = |target: &&cargo_metadata::Target| target.is_bin();
        let programs: Vec<String> =
            package.targets.iter().filter(is_program).map(|target| target.name.clone()).collect();
        let only = match programs.as_slice() {
            [only] => Some(only.clone()),
            _ => None,
        };
        Ok(Project {
            name: package.name.to_string(),
            folder: manifest.parent().unwrap_or(Path::new(".")).to_owned(),
            program: text("bin")?.or(package.default_run.clone()).or(only),
            programs,
            has_benches: package.targets.iter().any(cargo_metadata::Target::is_bench),
            profile: text("profile")?.unwrap_or_else(|| "release".to_owned()),
            options: settings.into_iter().filter(|(key, _)| !OWN_SETTINGS.contains(&key.as_str())).collect(),
        })
    }

    /// The program that is the kernel.
    ///
    /// # Errors
    /// The package has none, or does not say which.
    pub fn kernel(&self) -> Result<&str, Error> {
        self.program.as_deref().ok_or_else(|| {
            let name = &self.name;
            Error::Usage(match self.programs.is_empty() {
                true => format!("the package {name} has no program to boot (no src/main.rs)"),
                false => format!(
                    "the package {name} has several programs: write the kernel's name into Cargo.toml, {SETTINGS} bin = \
                     \"{}\"",
                    self.programs.join("\" or \"")
                ),
            })
        })
    }
}
