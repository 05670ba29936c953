//! The heap, compared with a sorted list.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn storage(capacity: usize) -> Storage<'static, u32> {
    Storage { nodes: vec![HeapNode::EMPTY; capacity].leak(), slots: vec![TimerSlot::EMPTY; capacity].leak() }
}

fn heap(capacity: usize) -> Heap<'static, u32> {
    let mut heap = Heap::new();
    assert!(heap.move_to(storage(capacity)).is_ok());
    heap
}

#[derive(Clone, Debug)]
enum Step {
    Insert {
        deadline_ns: u64,
    },
    /// Cancels the timer with this number in the order of insertion, whether or not it is still there.
    Cancel {
        number: usize,
    },
    Advance {
        to_ns: u64,
    },
    PostponeFirst {
        by_ns: u64,
    },
    Move {
        capacity: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..50u64).prop_map(|deadline_ns| Step::Insert { deadline_ns }),
        2 => Just(Step::Insert { deadline_ns: NEVER_NS }),
        3 => (0..60usize).prop_map(|number| Step::Cancel { number }),
        2 => (0..50u64).prop_map(|to_ns| Step::Advance { to_ns }),
        1 => (0..20u64).prop_map(|by_ns| Step::PostponeFirst { by_ns }),
        1 => (0..40usize).prop_map(|capacity| Step::Move { capacity }),
    ]
}

proptest! {
    #[test]
    fn heap_behaves_like_a_sorted_list(steps in prop::collection::vec(step(), 1..200)) {
        let mut heap = heap(4);
        let mut keys: Vec<Key> = Vec::new();
        // The contents of the heap: payload, deadline. Payloads count up, as keys do.
        let mut model: BTreeMap<u32, u64> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Insert { deadline_ns } => {
                    let payload = keys.len() as u32;
                    let key = heap.insert(deadline_ns, payload);
                    prop_assert_eq!(key.is_some(), model.len() < heap.capacity());
                    if let Some(key) = key {
                        prop_assert!(!keys.contains(&key), "a key was used twice");
                        keys.push(key);
                        model.insert(payload, deadline_ns);
                    }
                }
                Step::Cancel { number } => {
                    if let Some(key) = keys.get(number) {
                        let expected = model.remove(&(number as u32)).map(|_| number as u32);
                        prop_assert_eq!(heap.cancel(*key), expected);
                    }
                }
                Step::Advance { to_ns } => {
                    while let Some(due) = heap.take_due(to_ns) {
                        prop_assert_eq!(Some(&due.deadline_ns), model.values().min());
                        prop_assert_eq!(model.remove(&due.payload), Some(due.deadline_ns));
                        prop_assert_eq!(due.key, keys[due.payload as usize]);
                    }
                    prop_assert!(model.values().all(|deadline| *deadline > to_ns));
                }
                Step::PostponeFirst { by_ns } => {
                    let before = heap.peek_due(u64::MAX);
                    if let Some(due) = before {
                        let deadline_ns = due.deadline_ns.saturating_add(by_ns);
                        heap.postpone_first(deadline_ns);
                        model.insert(due.payload, deadline_ns);
                    }
                }
                Step::Move { capacity } => {
                    let old = heap.capacity();
                    let moved = heap.move_to(storage(capacity)).is_ok();
                    prop_assert!(moved || capacity < old);
                    prop_assert!(!moved || model.len() <= capacity);
                    prop_assert_eq!(heap.capacity(), if moved { capacity } else { old });
                }
            }
            prop_assert!(heap.is_sound());
            prop_assert_eq!(heap.len(), model.len());
            let first_ns = model.values().min().copied().filter(|deadline_ns| *deadline_ns != NEVER_NS);
            prop_assert_eq!(heap.first_deadline_ns(), first_ns);
            let listed: BTreeMap<u32, u64> = heap.iter().map(|(deadline_ns, payload)| (payload, deadline_ns)).collect();
            prop_assert_eq!(&listed, &model);
        }
    }
}

#[test]
fn heap_without_storage_holds_no_timer() {
    let mut heap = Heap::new();
    assert_eq!(heap.insert(1, 1), None);
    assert_eq!((heap.take_due(u64::MAX), heap.first_deadline_ns()), (None, None));
}

/// The alarm for the timers of offline CPUs relies on this.
#[test]
fn timer_without_deadline_stays_and_is_never_due() {
    let mut heap = heap(2);
    let idle = heap.insert(NEVER_NS, 1).unwrap();
    assert_eq!((heap.first_deadline_ns(), heap.take_due(NEVER_NS - 1), heap.len()), (None, None, 1));
    let other = heap.insert(7, 2).unwrap();
    assert_eq!(heap.insert(8, 3), None);
    assert_eq!(heap.first_deadline_ns(), Some(7));
    assert_eq!(heap.take_due(7).unwrap().key, other);
    assert_eq!(heap.cancel(idle), Some(1));
    let set = heap.insert(9, 1).unwrap();
    assert_eq!(heap.take_due(9).unwrap().key, set);
    assert!(heap.is_sound());
}

#[test]
fn key_of_an_expired_timer_matches_nothing_in_new_storage() {
    let mut heap = heap(1);
    let old = heap.insert(5, 50).unwrap();
    assert_eq!(heap.take_due(4), None);
    assert_eq!(heap.take_due(5).unwrap().payload, 50);
    assert!(heap.move_to(storage(3)).is_ok());
    let new = heap.insert(7, 70).unwrap();
    assert_eq!(heap.cancel(old), None);
    assert_eq!(heap.cancel(new), Some(70));
    assert_eq!(heap.cancel(new), None);
}

#[test]
fn too_small_storage_is_rejected_and_no_timer_is_lost() {
    let mut heap = heap(3);
    let keys = [3, 2, 1].map(|deadline| heap.insert(deadline, deadline as u32).unwrap());
    assert_eq!(heap.move_to(storage(2)).unwrap_err().capacity(), 2);
    assert_eq!(heap.cancel(keys[0]), Some(3));
    assert_eq!(heap.cancel(keys[1]), Some(2));
    // One timer is left, but in the third slot.
    assert!(heap.move_to(storage(2)).is_err());
    assert_eq!(heap.take_due(1).unwrap().key, keys[2]);
    assert!(heap.move_to(storage(2)).is_ok());
}
