//! A thread gets another class while it is woken, waits for a CPU, and moves to another: it has the class wherever it comes.

use std::boxed::Box;
use std::sync::Arc;
use std::vec::Vec;

use core::ptr::NonNull;

use loom::sync::Mutex;
use loom::thread;

use super::check;
use crate::cpu::CpuId;
use crate::sched::class::Urgency;
use crate::sched::entity::{Affinity, Attributes, Class, Entity, Runnable, ThreadId};
use crate::sched::state::{Phase, ThreadState, Wait, Wake};

const HIGH: Class = Class::RealTime { priority: 20 };

/// A thread, and the queues of two CPUs.
struct Cpus {
    state: ThreadState,
    entity: &'static Entity,
    queues: [Mutex<Vec<Runnable>>; 2],
}

impl Cpus {
    fn new(phase: Phase) -> Arc<Cpus> {
        let entity = Box::leak(Box::new(Entity::new(ThreadId(1), Attributes::DEFAULT, Affinity::Any)));
        Arc::new(Cpus {
            state: ThreadState::new(phase),
            entity,
            queues: [(); 2].map(|()| Mutex::new(Vec::new())),
        })
    }

    /// In the steps of `mechanism::enqueue_here`.
    fn enqueue(&self, cpu: usize, mut token: Runnable) {
        let mut queue = self.queues[cpu].lock().unwrap();
        token.note_place(CpuId(cpu as u32));
        token.update_class();
        queue.push(token);
    }

    /// In the steps of `mechanism::wake_under`.
    fn wake(&self, cpu: usize) {
        if self.state.wake(Wait::Event) == Wake::Enqueue {
            // SAFETY: the state has given the thread to this caller, and no other token is used.
            self.enqueue(cpu, unsafe { Runnable::new(NonNull::from(self.entity)) });
        }
    }

    /// In the steps of `mechanism::steal`.
    fn steal(&self, from: usize, to: usize) {
        let stolen = self.queues[from].lock().unwrap().pop();
        if let Some(token) = stolen {
            self.enqueue(to, token);
        }
    }

    /// In the steps of `mechanism::reclassify`.
    fn reclassify(&self) {
        self.entity.want_urgency(Urgency::of(HIGH));
        while self.state.is_runnable() && self.entity.has_change() {
            let mut queue = self.queues[self.entity.cpu().0 as usize].lock().unwrap();
            queue.iter_mut().for_each(Runnable::take_class);
            drop(queue);
            if self.entity.has_change() {
                thread::yield_now();
            }
        }
    }

    /// Checks that one queue has the thread, with its class.
    fn check(&self) {
        let classes = self.queues.iter().flat_map(|queue| {
            let mut queue = queue.lock().unwrap();
            queue.drain(..).map(|token| token.attributes().class).collect::<Vec<_>>()
        });
        assert_eq!(classes.collect::<Vec<_>>(), [HIGH]);
        assert!(!self.entity.has_change());
    }
}

#[test]
fn loom_a_thread_that_is_woken_meanwhile_has_its_new_class() {
    check(|| {
        let cpus = Cpus::new(Phase::Blocked);
        let waker = thread::spawn({
            let cpus = cpus.clone();
            move || cpus.wake(1)
        });
        cpus.reclassify();
        waker.join().unwrap();
        cpus.check();
    });
}

#[test]
fn loom_a_thread_that_moves_meanwhile_has_its_new_class() {
    check(|| {
        let cpus = Cpus::new(Phase::Queued);
        // SAFETY: this is the only token.
        cpus.enqueue(0, unsafe { Runnable::new(NonNull::from(cpus.entity)) });
        let thief = thread::spawn({
            let cpus = cpus.clone();
            move || cpus.steal(0, 1)
        });
        cpus.reclassify();
        thief.join().unwrap();
        cpus.check();
    });
}
