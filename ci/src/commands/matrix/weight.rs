//! The share of the host that a row needs.

use std::num::NonZeroUsize;
use std::thread;

use crate::base::meminfo::available_bytes;
use crate::machine::MachineConfig;

/// A machine of this many CPUs counts for one of the host's cores: eight CPUs that start and stop together come up
/// within their deadlines on half of a core, but 64 beside another machine on two cores may not.
const CPUS_PER_SLOT: usize = 8;

/// The resources that a row needs, or that the host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight {
    /// Cores.
    pub slots: usize,
    /// Memory.
    pub bytes: u64,
}

impl Weight {
    /// The resources of a run.
    pub fn of(config: &MachineConfig) -> Weight {
        // `-smp` is a number, or keys of which one is the greatest; CPUs of several sockets may be more than that.
        let smp = config.smp.to_string();
        let numbers = smp.split([',', '=']).filter_map(|part| part.parse::<usize>().ok());
        let cpus = numbers.max().unwrap_or(1);
        Weight { slots: cpus.div_ceil(CPUS_PER_SLOT), bytes: config.mem.bytes() }
    }

    /// Returns the resources of this host: `jobs` or its cores, and the available memory, if the system reports it.
    pub fn of_the_host(jobs: Option<NonZeroUsize>) -> Weight {
        let cores = jobs.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
        Weight { slots: cores, bytes: available_bytes().unwrap_or(u64::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn weight(slots: usize, bytes: u64) -> Weight {
        Weight { slots, bytes }
    }

    #[test]
    fn a_row_weighs_its_cpus_and_its_memory() {
        let of = |smp: &str, mem: &str| {
            let (smp, mem) = (smp.parse().unwrap(), mem.parse().unwrap());
            Weight::of(&MachineConfig { smp, mem, ..MachineConfig::default() })
        };
        assert_eq!(of("8", "128M"), weight(1, 128 << 20));
        assert_eq!(of("1", "4G"), weight(1, 4 * GIB));
        assert_eq!(of("6,sockets=2,cores=3", "128M"), weight(1, 128 << 20));
        assert_eq!(of("2,maxcpus=20", "128M").slots, 3);
        assert_eq!(of("64", "128M").slots, 8);
    }
}
