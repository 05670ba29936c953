//! CPUs that go offline at run time, and come back.
//!
//! A CPU leaves by itself: [`offline`] asks it, and it goes when it is idle, or where its work says that it may
//! ([`leave_if_asked`]). The steps are those of [`Departure`]: device interrupts go elsewhere, its inbox is closed and
//! emptied, so that each call to it has been run or is refused; its timers are served by the boot processor; its frames go
//! back. Then it keeps its registers on its stack, says that it is gone, and halts with interrupts off, on no stack at all.
//!
//! [`online`] wakes it the way that it came up first: INIT, start-up interrupt, trampoline. It enters below what it left on
//! its stack, goes through all stages, and returns to where it left. Stack, area and slot are its own throughout, and
//! there is one of it: INIT ends whatever it was doing. Its statistics go on where they were.
//!
//! One CPU goes or comes at a time: whoever finds another at it is told so and does not wait, for it may itself be asked to
//! go. One that does not leave in time stays if it has not noticed yet; one that does not come back in time is given up for
//! good, as at boot.
//!
//! What else waits for CPUs knows of it. [`run_on_all`](super::run_on_all) waits for all that were online when it began;
//! one that leaves its work comes back to it, or the work does not end. [`call_those_online`]
//! does not mind one that goes meanwhile. A panic stops those that are online; one that is about to be stops by itself.

mod error;
mod leave;
mod park;

use core::sync::atomic::{AtomicU32, Ordering};

pub use error::{Departure, OfflineError, OnlineError};
#[cfg(feature = "faults")]
pub(crate) use leave::close;
pub(crate) use leave::is_asked;
pub use leave::leave_if_asked;

pub(super) use leave::leave_idle;
pub(super) use park::go_on;

use super::{CallError, Cpu, bring_up, call, cpus, nmi, work};
use crate::apic::{self, Message};
use crate::config::{AP_PROGRESS_MS, LEAVE_MS};
use crate::cpu::{self, CpuId, CpuSet, IrqGuard};
use crate::interrupts::Vector;
use crate::sync::{Deadline, TimedOut};
use crate::time::halt_until;

/// One more than the CPU that takes another off or brings one back; 0 if none does.
static AT_IT: AtomicU32 = AtomicU32::new(0);

/// The right to take a CPU off or to bring one back.
struct Turn;

