use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::dispatch::{Choice, Dispatch, DispatchPolicy, Place, Queues};
use super::*;

/// Threads by weight: a queue for each, the greatest first; each has its slice.
#[derive(Default)]
struct ByWeight;

impl DispatchPolicy for ByWeight {
    const NAME: &str = "by_weight";
    const SUMMARY: &str = "";
    const QUEUES: usize = 3;

    fn new(_: CpuId) -> ByWeight {
        ByWeight
    }

    fn enqueue(&mut self, thread: &mut LentThread<'_>, _: Enqueue, _: u64) -> Place {
        let attributes = thread.attributes();
        thread.words_mut().slice_left_ns = u64::from(attributes.slice_ns);
        Place::Back(3 - attributes.weight as usize)
    }

    fn charge(&mut self, running: &mut LentThread<'_>, ran_ns: u64) {
        let words = running.words_mut();
        words.slice_left_ns = words.slice_left_ns.saturating_sub(ran_ns);
    }

    fn is_preempted(&self, queues: &Queues, running: &Runnable) -> bool {
        let own = 3 - running.attributes().weight as usize;
        queues
            .first_queue()
            .is_some_and(|first| first < own || first == own && running.words().slice_left_ns == 0)
    }

    fn slice_ns(&self, _: &Queues, running: &Runnable) -> Option<u64> {
        Some(running.words().slice_left_ns)
    }
}

#[test]
fn queues_order_threads_as_the_policy_says() {
    let mut entities = Entities::default();
    let mut cpu = Cpu::new(Dispatch::<ByWeight>::new(CPU));
    let [low, first, second] = [1, 2, 2].map(|weight| cpu.spawn(entities.fair(weight)));
    assert_eq!(cpu.running(), Some(first));
    for turn in [first, second, first, second] {
        assert_eq!(cpu.running(), Some(turn));
        assert_eq!(cpu.run_one_slice(u64::MAX), SLICE_NS);
    }
    let high = cpu.spawn(entities.fair(3));
    assert_eq!(cpu.running(), Some(high), "it preempts");
    let waiting: Vec<_> = cpu.queue.remaining();
    assert_eq!(waiting, [second, first, low], "the preempted one is behind the others of its queue");
    let _blocked = cpu.block();
    assert_eq!(cpu.running(), Some(second));
}

/// Answers what a test has put into it, and is wrong wherever it can be.
struct Wrong {
    place: Place,
    choice: Option<Choice>,
}

impl DispatchPolicy for Wrong {
    const NAME: &str = "wrong";
    const SUMMARY: &str = "";
    const QUEUES: usize = 2;

    fn new(_: CpuId) -> Wrong {
        Wrong { place: Place::Back(0), choice: None }
    }

    fn enqueue(&mut self, _: &mut LentThread<'_>, _: Enqueue, _: u64) -> Place {
        self.place
    }

    fn pick_next(&mut self, _: &Queues, _: u64) -> Option<Choice> {
        self.choice
    }

    fn is_preempted(&self, _: &Queues, _: &Runnable) -> bool {
        true
    }

    fn slice_ns(&self, _: &Queues, _: &Runnable) -> Option<u64> {
        Some(1)
    }

    fn steal(&mut self, _: &Queues, _: CpuId) -> Option<Choice> {
        self.choice
    }
}

#[test]
fn a_queue_or_thread_that_does_not_exist_is_replaced() {
    let mut entities = Entities::default();
    let mut queue = Dispatch::<Wrong>::new(CPU);
    queue.policy_mut().place = Place::Front(usize::MAX);
    queue.enqueue(entities.fair(1), Enqueue::New, 0);
    queue.policy_mut().place = Place::Back(0);
    queue.enqueue(entities.fair(1), Enqueue::New, 0);
    for (choice, expected) in [(Choice::First(7), 1), (Choice::Thread(ThreadId(1)), 0)] {
        queue.policy_mut().choice = Some(choice);
        assert_eq!(queue.pick_next(0).unwrap().id(), ThreadId(expected), "{choice:?}");
    }
    queue.policy_mut().choice = Some(Choice::First(0));
    assert!(queue.pick_next(0).is_none());
    let running = entities.fair(1);
    assert!(!queue.is_preempted(&running), "by no thread");
    assert_eq!(queue.slice_ns(&running), None, "no timer for a thread alone");
}

#[test]
fn a_thief_gets_no_thread_that_may_not_run_there() {
    let mut entities = Entities::default();
    let mut queue = Dispatch::<Wrong>::new(CPU);
    for affinity in [Affinity::Pinned(CPU), Affinity::Any] {
        queue.enqueue(entities.spawn(Attributes::DEFAULT, affinity), Enqueue::New, 0);
    }
    for (choice, expected) in [
        (Choice::First(0), None),
        (Choice::Thread(ThreadId(0)), None),
        (Choice::Thread(ThreadId(1)), Some(ThreadId(1))),
    ] {
        queue.policy_mut().choice = Some(choice);
        assert_eq!(queue.steal(CpuId(1)).map(|thread| thread.id()), expected, "{choice:?}");
    }
    assert_eq!(queue.len(), 1);
    // The default finds one that may.
    let mut queue = Dispatch::<ByWeight>::new(CPU);
    for affinity in [Affinity::Pinned(CPU), Affinity::Any] {
        let attributes = Attributes { weight: 1, ..Attributes::DEFAULT };
        queue.enqueue(entities.spawn(attributes, affinity), Enqueue::New, 0);
    }
    assert_eq!(queue.steal(CpuId(1)).unwrap().affinity(), Affinity::Any);
    assert!(queue.steal(CpuId(1)).is_none());
    assert_eq!(queue.remove_any().unwrap().affinity(), Affinity::Pinned(CPU));
}

