//! The source of octopod for a new project. Nothing names crates.io: another crate has the name there.

use std::fs;
use std::path::Path;

use crate::base::{Error, Workspace, WorkspaceKind};

/// The package of the kernel.
const CRATE: &str = "octopod";

/// The package of the launcher.
const PACKAGE: &str = env!("CARGO_PKG_NAME");

/// The source of octopod, for a manifest, for `cargo install`, and for a step of a workflow.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) dependency: String,
    pub(super) install: String,
    /// The same, for this machine.
    pub(super) install_here: String,
    /// Like `install`, it has no path of this machine.
    pub(super) step: String,
    /// The step of a workflow that runs the tests.
    pub(super) tests: String,
}

/// The tests, where no action runs them.
const CARGO_TEST: &str = "- run: cargo test";

/// The tests, by the action: their results are in the step's summary, and an artifact.
fn tests_by(action: &str) -> String {
    format!("- uses: {action}\n        with:\n          command: test")
}

/// The step of a workflow where the project names octopod by a path or a URL of files, which other machines do not have.
const STEP_OF_PATH: &str = "\
# Cargo.toml names octopod by files of one machine. Write `git = \"URL\"` there, and in place of this step the launcher's:
      # `uses: OWNER/octopod@main` on GitHub; elsewhere `run: git clone URL octopod`, then the step `uses: ./octopod`.
      # Or have the job check octopod out into the path that Cargo.toml names, relative to it.
      - run: echo '::error::Cargo.toml needs a git URL of octopod, or the path of a checkout in the job' && exit 1";

impl Source {
    /// The source that is asked for, or the checkout that the launcher works on.
    ///
    /// # Errors
    /// There is neither; an option has a value that cannot be one.
    pub(super) fn of(
        path: Option<&Path>,
        git: Option<&str>,
        registry: Option<&str>,
    ) -> Result<Source, Error> {
        if let Some(url) = git {
            return of_git(url);
        }
        if let Some(name) = registry {
            return of_registry(name);
        }
        if let Some(path) = path {
            let root = fs::canonicalize(path).map_err(Error::file("find", path))?;
            check(&root).map_err(|reason| Error::Usage(format!("--path {}: {reason}", path.display())))?;
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

/// Refuses a folder that has another package than octopod.
fn check(root: &Path) -> Result<(), String> {
    let manifest = root.join("Cargo.toml");
    if !manifest.is_file() {
        return Err("no Cargo.toml is there".to_owned());
    }
    let text = fs::read_to_string(&manifest).map_err(|error| format!("Cargo.toml: {error}"))?;
    let table: toml::Table = text.parse().map_err(|error| format!("Cargo.toml: {error}"))?;
    match table.get("package").and_then(|package| package.get("name")?.as_str()) {
        Some(CRATE) => Ok(()),
        Some(other) => Err(format!("the package there is {other}; give the folder of octopod's checkout")),
        None => Err("no package is there; give the folder of octopod's checkout".to_owned()),
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
    let here = word(&format!("{path}/ci"), "--path")?;
    Ok(Source {
        dependency: format!("path = {}", text(path)),
        install_here: format!("cargo install --locked --path {here}"),
        // The manifest has the path of this machine, and the README none.
        install: "cargo install --locked --path DIR/ci    # DIR: the path of octopod in Cargo.toml"
            .to_owned(),
        step: STEP_OF_PATH.to_owned(),
        tests: CARGO_TEST.to_owned(),
    })
}

fn of_git(url: &str) -> Result<Source, Error> {
    if url.trim().is_empty() {
        return Err(Error::Usage("--git needs the address of a repository of octopod".to_owned()));
    }
    let quoted = word(url, "--git")?;
    let install_here = format!("cargo install --locked --git {quoted} {PACKAGE}");
    let (mut install, mut tests) = (install_here.clone(), tests_by("./octopod"));
    let step = match repository_on_github(url) {
        // The branch that cargo takes as well.
        Some(repository) => {
            tests = tests_by(&format!("{repository}@main"));
            format!("- uses: {repository}@main")
        }
        None if url.starts_with(FILES) => {
            tests = CARGO_TEST.to_owned();
            install =
                format!("cargo install --locked --git URL {PACKAGE}    # URL: that of octopod in Cargo.toml");
            STEP_OF_PATH.to_owned()
        }
        None => format!("{}\n      - uses: ./octopod", run(&format!("git clone --depth 1 {quoted} octopod"))),
    };
    Ok(Source { dependency: format!("git = {}", text(url)), install_here, install, step, tests })
}

/// The begin of a URL of files.
const FILES: &str = "file://";

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
    let install = format!("cargo install --locked --registry {name} {PACKAGE}");
    Ok(Source {
        dependency: format!("version = {}, registry = {}", text(version), text(name)),
        step: format!(
            "# The job needs [registries.{name}] of cargo's configuration.\n      {}\n      - run: octopod run",
            run(&install)
        ),
        tests: CARGO_TEST.to_owned(),
        install_here: install.clone(),
        install,
    })
}
