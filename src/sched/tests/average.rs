//! The fair class against a naive model: a vector, exact sums, and virtual times that do not wrap.

use proptest::prelude::*;

use super::super::eevdf::START;
use super::super::entity::MAX_WEIGHT;
use super::super::fair::{Fair, FairQueue};
use super::*;

#[derive(Clone, Copy, Debug)]
struct Thread {
    id: u64,
    weight: i128,
    /// In virtual time.
    slice: i128,
    virtual_time: i128,
    deadline: i128,
    /// The average of its queue when it left, or what the queue took for it.
    average: i128,
}

#[derive(Clone, Default)]
struct Model {
    waiting: Vec<Thread>,
    running: Option<Thread>,
    average: i128,
    start: i128,
}

impl Model {
    fn update(&mut self) {
        let counted = || self.waiting.iter().chain(&self.running);
        let weight: i128 = counted().map(|thread| thread.weight).sum();
        if weight > 0 {
            let sum: i128 = counted().map(|thread| thread.weight * thread.virtual_time).sum();
            self.average = sum.div_euclid(weight);
        }
    }

    fn join(&mut self, mut thread: Thread, reason: Enqueue) {
        let ahead = match reason {
            Enqueue::New => (self.start - self.average).clamp(0, thread.slice),
            Enqueue::Woken => (thread.virtual_time - self.average).clamp(0, thread.slice),
            _ => (thread.virtual_time - thread.average).clamp(-thread.slice, thread.slice),
        };
        thread.virtual_time = self.average + ahead;
        thread.deadline = thread.virtual_time + thread.slice;
        self.waiting.push(thread);
        self.update();
    }

    fn left(&mut self, thread: &mut Thread) {
        self.start = self.start.max(thread.virtual_time);
        self.update();
    }

    fn charge(&mut self, ns: u64) {
        let thread = self.running.as_mut().unwrap();
        thread.virtual_time += i128::from(ns) * i128::from(MAX_WEIGHT) / thread.weight;
        self.update();
    }

    fn is_preempted(&self) -> bool {
        let running = self.running.unwrap();
        let goes_first =
            |thread: &Thread| thread.deadline < running.deadline && thread.virtual_time <= self.average;
        !self.waiting.is_empty()
            && (running.virtual_time >= running.deadline || self.waiting.iter().any(goes_first))
    }

    fn is_preempted_after(&self, ns: u64) -> bool {
        let mut later = self.clone();
        later.charge(ns);
        later.is_preempted()
    }

    /// Takes the thread that the queue picked, if it is one that may be picked.
    fn pick(&mut self, picked: Option<u64>) -> Result<(), TestCaseError> {
        let eligible = self.waiting.iter().filter(|thread| thread.virtual_time <= self.average);
        let earliest = eligible.map(|thread| thread.deadline).min();
        prop_assert_eq!(picked.is_none(), earliest.is_none());
        let Some(picked) = picked else { return Ok(()) };
        let thread = self.take(picked);
        prop_assert!(thread.virtual_time <= self.average, "{:?} is not eligible at {}", thread, self.average);
        prop_assert_eq!(Some(thread.deadline), earliest);
        self.running = Some(thread);
        Ok(())
    }

    fn take(&mut self, id: u64) -> Thread {
        let index = self.waiting.iter().position(|thread| thread.id == id).unwrap();
        self.waiting.swap_remove(index)
    }
}

#[derive(Default)]
struct Pair {
    entities: Entities,
    model: Model,
    /// Threads on no queue, in the queue's form and the model's, and whether they blocked here.
    away: Vec<(Runnable, Thread, bool)>,
}

impl Pair {
    fn new_thread(&mut self, weight: u32, slice_ns: u32) -> (Runnable, Thread) {
        let attributes = Attributes { weight, slice_ns, ..Attributes::DEFAULT };
        let thread = self.entities.spawn(attributes, Affinity::Any);
        let id = thread.id().0;
        let slice = i128::from(slice_ns) * i128::from(MAX_WEIGHT) / i128::from(weight);
        let weight = weight.into();
        (thread, Thread { id, weight, slice, virtual_time: 0, deadline: 0, average: 0 })
    }

