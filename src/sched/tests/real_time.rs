use super::super::entity::MAX_PRIORITY;
use super::super::fair::{Fair, FairQueue};
use super::*;

/// Starts threads of priority 9.
fn spawn(cpu: &mut Cpu<FairQueue>, entities: &mut Entities, n: usize) {
    for _ in 0..n {
        cpu.spawn(entities.spawn(real_time(9), Affinity::Any));
    }
}

#[test]
fn the_highest_priority_runs_first_and_equal_ones_in_order() {
    let mut entities = Entities::default();
    let mut queue = Fair::queue(CPU);
    for priority in [3, 63, 0, 63, 3, 255] {
        queue.enqueue(entities.spawn(real_time(priority), Affinity::Any), Enqueue::New, 0);
    }
    let order: Vec<_> = core::iter::from_fn(|| queue.pick_next(0)).map(|thread| thread.id().0).collect();
    assert_eq!(order, [1, 3, 5, 0, 4, 2]);
}

#[test]
fn equal_priorities_take_turns_of_a_slice() {
    let mut entities = Entities::default();
    let mut cpu = Cpu::new(Fair::queue(CPU));
    spawn(&mut cpu, &mut entities, 3);
    for turn in 0..12 {
        assert_eq!(cpu.running(), Some(ThreadId(turn % 3)));
        assert_eq!(cpu.run_one_slice(u64::MAX), SLICE_NS);
    }
}

#[test]
fn a_preempted_thread_continues_its_turn_before_its_equals() {
    let mut entities = Entities::default();
    let mut cpu = Cpu::new(Fair::queue(CPU));
    spawn(&mut cpu, &mut entities, 2);
    cpu.run(MS);
    let urgent = cpu.spawn(entities.spawn(real_time(MAX_PRIORITY), Affinity::Any));
    assert_eq!(cpu.running(), Some(urgent));
    assert_eq!(cpu.queue.slice_ns(cpu.running.as_ref().unwrap()), None);
    let _blocked = cpu.block().unwrap();
    assert_eq!(cpu.running(), Some(ThreadId(0)));
    assert_eq!(cpu.run_one_slice(u64::MAX), SLICE_NS - MS);
    assert_eq!(cpu.running(), Some(ThreadId(1)));
}

#[test]
fn a_lower_priority_does_not_preempt_and_needs_no_timer() {
    let mut entities = Entities::default();
    let mut cpu = Cpu::new(Fair::queue(CPU));
    let high = cpu.spawn(entities.spawn(real_time(5), Affinity::Any));
    cpu.spawn(entities.spawn(real_time(4), Affinity::Any));
    cpu.spawn(entities.fair(1024));
    cpu.run(100 * SLICE_NS);
    assert_eq!(cpu.running(), Some(high));
    assert_eq!(cpu.queue.slice_ns(cpu.running.as_ref().unwrap()), None);
}

#[test]
fn a_thread_that_yields_goes_behind_its_equals() {
    let mut entities = Entities::default();
    let mut cpu = Cpu::new(Fair::queue(CPU));
    spawn(&mut cpu, &mut entities, 3);
    for turn in 0..9 {
        assert_eq!(cpu.running(), Some(ThreadId(turn % 3)));
        cpu.spin(10);
        cpu.yield_now();
    }
}

#[test]
fn a_turn_is_no_longer_than_a_slice_whatever_the_thread_counted_before() {
    let mut entities = Entities::default();
    let mut queue = Fair::queue(CPU);
    let mut thread = entities.spawn(real_time(9), Affinity::Any);
    thread.words_mut().slice_left_ns = u64::MAX;
    queue.enqueue(thread, Enqueue::Preempted, 0);
    assert_eq!(queue.pick_next(0).unwrap().words().slice_left_ns, SLICE_NS);
}

#[test]
fn a_fair_thread_that_blocks_is_not_counted_while_a_real_time_thread_runs() {
    let mut entities = Entities::default();
    let mut cpu = Cpu::new(Fair::queue(CPU));
    cpu.spawn(entities.fair(1024));
    cpu.queue.enqueue(entities.spawn(real_time(9), Affinity::Any), Enqueue::Woken, 0);
    let _blocked = cpu.block().unwrap();
    assert_eq!(cpu.running(), Some(ThreadId(1)));
    assert_eq!(cpu.queue.weight(), 0);
}

#[test]
fn a_thread_that_waits_gets_the_place_of_its_new_class() {
    let mut entities = Entities::default();
    let mut queue = Fair::queue(CPU);
    for class in [Class::Fair, Class::RealTime { priority: 10 }, Class::RealTime { priority: 20 }] {
        let thread = entities.spawn(Attributes { class, ..Attributes::DEFAULT }, Affinity::Any);
        queue.enqueue(thread, Enqueue::New, 0);
    }
    let order = |queue: &mut FairQueue| {
        let threads: Vec<_> = core::iter::from_fn(|| queue.pick_next(0)).collect();
        let order: Vec<_> = threads.iter().map(|thread| thread.id().0).collect();
        threads.into_iter().for_each(|thread| queue.enqueue(thread, Enqueue::Woken, 0));
        order
    };
    let weight = queue.weight();
    assert_eq!(order(&mut queue), [2, 1, 0]);
    entities.want(ThreadId(0), Class::RealTime { priority: 15 });
    assert!(queue.reclassify(ThreadId(0), 0));
    assert_eq!((order(&mut queue), queue.weight()), (vec![2, 0, 1], 0), "the fair class counts it");
    entities.want(ThreadId(2), Class::RealTime { priority: 10 });
    assert!(queue.reclassify(ThreadId(2), 0));
    assert_eq!(order(&mut queue), [0, 1, 2], "behind its equals");
    entities.want(ThreadId(0), Class::Fair);
    assert!(queue.reclassify(ThreadId(0), 0));
    assert_eq!((order(&mut queue), queue.weight()), (vec![1, 2, 0], weight));
    assert!(!queue.reclassify(ThreadId(7), 0), "it is on no queue");
    assert_eq!(queue.len(), 3);
}

#[test]
fn the_running_thread_gets_another_class_and_returns() {
    let mut entities = Entities::default();
    let mut cpu = Cpu::new(Fair::queue(CPU));
    let [first, second] = [0, 1].map(|_| cpu.spawn(entities.fair(1024)));
    cpu.run(MS);
    assert_eq!(cpu.running(), Some(first));
    let change = |cpu: &mut Cpu<FairQueue>, class| {
        cpu.spin(0);
        entities.want(first, class);
        cpu.running.as_mut().unwrap().update_class();
        cpu.reschedule();
    };
    change(&mut cpu, Class::RealTime { priority: 0 });
    cpu.run(20 * SLICE_NS);
    assert_eq!(cpu.running(), Some(first), "no fair thread runs beside it");
    change(&mut cpu, Class::Fair);
    let before = cpu.ran_ns(first);
    cpu.run(40 * SLICE_NS);
    let (mine, other) = (cpu.ran_ns(first) - before, cpu.ran_ns(second));
    assert!(mine.abs_diff(other) <= 2 * SLICE_NS, "{mine} and {other} of fair time");
}
