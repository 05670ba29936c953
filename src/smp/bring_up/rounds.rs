//! The calls: INIT to all, then the start-up interrupt to all, and again to those that have left no sign of life (SDM
//! Vol. 3A, 9.4.4.1).
//!
//! Each CPU is called by its ID. The shorthand "all excluding self" would take one write for all of them, but reach those
//! as well that the firmware lists as disabled, or does not list: some are broken, some are another owner's.

use core::sync::atomic::Ordering;
use core::time::Duration;

use ap_trampoline::{Slot, Stage};

use super::trampoline::Trampoline;
use crate::apic::{self, ApicError, Batch, Message};
use crate::cpu::registers::read_tsc;
use crate::cpu::{ApicId, IrqGuard};
use crate::sync::Deadline;
use crate::time::{self, timer};

/// The wait between INIT and the start-up interrupt, for processors that need one: see `Features::skip_init_delay`.
const INIT_US: u64 = 10_000;

/// When to send the start-up interrupt again to those that have left no sign of life: the manual's 200 µs after the
/// first, and once more for hosts that were slow to run the processor.
const REPEAT_AFTER_US: [u64; 2] = [200, 10_000];

/// How the calls went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rounds {
    /// How long was waited after INIT, in microseconds.
    pub init_delay_us: u64,
    /// How many times start-up interrupts were sent, to all or to some.
    pub start_ups: u32,
    /// What the error status register held after any of the rounds, all in one (SDM Vol. 3A, 11.5.3).
    pub error_status: u32,
    /// INITs that were sent, to all CPUs together.
    pub inits: u32,
    /// Start-up interrupts that were sent, to all CPUs together.
    pub start_up_messages: u32,
    /// Why a message could not be sent: the first such error.
    pub unsent: Option<ApicError>,
}

/// Calls the CPUs of these slots, and returns when all have left a sign of life or the last round is over; not when they
/// are online. Interrupts may be on.
pub fn call(slots: &[Slot], trampoline: &Trampoline) -> Rounds {
    let mut rounds = Rounds::default();
    send_to(Message::Init, slots.iter(), &mut rounds);
    if !trampoline.skip_init_delay() {
        Deadline::after_us(INIT_US).wait();
        rounds.init_delay_us = INIT_US;
    }
    let start_up = Message::StartUp(trampoline.start_up_page());
    let is_silent = |slot: &&Slot| trampoline.last_seen(slot) == Stage::SipiSent;
    let began = read_tsc();
    for slot in slots {
        slot.stamps[Stage::SipiSent as usize].store(read_tsc(), Ordering::Relaxed);
    }
    send_to(start_up, slots.iter(), &mut rounds);
    for after_us in REPEAT_AFTER_US {
        let elapsed_us = time::us_at(read_tsc()).saturating_sub(time::us_at(began));
        let rest_us = after_us.saturating_sub(elapsed_us);
        // An emulator that runs its CPUs in turns (QEMU's `-icount`) takes the time to its next timer event for the reset
        // of a CPU. An armed timer bounds that; without one the wait would be over before any AP ran. The interrupt needs
        // no handling, and without the memory for a timer nothing but that bound is lost.
        let bound = timer::after(Duration::from_micros(rest_us), |_| {}, 0);
        let outcome = Deadline::after_us(rest_us).wait_until(|| !slots.iter().any(|slot| is_silent(&slot)));
        bound.map(timer::cancel).ok();
        if outcome.is_ok() {
            break;
        }
        send_to(start_up, slots.iter().filter(is_silent), &mut rounds);
    }
    log::debug!(
        "INIT to {} CPUs, {} rounds of start-up interrupts to page {:#x}: {} have not woken",
        slots.len(),
        rounds.start_ups,
        trampoline.start_up_page(),
        slots.iter().filter(is_silent).count()
    );
    rounds
}

fn send_to<'a>(message: Message, slots: impl Iterator<Item = &'a Slot>, rounds: &mut Rounds) {
    let mut batch = Batch::new();
    let mut sent = 0;
    for slot in slots {
        match batch.send(&IrqGuard::new(), ApicId(slot.apic_id), message) {
            Ok(()) => sent += 1,
            // Its CPU will be found missing, unless a later message reaches it.
            Err(error) => {
                log::warn!("cpu {}: {error}", slot.cpu);
                rounds.unsent.get_or_insert(error);
            }
        }
    }
    if message == Message::Init {
        rounds.inits += sent;
    } else {
        rounds.start_up_messages += sent;
        rounds.start_ups += 1;
    }
    let status = apic::read_error_status();
    if status != 0 {
        log::warn!("{message:?}: the local APIC reports error {status:#x}");
    }
    rounds.error_status |= status;
}
