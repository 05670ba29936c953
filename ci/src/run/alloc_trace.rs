//! Generates a trace of allocations and frees for `--replay`: the workload `random`, with the orders of a Linux.

use std::fmt::Write;

use octopod::memory::frames::ORDERS;

/// The allocations of each order, from 0 to 9, that `perf kmem stat --page` counted on a Linux, all migrate types together.
///
/// Source: the commit message of "perf kmem: Add --live option for current allocation stat" by Namhyung Kim (Linux 4.2,
/// Message-Id 1430775390-22523-20-git-send-email-acme@kernel.org), the table of 988,858 allocations.
pub const LINUX_ORDERS: [u64; 10] = [981_942, 284, 6_182, 449, 0, 0, 0, 0, 0, 1];

/// The parameters of a generated trace.
#[derive(Clone, Debug)]
pub struct AllocTraceConfig {
    /// The number of events.
    pub events: usize,
    /// The CPUs that take turns.
    pub cpus: usize,
    /// The most runs that a CPU holds.
    pub held: usize,
    /// The relative frequency of each order, from 0 on.
    pub orders: Vec<u64>,
    /// The seed of the random choices.
    pub seed: u64,
}

impl AllocTraceConfig {
    /// Returns the error in the orders, if there is one.
    pub fn problem(&self) -> Option<String> {
        if self.orders.len() > ORDERS {
            return Some(format!("{} orders, where there are {ORDERS}", self.orders.len()));
        }
        let sum = self.orders.iter().try_fold(0_u64, |sum, weight| sum.checked_add(*weight));
        match sum {
            None => Some("orders whose sum has more than 64 bits".to_owned()),
            Some(0) => Some("orders of which none is ever allocated".to_owned()),
            Some(_) => None,
        }
    }

    /// The trace, as text. The same configuration gives the same text.
    ///
    /// Each CPU allocates and frees as in `random`: if half of its runs are held, both are equally likely, and a random run is
    /// freed.
    pub fn generate(&self) -> String {
        let AllocTraceConfig { events, cpus, held, orders, seed } = self;
        let mut text = String::new();
        // A string takes everything.
        let _ = writeln!(
            text,
            "# {events} events of {cpus} CPUs, at most {held} runs of each, orders {orders:?}, seed {seed:#x}"
        );
        let mut rng = fastrand::Rng::with_seed(*seed);
        let mut of_cpu: Vec<Vec<usize>> = vec![Vec::new(); *cpus];
        let mut next = 0;
        for event in 0..*events {
            let cpu = event % cpus;
            let runs = &mut of_cpu[cpu];
            if rng.usize(..*held) >= runs.len() {
                let _ = writeln!(text, "+{next} {} {cpu}", self.order(&mut rng));
                runs.push(next);
                next += 1;
            } else {
                let run = runs.swap_remove(rng.usize(..runs.len()));
                let _ = writeln!(text, "-{run} {cpu}");
            }
        }
        text
    }

    fn order(&self, rng: &mut fastrand::Rng) -> usize {
        let mut at = rng.u64(..self.orders.iter().sum::<u64>());
        let found = self.orders.iter().position(|weight| match at.checked_sub(*weight) {
            Some(rest) => {
                at = rest;
                false
            }
            None => true,
        });
        found.unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use octopod::stress::replay;

    use super::*;

    fn config(events: usize, orders: &[u64]) -> AllocTraceConfig {
        AllocTraceConfig { events, cpus: 3, held: 50, orders: orders.to_vec(), seed: 7 }
    }

    #[test]
    fn a_generated_trace_can_be_replayed_and_repeated() {
        let text = config(5_000, &LINUX_ORDERS).generate();
        let size = replay::check(text.as_bytes()).unwrap();
        assert_eq!((size.events, size.cpus), (5_000, 3));
        assert_eq!(text, config(5_000, &LINUX_ORDERS).generate());
        assert_ne!(text, AllocTraceConfig { seed: 8, ..config(5_000, &LINUX_ORDERS) }.generate());
    }

    #[test]
    fn orders_have_their_shares() {
        let text = config(40_000, &[6, 0, 3, 1]).generate();
        let count = |order: &str| {
            text.lines().filter(|line| line.starts_with('+') && line.split(' ').nth(1) == Some(order)).count()
        };
        let all: usize = (0..4).map(|order| count(&order.to_string())).sum();
        for (order, tenths) in [("0", 6), ("1", 0), ("2", 3), ("3", 1)] {
            let percent = 100 * count(order) / all;
            assert!(percent.abs_diff(10 * tenths) <= 2, "order {order}: {percent} %");
        }
    }

    #[test]
    fn no_cpu_holds_more_than_its_share() {
        let mut held = 0_usize;
        let config = AllocTraceConfig { cpus: 1, held: 5, ..config(2_000, &[1]) };
        for line in config.generate().lines() {
            match line.as_bytes()[0] {
                b'+' => held += 1,
                b'-' => held -= 1,
                _ => {}
            }
            assert!(held <= 5);
        }
    }

    #[test]
    fn orders_that_cannot_be_are_refused() {
        assert!(config(1, &[1; ORDERS + 1]).problem().unwrap().contains("orders, where there are"));
        assert!(config(1, &[0, 0]).problem().unwrap().contains("none"));
        assert!(config(1, &[u64::MAX, 1]).problem().unwrap().contains("64 bits"));
        assert_eq!(config(1, &LINUX_ORDERS).problem(), None);
    }
}
