//! Nodes of valid tables, of contradictory tables, and of arbitrary ones.

use std::vec::Vec;

use proptest::prelude::*;

use super::super::slit;
use super::super::srat::tests::{apic, memory, table, x2apic};
use super::*;
use crate::boot::memory_map::{MemoryMap, RawEntry, RegionKind};
use crate::cpu::id::ApicId;
use crate::memory::frames::ZoneLayout;

const MIB: u64 = 1 << 20;

fn frames(range: Range<u64>) -> Range<FrameNumber> {
    let frame = |address: u64| FrameNumber::new(address as usize / FRAME_BYTES);
    frame(range.start)..frame(range.end)
}

/// Memory up to 128 MiB but for the legacy windows, and from 4 GiB to 5 GiB.
fn machine() -> MemoryMap {
    let usable = |base, len| RawEntry { base, len, kind: RegionKind::Usable };
    let (map, _) =
        MemoryMap::from_entries([usable(0, 640 << 10), usable(MIB, 127 * MIB), usable(4 << 30, 1 << 30)]);
    map
}

fn numa<'a>(srat: &'a [u8], slit: Option<&'a [u8]>) -> Result<Numa<'a>, NumaError> {
    let mut numa = Numa::one_node();
    let slit = slit.and_then(|slit| Slit::parse(slit).ok());
    let result = numa.fill(Srat::parse(srat).unwrap(), slit, machine().regions());
    if result.is_err() {
        assert_eq!((numa.nodes(), numa.ranges().count()), (1, 0));
    }
    result.map(|()| numa)
}

/// The nodes of CPUs with these IDs.
fn nodes_of(numa: &Numa<'_>, ids: &[u32]) -> Vec<u8> {
    let entry = |id: &u32| CpuEntry { apic_id: ApicId(*id), ..CpuEntry::EMPTY };
    let mut cpus: Vec<_> = ids.iter().map(entry).collect();
    let mut words = vec![0; IdIndex::words_for(cpus.len())];
    let mut index = IdIndex::new(&mut words, 7);
    for (place, id) in ids.iter().enumerate() {
        index.insert(*id, place, |place| ids[place]);
    }
    numa.assign(&mut cpus, &index);
    cpus.iter().map(|cpu| cpu.node.0).collect()
}

fn error_of(entries: &[Vec<u8>]) -> Option<NumaError> {
    let bytes = table(&entries.concat());
    numa(&bytes, None).err()
}

/// The ranges, in MiB, with their domains.
fn ranges_of(entries: &[Vec<u8>]) -> Vec<(u64, u64, u32)> {
    let bytes = table(&entries.concat());
    let numa = numa(&bytes, None).unwrap();
    let mib = |frame: FrameNumber| frame.get() as u64 * FRAME_BYTES as u64 / MIB;
    let range = |(range, node): (Range<FrameNumber>, NodeId)| {
        (mib(range.start), mib(range.end), numa.domain(node).unwrap())
    };
    numa.ranges().map(range).collect()
}

#[test]
fn domains_become_nodes_in_ascending_order() {
    let entries = [
        apic(7, 0, 1),
        x2apic(3, 300, 1),
        x2apic(9, 301, 0),
        memory(7, 0, 640 << 10, 1),
        memory(7, MIB, 63 * MIB, 1),
        memory(40, 64 * MIB, 64 * MIB, 1),
        memory(3, 0, 0, 1),
    ];
    let srat = table(&entries.concat());
    let distances = slit::tests::table(
        8,
        &std::array::from_fn::<u8, 64, _>(|at| match (at / 8, at % 8) {
            (from, to) if from == to => 10,
            (3, 7) => 17,
            (7, 3) => 33,
            _ => 50,
        }),
    );
    let numa = numa(&srat, Some(&distances)).unwrap();
    assert_eq!([0, 1, 2, 3].map(|node| numa.domain(NodeId(node))), [Some(3), Some(7), Some(40), None]);
    assert_eq!(nodes_of(&numa, &[300, 0, 301, 9]), [0, 1, 0, 0], "in any order");
    let ranges: Vec<_> = numa.ranges().collect();
    assert_eq!(
        ranges,
        [
            (frames(0..640 << 10), NodeId(1)),
            (frames(MIB..64 * MIB), NodeId(1)),
            (frames(64 * MIB..128 * MIB), NodeId(2)),
        ]
    );
    let distance = |from, to| numa.distance(NodeId(from), NodeId(to));
    assert_eq!((distance(0, 1), distance(1, 0)), (17, 33));
    // The SLIT has no domain 40.
    assert_eq!((distance(2, 0), distance(1, 2), distance(2, 2)), (REMOTE, REMOTE, LOCAL));
}

