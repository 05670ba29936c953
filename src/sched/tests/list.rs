use std::collections::VecDeque;

use proptest::prelude::*;

use super::super::list::List;
use super::*;

fn filled(entities: &mut Entities, n: u64) -> List {
    let mut list = List::new();
    (0..n).for_each(|_| list.push_back(entities.fair(1)));
    list
}

fn drain(list: &mut List) -> Vec<u64> {
    core::iter::from_fn(|| list.pop_front()).map(|thread| thread.id().0).collect()
}

fn take(list: &mut List, id: ThreadId) -> Option<Runnable> {
    list.take_first(|thread| thread.id() == id)
}

#[test]
fn threads_come_out_in_the_order_of_push_back() {
    let mut entities = Entities::default();
    let mut list = filled(&mut entities, 4);
    assert_eq!(list.len(), 4);
    assert_eq!(drain(&mut list), [0, 1, 2, 3]);
    assert!(list.is_empty());
}

#[test]
fn push_front_puts_a_thread_before_all() {
    let mut entities = Entities::default();
    let mut list = filled(&mut entities, 2);
    list.push_front(entities.fair(1));
    assert_eq!(drain(&mut list), [2, 0, 1]);
}

#[test]
fn the_first_a_middle_one_and_the_last_are_taken_and_no_stranger() {
    let mut entities = Entities::default();
    let mut list = filled(&mut entities, 5);
    for id in [0, 4, 2] {
        assert_eq!(take(&mut list, ThreadId(id)).unwrap().id().0, id);
        assert!(take(&mut list, ThreadId(id)).is_none());
    }
    assert_eq!(list.len(), 2);
    assert_eq!(drain(&mut list), [1, 3]);
}

#[test]
fn a_dropped_list_leaves_no_links() {
    let mut entities = Entities::default();
    drop(filled(&mut entities, 3));
    for &entity in &entities.0 {
        // SAFETY: no other token may exist, and the entity must be valid: the list that had the token is gone.
        let token = unsafe { Runnable::new(entity) };
        assert_eq!(token.words().links, [None; 3]);
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn a_list_does_what_a_deque_does(steps in prop::collection::vec((0..5, 0..40u64), 0..scaled(200, 60))) {
        let mut entities = Entities::default();
        let mut out: Vec<Runnable> = (0..40).map(|_| entities.fair(1)).collect();
        let (mut list, mut model) = (List::new(), VecDeque::new());
        for (step, n) in steps {
            let taken = match step {
                0 | 1 => {
                    let Some(thread) = out.pop() else { continue };
                    if step == 0 {
                        model.push_back(thread.id().0);
                        list.push_back(thread);
                    } else {
                        model.push_front(thread.id().0);
                        list.push_front(thread);
                    }
                    continue;
                }
                2 => (list.pop_front(), model.pop_front()),
                3 => {
                    let at = model.iter().position(|&id| id == n);
                    (take(&mut list, ThreadId(n)), at.and_then(|at| model.remove(at)))
                }
                _ => {
                    let at = model.iter().position(|id| id % 4 == n % 4);
                    (list.take_first(|thread| thread.id().0 % 4 == n % 4), at.and_then(|at| model.remove(at)))
                }
            };
            prop_assert_eq!(taken.0.as_ref().map(|thread| thread.id().0), taken.1);
            prop_assert_eq!(list.len(), model.len());
            out.extend(taken.0);
        }
        prop_assert_eq!(drain(&mut list), Vec::from(model));
    }
}
