//! The INIT-SIPI sequence: INIT to all APs, then the start-up IPI to all, and again to those that have not started (SDM
//! Vol. 3A, 9.4.4.1).
//!
//! Each AP is addressed by its APIC ID. The shorthand "all excluding self" would need one ICR write only, but would also
//! start CPUs that the firmware lists as disabled or does not list.

use core::sync::atomic::Ordering;
use core::time::Duration;

use ap_trampoline::{ApSlot, Stage};

use super::trampoline::Trampoline;
use crate::apic::{self, ApicError, Batch, Message};
use crate::cpu::registers::read_tsc;
use crate::cpu::{ApicId, IrqGuard};
use crate::sync::Deadline;
use crate::time::{self, timer};

/// The wait between INIT and the start-up IPI, in microseconds, for processors that need one: see
/// `Features::skip_init_delay`.
const INIT_US: u64 = 10_000;

/// When to send the start-up IPI again to APs that have not started, in microseconds since the first: 200 µs as by the
/// manual, and once more for a slow host.
const REPEAT_AFTER_US: [u64; 2] = [200, 10_000];

/// A record of an INIT-SIPI sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InitSipiSequence {
    /// The wait after INIT, in microseconds.
    pub init_delay_us: u64,
    /// The number of rounds of start-up IPIs, to all APs or to some.
    pub start_ups: u32,
    /// The error status register after INIT and after each round, combined by OR (SDM Vol. 3A, 11.5.3).
    pub error_status: u32,
    /// The number of INITs sent.
    pub inits: u32,
    /// The number of start-up IPIs sent.
    pub start_up_messages: u32,
    /// The first error of an INIT or start-up IPI that could not be sent.
    pub unsent: Option<ApicError>,
}

/// Sends INIT and start-up IPIs to the APs of these slots. Returns when all have started or after the last round; they
/// need not be online then.
///
/// **Context:** thread on the BSP or under the hotplug lock; interrupts on or off. Spins for about 20 ms at most.
pub(crate) fn send_all(slots: &[ApSlot], trampoline: &Trampoline) -> InitSipiSequence {
    let mut sequence = InitSipiSequence::default();
    send_to(Message::Init, slots.iter(), &mut sequence);
    if !trampoline.skip_init_delay() {
        Deadline::after_us(INIT_US).wait();
        sequence.init_delay_us = INIT_US;
    }
    let start_up = Message::StartUp(trampoline.start_up_page());
    let is_silent = |slot: &&ApSlot| trampoline.last_seen(slot) == Stage::SipiSent;
    let began = read_tsc();
    for slot in slots {
        slot.stamps[Stage::SipiSent as usize].store(read_tsc(), Ordering::Relaxed);
    }
    send_to(start_up, slots.iter(), &mut sequence);
    for after_us in REPEAT_AFTER_US {
        let elapsed_us = time::us_at(read_tsc()).saturating_sub(time::us_at(began));
        let rest_us = after_us.saturating_sub(elapsed_us);
        // An emulator that runs its CPUs in turns (QEMU's `-icount`) advances time to the next timer event while it
        // resets a CPU. An armed timer bounds that; without it the wait would be over before any AP ran. The callback
        // does nothing. If there is no memory for the timer, only the bound is lost.
        let bound = timer::after(Duration::from_micros(rest_us), |_| {}, 0);
        let outcome = Deadline::after_us(rest_us).wait_until(|| !slots.iter().any(|slot| is_silent(&slot)));
        bound.map(timer::cancel).ok();
        if outcome.is_ok() {
            break;
        }
        send_to(start_up, slots.iter().filter(is_silent), &mut sequence);
    }
    log::debug!(
        "INIT to {} CPUs, {} rounds of start-up IPIs to page {:#x}: {} CPUs not started",
        slots.len(),
        sequence.start_ups,
        trampoline.start_up_page(),
        slots.iter().filter(is_silent).count()
    );
    sequence
}

fn send_to<'a>(message: Message, slots: impl Iterator<Item = &'a ApSlot>, sequence: &mut InitSipiSequence) {
    let mut batch = Batch::new();
    let mut sent = 0;
    for slot in slots {
        match batch.send(&IrqGuard::new(), ApicId(slot.apic_id), message) {
            Ok(()) => sent += 1,
            // The CPU is reported as missing, unless a later start-up IPI reaches it.
            Err(error) => {
                log::warn!("cpu {}: {error}", slot.cpu);
                sequence.unsent.get_or_insert(error);
            }
        }
    }
    if message == Message::Init {
        sequence.inits += sent;
    } else {
        sequence.start_up_messages += sent;
        sequence.start_ups += 1;
    }
    let status = apic::read_error_status();
    if status != 0 {
        log::warn!("{message:?}: local APIC error status {status:#x}");
    }
    sequence.error_status |= status;
}
