//! CPU hotplug. The states, their transitions and the protocol are in [`sync::hotplug`](crate::sync::hotplug). This
//! module connects it to CPUs, interrupts and time.
//!
//! [`offline`] requests that a CPU go offline. The CPU does so itself, in its idle loop or at an [`offline_point`] of its
//! work. It (1) reroutes its device interrupts to the BSP, (2) leaves the set of online CPUs, (3) stops its timer and
//! waits until no interrupt is pending, (4) runs all calls in its queue and closes it, (5) migrates its timers to the
//! BSP, (6) frees its cached frames, (7) saves its registers on its stack, sets [`HotplugState::Offline`], and halts with
//! interrupts off, without using a stack.
//!
//! [`online`] restarts the CPU by INIT, start-up IPI and trampoline. The CPU enters below the context on its stack,
//! passes all stages of bring-up, and returns to step 7. Its stack, area and slot remain its own. INIT ends any handler
//! that it was in. Its statistics continue.
//!
//! Threads that may run on no other CPU keep the CPU online, unless the caller of [`offline_with`] breaks their affinity.
//!
//! One operation runs at a time. A concurrent request returns `Busy` and does not wait, since its own CPU may be the
//! target. A CPU that does not acknowledge the request in time stays online. A CPU that is late after that is reported,
//! and completes the operation by itself. Only a CPU that does not reach its bring-up slot is given up, permanently, as
//! at boot.
//!
//! Other operations take hotplug into account. [`on_each_cpu`](super::on_each_cpu) waits for all CPUs that were online
//! when it began, also for one that goes offline inside its work. [`call_online`] skips a CPU that goes offline. A panic
//! stops the CPUs that are online; a CPU that is coming online halts by itself.

mod error;
mod lock;
mod suspend;
mod teardown;

use core::cell::{Cell, OnceCell};

pub use super::pinned::{Affinity, PinnedThread, PinnedThreads};
pub use crate::sync::hotplug::HotplugState;
pub use error::{OfflineError, OnlineError};
#[cfg(feature = "faults")]
pub(crate) use lock::is_operation_active;
#[cfg(feature = "faults")]
pub(crate) use teardown::close;
pub(crate) use teardown::is_offline_requested;
pub use teardown::offline_point;

pub(super) use suspend::resume;
pub(super) use teardown::offline_from_idle;

use super::bring_up::{self, RestartedAp};
use super::{CallError, Cpu, call, cpus, nmi, scheduler, wake};
use crate::apic::ApicError;
use crate::config::{AP_BRINGUP_TIMEOUT_MS, CPU_OFFLINE_TIMEOUT_MS};
use crate::cpu::{self, CpuId, CpuSet};
use crate::sync::Timeout;
use crate::sync::hotplug::{OfflineOutcome, OnlineOutcome, Requester, Starter, bring_online, take_offline};
use crate::time::halt_for;
use lock::LOCK;

/// Takes a CPU offline, and returns when it is. The CPU goes offline when it is idle or at an offline point of its work.
/// The BSP never goes offline.
///
/// **Context:** thread on another CPU, interrupts on, no lock held. Halts, up to twice [`CPU_OFFLINE_TIMEOUT_MS`].
///
/// # Errors
/// See [`OfflineError`]. The CPU is online as before, except for [`OfflineError::OfflineInProgress`].
pub fn offline(cpu: CpuId) -> Result<(), OfflineError> {
    offline_with(cpu, Affinity::Keep)
}

/// As [`offline`], and says what happens to threads that may run on no other CPU.
///
/// **Context:** as for [`offline`].
///
/// # Errors
/// As for [`offline`].
pub fn offline_with(cpu: CpuId, affinity: Affinity) -> Result<(), OfflineError> {
    offline_by(cpu, affinity, wake::wake_cpu)
}

/// As [`offline`], and wakes the CPU by an interrupt after which its own thread does not look for threads.
#[cfg(feature = "selftest")]
pub(crate) fn offline_by_wake(cpu: CpuId) -> Result<(), OfflineError> {
    offline_by(cpu, Affinity::Keep, |target| {
        wake::wake_waiter(target);
        Ok(())
    })
}

fn offline_by(
    cpu: CpuId,
    affinity: Affinity,
    wake_target: fn(&Cpu) -> Result<(), ApicError>,
) -> Result<(), OfflineError> {
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
    let _pins = Pins::hold(cpu, affinity)?;
    let unsent: Cell<Option<ApicError>> = Cell::new(None);
    let wake = || unsent.set(wake_target(target).err());
    let wake_again = || {
        if unsent.get().is_some() {
            wake();
        }
    };
    let waiting = RequesterWait { ms: CPU_OFFLINE_TIMEOUT_MS, at_recheck: &wake_again };
    let ms = CPU_OFFLINE_TIMEOUT_MS;
    match take_offline(&target.hotplug, &waiting, wake) {
        OfflineOutcome::Offline => {
            log::debug!("cpu {cpu} is offline");
            Ok(())
        }
        OfflineOutcome::NotOnline(_) => Err(OfflineError::NotOnline { cpu }),
        OfflineOutcome::Refused => Err(teardown::why_refused(cpu)),
        OfflineOutcome::Withdrawn => Err(match unsent.get() {
            Some(error) => OfflineError::NotSent { cpu, error },
            None => {
                warn(target, HotplugState::OfflinePending);
                OfflineError::NotAcknowledged { cpu, ms }
            }
        }),
        OfflineOutcome::InProgress(stage) => {
            warn(target, stage);
            Err(OfflineError::OfflineInProgress { cpu, stage, ms: 2 * ms })
        }
    }
}