#[test]
fn tables_without_domains_make_one_node() {
    for entries in [vec![], vec![apic(4, 0, 0)], vec![memory(3, 0, 0, 1)]] {
        let bytes = table(&entries.concat());
        let numa = numa(&bytes, None).unwrap();
        assert_eq!((numa.nodes(), numa.ranges().count(), nodes_of(&numa, &[0])), (1, 0, vec![0]));
    }
}

#[test]
fn contradictory_tables_are_rejected() {
    let two = [memory(7, 0, 64 * MIB, 1), memory(9, 63 * MIB, MIB, 1)];
    assert_eq!(error_of(&two), Some(NumaError::Overlap { address: 63 * MIB, domains: [7, 9] }));
    let hot = [memory(7, 0, 64 * MIB, 3), memory(9, 0, MIB, 3)];
    assert_eq!(error_of(&hot), Some(NumaError::Overlap { address: 0, domains: [7, 9] }));
    assert!(matches!(error_of(&[vec![1, 9, 0, 0, 0, 0, 0, 0, 0]]), Some(NumaError::Entry(_))));
    let many: Vec<_> = (0..200).map(|at| memory(0, at * MIB / 2, MIB / 4, 1)).collect();
    assert_eq!(error_of(&many), Some(NumaError::TooManyRanges { limit: MAX_RANGES }));
}

#[test]
fn claims_of_one_domain_never_conflict() {
    let entries = [memory(3, 0, 64 * MIB, 1), memory(3, 32 * MIB, 64 * MIB, 1), memory(3, 0, 64 * MIB, 1)];
    assert_eq!(ranges_of(&entries), [(0, 96, 3)]);
    // As QEMU has it with an NVDIMM: its range lies in the window for hot-plugging, which begins where memory ends.
    let with_nvdimm = [
        memory(0, 0, 640 << 10, 1),
        memory(0, MIB, 127 * MIB, 1),
        memory(0, 8 << 30, 256 * MIB, 5),
        memory(0, 8 << 30, 2 << 30, 3),
    ];
    assert_eq!(ranges_of(&with_nvdimm), [(0, 0, 0), (1, 128, 0)]);
}

#[test]
fn installed_memory_has_priority_over_hot_plug_windows() {
    let plain_first =
        [memory(1, 32 * MIB, 32 * MIB, 1), memory(2, 0, 128 * MIB, 3), memory(3, 0, 128 * MIB, 5)];
    let plain_last =
        [memory(3, 0, 128 * MIB, 5), memory(2, 0, 128 * MIB, 3), memory(1, 32 * MIB, 32 * MIB, 1)];
    for entries in [plain_first, plain_last] {
        assert_eq!(ranges_of(&entries), [(0, 32, 2), (32, 64, 1), (64, 128, 2)]);
    }
}

#[test]
fn ranges_without_memory_claim_nothing() {
    let entries = [
        memory(1, 0, 128 * MIB, 1),
        // A hole, and another beyond all memory.
        memory(2, 128 * MIB, 1 << 30, 1),
        memory(3, 200 * MIB, 1 << 30, 1),
        memory(4, 1 << 40, 1 << 40, 1),
    ];
    assert_eq!(ranges_of(&entries), [(0, 128, 1)]);
    // Two claims on the same hole, each with memory of its own.
    let entries = [memory(1, 0, 3 << 30, 1), memory(2, 2 << 30, 3 << 30, 1)];
    assert_eq!(ranges_of(&entries), [(0, 3 << 10, 1), (3 << 10, 5 << 10, 2)]);
}

