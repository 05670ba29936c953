use proptest::prelude::*;

use super::super::list::Sorted;
use super::*;

#[test]
fn a_dropped_list_leaves_no_links() {
    let mut entities = Entities::default();
    let mut list = Sorted::new();
    for deadline in [5, 3, 9, 3] {
        let mut thread = entities.fair(1);
        thread.words_mut().deadline = deadline;
        list.insert(thread);
    }
    drop(list);
    for &entity in &entities.0 {
        // SAFETY: no other token may exist, and the entity must be valid: the list that had the token is gone.
        let token = unsafe { Runnable::new(entity) };
        assert_eq!(token.words().links, [None; 3]);
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn a_sorted_list_does_what_a_sorted_vector_does(
        steps in prop::collection::vec((0..9, -20..20i64, -20..20i64), 0..scaled(200, 60)),
    ) {
        // The numbers are near the wrap of `u64`.
        let at = |relative: i64| (u64::MAX - 5).wrapping_add(relative as u64);
        let mut entities = Entities::default();
        let mut out: Vec<Runnable> = (0..20).map(|_| entities.fair(1)).collect();
        let (mut list, mut model) = (Sorted::new(), Vec::<(i64, u64, i64)>::new());
        for (step, x, y) in steps {
            let first = model.iter().position(|thread| thread.2 <= x);
            let (taken, expected) = match step {
                0..4 => {
                    let Some(mut thread) = out.pop() else { continue };
                    thread.words_mut().deadline = at(x);
                    thread.words_mut().virtual_ns = at(y);
                    let place = model.iter().filter(|other| other.0 <= x).count();
                    model.insert(place, (x, thread.id().0, y));
                    list.insert(thread);
                    continue;
                }
                4 => {
                    prop_assert_eq!(list.earliest(at(x)), first.map(|first| at(model[first].0)));
                    let before = model.iter().filter(|thread| thread.0 < x).map(|thread| thread.2).min();
                    prop_assert_eq!(list.min_virtual_before(at(x)), before.map(at));
                    continue;
                }
                5 | 6 => (list.take_earliest(at(x)), first),
                7 => {
                    let head = list.take_head(|virtual_ns| (virtual_ns == at(x)).then_some(()));
                    (head.map(|head| head.0), model.first().filter(|first| first.2 == x).map(|_| 0))
                }
                _ => {
                    let id = x.unsigned_abs();
                    let place = model.iter().position(|thread| thread.1 == id);
                    (list.take_first(|thread| thread.id().0 == id), place)
                }
            };
            let expected = expected.map(|index| model.remove(index));
            prop_assert_eq!(taken.as_ref().map(|thread| thread.id().0), expected.map(|thread| thread.1));
            prop_assert_eq!(list.len(), model.len());
            out.extend(taken);
        }
        for expected in model {
            prop_assert_eq!(list.take_first(|_| true).unwrap().id().0, expected.1);
        }
        prop_assert_eq!(list.len(), 0);
    }
}
