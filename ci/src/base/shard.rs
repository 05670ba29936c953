//! `--shard`: one of several parts of a work that several machines share.

use std::fmt;
use std::str::FromStr;

/// One part of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shard {
    number: usize,
    of: usize,
}

/// The error of a shard that is refused.
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

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl Shard {
    /// All of the work.
    pub const WHOLE: Shard = Shard { number: 1, of: 1 };

    /// Its number, from 1.
    pub fn number(self) -> usize {
        self.number
    }

    /// The number of parts.
    pub fn of(self) -> usize {
        self.of
    }

    /// Returns whether the item at `place` is in it. Neighbours are alike, also in the time that they take, so they are dealt out in
    /// turn.
    pub fn has(self, place: usize) -> bool {
        place % self.of == self.number - 1
    }

    /// Its part of an amount. The parts differ by one at most, and together they are the amount.
    pub fn part(self, amount: u64) -> u64 {
        let (number, of) = (self.number as u64, self.of as u64);
        amount / of + u64::from(number <= amount % of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_counted_from_one() {
        assert_eq!("4/4".parse::<Shard>().unwrap().to_string(), "4/4");
        for bad in ["", "1", "0/4", "5/4", "1/0", "0/0", "-1/4", "1/4/2", "a/b"] {
            assert_eq!(bad.parse::<Shard>(), Err(ShardError), "{bad:?}");
        }
    }

    #[test]
    fn the_parts_together_are_the_amount() {
        for (amount, of) in [(0, 3), (2, 3), (10, 3), (1_100, 4), (7, 1)] {
            let parts: Vec<u64> = (1..=of).map(|number| Shard { number, of }.part(amount)).collect();
            assert_eq!(parts.iter().sum::<u64>(), amount, "{parts:?}");
            assert!(parts.iter().max().unwrap() - parts.iter().min().unwrap() <= 1, "{parts:?}");
        }
    }
}