    fn step(&mut self, cpu: &mut Cpu<FairQueue>, step: u8, x: u32, weight: u32) -> Result<(), TestCaseError> {
        match (step, cpu.running.is_some()) {
            (0, _) => {
                let (thread, model) = self.new_thread(weight, 1 + x % 20_000_000);
                cpu.queue.enqueue(thread, Enqueue::New, 0);
                self.model.join(model, Enqueue::New);
            }
            (1 | 2, true) => {
                cpu.spin(x.into());
                self.model.charge(x.into());
            }
            (3 | 4, true) => {
                let reason = if step == 3 { Enqueue::Preempted } else { Enqueue::Yielded };
                let running = cpu.running.take().unwrap();
                cpu.queue.enqueue(running, reason, 0);
                cpu.pick();
                let mut running = self.model.running.take().unwrap();
                if step == 4 && running.virtual_time < running.deadline {
                    running.virtual_time = running.deadline;
                }
                if running.virtual_time >= running.deadline {
                    running.deadline = running.virtual_time + running.slice;
                }
                self.model.waiting.push(running);
                self.model.update();
                self.model.pick(cpu.running().map(|id| id.0))?;
            }
            (5, true) => {
                cpu.spin(x.into());
                self.model.charge(x.into());
                let thread = cpu.block().unwrap();
                let mut model = self.model.running.take().unwrap();
                // The queue estimates what the average is now.
                model.average = i128::from(thread.words().aggregate.wrapping_sub(START) as i64);
                self.model.left(&mut model);
                self.model.pick(cpu.running().map(|id| id.0))?;
                self.away.push((thread, model, true));
            }
            (6, _) if !self.away.is_empty() => {
                let (thread, model, has_blocked) = self.away.swap_remove(x as usize % self.away.len());
                let reason = if has_blocked { Enqueue::Woken } else { Enqueue::Migrated };
                cpu.queue.enqueue(thread, reason, 0);
                self.model.join(model, reason);
            }
            (7, _) => {
                let id = ThreadId(u64::from(x) % (self.entities.0.len().max(1) as u64));
                let thread =
                    if weight.is_multiple_of(2) { cpu.queue.remove(id) } else { cpu.queue.steal(CpuId(1)) };
                if let Some(thread) = thread {
                    let mut model = self.model.take(thread.id().0);
                    model.average = self.model.average;
                    self.model.left(&mut model);
                    self.away.push((thread, model, false));
                }
            }
            (_, false) => {
                cpu.pick();
                self.model.pick(cpu.running().map(|id| id.0))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn compare(&self, cpu: &Cpu<FairQueue>) -> Result<(), TestCaseError> {
        let model = &self.model;
        prop_assert_eq!(cpu.queue.len(), model.waiting.len());
        prop_assert_eq!(i128::from(cpu.queue.average()), model.average);
        let Some(running) = &cpu.running else { return Ok(()) };
        prop_assert_eq!(cpu.queue.is_preempted(running), model.is_preempted());
        match cpu.queue.slice_ns(running) {
            None => prop_assert!(model.waiting.is_empty()),
            Some(slice_ns) => {
                prop_assert!(model.is_preempted_after(slice_ns), "not after {}", slice_ns);
                // Rounding costs a nanosecond or two.
                prop_assert!(slice_ns < 3 || !model.is_preempted_after(slice_ns - 3), "before {}", slice_ns);
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn the_queue_does_what_the_naive_model_does(
        steps in prop::collection::vec((0..8u8, 0..20_000_000u32, weights()), 0..scaled(250, 60)),
    ) {
        let mut pair = Pair::default();
        let mut cpu = Cpu::new(Fair::queue(CPU));
        for (step, x, weight) in steps {
            pair.step(&mut cpu, step, x, weight)?;
            pair.compare(&cpu)?;
        }
    }
}

fn weights() -> impl Strategy<Value = u32> {
    prop_oneof![4 => Just(1024u32), 2 => 1..=MAX_WEIGHT, 1 => 1..8u32]
}
