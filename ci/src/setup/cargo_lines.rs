//! The lines of cargo's configuration by which cargo builds a project's kernel for its target, and starts the launcher on it. The
//! launcher's own builds need neither, and cargo reports nothing where they are missing: without the first it builds for the host,
//! without the second it starts the kernel as a program of the host. The third line, the compiler's flags, is checked by the build
//! script of octopod (`config/build.rs`).

use std::env;
use std::path::{Path, PathBuf};

use strum::VariantArray;
use toml::{Table, Value};

use crate::base::cargo::{self, TARGET};

/// A line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray)]
pub enum Line {
    /// The target that cargo builds for.
    Target,
    /// The program that cargo starts with the kernel's file.
    Runner,
}

impl Line {
    /// The line, with its section.
    pub fn text(self) -> String {
        match self {
            Line::Target => format!("[build] target = \"{TARGET}\""),
            Line::Runner => format!("[target.{TARGET}] runner = \"octopod run\""),
        }
    }

    /// The name of the setting.
    pub fn name(self) -> &'static str {
        match self {
            Line::Target => "cargo's target",
            Line::Runner => "cargo's runner",
        }
    }

    /// The effect of cargo's commands without it.
    pub fn consequence(self) -> &'static str {
        match self {
            Line::Target => "`cargo build` builds the kernel for the host",
            Line::Runner => "`cargo run` starts the kernel as a program of the host",
        }
    }

    /// Its purpose, as a part of the machine.
    pub fn purpose(self) -> &'static str {
        match self {
            Line::Target => "without it `cargo build` builds the kernel for the host",
            Line::Runner => "without it `cargo run` starts the kernel as a program of the host",
        }
    }

    /// The variable of the environment that has the same effect.
    fn variable(self) -> &'static str {
        match self {
            Line::Target => "CARGO_BUILD_TARGET",
            Line::Runner => "CARGO_TARGET_X86_64_UNKNOWN_NONE_RUNNER",
        }
    }

    /// Returns whether a configuration has it. A condition of `target` is not evaluated.
    fn is_in(self, configuration: &Table) -> bool {
        match self {
            Line::Target => match configuration.get("build").and_then(|build| build.get("target")) {
                Some(Value::String(target)) => target == TARGET,
                Some(Value::Array(targets)) => targets.iter().any(|target| target.as_str() == Some(TARGET)),
                _ => false,
            },
            Line::Runner => {
                let targets = configuration.get("target").and_then(Value::as_table).into_iter().flatten();
                let mut of_kernel = targets.filter(|(name, _)| *name == TARGET || name.starts_with("cfg("));
                of_kernel.any(|(_, settings)| settings.get("runner").is_some())
            }
        }
    }
}

/// The lines that cargo does not have when it is started in this folder.
pub fn missing(folder: &Path) -> Vec<Line> {
    let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    missing_in(&cargo::configuration_files(folder), is_set)
}

fn missing_in(files: &[PathBuf], is_set: impl Fn(&str) -> bool) -> Vec<Line> {
    let configurations: Vec<Table> = files.iter().filter_map(|file| cargo::configuration(file)).collect();
    let has = |line: &Line| is_set(line.variable()) || configurations.iter().any(|one| line.is_in(one));
    Line::VARIANTS.iter().copied().filter(|line| !has(line)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn with(project: &str, home: &str, variables: &[&str]) -> Vec<Line> {
        let parent = tempfile::tempdir().unwrap();
        let (folder, home_folder) = (parent.path().join("project"), parent.path().join("home"));
        for (path, text) in
            [(folder.join(".cargo/config.toml"), project), (home_folder.join("config.toml"), home)]
        {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let files = cargo::configuration_files_in(&folder, Some(&home_folder));
        missing_in(&files, |name| variables.contains(&name))
    }

    #[test]
    fn each_line_counts_wherever_cargo_reads_it() {
        let template = include_str!("../../templates/kernel/.cargo/config.toml");
        assert_eq!(with(template, "", &[]), []);
        assert_eq!(with("", template, &[]), []);
        assert_eq!(with("", "", &[]), [Line::Target, Line::Runner]);
        for line in Line::VARIANTS {
            let (_, setting) =
                line.text().split_once("] ").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
            assert!(template.contains(&setting), "the template has {setting}");
            assert_eq!(with(&template.replace(&setting, ""), "", &[]), [*line]);
            assert_eq!(with(&template.replace(&setting, ""), "", &[line.variable()]), []);
        }
        let elsewhere =
            "[build]\ntarget = [\"x\", \"x86_64-unknown-none\"]\n[target.'cfg(all())']\nrunner = \"r\"\n";
        assert_eq!(with(elsewhere, "", &[]), []);
        assert_eq!(with("[build]\ntarget = \"host-tuple\"\n", "", &[]), [Line::Target, Line::Runner]);
    }
}
