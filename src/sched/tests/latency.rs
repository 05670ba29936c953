//! How long threads wait that wake, arrive or move.

use super::super::eevdf::START;
use super::super::fair::{Fair, FairQueue};
use super::*;

fn cpu_with_spinners(entities: &mut Entities, n: usize) -> Cpu<FairQueue> {
    let mut cpu = Cpu::new(Fair::queue(CPU));
    for _ in 0..n {
        cpu.spawn(entities.fair(1024));
    }
    cpu
}

/// Returns the lag of a thread behind an average that [`FairQueue::average`] returned.
fn lag(average: i64, thread: &Runnable) -> i64 {
    average.wrapping_sub(thread.words().virtual_ns.wrapping_sub(START) as i64)
}

/// Runs until a thread runs. Returns for how long.
fn run_until(cpu: &mut Cpu<FairQueue>, thread: ThreadId) -> u64 {
    let before = cpu.now_ns;
    for _ in 0..1000 {
        if cpu.running() == Some(thread) {
            return cpu.now_ns - before;
        }
        cpu.run_one_slice(SLICE_NS);
    }
    panic!("thread {thread} does not run");
}

#[test]
fn a_thread_that_slept_long_has_no_credit() {
    let mut entities = Entities::default();
    let mut cpu = cpu_with_spinners(&mut entities, 3);
    let sleeper = cpu.running().unwrap();
    let thread = cpu.block().unwrap();
    cpu.run(scaled(100_000, 1000) as u64 * MS);
    cpu.wake(thread, Enqueue::Woken);
    run_until(&mut cpu, sleeper);
    // It gets its share from then on, not the time that it slept.
    cpu.ran_ns.fill(0);
    cpu.run(100 * SLICE_NS);
    let share = 100 * SLICE_NS / 3;
    assert!(cpu.ran_ns(sleeper).abs_diff(share) <= 2 * SLICE_NS, "{:?}", cpu.ran_ns);
}

#[test]
fn a_thread_that_sleeps_after_every_short_run_gets_no_more_than_its_share() {
    // A short slice, and a sleep so short that the lag cannot recover: the thread may not win time by sleeping.
    let mut entities = Entities::default();
    let mut cpu = cpu_with_spinners(&mut entities, 1);
    let attributes = Attributes { slice_ns: 100_000, ..Attributes::DEFAULT };
    let sleeper = cpu.spawn(entities.spawn(attributes, Affinity::Any));
    for _ in 0..scaled(20_000, 1000) {
        cpu.run_one_slice(50_000);
        if cpu.running() == Some(sleeper) {
            let thread = cpu.block().unwrap();
            cpu.spin(1000);
            cpu.wake(thread, Enqueue::Woken);
        }
    }
    let (ran, total) = (cpu.ran_ns(sleeper), cpu.now_ns);
    assert!(ran <= total / 2 + SLICE_NS, "{ran} of {total}");
    assert!(ran >= total / 3, "{ran} of {total}");
}

#[test]
fn a_woken_thread_runs_within_a_slice_of_each_other() {
    for n in [1, 4, 20] {
        let mut entities = Entities::default();
        let mut cpu = cpu_with_spinners(&mut entities, n + 1);
        for round in 0..scaled(200, 10) as u64 {
            let sleeper = cpu.running().unwrap();
            cpu.spin(10_000);
            let thread = cpu.block().unwrap();
            cpu.run(20 * MS + round * 7919);
            cpu.wake(thread, Enqueue::Woken);
            let waited = run_until(&mut cpu, sleeper);
            assert!(waited <= n as u64 * SLICE_NS, "{waited} ns with {n} others");
        }
    }
}

