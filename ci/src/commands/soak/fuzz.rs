//! Random input for the parsers of untrusted input: every target of `ci/fuzz`, with a given number of inputs each.

use std::fs;

use crate::base::{Error, Message, Observer};
use crate::commands::soak::cargo::{Cargo, number_before};
use crate::commands::soak::task::{Ended, Task};
use crate::present::terminal::Console;
use crate::setup;

/// The default of `--count`: inputs for each target.
pub(super) const INPUTS: u64 = 10_000_000;

/// Fuzzes one target after the other. What has been found to be of interest is kept for the next time.
pub(crate) fn run(task: &Task<'_>, console: &mut Console) -> Result<Ended, Error> {
    setup::rust::nightly(&[], console)?;
    let program = setup::rust::program("cargo-fuzz", task.workspace, console)?;
    let inputs = task.count.unwrap_or(INPUTS).to_string();
    let targets = targets(task)?;
    let mut done = 0;
    for target in &targets {
        console.receive(Message::Step(&format!("fuzzing {target}")));
        let corpus = task.workspace.own().join("soak/corpus").join(target);
        fs::create_dir_all(&corpus).map_err(Error::file("make the folder", &corpus))?;
        let corpus = corpus.display().to_string();
        let (runs, artifacts) =
            (format!("-runs={inputs}"), format!("-artifact_prefix={}/", task.folder.path.display()));
        let mut cargo = Cargo::nightly(
            task,
            "fuzz",
            &["fuzz", "run", "--fuzz-dir", "ci/fuzz", target, &corpus, "--", &runs, &artifacts],
        );
        // Cargo looks for its subcommands in the path.
        let beside = program.parent().into_iter().map(Into::into);
        let path = std::env::var_os("PATH").unwrap_or_default();
        if let Ok(path) = std::env::join_paths(beside.chain(std::env::split_paths(&path))) {
            cargo.command().env("PATH", path);
        }
        let (mut began, mut ended, mut wrong) = (false, None, Vec::new());
        let ran = cargo.run(|line| {
            began |= line.starts_with("INFO: Seed:");
            ended = line.strip_prefix("Done ").and_then(|rest| number_before(rest, " runs")).or(ended);
            if line.contains("panicked at")
                || !wrong.is_empty() && wrong.len() < 4
                || line.starts_with("SUMMARY:")
            {
                wrong.push(line.to_owned());
            }
            console.receive(Message::Tool(line));
        })?;
        match ended.filter(|_| ran.status.success()) {
            Some(runs) => done += runs,
            None if !began => return Err(ran.failed()),
            None => {
                let text = format!("target {target}\n{}", wrong.join("\n"));
                return Ok(Ended::Failed(text, task.folder.path.clone()));
            }
        }
    }
    Ok(Ended::Passed(format!("{done} inputs for {} targets ({})", targets.len(), targets.join(", "))))
}

/// The names of the targets, which are those of their files.
fn targets(task: &Task<'_>) -> Result<Vec<String>, Error> {
    let folder = task.workspace.root.join("ci/fuzz/targets");
    let files = fs::read_dir(&folder).map_err(Error::file("read", &folder))?;
    let name = |file: fs::DirEntry| Some(file.path().file_stem()?.to_str()?.to_owned());
    let mut names: Vec<String> = files.filter_map(Result::ok).filter_map(name).collect();
    names.sort_unstable();
    Ok(names)
}
