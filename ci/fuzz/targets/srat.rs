//! The tables of what is near to what: the walk over their entries, and the partition of memory that is made of them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use octopod::acpi::numa::Numa;
use octopod::acpi::slit::Slit;
use octopod::acpi::srat::{HEADER_BYTES, Srat};
use octopod::cpu::ApicId;
use octopod::memory::frames::{FrameNumber, NodeId, Partition};

fuzz_target!(|input: (&[u8], &[u8])| {
    let (entries, distances) = input;
    // A table with a true header, and the fuzzer's entries.
    let mut table = vec![0; HEADER_BYTES];
    table[..4].copy_from_slice(b"SRAT");
    table.extend(entries);
    let length = table.len() as u32;
    table[4..8].copy_from_slice(&length.to_le_bytes());
    for bytes in [entries, &table] {
        let Ok(srat) = Srat::parse(bytes) else { continue };
        let mut numa = Numa::one_node();
        let believed = numa.fill(srat, Slit::parse(distances).ok()).is_ok();
        assert!(believed || numa.nodes() == 1);
        let mut node_of = numa.nodes_of_cpus();
        assert!((0..4).all(|id| usize::from(node_of(ApicId(id)).0) < numa.nodes()));
        let distance = |from: NodeId, to: NodeId| numa.distance(from, to);
        let partition = Partition::new(FrameNumber::new(1 << 24), numa.nodes(), numa.ranges(), distance);
        assert!(partition.is_ok_and(|partition| !partition.arenas().is_empty()));
    }
});
