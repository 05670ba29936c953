//! The table of interrupts, built from its records.

use serde::{Deserialize, Serialize};

use crate::run::Seen;

/// Interrupts on a vector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterruptReport {
    /// The vector.
    pub vector: u8,
    /// Its name.
    pub name: String,
    /// Each CPU's count, by its number.
    pub per_cpu: Vec<u64>,
}

/// One for each vector; the kernel sends the counts of many CPUs in several records, one behind the other.
pub(super) fn reports(seen: &Seen) -> Vec<InterruptReport> {
    let mut reports: Vec<InterruptReport> = Vec::new();
    for part in &seen.interrupts {
        match reports.last_mut() {
            // A part that is not the next one is of no use: its counts would be another CPU's.
            Some(last) if last.vector == part.vector => {
                if last.per_cpu.len() == part.first_cpu as usize {
                    last.per_cpu.extend(&part.counts);
                }
            }
            _ if part.first_cpu != 0 => {}
            _ => reports.push(InterruptReport {
                vector: part.vector,
                name: part.name.clone(),
                per_cpu: part.counts.to_vec(),
            }),
        }
    }
    reports
}

#[cfg(test)]
mod tests {
    use octopod::wire::Interrupts;

    use super::*;

    #[test]
    fn the_counts_of_many_cpus_become_one_list() {
        let part = |vector, first_cpu, counts: &[u64]| Interrupts {
            vector,
            name: format!("v{vector}"),
            first_cpu,
            counts: counts.iter().copied().collect(),
        };
        let seen = Seen {
            interrupts: vec![
                part(2, 0, &[1, 2]),
                part(2, 2, &[3]),
                part(242, 0, &[4, 5]),
                part(242, 2, &[6]),
            ],
            ..Seen::default()
        };
        let reports = reports(&seen);
        let found: Vec<_> = reports.iter().map(|r| (r.vector, r.name.as_str(), &*r.per_cpu)).collect();
        assert_eq!(found, [(2, "v2", &[1, 2, 3][..]), (242, "v242", &[4, 5, 6][..])]);
    }
}
