//! The source of octopod for a new project. Nothing names crates.io: another crate has the name there.

use std::fs;
use std::path::Path;

use crate::base::{Error, Workspace, WorkspaceKind};
use crate::commands::new::NewArgs;

/// The package of the launcher.
const PACKAGE: &str = env!("CARGO_PKG_NAME");

/// The source of octopod, for a manifest, for `cargo install`, and for a step of a workflow.
pub(super) struct Source {
    pub(super) dependency: String,
    pub(super) install: String,
    /// As the others except `dependency`, it has no path of this machine.
    pub(super) step: String,
}

/// The step of a workflow where the project names octopod by a path, which other machines do not have.
const STEP_OF_PATH: &str = "\
# Cargo.toml names octopod by a path of one machine. Write `git = \"URL\"` there, and in place of this step the launcher's:
      # `uses: OWNER/octopod@main` on GitHub; elsewhere `run: git clone URL octopod`, then the step `uses: ./octopod`.
      # Or have the job check octopod out into the path that Cargo.toml names, relative to it.
      - run: echo '::error::Cargo.toml needs a git URL of octopod, or the path of a checkout in the job' && exit 1";

impl NewArgs {
    /// The source that is asked for, or the checkout that the launcher works on.
    ///
    /// # Errors
    /// There is neither; an option has a value that cannot be one.
    pub(super) fn source(&self) -> Result<Source, Error> {
        if let Some(url) = &self.git {
            return of_git(url);
        }
        if let Some(name) = &self.registry {
            return of_registry(name);
        }
        if let Some(path) = &self.path {
            let root = fs::canonicalize(path).map_err(Error::file("find", path))?;
            if !root.join("Cargo.toml").is_file() {
                return Err(Error::Usage(format!("--path {}: no Cargo.toml is there", path.display())));
            }
            return of_path(&root);
        }
        match Workspace::find_or_here() {
            Ok(Workspace { root, kind: WorkspaceKind::Checkout, .. }) => of_path(&root),
            _ => Err(Error::Usage(
                "where is octopod? Give --path DIR (a checkout), --git URL or --registry NAME; crates.io has another crate \
                 of this name"
                    .to_owned(),
            )),
        }
    }
}

fn text(value: &str) -> String {
    toml::Value::String(value.to_owned()).to_string()
}

/// As one word of a shell, on one line.
fn word(value: &str, option: &str) -> Result<String, Error> {
    let quoted = shlex::try_quote(value).map_err(|error| Error::Usage(format!("{option}: {error}")))?;
    match value.chars().any(char::is_control) {
        true => Err(Error::Usage(format!("{option}: {value:?} has a control character"))),
        false => Ok(quoted.into_owned()),
    }
}

/// A step that runs this line. A string of JSON is one of YAML.
fn run(line: &str) -> String {
    format!("- run: {}", serde_json::Value::from(line))
}

fn of_path(root: &Path) -> Result<Source, Error> {
    let unusable = || Error::Usage(format!("--path {}: cargo takes only paths of UTF-8", root.display()));
    let path = root.to_str().ok_or_else(unusable)?;
    if path.chars().any(char::is_control) {
        return Err(Error::Usage(format!("--path {path:?} has a control character")));
    }
    Ok(Source {
        dependency: format!("path = {}", text(path)),
        // The manifest has the path of this machine, and the README none.
        install: "cargo install --locked --path DIR/ci    # DIR: the path of octopod in Cargo.toml"
            .to_owned(),
        step: STEP_OF_PATH.to_owned(),
    })
}

fn of_git(url: &str) -> Result<Source, Error> {
    let quoted = word(url, "--git")?;
    let step = match repository_on_github(url) {
        // The branch that cargo takes as well.
        Some(repository) => format!("- uses: {repository}@main"),
        None => format!("{}\n      - uses: ./octopod", run(&format!("git clone --depth 1 {quoted} octopod"))),
    };
    Ok(Source {
        dependency: format!("git = {}", text(url)),
        install: format!("cargo install --locked --git {quoted} {PACKAGE}"),
        step,
    })
}

/// `OWNER/REPOSITORY` of an address on GitHub, as a workflow names an action.
fn repository_on_github(url: &str) -> Option<&str> {
    let rest =
        ["https://github.com/", "ssh://git@github.com/"].iter().find_map(|start| url.strip_prefix(start))?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let rest = rest.strip_suffix(".git").unwrap_or(rest);
    let is_plain = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    rest.split_once('/').filter(|(owner, name)| is_plain(owner) && is_plain(name)).map(|_| rest)
}

fn of_registry(name: &str) -> Result<Source, Error> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_name) {
        return Err(Error::Usage(format!(
            "--registry {name:?}: a registry's name in cargo's configuration has ASCII letters, digits, - and _"
        )));
    }
    if name == "crates-io" {
        return Err(Error::Usage(
            "--registry crates-io: the crate octopod on crates.io is another; give --path DIR, --git URL or another registry"
                .to_owned(),
        ));
    }
    let version = env!("CARGO_PKG_VERSION");
    Ok(Source {
        dependency: format!("version = {}, registry = {}", text(version), text(name)),
        install: format!("cargo install --locked --registry {name} {PACKAGE}"),
        step: format!(
            "# The job needs [registries.{name}] of cargo's configuration.\n      {}",
            run(&format!("cargo install --locked --registry {name} {PACKAGE}"))
        ),
    })
}
