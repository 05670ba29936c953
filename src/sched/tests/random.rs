use super::super::random::{Random, RandomQueue};
use super::*;

/// Runs threads under the policy, with a thief. Returns the order in which they ran.
fn play(seed: u64, steps: usize) -> Vec<Option<u64>> {
    let mut entities = Entities::default();
    let mut cpu: Cpu<RandomQueue> = Cpu::new(Random::queue(CPU, seed));
    for _ in 0..20 {
        cpu.spawn(entities.spawn(Attributes::DEFAULT, Affinity::Pinned(CPU)));
    }
    let mut order = Vec::new();
    for _ in 0..steps {
        cpu.run_one_slice(MS);
        if let Some(stolen) = cpu.queue.steal(CpuId(1)) {
            cpu.queue.enqueue(stolen, Enqueue::Migrated, 0);
        }
        assert_eq!(cpu.queue.len() + usize::from(cpu.running.is_some()), 20, "no thread is lost");
        order.push(cpu.running().map(|id| id.0));
    }
    let mut left: Vec<_> = core::iter::from_fn(|| cpu.queue.remove_any()).map(|thread| thread.id()).collect();
    left.extend(cpu.running());
    left.sort_unstable();
    assert!(left.into_iter().eq((0..20).map(ThreadId)));
    order
}

#[test]
fn the_seed_decides_the_order() {
    let steps = scaled(500, 60);
    assert_eq!(play(1, steps), play(1, steps));
    assert_ne!(play(1, steps), play(2, steps));
}

#[test]
fn it_picks_every_thread_and_none_and_gives_out_threads_that_may_not_run_there() {
    let order = play(3, 3000.min(scaled(3000, 600)));
    assert!(order.contains(&None));
    assert!((0..20).all(|id| order.contains(&Some(id))));
    let mut entities = Entities::default();
    let mut queue = Random::queue(CPU, 4);
    queue.enqueue(entities.spawn(Attributes::DEFAULT, Affinity::Pinned(CPU)), Enqueue::New, 0);
    let stolen = (0..100).find_map(|_| queue.steal(CpuId(1))).unwrap();
    assert!(!stolen.may_run_on(CpuId(1)));
}