fn places() -> impl Strategy<Value = Place> {
    prop_oneof![(0..4_usize).prop_map(Place::Back), (0..4_usize).prop_map(Place::Front)]
}

fn choices() -> impl Strategy<Value = Option<Choice>> {
    let choice = prop_oneof![
        (0..4_usize).prop_map(Choice::First),
        (0..30_u64).prop_map(|id| Choice::Thread(ThreadId(id)))
    ];
    proptest::option::weighted(0.9, choice)
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn no_answer_loses_a_thread_or_gives_it_out_twice(
        steps in proptest::collection::vec((places(), choices(), 0..4_u8), 1..60)
    ) {
        let mut entities = Entities::default();
        let mut queue = Dispatch::<Wrong>::new(CPU);
        let mut waiting = BTreeSet::new();
        for (place, choice, step) in steps {
            let policy = queue.policy_mut();
            (policy.place, policy.choice) = (place, choice);
            let taken = match step {
                0 | 1 => {
                    let affinity = if step == 0 { Affinity::Any } else { Affinity::Pinned(CPU) };
                    let thread = entities.spawn(Attributes::DEFAULT, affinity);
                    waiting.insert(thread.id());
                    queue.enqueue(thread, Enqueue::New, 0);
                    None
                }
                2 => {
                    let picked = queue.pick_next(0);
                    prop_assert_eq!(picked.is_some(), choice.is_some() && !waiting.is_empty());
                    picked
                }
                _ => queue.steal(CpuId(1)),
            };
            if let Some(taken) = taken {
                prop_assert!(waiting.remove(&taken.id()), "it did not wait");
                prop_assert!(step == 2 || taken.may_run_on(CpuId(1)));
            }
            prop_assert_eq!(queue.len(), waiting.len());
        }
        let left: BTreeSet<_> = queue.remaining().into_iter().collect();
        prop_assert_eq!(left, waiting);
        while queue.remove_any().is_some() {}
        prop_assert!(queue.is_empty());
    }
}

/// A queue for real-time threads before one for fair threads.
struct ByClass;

impl DispatchPolicy for ByClass {
    const NAME: &str = "by_class";
    const SUMMARY: &str = "";
    const QUEUES: usize = 2;

    fn new(_: CpuId) -> ByClass {
        ByClass
    }

    fn enqueue(&mut self, thread: &mut LentThread<'_>, _: Enqueue, _: u64) -> Place {
        Place::Back(usize::from(thread.attributes().class == Class::Fair))
    }
}

#[test]
fn a_thread_whose_class_changes_gets_the_place_that_the_policy_answers() {
    let mut entities = Entities::default();
    let mut queue = Dispatch::<ByClass>::new(CPU);
    for _ in 0..4 {
        queue.enqueue(entities.fair(1024), Enqueue::New, 0);
    }
    let numbers = |queue: &Dispatch<ByClass>| queue.remaining().iter().map(|id| id.0).collect::<Vec<_>>();
    entities.want(ThreadId(2), Class::RealTime { priority: 3 });
    assert!(queue.reclassify(ThreadId(2), 0));
    assert_eq!(numbers(&queue), [2, 0, 1, 3]);
    entities.want(ThreadId(0), Class::Fair);
    assert!(queue.reclassify(ThreadId(0), 0));
    assert_eq!(numbers(&queue), [2, 0, 1, 3], "it stays in its place of the same queue");
    entities.want(ThreadId(2), Class::Fair);
    assert!(queue.reclassify(ThreadId(2), 0));
    assert_eq!(numbers(&queue), [0, 1, 3, 2]);
    assert!(!queue.reclassify(ThreadId(9), 0) && queue.len() == 4);
}

#[test]
fn a_policy_that_knows_no_classes_keeps_its_order() {
    let mut entities = Entities::default();
    let mut queue = Dispatch::<Wrong>::new(CPU);
    for _ in 0..3 {
        queue.enqueue(entities.fair(1), Enqueue::New, 0);
    }
    queue.policy_mut().place = Place::Front(0);
    entities.want(ThreadId(1), Class::RealTime { priority: 3 });
    assert!(queue.reclassify(ThreadId(1), 0));
    assert_eq!(queue.remaining(), [0, 1, 2].map(ThreadId));
    queue.policy_mut().choice = Some(Choice::Thread(ThreadId(1)));
    assert_eq!(queue.pick_next(0).unwrap().attributes().class, Class::RealTime { priority: 3 });
}
