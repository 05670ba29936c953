use proptest::prelude::*;

use super::super::fair::{Fair, FairQueue};
use super::*;

fn cpu() -> Cpu<FairQueue> {
    Cpu::new(Fair::queue(CPU))
}

/// Starts spinners of some weights.
fn spinners(entities: &mut Entities, weights: &[u32]) -> Cpu<FairQueue> {
    let mut cpu = cpu();
    for &weight in weights {
        cpu.spawn(entities.fair(weight));
    }
    cpu
}

fn spread(ran_ns: &[u64]) -> u64 {
    ran_ns.iter().max().unwrap() - ran_ns.iter().min().unwrap()
}

#[test]
fn spinners_are_within_one_slice_of_each_other_at_any_time() {
    for n in [2, 3, 5, scaled(100, 9)] {
        let mut entities = Entities::default();
        let mut cpu = spinners(&mut entities, &vec![1024; n]);
        cpu.ran_ns.resize(n, 0);
        for step in 0..scaled(20 * n, 3 * n) as u64 {
            // Interrupts come in the middle of slices as well.
            cpu.run_one_slice(1 + step * 7919 % SLICE_NS);
            assert!(spread(&cpu.ran_ns) <= SLICE_NS, "{n} spinners: {:?}", cpu.ran_ns);
        }
    }
}

#[test]
fn a_spinner_runs_for_a_whole_slice_where_no_thread_arrives() {
    let mut entities = Entities::default();
    let mut cpu = spinners(&mut entities, &[1024; 4]);
    let before = cpu.switches;
    cpu.run(40 * SLICE_NS);
    assert_eq!(cpu.switches - before, 40);
}

#[test]
fn weights_one_two_four_get_their_shares_within_two_percent() {
    for unit in [1, 100, 1024, 1 << 18] {
        let mut entities = Entities::default();
        let mut cpu = spinners(&mut entities, &[unit, 2 * unit, 4 * unit]);
        let total = scaled(2100, 210) as u64 * SLICE_NS;
        cpu.run(total);
        for (thread, share) in [1, 2, 4].into_iter().enumerate() {
            let (ran, due) = (cpu.ran_ns[thread], total * share / 7);
            assert!(ran.abs_diff(due) * 50 <= due, "unit {unit}, share {share}: {ran} of {due}");
        }
    }
}

#[test]
fn slices_of_different_lengths_get_equal_shares() {
    let mut entities = Entities::default();
    let mut cpu = cpu();
    for slice_ns in [100_000, 3_000_000, 10_000_000] {
        let attributes = Attributes { slice_ns, ..Attributes::DEFAULT };
        cpu.spawn(entities.spawn(attributes, Affinity::Any));
    }
    cpu.run(scaled(3000, 30) as u64 * MS);
    assert!(spread(&cpu.ran_ns) <= 10 * MS, "{:?}", cpu.ran_ns);
}

#[test]
fn a_thread_alone_needs_no_timer() {
    let mut entities = Entities::default();
    let mut cpu = spinners(&mut entities, &[1]);
    assert_eq!(cpu.queue.slice_ns(cpu.running.as_ref().unwrap()), None);
    // It runs for a month and a day, and then shares as any other.
    cpu.spin(32 * 86_400 * 1000 * MS);
    assert!(!cpu.queue.is_preempted(cpu.running.as_ref().unwrap()));
    cpu.spawn(entities.fair(1));
    cpu.ran_ns = vec![0, 0];
    for _ in 0..50 {
        cpu.run_one_slice(SLICE_NS);
        assert!(spread(&cpu.ran_ns) <= 2 * SLICE_NS, "{:?}", cpu.ran_ns);
    }
}

#[test]
fn threads_that_yield_take_turns() {
    for n in [2, 3, 7] {
        let mut entities = Entities::default();
        let mut cpu = spinners(&mut entities, &vec![1024; n]);
        let mut turns = Vec::new();
        for turn in 0..10 * n as u64 {
            turns.push(cpu.running().unwrap().0);
            cpu.spin(100 + turn * 7919 % 1000);
            cpu.yield_now();
        }
        for round in turns.chunks(n) {
            let mut round = round.to_vec();
            round.sort();
            assert_eq!(round, (0..n as u64).collect::<Vec<_>>(), "{turns:?}");
        }
    }
}

#[test]
fn real_time_runs_above_fair_and_leaves_it_the_rest() {
    let mut entities = Entities::default();
    let mut cpu = spinners(&mut entities, &[1024, 1024]);
    cpu.run(MS);
    let thread = cpu.spawn(entities.spawn(real_time(0), Affinity::Any));
    assert_eq!(cpu.running(), Some(thread));
    let fair_before = cpu.ran_ns(ThreadId(0)) + cpu.ran_ns(ThreadId(1));
    cpu.run(100 * SLICE_NS);
    assert_eq!(cpu.running(), Some(thread));
    assert_eq!(cpu.ran_ns(ThreadId(0)) + cpu.ran_ns(ThreadId(1)), fair_before);
    let _blocked = cpu.block().unwrap();
    cpu.run(100 * SLICE_NS);
    assert!(spread(&cpu.ran_ns[..2]) <= 2 * SLICE_NS, "{:?}", cpu.ran_ns);
}

