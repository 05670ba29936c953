//! Non-maskable interrupts: stopping every CPU when one dies, and counting those that nobody sent.

use core::sync::atomic::{AtomicU64, Ordering};

use super::cpus;
use crate::apic;
use crate::config::PANIC_STOP_MS;
use crate::cpu::registers::halt_forever;
use crate::cpu::{self, IrqGuard};
use crate::interrupts::{self, Frame, Vector};
use crate::panic;
use crate::sync::Deadline;

/// NMIs that came from outside.
static NMIS: AtomicU64 = AtomicU64::new(0);

/// How many NMIs came that no CPU of ours had sent.
pub fn nmis() -> u64 {
    NMIS.load(Ordering::Relaxed)
}

pub fn register() {
    interrupts::register(Vector::NMI, nmi);
    panic::set_stop_others(stop_others);
}

/// Takes no lock and sends nothing: it may have struck anywhere.
fn nmi(_: &mut Frame) {
    if panic::is_dying() {
        if let Some(cpu) = cpus().get(cpu::current().index()) {
            cpu.stopped.store(true, Ordering::Release);
        }
        halt_forever();
    }
    NMIS.fetch_add(1, Ordering::Relaxed);
}

/// Stops all other CPUs by NMI and waits a moment for them; one that does not stop is beyond help.
fn stop_others() {
    let guard = IrqGuard::new();
    if !apic::is_enabled(&guard) {
        return;
    }
    let others = || super::online().filter(|cpu| cpu.id() != cpu::current());
    for cpu in others() {
        apic::send_nmi_in_emergency(cpu.entry.apic_id);
    }
    let _ = Deadline::after_ms(PANIC_STOP_MS)
        .wait_until(|| others().all(|cpu| cpu.stopped.load(Ordering::Acquire)));
}
