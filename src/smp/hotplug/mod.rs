//! CPU hotplug: CPUs that go offline at run time, and come back. The states, their transitions and the protocol are in
//! [`sync::hotplug`](crate::sync::hotplug); this module ties them to CPUs, interrupts and time.
//!
//! [`offline`] requests that a CPU go offline. The CPU does so itself, when it is idle or at a [`leave_if_asked`] of its work.
//! It (1) routes its device interrupts to the boot processor, (2) closes its call queue, so that each call to it has been run
//! or is refused, (3) takes all pending interrupts, (4) has its timers served by the boot processor and frees its cached
//! frames, (5) saves its registers on its stack, sets [`HotplugState::Offline`], and halts with interrupts off, without a
//! stack.
//!
//! [`online`] restarts it the way that it came up first: INIT, start-up interrupt, trampoline. It enters below what it left
//! on its stack, goes through all stages of bring-up, and returns to where it left. Stack, area and slot are its own
//! throughout; INIT ends whatever it was doing. Its statistics continue.
//!
//! One operation runs at a time; a concurrent request returns `Busy` and does not wait, since its own CPU may be the one that
//! is asked to go. A CPU that does not acknowledge the request in time stays online; one that is late after that is reported
//! as still leaving or returning, and arrives later by itself. Only a CPU that does not come as far as its bring-up slot is
//! given up, permanently, as at boot.
//!
//! Other waits for CPUs take this into account. [`run_on_all`](super::run_on_all) waits for all that were online when it
//! began; a CPU that leaves its work comes back to it, or the work does not end. [`call_those_online`] ignores a CPU that goes
//! offline meanwhile. A panic stops the CPUs that are online; one that is about to be stops by itself.

mod error;
mod leave;
mod park;

use core::cell::{Cell, OnceCell};

pub use crate::sync::hotplug::HotplugState;
pub use error::{OfflineError, OnlineError};
#[cfg(feature = "faults")]
pub(crate) use leave::close;
pub(crate) use leave::is_asked;
pub use leave::leave_if_asked;

pub(super) use leave::leave_idle;
pub(super) use park::go_on;

use super::bring_up::{self, Again};
use super::{CallError, Cpu, call, cpus, nmi, work};
use crate::apic::ApicError;
use crate::config::{AP_PROGRESS_MS, LEAVE_MS};
use crate::cpu::{self, CpuId, CpuSet};
use crate::sync::Timeout;
use crate::sync::hotplug::{HotplugLock, Outcome, Requester, Returned, Starter, bring_online, take_offline};
use crate::time::halt_for;

/// The right to take a CPU offline or to bring one back.
static LOCK: HotplugLock = HotplugLock::new();

/// Takes a CPU offline, and returns when it is. It goes as soon as it is idle or at a place where its work lets it go. The boot
/// processor never goes offline, so one CPU always stays.
///
/// **Context:** thread on another CPU, interrupts on, no lock held. Halts, up to twice [`LEAVE_MS`].
///
/// # Errors
/// See [`OfflineError`]. Except for [`OfflineError::StillLeaving`], the CPU is as online as before.
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
    let _lock = LOCK.try_lock(cpu::current()).map_err(|by| OfflineError::Busy { by })?;
    if !target.is_online() {
        return Err(OfflineError::NotOnline { cpu });
    }
    let unsent: Cell<Option<ApicError>> = Cell::new(None);
    let wake = || unsent.set(work::wake_one(target).err());
    let wake_again = || {
        if unsent.get().is_some() {
            wake();
        }
    };
    let waiting = Waiting { ms: LEAVE_MS, at_recheck: &wake_again };
    let ms = LEAVE_MS;
    match take_offline(&target.hotplug, &waiting, wake) {
        Outcome::Offline => {
            log::debug!("cpu {cpu} is offline");
            Ok(())
        }
        Outcome::NotOnline(_) => Err(OfflineError::NotOnline { cpu }),
        Outcome::Refused => Err(leave::why_refused(cpu)),
        Outcome::Withdrawn => Err(match unsent.get() {
            Some(error) => OfflineError::NotSent { cpu, error },
            None => {
                warn(target, HotplugState::OfflinePending);
                OfflineError::NotAcknowledged { cpu, ms }
            }
        }),
        Outcome::InProgress(stage) => {
            warn(target, stage);
            Err(OfflineError::StillLeaving { cpu, stage, ms: 2 * ms })
        }
    }
}

fn warn(target: &'static Cpu, stage: HotplugState) {
    nmi::warn(target, "offline", format_args!("not offline {LEAVE_MS} ms after it was asked, {stage}"));
}

