//! The origin of a report: the versions, the time and the host, and the command that repeats the run.

use serde::{Deserialize, Serialize};

use crate::base::Workspace;

/// The origin of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OriginReport {
    /// octopod's version.
    pub version: String,
    /// The checkout's commit, with `-dirty` behind it if tracked files differ from it; absent where git does not know.
    pub commit: Option<String>,
    /// The time at which the run began, in UTC.
    pub date: String,
    /// The host: operating system, architecture, number of CPUs, and their model where it is known.
    pub host: String,
    /// The command that repeats the run, with the seed if it was drawn.
    pub repeat: Option<String>,
    /// The seed of the workloads' random choices, in hexadecimal; JSON's numbers would round it. Absent if there are none.
    pub seed: Option<String>,
    /// The emulator's command line, in which `RUN` stands for the run's folder; absent if nothing was booted.
    pub emulator_command: Option<String>,
}

impl OriginReport {
    /// Of what begins now, in this checkout; without what is only known later.
    pub fn begins(workspace: &Workspace) -> OriginReport {
        OriginReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: workspace.commit(),
            date: chrono::Utc::now().format("%Y-%m-%d %H:%M:%S UTC").to_string(),
            host: host(),
            ..OriginReport::default()
        }
    }

    /// Version and commit.
    pub fn octopod(&self) -> String {
        match &self.commit {
            Some(commit) => format!("{}, commit {commit}", self.version),
            None => self.version.clone(),
        }
    }
}

/// The host in words.
fn host() -> String {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let noun = if cpus == 1 { "CPU" } else { "CPUs" };
    let model = cpu_model().map(|model| format!(" ({model})")).unwrap_or_default();
    format!("{} {}, {cpus} {noun}{model}", std::env::consts::OS, std::env::consts::ARCH)
}

/// The model of the host's first CPU, as Linux has it.
fn cpu_model() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let (_, model) = text.lines().find(|line| line.starts_with("model name"))?.split_once(':')?;
    Some(model.trim().to_owned()).filter(|model| !model.is_empty())
}

/// The command line of a script in a run's folder, on one line.
pub fn command_of(script: &[u8], folder: &std::path::Path) -> String {
    let text = String::from_utf8_lossy(script);
    let lines =
        text.lines().filter(|line| !line.starts_with('#')).map(|line| line.trim_end_matches('\\').trim());
    let line = lines.collect::<Vec<_>>().join(" ");
    let line = line.strip_prefix("exec ").unwrap_or(&line).replace(&*folder.to_string_lossy(), "RUN");
    line.strip_suffix(" \"$@\"").map(str::to_owned).unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_command_line_of_a_script_is_one_line_without_the_folder() {
        let script = b"#!/bin/sh\n# By hand.\nexec qemu \\\n    -kernel /runs/1/octopod-kernel \\\n    -smp 4 \"$@\"\n";
        assert_eq!(command_of(script, Path::new("/runs/1")), "qemu -kernel RUN/octopod-kernel -smp 4");
    }

    #[test]
    fn a_host_has_cpus() {
        assert!(host().contains("CPU"), "{}", host());
    }
}
