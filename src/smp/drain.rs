//! Asking the other CPUs to give back the frames that they keep.
//!
//! Each request is a number, and a CPU that has drained its magazine says up to which number it has answered; so any
//! CPUs may ask any others at the same time, and one drain answers all who asked before it. Whoever waits has
//! interrupts on and so answers others meanwhile: two CPUs that ask each other both get their answer.

use core::sync::atomic::{AtomicU64, Ordering};

use super::online;
use crate::apic::{self, Message};
use crate::config::REQUEST_MS;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{self, IrqGuard};
use crate::interrupts::{self, Frame, Vector};
use crate::memory;
use crate::per_cpu;
use crate::sync::Deadline;

per_cpu! {
    /// How many requests this CPU has got.
    static ASKED: AtomicU64 = AtomicU64::new(0);
    /// Up to which it has answered.
    static ANSWERED: AtomicU64 = AtomicU64::new(0);
}

/// Requests that a CPU did not answer in time.
static UNANSWERED: AtomicU64 = AtomicU64::new(0);

/// How many requests were not answered in time.
pub fn unanswered() -> u64 {
    UNANSWERED.load(Ordering::Relaxed)
}

pub fn register() {
    interrupts::register(Vector::DRAIN, answer);
    memory::set_drain_others(drain_others);
}

fn answer(_: &mut Frame) {
    let guard = IrqGuard::new();
    ASKED.with(&guard, |asked| {
        let asked = asked.load(Ordering::Acquire);
        memory::drain_this_cpu(&guard);
        ANSWERED.with(&guard, |answered| answered.store(asked, Ordering::Release));
    });
    apic::end_of_interrupt();
}

/// Interrupts on. Waits for each online CPU, at most until the deadline.
fn drain_others() {
    let me = cpu::current();
    let others = || online().filter(|cpu| cpu.id() != me);
    let deadline = Deadline::after_ms(REQUEST_MS);
    for cpu in others() {
        if let Some(asked) = cpu.get(ASKED) {
            asked.fetch_add(1, Ordering::AcqRel);
            // One that is not delivered is not answered either, and counted below.
            let _ = apic::send(&IrqGuard::new(), cpu.entry.apic_id, Message::Fixed(Vector::DRAIN));
        }
    }
    // A CPU answers all requests that it has got, so those that others made since count for this one as well.
    for cpu in others() {
        let (Some(asked), Some(answered)) = (cpu.get(ASKED), cpu.get(ANSWERED)) else { continue };
        let ticket = asked.load(Ordering::Acquire);
        if deadline.wait_until(|| answered.load(Ordering::Acquire) >= ticket).is_err() {
            UNANSWERED.fetch_add(1, Ordering::Relaxed);
            log::error!("cpu {}: no answer to a request for its frames in {REQUEST_MS} ms", cpu.id());
        }
    }
}
