//! The SRAT and the SLIT: the walk over their entries, and the layout of zones that is made of them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use octopod::acpi::CpuEntry;
use octopod::acpi::id_index::IdIndex;
use octopod::acpi::numa::Numa;
use octopod::acpi::slit::Slit;
use octopod::acpi::srat::{HEADER_BYTES, Srat};
use octopod::boot::memory_map::{MemoryMap, RawEntry, RegionKind};
use octopod::cpu::ApicId;
use octopod::memory::frames::{FrameNumber, NodeId, ZoneLayout};

fuzz_target!(|input: (&[u8], &[u8])| {
    let (entries, distances) = input;
    // Memory on both sides of a hole.
    let usable = |base, len| RawEntry { base, len, kind: RegionKind::Usable };
    let (map, _) = MemoryMap::from_entries([usable(0, 1 << 31), usable(1 << 32, 1 << 35)]);
    // A table with a true header, and the fuzzer's entries.
    let mut table = vec![0; HEADER_BYTES];
    table[..4].copy_from_slice(b"SRAT");
    table.extend(entries);
    let length = table.len() as u32;
    table[4..8].copy_from_slice(&length.to_le_bytes());
    for bytes in [entries, &table] {
        let Ok(srat) = Srat::parse(bytes) else { continue };
        let mut numa = Numa::one_node();
        let believed = numa.fill(srat, Slit::parse(distances).ok(), map.regions()).is_ok();
        assert!(believed || numa.nodes() == 1);
        let mut cpus = [0, 1, 2, 3].map(|id| CpuEntry { apic_id: ApicId(id), ..CpuEntry::EMPTY });
        let mut words = vec![0; IdIndex::words_for(cpus.len())];
        let mut index = IdIndex::new(&mut words, 7);
        for place in 0..cpus.len() {
            index.enter(place as u32, place, |place| place as u32);
        }
        numa.assign(&mut cpus, &index);
        assert!(cpus.iter().all(|cpu| usize::from(cpu.node.0) < numa.nodes()));
        let distance = |from: NodeId, to: NodeId| numa.distance(from, to);
        let layout = ZoneLayout::new(FrameNumber::new(1 << 24), numa.nodes(), numa.ranges(), distance);
        assert!(layout.is_ok_and(|layout| !layout.zones().is_empty()));
    }
});
