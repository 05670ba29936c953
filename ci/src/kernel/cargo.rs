//! Runs cargo to build the kernel, and reads its messages.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use cargo_metadata::Message as CargoMessage;

use crate::base::cargo::{self, TARGET};
use crate::base::process::{ProcessEvent, Stream, Streams, Supervised};
use crate::base::project::{CRATE, Project};
use crate::base::{Error, Message, Observer, Workspace};
use crate::kernel::config::{KERNEL_PACKAGE, Program, ProgramKind};
use crate::kernel::isolation::Settings;
use crate::kernel::{KernelConfig, example};

/// Names the compressed kernel to the unpacker's build script.
const PAYLOAD: &str = "OCTOPOD_PAYLOAD";

/// The step that is shown.
const BUILDING: &str = "building the kernel";
const BUILDING_FOR_HOST: &str = "building the program for this host";

/// Allows `program!` on the host: octopod's build script reads it.
const HOST_PROGRAM: &str = "OCTOPOD_HOST_PROGRAM";

/// Cargo's name for the target of the host.
const HOST: &str = "host-tuple";

/// A first build downloads and compiles everything, perhaps on a slow machine.
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);
/// Cargo may use this long to end its compilers.
const BUILD_GRACE: Duration = Duration::from_secs(5);

/// Settings that make cargo draw its progress bar without a terminal, and its width. The launcher reads the counts in the bar.
const SHOW_COUNTS: [(&str, &str); 2] =
    [("CARGO_TERM_PROGRESS_WHEN", "always"), ("CARGO_TERM_PROGRESS_WIDTH", "100")];

/// The arguments by which cargo reports what it does.
const MESSAGES: [&str; 4] = ["--message-format", "json-render-diagnostics", "--color", "always"];

/// Bytes of cargo's diagnostics that an error contains at most.
const MOST_DIAGNOSTICS: usize = 1 << 20;

/// Builds a program of the checkout. Returns the file that cargo has made.
///
/// # Errors
/// Cargo cannot be run, or fails; a signal; the time limit.
pub(crate) fn build(
    program: &Program<'_>,
    config: &KernelConfig,
    settings: &Settings,
    payload: Option<&Path>,
    workspace: &Workspace,
    observer: &mut dyn Observer,
) -> Result<PathBuf, Error> {
    let mut command = command(program, config, settings, workspace)?;
    if let Some(payload) = payload {
        command.env(PAYLOAD, payload);
    }
    execute(command, program.name, BUILDING, observer)
}

/// Builds the kernel of a project, as its own settings say. Returns the file that cargo has made.
///
/// # Errors
/// Cargo cannot be run, or fails; a signal; the time limit.
pub(crate) fn build_project(
    project: &Project,
    config: &KernelConfig,
    observer: &mut dyn Observer,
) -> Result<PathBuf, Error> {
    let name = project.kernel()?;
    let mut command = cargo::command();
    command.current_dir(&project.folder).args(["build", "--bin", name, "--target", TARGET]);
    command.args(["--profile", if config.debug { "dev" } else { &project.profile }]);
    for feature in config.features() {
        command.arg("--features").arg(format!("{CRATE}/{feature}"));
    }
    command.args(MESSAGES);
    cargo::forget_outer_package(&mut command);
    execute(command, name, BUILDING, observer)
}

/// Builds the program of a project for the host, as the project's own settings say. Returns the file that cargo has made.
///
/// # Errors
/// Cargo cannot be run, or fails; a signal; the time limit.
pub(crate) fn build_for_host(project: &Project, observer: &mut dyn Observer) -> Result<PathBuf, Error> {
    let name = project.kernel()?;
    let mut command = cargo::command();
    command.current_dir(&project.folder).args(["build", "--bin", name, "--target", HOST]);
    command.args(["--profile", &project.profile]);
    command.args(MESSAGES).env(HOST_PROGRAM, "1");
    cargo::forget_outer_package(&mut command);
    execute(command, name, BUILDING_FOR_HOST, observer)
}

