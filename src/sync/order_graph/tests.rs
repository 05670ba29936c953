use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

type Graph = OrderGraph<u32, 64>;

fn order(first: u16, then: u16) -> Order {
    Order::of((ClassId(first), 1), (ClassId(then), 2))
}

fn descending(class: u16) -> Order {
    Order::of((ClassId(class), 2), (ClassId(class), 1))
}

fn path(edges: &[u16]) -> Added {
    Added::Inverts(edges.iter().copied().collect())
}

#[test]
fn the_opposite_order_inverts_the_first() {
    let mut graph = Graph::new();
    assert_eq!(graph.add(order(1, 2), 7), Added::New);
    assert_eq!(graph.add(order(1, 2), 8), Added::Known);
    assert_eq!(graph.add(order(2, 1), 9), path(&[0]));
    assert_eq!(graph.evidence(0), Some(&7));
    // It was not taken, so it is found again.
    assert_eq!(graph.add(order(2, 1), 9), path(&[0]));
}

#[test]
fn a_cycle_of_several_classes_is_shown_in_its_order() {
    let mut graph = Graph::new();
    for (first, then) in [(1, 2), (5, 6), (2, 3), (2, 9), (3, 4)] {
        assert_eq!(graph.add(order(first, then), 0), Added::New);
    }
    assert_eq!(graph.add(order(4, 1), 0), path(&[0, 2, 4]));
    assert_eq!(graph.add(order(1, 4), 0), Added::New);
}

#[test]
fn of_a_long_cycle_the_first_edges_are_shown() {
    let mut graph = Graph::new();
    for class in 0..20 {
        assert_eq!(graph.add(order(class, class + 1), 0), Added::New);
    }
    assert_eq!(graph.add(order(20, 0), 0), path(&[0, 1, 2, 3, 4, 5]));
}

#[test]
fn locks_of_one_class_are_taken_by_their_addresses_in_one_direction() {
    let mut graph = Graph::new();
    assert_eq!(graph.add(order(3, 3), 1), Added::New);
    assert_eq!(graph.add(order(3, 3), 1), Added::Known);
    assert_eq!(graph.add(descending(3), 2), path(&[0]));
    // Another class has a direction of its own, and such an order is part of no longer cycle.
    assert_eq!(graph.add(descending(4), 3), Added::New);
    assert_eq!(graph.add(order(4, 4), 3), path(&[1]));
    assert_eq!(graph.add(order(3, 4), 4), Added::New);
    assert_eq!(graph.add(order(4, 3), 5), path(&[2]));
}

#[test]
fn a_full_graph_takes_no_more_and_still_finds_inversions() {
    let mut graph = OrderGraph::<(), 2>::new();
    assert_eq!([graph.add(order(0, 1), ()), graph.add(order(1, 2), ())], [Added::New, Added::New]);
    assert_eq!(graph.add(order(2, 3), ()), Added::Full);
    assert_eq!(graph.add(order(2, 0), ()), path(&[0, 1]));
}

#[test]
fn a_class_has_one_number_until_the_table_is_full() {
    let classes = Classes::new();
    let enter = |key| classes.enter(key, |_| false);
    assert_eq!([enter(10), enter(20), enter(10)], [Some(ClassId(0)), Some(ClassId(1)), Some(ClassId(0))]);
    // Another key of a class that is there already.
    assert_eq!(classes.enter(30, |key| key == 20), Some(ClassId(1)));
    for key in 100..100 + MAX_CLASSES - 2 {
        assert!(enter(key).is_some());
    }
    assert_eq!([enter(10_000), enter(20)], [None, Some(ClassId(1))]);
}

#[test]
fn known_orders_are_those_that_were_added() {
    let known = KnownOrders::new();
    let orders = [order(0, 255), order(255, 0), order(7, 64), order(64, 63), order(9, 9), descending(9)];
    for added in orders {
        assert!(!known.contains(added), "{added:?}");
        known.add(added);
        assert!(known.contains(added), "{added:?}");
    }
    assert!(!known.contains(order(64, 7)) && !known.contains(descending(10)));
}

/// Whether `to` can be reached, by a search that forgets nothing.
fn reaches(edges: &BTreeSet<(u16, u16)>, from: u16, to: u16) -> bool {
    let mut reached = BTreeSet::from([from]);
    loop {
        let next: BTreeSet<u16> = edges
            .iter()
            .filter(|(first, then)| first != then && reached.contains(first))
            .map(|edge| edge.1)
            .collect();
        let before = reached.len();
        reached.extend(next);
        if reached.len() == before {
            return reached.contains(&to);
        }
    }
}

proptest! {
    #[test]
    fn an_order_inverts_others_if_a_naive_search_says_so(
        orders in prop::collection::vec((0..9_u16, 0..9_u16, 0..2_usize), 0..60),
    ) {
        let mut graph = OrderGraph::<(u16, u16), 128>::new();
        let (mut edges, mut of_one) = (BTreeSet::new(), BTreeSet::new());
        for (first, then, address) in orders {
            let is_descending = first == then && address == 0;
            let added = graph.add(Order::of((ClassId(first), 1), (ClassId(then), address * 2)), (first, then));
            let (is_known, inverts) = match first == then {
                true => (of_one.contains(&(first, is_descending)), of_one.contains(&(first, !is_descending))),
                false => (edges.contains(&(first, then)), reaches(&edges, then, first)),
            };
            match added {
                Added::Known => prop_assert!(is_known),
                Added::New => prop_assert!(!is_known && !inverts),
                Added::Full => prop_assert!(false, "it has room"),
                Added::Inverts(path) => {
                    prop_assert!(inverts && !is_known);
                    // The edges of the path follow each other.
                    let mut class = then;
                    for edge in &path {
                        let (from, to) = *graph.evidence(*edge).unwrap();
                        prop_assert_eq!(from, class);
                        class = to;
                    }
                    prop_assert!(class == first || path.len() == MAX_PATH);
                    continue;
                }
            }
            match first == then {
                true => of_one.insert((first, is_descending)),
                false => edges.insert((first, then)),
            };
        }
    }
}
