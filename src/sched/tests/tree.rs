use proptest::prelude::*;

use super::super::tree::Tree;
use super::*;

/// A thread in the model: relative to a start near the wrap of `u64`.
type Model = Vec<(i64, u64, i64)>;

const START: u64 = u64::MAX - 20;

fn at(relative: i64) -> u64 {
    START.wrapping_add(relative as u64)
}

fn insert(tree: &mut Tree, mut thread: Runnable, deadline: i64, virtual_ns: i64) {
    thread.words_mut().deadline = at(deadline);
    thread.words_mut().virtual_ns = at(virtual_ns);
    tree.insert(thread);
}

#[test]
fn the_earliest_deadline_within_the_limit_is_taken() {
    let mut entities = Entities::default();
    let mut tree = Tree::new();
    for (deadline, virtual_ns) in [(10, 9), (20, 5), (30, 1), (40, 0)] {
        insert(&mut tree, entities.fair(1), deadline, virtual_ns);
    }
    let mut take = |limit| tree.take_earliest(at(limit)).unwrap().id().0;
    assert_eq!([take(4), take(5), take(0), take(9)], [2, 1, 3, 0]);
}

#[test]
fn no_thread_is_taken_where_none_is_within_the_limit() {
    let mut entities = Entities::default();
    let mut tree = Tree::new();
    (0..9).for_each(|n| insert(&mut tree, entities.fair(1), 50 - n, 10));
    assert!(tree.take_earliest(at(9)).is_none());
    assert_eq!(tree.len(), 9);
}

#[test]
fn equal_deadlines_are_taken_in_the_order_of_arrival() {
    let mut entities = Entities::default();
    let mut tree = Tree::new();
    let mut threads: Vec<_> = (0..20).map(|_| entities.fair(1)).collect();
    threads.rotate_left(7);
    threads.into_iter().for_each(|thread| insert(&mut tree, thread, 3, 0));
    for place in 0..20 {
        assert_eq!(tree.take_earliest(at(0)).unwrap().id().0, (place + 7) % 20);
    }
    assert!(tree.is_empty());
}

#[test]
fn a_dropped_tree_leaves_no_links() {
    let mut entities = Entities::default();
    let mut tree = Tree::new();
    (0..50).for_each(|n| insert(&mut tree, entities.fair(1), n % 7, n));
    drop(tree);
    for &entity in &entities.0 {
        // SAFETY: no other token may exist, and the entity must be valid: the tree that had the token is gone.
        let token = unsafe { Runnable::new(entity) };
        assert_eq!(token.words().links, [None; 3]);
    }
}

#[test]
fn the_depth_is_logarithmic_in_any_order_of_insertion() {
    let n = scaled(10_000, 300) as i64;
    // Upwards, downwards, the same, and as the queue does: each that leaves at the left returns at the right.
    let orders: [fn(i64) -> i64; 3] = [|n| n, |n| -n, |_| 0];
    for order in orders {
        let mut entities = Entities::default();
        let mut tree = Tree::new();
        (0..n).for_each(|n| insert(&mut tree, entities.fair(1), order(n), 0));
        for turn in n..2 * n {
            let thread = tree.take_earliest(at(0)).unwrap();
            insert(&mut tree, thread, order(turn), 0);
        }
        // The expected depth of a treap is about 1.4 log2 n in the mean, and the deepest node's about 3 log2 n.
        let limit = 4 * n.ilog2() as usize;
        assert!(tree.depth() <= limit, "depth {} of {n}", tree.depth());
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn a_tree_does_what_a_sorted_vector_does(
        steps in prop::collection::vec((0..8, -60..60i64, -60..60i64), 0..scaled(300, 60)),
    ) {
        let mut entities = Entities::default();
        let mut out: Vec<Runnable> = (0..60).map(|_| entities.fair(1)).collect();
        let (mut tree, mut model) = (Tree::new(), Model::new());
        for (step, x, y) in steps {
            let (taken, expected) = match step {
                0..4 => {
                    let Some(thread) = out.pop() else { continue };
                    let place = model.iter().filter(|other| other.0 <= x).count();
                    model.insert(place, (x, thread.id().0, y));
                    insert(&mut tree, thread, x, y);
                    tree.check();
                    continue;
                }
                4 | 5 => {
                    let first = model.iter().position(|thread| thread.2 <= x);
                    prop_assert_eq!(tree.earliest(at(x)), first.map(|first| at(model[first].0)));
                    (tree.take_earliest(at(x)), first)
                }
                6 => {
                    let id = x.unsigned_abs();
                    (tree.take_first(|thread| thread.id().0 == id), model.iter().position(|thread| thread.1 == id))
                }
                _ => {
                    let before = model.iter().filter(|thread| thread.0 < x).map(|thread| thread.2).min();
                    prop_assert_eq!(tree.min_virtual_before(at(x)), before.map(at));
                    continue;
                }
            };
            let expected = expected.map(|index| model.remove(index));
            prop_assert_eq!(taken.as_ref().map(|thread| thread.id().0), expected.map(|thread| thread.1));
            prop_assert_eq!(tree.len(), model.len());
            tree.check();
            out.extend(taken);
        }
        for expected in model {
            prop_assert_eq!(tree.take_first(|_| true).unwrap().id().0, expected.1);
            tree.check();
        }
        prop_assert!(tree.is_empty());
    }
}