impl Turn {
    fn take() -> Result<Turn, CpuId> {
        let me = cpu::current().0 + 1;
        match AT_IT.compare_exchange(0, me, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(Turn),
            Err(other) => Err(CpuId(other - 1)),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        AT_IT.store(0, Ordering::Release);
    }
}

/// Takes a CPU offline, and returns when it is gone. From any other CPU, interrupts on, no lock held; it goes as soon as
/// it is idle or at a place where its work lets it go. The boot processor never goes, so one CPU always stays.
///
/// # Errors
/// See [`OfflineError`]. But for [`OfflineError::DidNotLeave`] beyond [`Departure::Asked`], the CPU is as online as before.
pub fn offline(cpu: CpuId) -> Result<(), OfflineError> {
    if !cpu::interrupts_enabled() {
        return Err(OfflineError::InterruptsOff);
    }
    let target = cpus().get(cpu.index()).ok_or(OfflineError::NotListed { cpu })?;
    if cpu == CpuId::BSP {
        return Err(OfflineError::IsBootCpu);
    }
    if cpu == cpu::current() {
        return Err(OfflineError::IsCaller { cpu });
    }
    let _turn = Turn::take().map_err(|by| OfflineError::Busy { by })?;
    if !target.is_online() {
        return Err(OfflineError::NotOnline { cpu });
    }
    target.set_departure(Departure::Asked);
    work::wake_one(target);
    let has_answered =
        || matches!(target.departure(), Departure::Settled | Departure::Gone | Departure::Refused);
    if wait(LEAVE_MS, has_answered).is_ok() && target.departure() != Departure::Refused {
        // It has still a few instructions to go.
        let _ = Deadline::after_ms(LEAVE_MS).wait_until(|| target.departure() == Departure::Gone);
    }
    if target.change_departure(Departure::Refused, Departure::Here) {
        return Err(leave::why_refused(cpu));
    }
    let stage = target.departure();
    if stage == Departure::Gone {
        log::debug!("cpu {cpu} is offline");
        return Ok(());
    }
    nmi::warn(target, "offline", format_args!("not offline {LEAVE_MS} ms after it was asked, {stage}"));
    // If it has not noticed by now, it never will.
    target.change_departure(Departure::Asked, Departure::Here);
    Err(OfflineError::DidNotLeave { cpu, stage, ms: LEAVE_MS })
}

/// Brings a CPU back that [`offline`] has taken off, and returns when it takes work. From any CPU, interrupts on, no lock
/// held.
///
/// # Errors
/// See [`OnlineError`]. After [`OnlineError::DidNotCome`] it never comes back.
pub fn online(cpu: CpuId) -> Result<(), OnlineError> {
    if !cpu::interrupts_enabled() {
        return Err(OnlineError::InterruptsOff);
    }
    let target = cpus().get(cpu.index()).ok_or(OnlineError::NotListed { cpu })?;
    let _turn = Turn::take().map_err(|by| OnlineError::Busy { by })?;
    match target.departure() {
        Departure::Here | Departure::Refused if target.is_online() => {
            return Err(OnlineError::IsOnline { cpu });
        }
        Departure::Here => return Err(OnlineError::NeverCame { cpu }),
        Departure::Gone => {}
        Departure::Lost => return Err(OnlineError::GivenUp { cpu }),
        stage => return Err(OnlineError::StillLeaving { cpu, stage }),
    }
    let again = bring_up::call_again(target).ok_or(OnlineError::GivenUp { cpu })?;
    let is_back = || target.departure() == Departure::Here;
    let ms = AP_PROGRESS_MS;
    // One that has come in time, though late, is waited for until it has settled.
    if wait(ms, is_back).is_ok() || (again.settle() && wait(ms, is_back).is_ok()) {
        log::debug!("cpu {cpu} is back");
        return Ok(());
    }
    target.set_departure(Departure::Lost);
    Err(OnlineError::DidNotCome { cpu, stage: again.last_seen(), ms })
}

/// As [`call`], for CPUs that may go offline meanwhile: one that takes no calls any more is left out. It has run no call
/// since it closed its inbox, and runs nothing else that comes from elsewhere.
///
/// # Errors
/// All but [`CallError::Offline`].
pub fn call_those_online<F: Fn() + Sync>(targets: &CpuSet, function: &F) -> Result<(), CallError> {
    match call::call(targets, function) {
        Err(CallError::Offline { .. }) => Ok(()),
        outcome => outcome,
    }
}

/// Halts until the condition holds. Whoever makes it true looks at [`AT_IT`] and wakes this CPU.
fn wait(ms: u64, condition: impl Fn() -> bool) -> Result<(), TimedOut> {
    halt_until(&Deadline::after_ms(ms), &condition)
        // If the host stopped all CPUs, the time went by in one jump, and nobody has had any of it.
        .or_else(|TimedOut| halt_until(&Deadline::after_ms(ms / 8), &condition))
}

/// Wakes the CPU that waits for this one to go or to come.
fn wake_who_waits(guard: &IrqGuard) {
    let Some(waiting) = AT_IT.load(Ordering::Acquire).checked_sub(1) else { return };
    // Whom this does not reach notices later by itself.
    let _ = apic::send(guard, cpus()[waiting as usize].entry.apic_id, Message::Fixed(Vector::WAKE));
}

impl Cpu {
    /// How far it is on its way out.
    pub fn departure(&self) -> Departure {
        Departure::ALL[self.departure.load(Ordering::Acquire) as usize % Departure::ALL.len()]
    }

    fn set_departure(&self, departure: Departure) {
        self.departure.store(departure as u32, Ordering::Release);
    }

    /// Whether it was as the first says, and now is as the second says.
    fn change_departure(&self, from: Departure, to: Departure) -> bool {
        let change =
            self.departure.compare_exchange(from as u32, to as u32, Ordering::AcqRel, Ordering::Acquire);
        change.is_ok()
    }
}
