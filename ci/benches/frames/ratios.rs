//! Measures two operations in turns, and the ratio of their times.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use criterion::Criterion;
use serde::Deserialize;

/// Where the limits are. The path is the workspace's, wherever the bench is started.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/bench.toml");

/// The part of the file that is about the host.
#[derive(Deserialize)]
struct Section {
    ratios: BTreeMap<String, Limit>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    limit: Option<f64>,
}

/// A turn of each: how long the one took, and the other.
pub(crate) type Turn = [Duration; 2];

/// How a ratio follows from the turns.
#[derive(Clone, Copy)]
pub(crate) enum Statistic {
    /// The median of the turns' ratios: for sides whose times vary by themselves.
    Median,
    /// The ratio of the least times of both sides: what interrupts a turn only makes it longer.
    LeastTimes,
}

/// The limits, and what has been measured for each.
pub(crate) struct Ratios {
    limits: BTreeMap<String, Limit>,
    turns: BTreeMap<&'static str, (Statistic, Vec<Turn>)>,
}

impl Ratios {
    /// The limits of `config/bench.toml`.
    pub(crate) fn read() -> Result<Ratios, String> {
        let text = std::fs::read_to_string(FILE).map_err(|error| format!("{FILE}: {error}"))?;
        let section: Section = toml::from_str(&text).map_err(|error| format!("{FILE}: {error}"))?;
        Ok(Ratios { limits: section.ratios, turns: BTreeMap::new() })
    }

    /// Lets criterion measure both sides of a ratio. `take_turn` does so many repetitions of each.
    pub(crate) fn compare(
        &mut self,
        criterion: &mut Criterion,
        name: &'static str,
        statistic: Statistic,
        sides: [&str; 2],
        mut take_turns: impl FnMut(u64) -> Vec<Turn>,
    ) {
        let (_, measured) = self.turns.entry(name).or_insert_with(|| (statistic, Vec::new()));
        let mut group = criterion.benchmark_group(name);
        for (side, label) in sides.into_iter().enumerate() {
            group.bench_function(label, |bencher| {
                bencher.iter_custom(|repetitions| {
                    let turns = take_turns(repetitions);
                    measured.extend_from_slice(&turns);
                    turns.iter().map(|turn| turn[side]).sum()
                });
            });
        }
        group.finish();
    }

    /// Prints the ratios with their limits. A ratio above its limit is a failure, and so is one that the file does not
    /// know, or a limit that nothing was measured for, unless only some were asked for.
    pub(crate) fn verdict(self) -> ExitCode {
        // Criterion's mode for tests does everything once, from which no median can be had.
        if std::env::args().any(|argument| argument == "--test") {
            return ExitCode::SUCCESS;
        }
        let mut exceeded = false;
        println!("{:<26}{:>8}{:>8}", "ratio of", "here", "limit");
        for (name, (statistic, turns)) in &self.turns {
            let Some(ratio) = statistic.of(turns) else { continue };
            let Some(Limit { limit }) = self.limits.get(*name) else {
                println!("{name:<26}{ratio:>8.3}   is not in {FILE}");
                exceeded = true;
                continue;
            };
            let is_above = limit.is_some_and(|limit| ratio > limit);
            exceeded |= is_above;
            let limit = limit.map_or("-".to_owned(), |limit| limit.to_string());
            println!("{name:<26}{ratio:>8.3}{limit:>8}{}", if is_above { "   exceeded" } else { "" });
        }
        let forgotten = self.limits.keys().filter(|name| !self.turns.contains_key(name.as_str()));
        for name in forgotten {
            println!("{name:<26}{:>8}   was not measured", "-");
            exceeded = true;
        }
        if exceeded { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

impl Statistic {
    /// The ratio of the first side to the second; `None` without turns.
    fn of(self, turns: &[Turn]) -> Option<f64> {
        let ratio = |[one, other]: Turn| one.as_secs_f64() / other.as_secs_f64();
        match self {
            Statistic::Median => median(turns.iter().copied().map(ratio).collect()),
            Statistic::LeastTimes => {
                let least = |side: usize| turns.iter().map(|turn| turn[side]).min();
                Some(ratio([least(0)?, least(1)?]))
            }
        }
    }
}

/// The value in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
