use super::super::round_robin::RoundRobin;
use super::*;

#[test]
fn threads_run_in_turn_for_a_slice_each_whatever_their_weight() {
    let mut entities = Entities::default();
    let mut cpu = Cpu::new(RoundRobin::queue(CPU));
    for weight in [1, 100, 10_000] {
        cpu.spawn(entities.fair(weight));
    }
    for turn in 0..12 {
        assert_eq!(cpu.running(), Some(ThreadId(turn % 3)));
        assert_eq!(cpu.run_one_slice(u64::MAX), SLICE_NS);
    }
    assert_eq!(cpu.ran_ns, [4 * SLICE_NS; 3]);
}

#[test]
fn a_thread_alone_needs_no_timer() {
    let mut entities = Entities::default();
    let mut cpu = Cpu::new(RoundRobin::queue(CPU));
    cpu.spawn(entities.fair(1));
    cpu.run(100 * SLICE_NS);
    assert_eq!(cpu.queue.slice_ns(cpu.running.as_ref().unwrap()), None);
}

#[test]
fn a_thief_gets_only_threads_that_may_run_there() {
    let mut entities = Entities::default();
    let mut queue = RoundRobin::queue(CPU);
    for affinity in [Affinity::Pinned(CPU), Affinity::Any, Affinity::Pinned(CPU)] {
        queue.enqueue(entities.spawn(Attributes::DEFAULT, affinity), Enqueue::New, 0);
    }
    assert_eq!(queue.steal(CpuId(1)).unwrap().id(), ThreadId(1));
    assert!(queue.steal(CpuId(1)).is_none());
    assert_eq!([0, 2].map(|_| queue.remove_any().unwrap().id()), [0, 2].map(ThreadId));
    assert!(queue.is_empty());
}