#[test]
fn a_range_past_the_address_space_is_truncated() {
    let bytes = table(&[memory(0, 0, 128 * MIB, 1), memory(1, 4 << 30, u64::MAX, 1)].concat());
    let numa = numa(&bytes, None).unwrap();
    assert_eq!((numa.nodes(), numa.past_end, numa.ranges().count()), (2, 1, 2));
}

#[test]
fn more_domains_than_nodes_are_counted_and_the_first_nodes() {
    let entries: Vec<_> = (0..20u64).rev().map(|at| memory(at as u32, at * MIB, MIB, 1)).collect();
    let bytes = table(&entries.concat());
    let numa = numa(&bytes, None).unwrap();
    assert_eq!((numa.nodes(), numa.left_out), (MAX_NODES, 20 - MAX_NODES as u32));
    assert_eq!((numa.domain(NodeId(0)), numa.domain(NodeId(15))), (Some(0), Some(15)));
    assert_eq!(numa.ranges().last().unwrap().1, NodeId(0));
}

/// Each of a few passes reads each entry once. The time is not measured: a pass for each domain would read 400 million
/// entries.
#[test]
fn twenty_thousand_domains_are_a_few_passes() {
    let entries: Vec<_> = (0..20_000u64).map(|at| memory(at as u32, at * 4096, 4096, 1)).collect();
    let bytes = table(&entries.concat());
    let numa = numa(&bytes, None).unwrap();
    // Only the parts with memory: 79 MiB less the legacy windows.
    assert_eq!((numa.nodes(), numa.left_out), (MAX_NODES, 20_000 - 96 - MAX_NODES as u32));
    // The rest is the first node's again, below the legacy windows and above them.
    assert_eq!(numa.ranges().count(), MAX_NODES + 2);
}

fn any_entry() -> impl Strategy<Value = Vec<u8>> {
    let domain = prop_oneof![8 => 0..6u32, 1 => any::<u32>()];
    let flags = prop_oneof![9 => Just(1u32), 1 => any::<u32>()];
    let address = prop_oneof![20 => (0..64u64).prop_map(|at| at * MIB / 2), 1 => any::<u64>()];
    prop_oneof![
        2 => (domain.clone(), any::<u8>(), flags.clone()).prop_map(|(domain, id, flags)| apic(domain, id, flags)),
        2 => (domain.clone(), 0..9u32, flags.clone()).prop_map(|(domain, id, flags)| x2apic(domain, id, flags)),
        4 => (domain, address.clone(), address, flags)
            .prop_map(|(domain, base, bytes, flags)| memory(domain, base, bytes, flags)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3000) })]

    /// For any tables the nodes are in order, and the frame allocator accepts them.
    #[test]
    fn arbitrary_tables_are_rejected_or_make_valid_zones(
        entries in prop::collection::vec(any_entry(), 0..8),
        tail in prop::collection::vec(any::<u8>(), 0..3),
        distances in prop::collection::vec(10..30u8, 36),
    ) {
        let bytes = table(&[entries.concat(), tail].concat());
        let distances: Vec<u8> = distances.iter().enumerate().map(|(at, far)| if at % 7 == 0 { 10 } else { *far }).collect();
        let slit = slit::tests::table(6, &distances);
        let Ok(numa) = numa(&bytes, Some(&slit)) else { return Ok(()) };
        prop_assert!((1..=MAX_NODES).contains(&numa.nodes()));
        let mut end = FrameNumber::new(0);
        for (range, node) in numa.ranges() {
            prop_assert!(end <= range.start && range.start <= range.end && usize::from(node.0) < numa.nodes());
            end = range.end;
        }
        let distance = |from, to| numa.distance(from, to);
        let cut = ZoneLayout::new(FrameNumber::new(1 << 21), numa.nodes(), numa.ranges(), distance);
        prop_assert!(cut.is_ok(), "{:?}", cut);
        for node in nodes_of(&numa, &(0..9).collect::<Vec<_>>()) {
            prop_assert!(usize::from(node) < numa.nodes());
        }
    }
}