/// While it exists, no thread is pinned to the CPU that goes offline; nor afterwards while the hotplug state says that the CPU has acknowledged
/// and is late.
struct Pins(CpuId);

impl Pins {
    fn hold(cpu: CpuId, affinity: Affinity) -> Result<Pins, OfflineError> {
        let prepared = scheduler::prepare_offline(cpu, affinity);
        prepared.map_err(|threads| OfflineError::Pinned { cpu, threads })?;
        Ok(Pins(cpu))
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        scheduler::finish_offline(self.0);
    }
}

fn warn(target: &'static Cpu, stage: HotplugState) {
    nmi::warn(
        target,
        "offline",
        format_args!("not offline {CPU_OFFLINE_TIMEOUT_MS} ms after the request, {stage}"),
    );
}

/// Brings a CPU online that [`offline`] has taken offline, and returns when it is.
///
/// **Context:** thread, interrupts on, no lock held. Halts, up to [`AP_BRINGUP_TIMEOUT_MS`] for each stage of bring-up.
///
/// # Errors
/// See [`OnlineError`]. After [`OnlineError::NoProgress`] the CPU never comes online again; after
/// [`OnlineError::OnlineInProgress`] it comes online by itself.
pub fn online(cpu: CpuId) -> Result<(), OnlineError> {
    if !cpu::interrupts_enabled() {
        return Err(OnlineError::InterruptsOff);
    }
    let target = cpus().get(cpu.index()).ok_or(OnlineError::NotListed { cpu })?;
    let _lock = LOCK.try_lock(cpu::current()).map_err(|by| OnlineError::Busy { by })?;
    let restart = Restart {
        target,
        waiting: RequesterWait { ms: AP_BRINGUP_TIMEOUT_MS, at_recheck: &|| {} },
        again: OnceCell::new(),
    };
    let last_seen = || restart.again.get().map_or(super::Stage::SipiSent, RestartedAp::last_seen);
    match bring_online(&target.hotplug, &restart) {
        OnlineOutcome::Online => {
            log::debug!("cpu {cpu} is online");
            Ok(())
        }
        OnlineOutcome::NotOffline(state) => Err(why_not_offline(cpu, state)),
        OnlineOutcome::NmiPending => Err(OnlineError::NmiPending { cpu }),
        OnlineOutcome::NotSent(error) => Err(OnlineError::NotSent { cpu, error }),
        OnlineOutcome::Failed => {
            Err(OnlineError::NoProgress { cpu, stage: last_seen(), ms: AP_BRINGUP_TIMEOUT_MS })
        }
        OnlineOutcome::InProgress(_) => Err(OnlineError::OnlineInProgress { cpu, stage: last_seen() }),
    }
}

fn why_not_offline(cpu: CpuId, state: HotplugState) -> OnlineError {
    match state {
        HotplugState::Online | HotplugState::OfflinePending | HotplugState::Refused => {
            OnlineError::IsOnline { cpu }
        }
        HotplugState::NotStarted => OnlineError::NeverStarted { cpu },
        HotplugState::Failed => OnlineError::Failed { cpu },
        HotplugState::Restarting | HotplugState::Resuming => {
            OnlineError::OnlineInProgress { cpu, stage: super::Stage::Online }
        }
        stage => OnlineError::OfflineInProgress { cpu, stage },
    }
}

/// As [`call`](super::call()), but skips targets that are offline or go offline. Such a CPU has run no call, and nothing
/// else of other CPUs, since it closed its call queue.
///
/// **Context:** as for [`call`](super::call()).
///
/// # Errors
/// All of [`CallError`] but [`CallError::Offline`].
pub fn call_online<F: Fn() + Sync>(targets: &CpuSet, function: &F) -> Result<(), CallError> {
    match call::call(targets, function) {
        Err(CallError::Offline { .. }) => Ok(()),
        outcome => outcome,
    }
}

/// The waits of a requester. It halts, and the target wakes it by [`wake_requester`].
struct RequesterWait<'a> {
    ms: u64,
    /// Called from time to time while it waits.
    at_recheck: &'a dyn Fn(),
}

impl Requester for RequesterWait<'_> {
    fn wait(&self, is_over: impl Fn() -> bool) -> bool {
        halt_for(&mut Timeout::after_ms(self.ms), is_over, self.at_recheck).is_ok()
    }

    fn spin(&self, is_over: impl Fn() -> bool) -> bool {
        Timeout::after_ms(self.ms).wait_until(is_over).is_ok()
    }
}

/// The restart of a CPU.
struct Restart<'a> {
    target: &'static Cpu,
    waiting: RequesterWait<'a>,
    again: OnceCell<RestartedAp>,
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
        let again = bring_up::restart_ap(self.target)?;
        self.again.get_or_init(|| again);
        Ok(())
    }

    fn stages(&self) -> u32 {
        self.again.get().map_or(0, |again| again.last_seen() as u32)
    }

    fn finalize_slot(&self) -> bool {
        self.again.get().is_some_and(RestartedAp::finalize_slot)
    }
}

impl Cpu {
    /// Returns the hotplug state. It may have changed when the caller uses it. **Context:** any.
    pub fn hotplug_state(&self) -> HotplugState {
        self.hotplug.state()
    }

    /// Returns whether it has acknowledged the request to go offline, and is not offline yet.
    #[inline]
    pub(crate) fn is_going_offline(&self) -> bool {
        self.hotplug.is_going_offline()
    }
}
