//! The limits of costs in `config/bench.toml`, or in a project's `bench.toml`, and the comparison of a bench run with them.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::base::numbers::plain;
use crate::base::{Error, VerdictKind, Workspace};
use crate::report::Report;

/// The file, relative to the checkout's root.
pub const FILE: &str = "config/bench.toml";

/// The file of a project, in its package's folder.
pub const PROJECT_FILE: &str = "bench.toml";

/// The limit of a cost, in the unit of its figure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// A figure above this is a failure; absent for what is only shown.
    pub limit: Option<f64>,
    /// The target, if the limit is higher.
    pub goal: Option<f64>,
    /// The figure of Linux 6.1 for the same operation.
    pub linux: Option<f64>,
}

/// The limits of benchmarks, by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    by_name: BTreeMap<String, Limit>,
    /// True if a figure must have an entry. A project need not list octopod's own.
    is_complete: bool,
}

impl Limits {
    /// Reads the file of the checkout at `root`.
    ///
    /// # Errors
    /// The file cannot be read, or is not a table of limits.
    pub fn read(root: &Path) -> Result<Limits, Error> {
        let path = root.join(FILE);
        let text = std::fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        Limits::from_toml(&text).map_err(Error::format(path))
    }

    /// Reads the file of a workspace. A project without one has no limits.
    ///
    /// # Errors
    /// The file cannot be read, or is not a table of limits.
    pub fn of(workspace: &Workspace) -> Result<Limits, Error> {
        let Some(project) = workspace.project() else { return Limits::read(&workspace.root) };
        let path = project.folder.join(PROJECT_FILE);
        let text = match path.exists() {
            true => std::fs::read_to_string(&path).map_err(Error::file("read", &path))?,
            false => String::new(),
        };
        let limits = Limits::from_toml(&text).map_err(Error::format(path))?;
        Ok(Limits { is_complete: false, ..limits })
    }

    fn from_toml(text: &str) -> Result<Limits, toml::de::Error> {
        let mut sections: toml::Table = text.parse()?;
        // These limits are those of `cargo bench`, which are no counts.
        sections.remove("ratios");
        Ok(Limits { by_name: sections.try_into()?, is_complete: true })
    }

    /// The limits of the benchmarks with these names.
    pub fn of_names(&self, is_one: impl Fn(&str) -> bool) -> Limits {
        let own = self.by_name.iter().filter(|(name, _)| is_one(name));
        Limits { by_name: own.map(|(name, limit)| (name.clone(), *limit)).collect(), ..*self }
    }

    /// Enters the limits into a report. What is above its limit turns a pass into a failure, and so does a figure
    /// without an entry in the file, or an entry
    /// with a limit and without a figure.
    pub fn apply_to(&self, report: &mut Report) {
        for figure in &mut report.bench {
            let Limit { limit, goal, linux } = self.by_name.get(&figure.name).copied().unwrap_or_default();
            (figure.limit, figure.goal, figure.linux) = (limit, goal, linux);
        }
        let wrong = self.wrong_in(report);
        if report.verdict == VerdictKind::Pass && !wrong.is_empty() {
            report.fail(wrong.join("; "));
        }
    }

    fn wrong_in(&self, report: &Report) -> Vec<String> {
        let mut wrong = Vec::new();
        for figure in &report.bench {
            match figure.limit {
                Some(limit) if figure.value > limit => wrong.push(format!(
                    "{} takes {} {}, its limit is {}",
                    figure.name,
                    plain(figure.value),
                    figure.unit,
                    plain(limit)
                )),
                None if self.is_complete && !self.by_name.contains_key(&figure.name) => {
                    wrong.push(format!("{} is not in {FILE}", figure.name));
                }
                _ => {}
            }
        }
        let is_there = |name: &String| report.bench.iter().any(|figure| figure.name == *name);
        let asked_for = self.by_name.iter().filter(|(_, limit)| limit.limit.is_some()).map(|(name, _)| name);
        wrong.extend(asked_for.filter(|name| !is_there(name)).map(|name| format!("{name} was not measured")));
        wrong
    }
}

#[cfg(test)]
mod tests {
    use octopod::wire::Bench;

    use super::*;
    use crate::report::Judgement;
    use crate::run::Seen;

    fn judged(limits: &str, figures: &[(&str, u64)]) -> (VerdictKind, String) {
        let limits = Limits::from_toml(limits).unwrap();
        let bench = |&(name, total): &(&str, u64)| Bench {
            name: name.to_owned(),
            unit: "instructions".to_owned(),
            total,
            operations: 1000,
        };
        let seen = Seen { bench: figures.iter().map(bench).collect(), ..Seen::default() };
        let judgement = Judgement { kind: VerdictKind::Pass, reason: None };
        let mut report = Report::assemble(judgement, String::new(), None, None, &seen, Vec::new());
        limits.apply_to(&mut report);
        (report.verdict, report.reason.unwrap_or_default())
    }

    #[test]
    fn a_limit_is_held_to_the_last_instruction() {
        let limits = "[add]\nlimit = 1\n[pair]\nlimit = 20.5\nlinux = 33\n[trip]\nlinux = 9";
        let fits = [("add", 1000), ("pair", 20_500), ("trip", 99_000)];
        assert_eq!(judged(limits, &fits), (VerdictKind::Pass, String::new()));
        let above = judged(limits, &[("add", 1000), ("pair", 20_501), ("trip", 0)]);
        assert_eq!(
            above,
            (VerdictKind::Fail, "pair takes 20.50 instructions, its limit is 20.50".to_owned())
        );
    }

    #[test]
    fn nothing_is_left_out_in_silence() {
        let (kind, reason) = judged("[add]\nlimit = 1", &[("sub", 1)]);
        assert_eq!(kind, VerdictKind::Fail);
        assert_eq!(reason, "sub is not in config/bench.toml; add was not measured");
        // A figure without a limit is only shown.
        let (kind, _) = judged("[add]\nlimit = 1\n[trip]", &[("add", 1)]);
        assert_eq!(kind, VerdictKind::Pass);
        assert!(Limits::from_toml("[add]\nlimits = 1").is_err());
        // A limit of the host's bench is no count.
        let limits = "[add]\nlimit = 1\n[ratios.add_to_sub]\nlimit = 0.5";
        assert_eq!(judged(limits, &[("add", 1000)]), (VerdictKind::Pass, String::new()));
    }

    #[test]
    fn the_workspaces_own_limits_can_be_read() {
        let limits = Limits::read(&crate::base::Workspace::find().unwrap().root).unwrap();
        assert!(limits.by_name.values().all(|limit| limit.goal.is_none() || limit.goal < limit.limit));
    }
}
