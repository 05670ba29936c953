//! What only the matrix is asked: which rows, how many at once, and where the results go.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use crate::base::error::Error;
use crate::commands::cli::{Mode, Options};
use crate::commands::matrix::rows::{Row, Tier};

/// Options of `matrix`.
#[derive(Clone, Debug, Default, Args)]
pub struct MatrixOptions {
    /// For matrix: only the rows whose name contains this; with several, any of them. For soak: which [default: all]. For
    /// report: a run, or two.
    #[arg(value_name = "NAME|RUN", help_heading = "Matrix, soak and report")]
    pub names: Vec<String>,

    /// fast, or full for all rows [default: fast; where a NAME is given, full].
    #[arg(long, value_enum, value_name = "TIER", hide_possible_values = true, help_heading = "Matrix")]
    pub tier: Option<Tier>,

    /// Only the K-th of N parts; each row is in exactly one.
    #[arg(long, value_name = "K/N", help_heading = "Matrix")]
    pub shard: Option<Shard>,

    /// How many rows at once [default: as many as the host has cores]. A row of many CPUs counts for several.
    #[arg(long, value_name = "N", help_heading = "Matrix")]
    pub jobs: Option<NonZeroUsize>,

    /// Write the results as JUnit XML here [default: junit.xml in target/octopod/matrix].
    #[arg(long, value_name = "FILE", help_heading = "Matrix")]
    pub junit: Option<PathBuf>,

    /// Read the rows from this file [default: config/machines.toml].
    #[arg(long, value_name = "FILE", help_heading = "Matrix")]
    pub rows: Option<PathBuf>,
}

/// `--shard`: one of several parts of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    number: usize,
    of: usize,
}