#[test]
fn a_thief_gets_only_threads_that_may_run_there() {
    static SET: CpuSet = CpuSet::EMPTY;
    let mut entities = Entities::default();
    let mut queue = Fair::queue(CPU);
    for affinity in [Affinity::Pinned(CPU), Affinity::Set(&SET), Affinity::Any, Affinity::Pinned(CpuId(1))] {
        for attributes in [Attributes::DEFAULT, real_time(7)] {
            queue.enqueue(entities.spawn(attributes, affinity), Enqueue::New, 0);
        }
    }
    let stolen: Vec<_> = core::iter::from_fn(|| queue.steal(CpuId(1))).collect();
    assert!(stolen.iter().all(|thread| thread.may_run_on(CpuId(1))));
    let mut ids: Vec<_> = stolen.iter().map(|thread| thread.id().0).collect();
    assert_eq!(ids[..2], [5, 7], "real-time threads come first");
    ids.sort();
    assert_eq!(ids, [4, 5, 6, 7]);
    assert_eq!(queue.len(), 4);
}

#[test]
fn remove_gives_out_that_thread_once() {
    let mut entities = Entities::default();
    let mut queue = Fair::queue(CPU);
    for n in 0..40 {
        let attributes = if n % 3 == 0 { real_time(n as u8) } else { Attributes::DEFAULT };
        queue.enqueue(entities.spawn(attributes, Affinity::Any), Enqueue::New, 0);
    }
    let running = queue.pick_next(0).unwrap().id().0;
    for id in (0..40).rev() {
        let removed = queue.remove(ThreadId(id)).map(|thread| thread.id().0);
        assert_eq!(removed, (id != running).then_some(id));
        assert!(queue.remove(ThreadId(id)).is_none());
    }
    assert!(queue.is_empty() && queue.pick_next(0).is_none());
}

#[test]
fn remove_any_empties_the_queue() {
    let mut entities = Entities::default();
    let mut queue = Fair::queue(CPU);
    for n in 0..30 {
        let attributes = if n % 2 == 0 { real_time(n) } else { Attributes::DEFAULT };
        queue.enqueue(entities.spawn(attributes, Affinity::Any), Enqueue::New, 0);
    }
    for left in (0..30).rev() {
        assert!(queue.remove_any().is_some());
        assert_eq!(queue.len(), left);
    }
    assert!(queue.remove_any().is_none());
}

#[test]
fn ten_thousand_threads_each_run_once_in_a_round() {
    let n = scaled(10_000, 200);
    let mut entities = Entities::default();
    let mut cpu = spinners(&mut entities, &vec![1024; n]);
    for round in 1..=2 {
        for _ in 0..n {
            cpu.run_one_slice(SLICE_NS);
        }
        assert!(cpu.ran_ns.iter().all(|&ran_ns| ran_ns == round * SLICE_NS));
    }
}

#[test]
fn a_change_of_weight_counts_from_then_on() {
    let mut entities = Entities::default();
    let mut cpu = spinners(&mut entities, &[1024, 1024, 1024]);
    cpu.run(20 * SLICE_NS);
    cpu.ran_ns.fill(0);
    // The running thread, and one that waits: it leaves the queue for the change.
    let running = cpu.running().unwrap();
    cpu.running.as_mut().unwrap().scheduled_mut().attributes.weight = 3072;
    let waiting = ThreadId((running.0 + 1) % 3);
    let mut thread = cpu.queue.remove(waiting).unwrap();
    thread.scheduled_mut().attributes.weight = 2048;
    cpu.wake(thread, Enqueue::Migrated);
    let total = 600 * SLICE_NS;
    cpu.run(total);
    for (thread, share) in [(running, 3), (waiting, 2), (ThreadId((running.0 + 2) % 3), 1)] {
        let (ran, due) = (cpu.ran_ns(thread), total * share / 6);
        assert!(ran.abs_diff(due) <= 3 * SLICE_NS, "share {share}: {ran} of {due}");
    }
    // The queue counts each out with the weight with which it counted it in.
    while cpu.block().is_some() {}
    assert_eq!(cpu.queue.weight(), 0);
}

#[test]
fn a_thread_becomes_real_time_and_fair_again_while_it_runs() {
    let mut entities = Entities::default();
    let mut cpu = spinners(&mut entities, &[1024, 1024]);
    for round in 0..20 {
        let class = if round % 2 == 0 { Class::RealTime { priority: 3 } } else { Class::Fair };
        cpu.running.as_mut().unwrap().scheduled_mut().attributes.class = class;
        cpu.run(5 * SLICE_NS);
        assert_eq!(cpu.queue.len(), 1);
    }
    cpu.ran_ns.fill(0);
    cpu.run(100 * SLICE_NS);
    assert!(spread(&cpu.ran_ns) <= 2 * SLICE_NS, "{:?}", cpu.ran_ns);
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn spinners_get_their_shares_whatever_their_weights(
        weights in prop::collection::vec(1..=super::super::entity::MAX_WEIGHT, 2..12),
    ) {
        let mut entities = Entities::default();
        let mut cpu = spinners(&mut entities, &weights);
        cpu.ran_ns.resize(weights.len(), 0);
        let sum: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
        for _ in 0..scaled(400, 40) {
            cpu.run_one_slice(SLICE_NS);
            for (thread, &weight) in weights.iter().enumerate() {
                let due = (u128::from(cpu.now_ns) * u128::from(weight) / u128::from(sum)) as u64;
                prop_assert!(cpu.ran_ns[thread].abs_diff(due) <= SLICE_NS + 1000, "{thread}: {:?}", cpu.ran_ns);
            }
        }
    }
}
