//! The lines of cargo's configuration by which cargo builds a project's kernel for its target, and starts the launcher on it. The
//! launcher's own builds need neither, and cargo reports nothing where they are missing: without the first it builds for the host,
//! without the second it starts the kernel as a program of the host. The third line, the compiler's flags, is checked by the build
//! script of octopod (`config/build.rs`), which ends the build.

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
    /// The flags that the compiler needs: frame pointers.
    Flags,
}

/// The variables that replace the flags of cargo's configuration, or add to them.
const FLAG_VARIABLES: [&str; 4] = [
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTFLAGS",
    "CARGO_TARGET_X86_64_UNKNOWN_NONE_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
];

impl Line {
    /// The line, with its section.
    pub fn text(self) -> String {
        match self {
            Line::Target => format!("[build] target = \"{TARGET}\""),
            Line::Runner => format!("[target.{TARGET}] runner = \"octopod run\""),
            Line::Flags => format!("[target.{TARGET}] rustflags = [\"-Cforce-frame-pointers=yes\"]"),
        }
    }

    /// The name of the setting.
    pub fn name(self) -> &'static str {
        match self {
            Line::Target => "cargo's target",
            Line::Runner => "cargo's runner",
            Line::Flags => "cargo's flags",
        }
    }

    /// The effect of cargo's commands without it.
    pub fn consequence(self) -> &'static str {
        match self {
            Line::Target => "`cargo build` builds the kernel for the host",
            Line::Runner => "`cargo run` starts the kernel as a program of the host",
            Line::Flags => "the kernel does not build",
        }
    }

    /// Its purpose, as a part of the machine.
    pub fn purpose(self) -> &'static str {
        match self {
            Line::Target => "without it `cargo build` builds the kernel for the host",
            Line::Runner => "without it `cargo run` starts the kernel as a program of the host",
            Line::Flags => "frame pointers, for backtraces; without it the kernel does not build",
        }
    }

    /// Returns whether a build reports that it is missing.
    pub fn is_reported_by_build(self) -> bool {
        self == Line::Flags
    }

    /// The variables of the environment that have the same effect.
    fn variables(self) -> &'static [&'static str] {
        match self {
            Line::Target => &["CARGO_BUILD_TARGET"],
            Line::Runner => &["CARGO_TARGET_X86_64_UNKNOWN_NONE_RUNNER"],
            Line::Flags => &FLAG_VARIABLES,
        }
    }

    /// Returns whether such a variable has that effect.
    fn is_set_by(self, value: &str) -> bool {
        match self {
            Line::Target | Line::Runner => !value.is_empty(),
            Line::Flags => has_frame_pointers(value.split(['\u{1f}', ' '])),
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
            Line::Runner => of_kernel(configuration).any(|settings| settings.get("runner").is_some()),
            Line::Flags => {
                let sections = of_kernel(configuration).chain(configuration.get("build"));
                sections.filter_map(|section| section.get("rustflags")).any(|flags| match flags {
                    Value::Array(flags) => has_frame_pointers(flags.iter().filter_map(Value::as_str)),
                    flags => flags.as_str().is_some_and(|flags| has_frame_pointers(flags.split(' '))),
                })
            }
        }
    }
}

/// The sections of a configuration for the kernel's target.
fn of_kernel(configuration: &Table) -> impl Iterator<Item = &Value> {
    let targets = configuration.get("target").and_then(Value::as_table).into_iter().flatten();
    let of_kernel = targets.filter(|(name, _)| *name == TARGET || name.starts_with("cfg("));
    of_kernel.map(|(_, settings)| settings)
}

/// Returns whether the compiler uses frame pointers by these flags, as the build script reads them: the last one counts.
fn has_frame_pointers<'a>(flags: impl Iterator<Item = &'a str>) -> bool {
    let value = |flag: &'a str| {
        let option = flag.strip_prefix("-C").or_else(|| flag.strip_prefix("--codegen=")).unwrap_or(flag);
        option.strip_prefix("force-frame-pointers")
    };
    let last = flags.filter_map(value).last();
    matches!(last, Some("" | "=y" | "=yes" | "=on" | "=true" | "=always"))
}

/// The lines that cargo does not have when it is started in this folder.
pub fn missing(folder: &Path) -> Vec<Line> {
    let value_of = |name: &str| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    missing_in(&cargo::configuration_files(folder), value_of)
}

fn missing_in(files: &[PathBuf], value_of: impl Fn(&str) -> Option<String>) -> Vec<Line> {
    let configurations: Vec<Table> = files.iter().filter_map(|file| cargo::configuration(file)).collect();
    let is_set = |line: &Line| {
        let mut values = line.variables().iter().filter_map(|name| value_of(name));
        values.any(|value| line.is_set_by(&value))
    };
    let has = |line: &Line| is_set(line) || configurations.iter().any(|one| line.is_in(one));
    Line::VARIANTS.iter().copied().filter(|line| !has(line)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn with(project: &str, home: &str, variables: &[(&str, &str)]) -> Vec<Line> {
        let parent = tempfile::tempdir().unwrap();
        let (folder, home_folder) = (parent.path().join("project"), parent.path().join("home"));
        for (path, text) in
            [(folder.join(".cargo/config.toml"), project), (home_folder.join("config.toml"), home)]
        {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let files = cargo::configuration_files_in(&folder, Some(&home_folder));
        let variable = |name: &str| variables.iter().find(|(known, _)| *known == name);
        missing_in(&files, |name| variable(name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn each_line_counts_wherever_cargo_reads_it() {
        let template = include_str!("../../templates/kernel/.cargo/config.toml");
        assert_eq!(with(template, "", &[]), []);
        assert_eq!(with("", template, &[]), []);
        assert_eq!(with("", "", &[]), [Line::Target, Line::Runner, Line::Flags]);
        for line in Line::VARIANTS {
            let (_, setting) =
                line.text().split_once("] ").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
            assert!(template.contains(&setting), "the template has {setting}");
            assert_eq!(with(&template.replace(&setting, ""), "", &[]), [*line]);
            for variable in line.variables() {
                let value = "-C force-frame-pointers=yes";
                assert_eq!(with(&template.replace(&setting, ""), "", &[(variable, value)]), []);
                assert_eq!(with(&template.replace(&setting, ""), "", &[(variable, "")]), [*line]);
            }
        }
        let elsewhere = "[build]\ntarget = [\"x\", \"x86_64-unknown-none\"]\nrustflags = \"-g -Cforce-frame-pointers\"\n\
                         [target.'cfg(all())']\nrunner = \"r\"\n";
        assert_eq!(with(elsewhere, "", &[]), []);
        let of_host = "[build]\ntarget = \"host-tuple\"\n";
        assert_eq!(with(of_host, "", &[]), [Line::Target, Line::Runner, Line::Flags]);
        for flags in
            ["\"-Cforce-frame-pointers=no\"", "[\"-Cforce-frame-pointers\", \"-Cforce-frame-pointers=off\"]"]
        {
            let config = template.replace("[\"-Cforce-frame-pointers=yes\"]", flags);
            assert_eq!(with(&config, "", &[]), [Line::Flags], "{flags}");
        }
    }
}
