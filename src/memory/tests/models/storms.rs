//! The whole allocator in a storm: three CPUs, little memory, every order, random choices, random schedules.

use super::super::order;
use super::*;
use shuttle::rand::{Rng, thread_rng};

/// The steps of a CPU in a storm.
const STEPS: usize = 24;

/// A storm on so many blocks.
fn storm(blocks: usize, orders: &'static [u8]) {
    run_schedules(schedules(), move || {
        let model = Model::new(blocks);
        let cpus: [Cpu; 3] = core::array::from_fn(|_| Cpu::new(&model));
        let threads = cpus.map(|cpu| cpu.on_thread(move |cpu| work(cpu, orders)));
        let cpus = threads.map(|thread| thread.join().expect("the thread has not panicked").0);
        model.end(cpus);
    });
}

fn work(cpu: &mut Cpu, orders: &[u8]) {
    let mut held = Vec::new();
    for _ in 0..STEPS {
        match thread_rng().gen_range(0..10) {
            0 => cpu.drain(),
            1 => {
                let _ = cpu.refill(thread_rng().gen_range(1..512));
            }
            2..7 => {
                let order = order(orders[thread_rng().gen_range(0..orders.len())]);
                held.extend(cpu.alloc(order).map(|frame| (frame, order)));
            }
            _ if !held.is_empty() => {
                let (frame, whole): (FrameNumber, Order) =
                    held.swap_remove(thread_rng().gen_range(0..held.len()));
                match whole.get().checked_sub(1).map(order).filter(|_| thread_rng().gen_range(0..4) == 0) {
                    Some(half) => {
                        held.push((frame, half));
                        cpu.free(frame + half.frames(), half);
                    }
                    None => cpu.free(frame, whole),
                }
            }
            _ => {}
        }
    }
}

#[test]
fn at_the_end_of_memory() {
    storm(1, &[0, 0, 0, 0, 0, 1, 3, 6, 7, 8]);
}

#[test]
fn of_single_frames_and_runs() {
    storm(2, &[0, 0, 0, 0, 1, 3, 5, 6, 7, 8]);
}

#[test]
fn of_blocks_and_their_parts() {
    storm(4, &[0, 0, 3, 8, 9, 9, 10, 11]);
}