#[test]
fn a_thread_with_a_short_slice_waits_less_than_one_with_a_long_one() {
    let mut entities = Entities::default();
    let mut cpu = cpu_with_spinners(&mut entities, 4);
    let attributes = Attributes { slice_ns: 100_000, ..Attributes::DEFAULT };
    let short = cpu.spawn(entities.spawn(attributes, Affinity::Any));
    run_until(&mut cpu, short);
    for _ in 0..scaled(200, 10) {
        cpu.spin(20_000);
        let thread = cpu.block().unwrap();
        cpu.run(5 * MS);
        cpu.wake(thread, Enqueue::Woken);
        let waited = run_until(&mut cpu, short);
        assert!(waited <= 100_000, "{waited}");
    }
}

#[test]
fn short_lived_threads_one_after_the_other_do_not_starve_a_long_slice() {
    let mut entities = Entities::default();
    let mut cpu = Cpu::new(Fair::queue(CPU));
    let long = Attributes { slice_ns: 20_000_000, ..Attributes::DEFAULT };
    let short = Attributes { slice_ns: 100_000, ..Attributes::DEFAULT };
    let spinner = cpu.spawn(entities.spawn(long, Affinity::Any));
    cpu.run(MS);
    cpu.ran_ns.clear();
    cpu.spawn(entities.spawn(short, Affinity::Any));
    for _ in 0..scaled(4000, 400) {
        cpu.run_one_slice(90_000);
        if cpu.running() != Some(spinner) {
            // It exits before its slice is over, and the next is there already.
            let next = entities.spawn(short, Affinity::Any);
            cpu.queue.enqueue(next, Enqueue::New, 0);
            let _exited = cpu.block();
        }
    }
    let (ran, total) = (cpu.ran_ns(spinner), cpu.ran_ns.iter().sum::<u64>());
    assert!(ran * 5 >= total * 2, "the spinner ran {ran} of {total}");
}

#[test]
fn a_thread_keeps_its_lag_when_it_moves_to_a_queue_with_another_virtual_time() {
    // At one time, the thread that waits has run less than the other, at the other more.
    for (ms, sign) in [(601, 1), (604, -1)] {
        let mut entities = Entities::default();
        let (mut from, mut to) = (cpu_with_spinners(&mut entities, 2), cpu_with_spinners(&mut entities, 2));
        from.run(ms * MS);
        to.run(77 * MS);
        let average = from.queue.average();
        let thread = from.queue.steal(CPU).unwrap();
        let before = lag(average, &thread);
        assert_eq!(before.signum(), sign);
        let id = thread.id();
        let average = to.queue.average();
        to.queue.enqueue(thread, Enqueue::Migrated, 0);
        let thread = to.queue.remove(id).unwrap();
        assert_eq!(before, lag(average, &thread));
        // It has its share there: neither nothing nor the difference of the virtual times.
        to.ran_ns.clear();
        to.wake(thread, Enqueue::Migrated);
        to.run(99 * SLICE_NS);
        assert!(to.ran_ns(id).abs_diff(33 * SLICE_NS) <= 2 * SLICE_NS, "{:?}", to.ran_ns);
    }
}

#[test]
fn no_thread_starves_while_others_sleep_and_wake() {
    let mut entities = Entities::default();
    let mut cpu = cpu_with_spinners(&mut entities, 8);
    let mut asleep = std::collections::VecDeque::new();
    let mut last_ran = [0; 8];
    for step in 0..scaled(20_000, 500) as u64 {
        cpu.run_one_slice(1 + step * 104_729 % SLICE_NS);
        let running = cpu.running().unwrap();
        last_ran[running.0 as usize] = cpu.now_ns;
        // Threads 3 to 7 sleep often, and 0 to 2 never.
        if running.0 > 2 && step % 3 != 0 {
            asleep.push_back(cpu.block().unwrap());
        }
        if (asleep.len() > 3 || step % 5 == 0)
            && let Some(thread) = asleep.pop_front()
        {
            cpu.wake(thread, Enqueue::Woken);
        }
        for (spinner, last_ran_ns) in last_ran[..3].iter().enumerate() {
            assert!(cpu.now_ns - last_ran_ns <= 2 * 8 * SLICE_NS, "thread {spinner} at step {step}");
        }
    }
}