/// Brings a CPU back that [`offline`] has taken offline, and returns when it takes work.
///
/// **Context:** thread, interrupts on, no lock held. Halts until the CPU has reached no further stage of bring-up for
/// [`AP_PROGRESS_MS`], at most so long for each stage.
///
/// # Errors
/// See [`OnlineError`]. After [`OnlineError::DidNotCome`] the CPU never comes back; after [`OnlineError::StillReturning`] it
/// comes by itself.
pub fn online(cpu: CpuId) -> Result<(), OnlineError> {
    if !cpu::interrupts_enabled() {
        return Err(OnlineError::InterruptsOff);
    }
    let target = cpus().get(cpu.index()).ok_or(OnlineError::NotListed { cpu })?;
    let _lock = LOCK.try_lock(cpu::current()).map_err(|by| OnlineError::Busy { by })?;
    let restart = Restart {
        target,
        waiting: Waiting { ms: AP_PROGRESS_MS, at_recheck: &|| {} },
        again: OnceCell::new(),
    };
    let last_seen = || restart.again.get().map_or(super::Stage::SipiSent, Again::last_seen);
    match bring_online(&target.hotplug, &restart) {
        Returned::Online => {
            log::debug!("cpu {cpu} is back");
            Ok(())
        }
        Returned::NotOffline(state) => Err(why_not_offline(cpu, state)),
        Returned::NmiPending => Err(OnlineError::NmiPending { cpu }),
        Returned::NotSent(error) => Err(OnlineError::NotSent { cpu, error }),
        Returned::Failed => Err(OnlineError::DidNotCome { cpu, stage: last_seen(), ms: AP_PROGRESS_MS }),
        Returned::InProgress(_) => Err(OnlineError::StillReturning { cpu, stage: last_seen() }),
    }
}

fn why_not_offline(cpu: CpuId, state: HotplugState) -> OnlineError {
    match state {
        HotplugState::Online | HotplugState::OfflinePending | HotplugState::Refused => {
            OnlineError::IsOnline { cpu }
        }
        HotplugState::NotStarted => OnlineError::NeverCame { cpu },
        HotplugState::Failed => OnlineError::GivenUp { cpu },
        HotplugState::Restarting | HotplugState::Resuming => {
            OnlineError::StillReturning { cpu, stage: super::Stage::Online }
        }
        stage => OnlineError::StillLeaving { cpu, stage },
    }
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

/// How a requester waits: it halts, and the target wakes it by [`wake_requester`].
struct Waiting<'a> {
    ms: u64,
    /// What it does from time to time meanwhile.
    at_recheck: &'a dyn Fn(),
}

impl Requester for Waiting<'_> {
    fn wait(&self, is_over: impl Fn() -> bool) -> bool {
        halt_for(&mut Timeout::after_ms(self.ms), is_over, self.at_recheck).is_ok()
    }

    fn spin(&self, is_over: impl Fn() -> bool) -> bool {
        Timeout::after_ms(self.ms).wait_until(is_over).is_ok()
    }
}

/// A CPU that is restarted.
struct Restart<'a> {
    target: &'static Cpu,
    waiting: Waiting<'a>,
    again: OnceCell<Again>,
}

impl Requester for Restart<'_> {
    fn wait(&self, is_over: impl Fn() -> bool) -> bool {
        self.waiting.wait(is_over)
    }

    fn spin(&self, is_over: impl Fn() -> bool) -> bool {
        self.waiting.spin(is_over)
    }
}

impl Starter for Restart<'_> {
    type Error = ApicError;

    fn start(&self) -> Result<(), ApicError> {
        let again = bring_up::call_again(self.target)?;
        self.again.get_or_init(|| again);
        Ok(())
    }

    fn stages(&self) -> u32 {
        self.again.get().map_or(0, |again| again.last_seen() as u32)
    }

    fn settle(&self) -> bool {
        self.again.get().is_some_and(Again::settle)
    }
}

/// Whether a CPU is being taken offline or brought back.
#[cfg(feature = "faults")]
pub(crate) fn is_under_way() -> bool {
    LOCK.holder().is_some()
}

/// Wakes the CPU that waits for this one to go or to come.
fn wake_requester() {
    if let Some(requester) = LOCK.holder() {
        work::wake_waiting(&cpus()[requester.index()]);
    }
}

impl Cpu {
    /// How far it is on its way offline or back. It may have changed by the time that this is used.
    pub fn hotplug_state(&self) -> HotplugState {
        self.hotplug.state()
    }
}
