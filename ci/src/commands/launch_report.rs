//! The report of a run, which is written whatever becomes of the run, and the run's folder.

use crate::base::files::{Plan, RunFolder};
use crate::base::{Error, Message, Observer, Workspace, text};
use crate::commands::launch::{Launch, RunSeed};
use crate::report::origin::OriginReport;
use crate::report::{Judgement, Outcome, Report};
use crate::run::{Seen, folder};

/// The progress of a run, for what is done at its end in any case.
pub struct Begun {
    /// The workspace.
    pub workspace: Workspace,
    /// The files to read and write.
    pub files: Plan,
    /// The run's folder, once it has one.
    pub folder: Option<RunFolder>,
    /// The seed of the workloads' random choices, if there are any.
    pub seed: Option<RunSeed>,
    /// The emulator's command line, once there is one.
    pub emulator_command: Option<String>,
}

/// Runs `body`, and writes a report of its outcome. The report also describes an error of `body`.
pub fn with_report(
    launch: &Launch,
    observer: &mut dyn Observer,
    body: impl FnOnce(&mut Begun, &mut dyn Observer) -> Result<Outcome, Error>,
) -> Outcome {
    let failed = |error: Error| {
        // A compiler's words may be coloured.
        let reason = text::lines(&error.to_string()).trim_end().to_owned();
        let judgement = Judgement { kind: error.verdict(), reason: Some(reason) };
        let line = launch.command_line.to_string();
        let report = Report::assemble(judgement, line, None, None, &Seen::default(), Vec::new());
        Outcome { error: Some(error), ..Outcome::without_a_run(report) }
    };
    let files = launch.files();
    let checked = Workspace::find_or_here().and_then(|found| files.check(Some(&found.root)).map(|()| found));
    let workspace = match checked {
        Ok(workspace) => workspace,
        // An output may be an input: nothing is written.
        Err(error) => return failed(error),
    };
    let (origin, seed) = (OriginReport::begins(&workspace), launch.seed());
    let mut begun = Begun { workspace, files, folder: None, seed, emulator_command: None };
    let is_in_project = begun.workspace.project().is_some();
    let checked = Launch { is_in_project, ..launch.clone() }.check();
    let mut outcome = checked.and_then(|()| body(&mut begun, observer)).unwrap_or_else(failed);
    outcome.report.origin = OriginReport {
        repeat: launch.repeat(seed, &begun.workspace),
        seed: seed.map(|seed| format!("{:#x}", seed.value)),
        emulator_command: begun.emulator_command.take(),
        ..origin
    };
    let in_folder = begun.folder.as_ref().map(|folder| ("the run's folder", folder.file(folder::REPORT)));
    let asked_for = launch.output.json.clone().filter(|path| path.as_os_str() != "-");
    for (what, path) in in_folder.into_iter().chain(asked_for.map(|path| ("--json", path))) {
        if let Err(error) = outcome.report.write(&path).map_err(Error::unwritable(what, path)) {
            outcome.lacks(error);
        }
    }
    let run_dir = begun.folder.as_ref().map(|folder| folder.path.clone());
    Outcome { run_dir, in_use: begun.folder, ..outcome }
}

/// The folder of a run; and as many older ones are removed as are too many.
///
/// # Errors
/// Another run has it, or it cannot be made.
pub fn run_folder(
    launch: &Launch,
    workspace: &Workspace,
    files: &Plan,
    observer: &mut dyn Observer,
) -> Result<RunFolder, Error> {
    let folder = folder::create(workspace, launch.kind.name(), launch.output.out.as_deref())?;
    if launch.output.out.is_none() {
        let keep = launch.output.keep;
        match folder::prune(workspace, keep, files.inputs()) {
            0 => {}
            count => observer.receive(Message::Note(&format!(
                "removed {count} older run folders: the newest {keep} are kept (--keep N)"
            ))),
        }
    }
    Ok(folder)
}
