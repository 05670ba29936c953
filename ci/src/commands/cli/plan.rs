//! What a command reads and writes by name.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::base::checkout::Workspace;
use crate::base::files::Plan;
use crate::commands::cli::{Mode, Options};
use crate::commands::matrix::rows;
use crate::commands::report;
use crate::commands::soak::Soak;
use crate::present::page;
use crate::run::folder as rundir;

/// The report of a run, and the results of the matrix.
const REPORT: &str = "report.json";
const RESULTS: &str = "matrix.json";
const JUNIT: &str = "junit.xml";

impl Options {
    /// What this command reads and writes by name.
    pub fn plan(&self, workspace: &Workspace) -> Plan {
        let mut plan = Plan::default();
        self.plan_inputs(workspace, &mut plan);
        if let Some(path) = &self.json {
            plan.writes("--json", path, if self.mode == Mode::Matrix { RESULTS } else { REPORT });
        }
        if let Some(path) = &self.matrix.junit {
            plan.writes("--junit", path, JUNIT);
        }
        if let Some(folder) = &self.pictures {
            plan.writes_into("--pictures", folder, page::PICTURES);
        }
        match self.mode {
            Mode::Doctor => {}
            Mode::Report => {
                let runs = &self.matrix.names;
                let files = if runs.len() > 1 {
                    vec![report::FILE]
                } else {
                    [&[page::FILE], &page::PICTURES[..]].concat()
                };
                let newest = workspace.own().join("latest");
                let run = runs.last().map_or(newest, PathBuf::from);
                plan.writes_into("--out", &report::folder(&run, self.out.as_deref()), files);
            }
            Mode::Matrix => {
                if let Some(folder) = &self.out {
                    plan.writes_into("--out", folder, [RESULTS, JUNIT]);
                }
            }
            Mode::Soak => {
                let soaks = Soak::named(&self.matrix.names).unwrap_or_default();
                for (folder, soak) in
                    self.out.iter().flat_map(|folder| soaks.iter().map(move |soak| (folder, soak)))
                {
                    plan.writes_into("--out", &folder.join(soak.name()), rundir::FILES);
                }
            }
            _ => {
                if let Some(folder) = &self.out {
                    plan.writes_into("--out", folder, rundir::FILES);
                }
            }
        }
        plan
    }

    fn plan_inputs(&self, workspace: &Workspace, plan: &mut Plan) {
        let options = [("--kernel", &self.kernel), ("--replay", &self.replay), ("--rows", &self.matrix.rows)];
        for (option, path) in options {
            path.iter().for_each(|path| plan.reads(option, path));
        }
        for (option, program) in [("--qemu", &self.qemu_program), ("--bochs", &self.bochs_program)] {
            let program = program.as_ref().and_then(|program| which::which(program).ok());
            program.iter().for_each(|program| plan.reads(option, program));
        }
        for path in self.qemu_arguments.iter().flat_map(files_in) {
            plan.reads("an argument for QEMU", &path);
        }
        match self.mode {
            Mode::Report => {
                for run in &self.matrix.names {
                    plan.reads("a run to report on", &crate::report::read::report_of(Path::new(run)));
                }
            }
            Mode::Matrix if self.matrix.rows.is_none() => {
                plan.reads("the matrix", &workspace.root.join(rows::FILE));
            }
            _ => {}
        }
    }
}

/// Files that an argument of QEMU's may name: by itself, or as the value of a property.
fn files_in(argument: &OsString) -> Vec<PathBuf> {
    let parts = argument.as_bytes().split(|byte| *byte == b',');
    let values = parts.map(|part| part.splitn(2, |byte| *byte == b'=').last().unwrap_or(part));
    let names = values.chain([argument.as_bytes()]).map(|bytes| PathBuf::from(OsStr::from_bytes(bytes)));
    names.filter(|path| path.is_file()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;
    use crate::base::error::Error;

    /// What is wrong with the files of a command.
    fn check(words: &[&str]) -> Result<(), Error> {
        let options = Options::try_parse_from([&["octopod"], words].concat()).unwrap();
        let workspace = Workspace { root: "/nonexistent".into(), target: "/nonexistent/target".into() };
        options.plan(&workspace).check(None)
    }

    #[test]
    fn no_output_of_any_command_is_one_of_its_inputs() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        for name in rundir::FILES.into_iter().chain([RESULTS, JUNIT, report::FILE, "rows.toml"]) {
            fs::write(at(name), "").unwrap();
        }
        let out = at("");
        let loader = format!("loader,file={},addr=0x1000", at("serial.log"));
        fs::create_dir(at("pictures")).unwrap();
        fs::hard_link(at("boot.svg"), at("pictures/boot.svg")).unwrap();
        for words in [
            &["boot", "--kernel", &at("octopod-kernel"), "--out", &out][..],
            &["boot", "--kernel", &at("report.json"), "--out", &out],
            &["boot", "--kernel", &at("rows.toml"), "--json", &at("rows.toml")],
            &["boot", "--kernel", &at("boot.svg"), "--pictures", &at("pictures")],
            &["stress", "--replay", &at("replay.trace"), "--out", &out],
            &["stress", "--replay", &at("trace.json"), "--trace", "--out", &out],
            &["boot", "--qemu", "/bin/sh", "--json", "/bin/sh"],
            &["boot", "--out", &out, "--", "-initrd", &at("registers.txt")],
            &["boot", "--out", &out, "--", "-device", &loader],
            &["matrix", "--rows", &at("rows.toml"), "--junit", &at("rows.toml")],
            &["matrix", "--rows", &at("matrix.json"), "--out", &out],
            &["report", &at("report.html"), "--out", &out],
            &["report", &at("report.json"), &at("comparison.html")],
        ] {
            let refused = check(words);
            assert!(matches!(refused, Err(Error::OutputIsInput { .. })), "{words:?}: {refused:?}");
        }
        for words in [
            &["boot", "--kernel", &at("rows.toml"), "--out", &out][..],
            &["matrix", "--rows", &at("rows.toml"), "--out", &out],
            &["report", &at("report.json"), &at("rows.toml")],
            &["boot", "--out", &out, "--json", &at("report.json"), "--pictures", &out],
        ] {
            check(words).unwrap();
        }
    }
}