/// Why a shard was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("allowed: K/N, with K from 1 to N, as in 1/4")]
pub struct ShardError;

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Shard, ShardError> {
        let (number, of) = text.split_once('/').ok_or(ShardError)?;
        let read = |digits: &str| digits.parse().map_err(|_| ShardError);
        let (number, of) = (read(number)?, read(of)?);
        if number == 0 || number > of { Err(ShardError) } else { Ok(Shard { number, of }) }
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl Shard {
    /// Whether the row at `place` is in it. Neighbours in the file are alike, also in the time that they take, so they
    /// are dealt out in turn.
    fn has(self, place: usize) -> bool {
        place % self.of == self.number - 1
    }
}

impl MatrixOptions {
    /// The tier that is run. Who names a row wants it, whatever its tier.
    pub fn tier(&self) -> Tier {
        self.tier.unwrap_or(if self.names.is_empty() { Tier::Fast } else { Tier::Full })
    }

    /// The rows that are asked for, in their order.
    pub fn asked_for(&self, mut rows: Vec<Row>) -> Vec<Row> {
        let in_tier = |row: &Row| self.tier() == Tier::Full || row.tier == Tier::Fast;
        let is_named =
            |row: &Row| self.names.is_empty() || self.names.iter().any(|name| row.name.contains(name));
        rows.retain(|row| in_tier(row) && is_named(row));
        rows
    }

    /// Of the rows that are asked for, those that this shard runs.
    pub fn shard_of(&self, rows: Vec<Row>) -> Vec<Row> {
        let is_here = |place: usize| self.shard.is_none_or(|shard| shard.has(place));
        rows.into_iter().enumerate().filter(|(place, _)| is_here(*place)).map(|(_, row)| row).collect()
    }

    /// Refuses options of the matrix for a single run, and options of a run for the matrix, whose rows have their own.
    pub fn check(&self, options: &Options) -> Result<(), Error> {
        let named = [("NAME", !self.names.is_empty())];
        let of_the_matrix = [
            ("--tier", self.tier.is_some()),
            ("--shard", self.shard.is_some()),
            ("--jobs", self.jobs.is_some()),
            ("--junit", self.junit.is_some()),
            ("--rows", self.rows.is_some()),
        ];
        let default = Options::default();
        let of_a_run = [
            ("--emulator", options.emulator != default.emulator),
            ("--smp", options.smp != default.smp),
            ("--mem", options.mem != default.mem),
            ("--cpu", options.cpu.is_some()),
            ("--machine", options.machine != default.machine),
            ("--boot", options.boot != default.boot),
            ("--append", !options.append.is_empty()),
            ("--debug", options.debug),
            ("--fault", options.fault.is_some()),
            ("--kernel", options.kernel.is_some()),
            ("-- QEMU ARGUMENTS", !options.qemu_arguments.is_empty()),
        ];
        let one_run = (&of_a_run[..], "boot, stress, bench and gdb");
        let with_a_limit = [("--timeout", options.timeout.is_some())];
        let limit = (&with_a_limit[..], "boot, stress, bench, gdb and report");
        let of_a_page = [("--pictures", options.pictures.is_some())];
        let page = (&of_a_page[..], "boot, stress, bench, run and report");
        let matrix = (&of_the_matrix[..], "matrix");
        let of_a_soak = [("--count", options.count.is_some())];
        let soak = (&of_a_soak[..], "soak");
        let foreign: &[_] = match options.mode {
            Mode::Matrix => &[one_run, limit, soak, page],
            Mode::Soak => &[one_run, limit, matrix, page],
            Mode::Report => &[one_run, matrix, soak],
            _ => &[(&named[..], "matrix, soak and report"), matrix, soak],
        };
        for (foreign, applies_to) in foreign.iter().copied() {
            if let Some((option, _)) = foreign.iter().find(|(_, given)| *given) {
                return Err(Error::OptionOfAnotherMode { option, applies_to, mode: options.mode.name() });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::commands::cli::AccelChoice;
    use crate::commands::matrix::rows::Expect;

    fn options(arguments: &[&str]) -> Options {
        Options::try_parse_from([&["octopod"], arguments].concat()).unwrap()
    }

    fn rows() -> Vec<Row> {
        let row = |number: usize| Row {
            name: format!("row-{number}"),
            run: "boot".to_owned(),
            with: Vec::new(),
            tier: if number.is_multiple_of(3) { Tier::Full } else { Tier::Fast },
            qemu: None,
            expect: Expect::default(),
        };
        (0..23).map(row).collect()
    }

    fn selected(arguments: &[&str]) -> Vec<String> {
        let options = options(&[&["matrix"], arguments].concat());
        options.check().unwrap();
        options.matrix.shard_of(options.matrix.asked_for(rows())).into_iter().map(|row| row.name).collect()
    }

    #[test]
    fn the_shards_together_are_all_rows_and_no_row_is_in_two() {
        for of in [1, 2, 4, 7, 23, 40] {
            for tier in ["fast", "full"] {
                let part = |number| selected(&["--tier", tier, "--shard", &format!("{number}/{of}")]);
                let mut parts: Vec<String> = (1..=of).flat_map(part).collect();
                parts.sort();
                let mut all = selected(&["--tier", tier]);
                all.sort();
                assert_eq!(parts, all, "{of} parts of {tier}");
            }
        }
    }

    #[test]
    fn shards_differ_by_one_row_at_most() {
        let sizes: Vec<usize> =
            (1..=4).map(|k| selected(&["--tier", "full", "--shard", &format!("{k}/4")]).len()).collect();
        assert_eq!(sizes, [6, 6, 6, 5]);
    }

    #[test]
    fn a_shard_is_counted_from_one() {
        assert_eq!("4/4".parse::<Shard>().unwrap().to_string(), "4/4");
        for bad in ["", "1", "0/4", "5/4", "1/0", "0/0", "-1/4", "1/4/2", "a/b"] {
            assert_eq!(bad.parse::<Shard>(), Err(ShardError), "{bad:?}");
        }
    }

    #[test]
    fn the_fast_tier_is_the_default_and_a_name_finds_rows_of_any() {
        assert!(!selected(&[]).contains(&"row-3".to_owned()));
        assert_eq!(selected(&[]), selected(&["--tier", "fast"]));
        assert_eq!(selected(&["--tier", "full"]).len(), 23);
        assert_eq!(selected(&["row-3", "row-20"]), ["row-3", "row-20"]);
        assert_eq!(selected(&["row-3", "row-20", "--tier", "fast"]), ["row-20"]);
        assert!(selected(&["now"]).is_empty());
    }

    #[test]
    fn the_matrix_is_run_under_tcg_unless_it_is_told_otherwise() {
        assert_eq!(options(&["matrix"]).accel, AccelChoice::Tcg);
        assert_eq!(options(&["matrix", "--accel", "kvm"]).accel, AccelChoice::Kvm);
        assert_eq!(options(&["boot"]).accel, AccelChoice::Auto);
    }

    #[test]
    fn options_of_a_run_and_of_the_matrix_are_not_mixed() {
        let refused = |arguments: &[&str]| options(arguments).check().unwrap_err().to_string();
        assert_eq!(
            refused(&["matrix", "--smp", "2"]),
            "--smp is an option of boot, stress, bench and gdb, not of matrix"
        );
        assert_eq!(refused(&["matrix", "--seed", "2"]), "--seed is an option of stress, not of matrix");
        assert_eq!(
            refused(&["matrix", "--", "-d"]),
            "-- QEMU ARGUMENTS is an option of boot, stress, bench and gdb, not of matrix"
        );
        assert_eq!(refused(&["boot", "--tier", "full"]), "--tier is an option of matrix, not of boot");
        assert_eq!(refused(&["stress", "x"]), "NAME is an option of matrix, soak and report, not of stress");
        assert_eq!(refused(&["boot", "--count", "2"]), "--count is an option of soak, not of boot");
        assert_eq!(refused(&["soak", "--tier", "full"]), "--tier is an option of matrix, not of soak");
        assert_eq!(options(&["soak", "boots", "--count", "2"]).accel, AccelChoice::Tcg);
        assert_eq!(options(&["report", "old", "new"]).matrix.names, ["old", "new"]);
        assert_eq!(
            refused(&["report", "--smp", "2"]),
            "--smp is an option of boot, stress, bench and gdb, not of report"
        );
        assert_eq!(refused(&["report", "--tier", "full"]), "--tier is an option of matrix, not of report");
    }
}