/// Runs a build by cargo, a step that is shown as `what`. Returns the program `name` that it has made.
fn execute(
    mut command: Command,
    name: &str,
    what: &str,
    observer: &mut dyn Observer,
) -> Result<PathBuf, Error> {
    observer.receive(Message::Step(what));
    command.envs(SHOW_COUNTS);
    let streams = Streams { ends_at_returns: true, ..Streams::default() };
    let mut child = Supervised::spawn(&mut command, streams)
        .map_err(|source| Error::Program { program: "cargo".to_owned(), source })?;
    let deadline = Instant::now() + BUILD_LIMIT;
    let (mut diagnostics, mut executable) = (String::new(), None);
    let status = loop {
        match child.next(deadline) {
            ProcessEvent::Line(Stream::Stdout, line) => {
                if let Ok(CargoMessage::CompilerArtifact(artifact)) = serde_json::from_str(&line)
                    && artifact.target.name == name
                {
                    executable = artifact.executable.or(executable);
                }
            }
            // Not interactive.
            ProcessEvent::Bytes(_) => {}
            ProcessEvent::Line(Stream::Stderr, line) => {
                let plain = anstream::adapter::strip_str(&line).to_string();
                match Said::of(&plain) {
                    Said::Count { done, of, units } => {
                        observer.receive(Message::Count { what, done, of, now: units });
                    }
                    Said::Nothing => {}
                    Said::Unit => observer.receive(Message::Tool(&line)),
                    Said::Other => {
                        observer.receive(Message::Tool(&line));
                        if diagnostics.len() + line.len() < MOST_DIAGNOSTICS {
                            diagnostics.push_str(&line);
                            diagnostics.push('\n');
                        }
                    }
                }
            }
            ProcessEvent::Ended(status) => break status,
            ProcessEvent::Deadline => {
                child.end(BUILD_GRACE);
                return Err(Error::ProgramTimeout { program: "cargo build".to_owned(), limit: BUILD_LIMIT });
            }
            ProcessEvent::Interrupted => {
                child.end(BUILD_GRACE);
                return Err(Error::Interrupted);
            }
        }
    };
    if !status.success() {
        return Err(Error::KernelBuild { status: status.to_string(), diagnostics });
    }
    executable.map(Into::into).ok_or(Error::NoExecutable { target: name.to_owned() })
}

/// A line of cargo's, or what it draws over the one before.
#[derive(Debug, PartialEq, Eq)]
enum Said<'a> {
    /// Its progress: `Building [===>   ] 12/76: spin, log`.
    Count {
        done: u64,
        of: u64,
        units: &'a str,
    },
    /// It begins to compile something.
    Unit,
    /// It clears its bar.
    Nothing,
    Other,
}

impl Said<'_> {
    /// Reads a line without colours.
    fn of(plain: &str) -> Said<'_> {
        let text = plain.trim();
        if text.is_empty() {
            return Said::Nothing;
        }
        if text.starts_with("Compiling ") {
            return Said::Unit;
        }
        let count = || {
            let (_, behind_bar) = text.strip_prefix("Building [")?.split_once("] ")?;
            let (count, units) = behind_bar.split_once(':').unwrap_or((behind_bar, ""));
            let (done, of) = count.split_once('/')?;
            Some(Said::Count { done: done.parse().ok()?, of: of.parse().ok()?, units: units.trim() })
        };
        count().unwrap_or(Said::Other)
    }
}

fn command(
    program: &Program<'_>,
    config: &KernelConfig,
    settings: &Settings,
    workspace: &Workspace,
) -> Result<Command, Error> {
    let mut command = cargo::command();
    command.current_dir(&workspace.root).args(["build", "--bin", program.name]);
    let features = config.features();
    match program.kind {
        ProgramKind::Package(package) => {
            command.args(["--package", package]);
            for feature in features.iter().filter(|_| package == KERNEL_PACKAGE) {
                command.args(["--features", feature]);
            }
        }
        ProgramKind::Example => {
            command.arg("--manifest-path").arg(example::package(workspace, program.name, &features)?);
        }
    }
    command.args(["--target", TARGET, "--profile", config.profile()]);
    command.args(MESSAGES);
    cargo::forget_outer_cargo(&mut command);
    settings.apply(&mut command);
    command.env("CARGO_TARGET_DIR", &workspace.target);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_progress_and_its_messages_are_distinguished() {
        let bar = "    Building [=========>       ] 68/76: octopod(build), spin        ";
        assert_eq!(Said::of(bar), Said::Count { done: 68, of: 76, units: "octopod(build), spin" });
        assert_eq!(Said::of("Building [ ] 0/7"), Said::Count { done: 0, of: 7, units: "" });
        assert_eq!(Said::of("   Compiling octopod v0.1.0 (/x)"), Said::Unit);
        assert_eq!(Said::of("  "), Said::Nothing);
        for other in ["error: no such thing", "Building [=> ] a/b: c", "note: Building [=> ] 1/2: c"] {
            assert_eq!(Said::of(other), Said::Other, "{other}");
        }
    }
}
