//! CPUs in lanes: one lane for each CPU, or one for several neighbours if a picture has too few lanes.

/// More lanes than this are too thin to be read.
const MAX_LANES: usize = 32;

/// Neighbouring CPUs that are shown as one.
#[derive(Clone, Debug)]
pub(crate) struct Lane<T> {
    /// The number of the first.
    pub first: u32,
    /// All of them.
    pub members: Vec<T>,
}

impl<T> Lane<T> {
    /// Its name.
    pub(crate) fn label(&self) -> String {
        match self.members.len() {
            1 => format!("CPU {}", self.first),
            count => format!("{}–{}", self.first, self.first as usize + count - 1),
        }
    }
}

/// Puts members, each with a CPU's number, into lanes: a power of two of them in each.
pub(crate) fn lanes<T>(members: impl IntoIterator<Item = (u32, T)>) -> Vec<Lane<T>> {
    let all: Vec<(u32, T)> = members.into_iter().collect();
    let size = all.len().div_ceil(MAX_LANES).max(1).next_power_of_two();
    let mut lanes: Vec<Lane<T>> = Vec::new();
    for (cpu, member) in all {
        match lanes.last_mut() {
            Some(lane) if lane.members.len() < size => lane.members.push(member),
            _ => lanes.push(Lane { first: cpu, members: vec![member] }),
        }
    }
    lanes
}

/// The least, the middle and the greatest of some figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// The least.
    pub min: u64,
    /// Half are no greater.
    pub median: u64,
    /// The greatest.
    pub max: u64,
}

impl Spread {
    /// Of all figures; `None` if there are none.
    pub fn of(figures: impl IntoIterator<Item = u64>) -> Option<Spread> {
        let mut figures: Vec<u64> = figures.into_iter().collect();
        figures.sort_unstable();
        let middle = figures.len().saturating_sub(1) / 2;
        Some(Spread { min: *figures.first()?, median: figures[middle], max: *figures.last()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_for_each_cpu_while_they_fit_and_every_cpu_in_one() {
        for count in [0u32, 1, 8, 32, 33, 300, 1024, 5000] {
            let lanes = lanes((0..count).map(|cpu| (cpu, cpu)));
            assert!(lanes.len() <= MAX_LANES);
            assert!(count > 32 || lanes.len() == count as usize);
            let members: Vec<u32> = lanes.iter().flat_map(|lane| lane.members.clone()).collect();
            assert_eq!(members, (0..count).collect::<Vec<_>>());
            assert!(lanes.iter().all(|lane| lane.first == lane.members[0]));
        }
        assert_eq!(lanes((0..1024).map(|cpu| (cpu, ())))[31].label(), "992–1023");
    }

    #[test]
    fn the_middle_is_one_of_the_figures() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([7]), Some(Spread { min: 7, median: 7, max: 7 }));
        assert_eq!(Spread::of([9, 1, 5, 3]), Some(Spread { min: 1, median: 3, max: 9 }));
    }
}
