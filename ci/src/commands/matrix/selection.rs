//! Selects the rows of the matrix to run.

use clap::Args;

use crate::base::shard::Shard;
use crate::commands::matrix::rows::{Row, Tier};

/// The selection of the rows that are run.
#[derive(Clone, Debug, Default, Args)]
pub struct Selection {
    /// Only the rows whose name contains this; with several, any of them.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,

    /// fast, or full for all rows [default: fast; where a NAME is given, full].
    #[arg(long, value_enum, value_name = "TIER", hide_possible_values = true)]
    pub tier: Option<Tier>,

    /// Only the K-th of N parts; each row is in exactly one.
    #[arg(long, value_name = "K/N")]
    pub shard: Option<Shard>,
}

impl Selection {
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
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::report::expect::Expect;

    #[derive(Parser)]
    struct Matrix {
        #[command(flatten)]
        selection: Selection,
    }

    fn rows() -> Vec<Row> {
        let row = |number: usize| Row {
            name: format!("row-{number}"),
            run: "boot".to_owned(),
            with: Vec::new(),
            tier: if number.is_multiple_of(3) { Tier::Full } else { Tier::Fast },
            qemu: None,
            expect: Expect::default(),
            project: None,
        };
        (0..23).map(row).collect()
    }

    fn selected(arguments: &[&str]) -> Vec<String> {
        let Matrix { selection } = Matrix::try_parse_from([&["matrix"], arguments].concat()).unwrap();
        selection.shard_of(selection.asked_for(rows())).into_iter().map(|row| row.name).collect()
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
    fn the_fast_tier_is_the_default_and_a_name_finds_rows_of_any() {
        assert!(!selected(&[]).contains(&"row-3".to_owned()));
        assert_eq!(selected(&[]), selected(&["--tier", "fast"]));
        assert_eq!(selected(&["--tier", "full"]).len(), 23);
        assert_eq!(selected(&["row-3", "row-20"]), ["row-3", "row-20"]);
        assert_eq!(selected(&["row-3", "row-20", "--tier", "fast"]), ["row-20"]);
        assert!(selected(&["now"]).is_empty());
    }
}
