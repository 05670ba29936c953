//! Nodes of sound tables, of tables that contradict themselves, and of any.

use std::vec::Vec;

use proptest::prelude::*;

use super::super::slit;
use super::super::srat::tests::{apic, memory, table, x2apic};
use super::*;
use crate::memory::frames::Partition;

const MIB: u64 = 1 << 20;

fn frames(range: Range<u64>) -> Range<FrameNumber> {
    let frame = |address: u64| FrameNumber::new(address as usize / FRAME_BYTES);
    frame(range.start)..frame(range.end)
}

fn numa<'a>(srat: &'a [u8], slit: Option<&'a [u8]>) -> Result<Numa<'a>, NumaError> {
    let mut numa = Numa::one_node();
    let slit = slit.and_then(|slit| Slit::parse(slit).ok());
    let result = numa.fill(Srat::parse(srat).unwrap(), slit);
    if result.is_err() {
        assert_eq!((numa.nodes(), numa.ranges().count()), (1, 0));
    }
    result.map(|()| numa)
}

fn error_of(entries: &[Vec<u8>]) -> Option<NumaError> {
    let bytes = table(&entries.concat());
    numa(&bytes, None).err()
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
    let mut node_of = numa.nodes_of_cpus();
    assert_eq!([300, 0, 0, 300, 301].map(|id| node_of(ApicId(id)).0), [0, 1, 1, 0, 0], "in any order");
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
fn tables_that_say_nothing_mean_one_node() {
    for entries in [vec![], vec![apic(4, 0, 0)], vec![memory(3, 0, 0, 1)]] {
        let bytes = table(&entries.concat());
        let numa = numa(&bytes, None).unwrap();
        assert_eq!((numa.nodes(), numa.ranges().count(), numa.nodes_of_cpus()(ApicId(0))), (1, 0, NodeId(0)));
    }
}

#[test]
fn tables_that_contradict_themselves_are_refused() {
    let two = [memory(0, 0, 64 * MIB, 1), memory(1, 63 * MIB, MIB, 1)];
    assert_eq!(error_of(&two), Some(NumaError::Overlap { address: 63 * MIB }));
    assert_eq!(error_of(&[memory(0, 1 << 63, 1 << 63, 1)]), Some(NumaError::PastEnd { base: 1 << 63 }));
    assert!(matches!(error_of(&[vec![1, 9, 0, 0, 0, 0, 0, 0, 0]]), Some(NumaError::Entry(_))));
    let many: Vec<_> = (0..200).map(|at| memory(0, at * MIB, MIB / 2, 1)).collect();
    assert_eq!(error_of(&many), Some(NumaError::TooManyRanges { limit: MAX_RANGES }));
}

#[test]
fn more_domains_than_nodes_are_counted_and_the_first_nodes() {
    let entries: Vec<_> = (0..20u64).map(|at| memory(at as u32, at * MIB, MIB, 1)).collect();
    let bytes = table(&entries.concat());
    let numa = numa(&bytes, None).unwrap();
    assert_eq!((numa.nodes(), numa.left_out), (MAX_NODES, 20 - MAX_NODES as u32));
    assert_eq!(numa.ranges().last().unwrap().1, NodeId(0));
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

    /// Whatever the tables say: what is made of them is in order, and the frame allocator takes it.
    #[test]
    fn any_tables_are_refused_or_make_a_partition(
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
        let cut = Partition::new(FrameNumber::new(1 << 21), numa.nodes(), numa.ranges(), distance);
        prop_assert!(cut.is_ok(), "{:?}", cut);
        let mut node_of = numa.nodes_of_cpus();
        for id in 0..9 {
            prop_assert!(usize::from(node_of(ApicId(id)).0) < numa.nodes());
        }
    }
}
