//! The target's side of hotplug: each step of [`HotplugState`], offline and back online.

use core::sync::atomic::Ordering;

use super::super::{Cpu, call, call_self, cpus, online_set, scheduler};
use super::error::OfflineError;
use super::lock::wake_requester;
use super::suspend;
use crate::apic::{self, io_apic};
use crate::config::CPU_OFFLINE_TIMEOUT_MS;
use crate::cpu::{self, CpuId, CpuSet, IrqGuard};
use crate::sync::hotplug::{CpuHotplug, HotplugState, StateWord};
use crate::sync::{SpinLockIrq, Timeout};
use crate::time::timer::{self, DetachedTimers};
use crate::{console, memory, patchable, trace};

/// The error of the last CPU that refused to go offline.
static REFUSAL: SpinLockIrq<Option<OfflineError>> = SpinLockIrq::new(None);
crate::name_lock!(REFUSAL);

/// Takes the error of the CPU that has refused to go offline.
pub(crate) fn why_refused(cpu: CpuId) -> OfflineError {
    REFUSAL.lock().take().unwrap_or(OfflineError::NotOnline { cpu })
}

patchable! {
    /// Returns whether this CPU, which is `me`, is requested to go offline. **Context:** thread.
    pub(crate) fn is_offline_requested(me: &Cpu) -> bool {
        me.hotplug.is(HotplugState::OfflinePending)
    }

    /// Closes this CPU's call queue and runs the calls in it, and its calls to itself. From then on the CPU uses no mapping, except
    /// between `end_lazy` and `begin_lazy`, and no other CPU waits for its flushes. **Context:** thread, interrupts off.
    pub(crate) fn close(guard: &IrqGuard) {
        call::close(guard);
        call_self::run(guard);
        memory::begin_lazy(guard);
    }
}

/// Goes offline if another CPU has requested it, and returns when this CPU is online again. Returns whether it was
/// offline. The callbacks of this CPU's timers that expire in between run on the BSP.
///
/// **Context:** thread, interrupts on, no lock held, nothing in progress that other CPUs wait for. Halts until the CPU is
/// online again.
#[inline]
pub fn offline_point() -> bool {
    // A thread of the scheduler is migrated instead, by the CPU's own thread.
    if cpu::thread::current_scheduled() != 0 {
        return false;
    }
    let me = &cpus()[cpu::current().index()];
    is_offline_requested(me) && go_offline(me, false)
}

/// Goes offline from the idle loop. Returns at once if this CPU has been offered work.
pub(crate) fn offline_from_idle(me: &'static Cpu) {
    go_offline(me, true);
}

#[cold]
fn go_offline(me: &'static Cpu, is_idle: bool) -> bool {
    // Interrupts are still on, so this CPU takes the interrupts that devices have sent it before.
    match io_apic::move_all(me.entry.apic_id, cpus()[CpuId::BSP.index()].entry.apic_id) {
        Ok(0) => {}
        // An edge on a masked pin is lost. The serial port is the only device with an edge-triggered interrupt.
        Ok(_) => console::renew_interrupt(),
        Err(error) => {
            refuse(me, OfflineError::Lines { cpu: me.id(), error });
            return false;
        }
    }
    let mut guard = IrqGuard::new();
    // The request may have been withdrawn, or this CPU offered work.
    if !online_set::remove(me, is_idle) {
        return false;
    }
    scheduler::evacuate(&guard);
    trace!(CpuOffline, me.id().0.into());
    let timers = timer::detach(&guard);
    let migrated = drain_pending_irqs(me, &mut guard).and_then(|()| {
        // The last step that runs code of other CPUs. Until here this CPU takes part in shootdowns, though it is not in
        // the online set, since that code may use any mapping. An IPI that is pending afterwards belongs to a call that
        // has been run.
        close(&guard);
        me.hotplug.step(StateWord::advance);
        // What is cached, and threads that interrupts or the drop of a cached object have woken since. Control blocks are in
        // mappings, and so may be what objects use.
        memory::end_lazy(&guard);
        memory::drain_this_cpu(&guard);
        scheduler::evacuate(&guard);
        memory::begin_lazy(&guard);
        // Not before: each of these steps may have armed a timer.
        migrate_timers(me, timers)
    });
    let is_offline = migrated.is_ok();
    if is_offline {
        // Memory that the last steps have freed. The caches of the program have nothing any more: no code of it has run since.
        memory::drain_this_cpu(&guard);
        // What is left, up to the halt, accesses no mapping.
        memory::begin_absent(&guard);
        me.hotplug.step(StateWord::advance);
        wake_requester();
        // SAFETY: both pointers are to this CPU's own atomics. `restart_ap` makes the CPU return on the same stack, below
        // the context. The addition is the transition `StateWord::halt` from `Migrated`, which the step above has set; no
        // other CPU changes the state from there.
        unsafe { suspend::suspend(me.context.as_ptr(), me.hotplug.as_ptr(), CpuHotplug::HALT) };
        me.hotplug.step(StateWord::resume);
    }
    // Here the CPU has passed all stages of `bring_up`, on the stack that it left; or it has refused to go offline.
    call::open_one(&guard);
    online_set::insert(me);
    // Not before the call queue is open: from here on other CPUs wait for this CPU's flushes, and request them by calls.
    memory::end_lazy(&guard);
    scheduler::reopen(&guard);
    // The last steps may have made calls to this CPU itself, whose interrupt INIT has cleared.
    call_self::run(&guard);
    timer::reattach(&guard);
    trace!(CpuOnline, me.id().0.into());
    match migrated {
        Ok(()) => {
            me.hotplug.step(StateWord::complete);
            wake_requester();
        }
        Err(error) => refuse(me, error),
    }
    is_offline
}

/// Refuses the request because of `error`, unless the request was withdrawn before.
fn refuse(me: &Cpu, error: OfflineError) {
    // Before the state changes, upon which the requester reads it.
    *REFUSAL.lock() = Some(error);
    if me.hotplug.apply(StateWord::refuse).is_ok() {
        wake_requester();
    }
}

/// Takes all pending interrupts. Device interrupts are rerouted, but those sent before may still be in flight. Call IPIs
/// arrive until the call queue is closed, from CPUs that have found this one online.
///
/// # Errors
/// [`OfflineError::InterruptPending`] if an interrupt is still pending after half of [`CPU_OFFLINE_TIMEOUT_MS`].
///
/// # Panics
/// If interrupts were off before this guard.
fn drain_pending_irqs(me: &Cpu, guard: &mut IrqGuard) -> Result<(), OfflineError> {
    let drained = Timeout::after_ms(CPU_OFFLINE_TIMEOUT_MS / 2).wait_until(|| {
        let is_drained = !apic::is_any_requested(guard);
        if !is_drained {
            guard.window(core::hint::spin_loop);
        }
        is_drained
    });
    drained.map_err(|_| OfflineError::InterruptPending { cpu: me.id(), ms: CPU_OFFLINE_TIMEOUT_MS / 2 })?;
    me.hotplug.step(StateWord::advance);
    Ok(())
}

/// Migrates this CPU's timers to the BSP, if there are any.
fn migrate_timers(me: &Cpu, timers: DetachedTimers) -> Result<(), OfflineError> {
    let cpu = me.id();
    if timers.is_empty() {
        return Ok(());
    }
    let outcome = SpinLockIrq::new(Ok(()));
    call::call(&CpuSet::of(CpuId::BSP), &|| *outcome.lock() = timer::adopt(&IrqGuard::new(), timers))
        .map_err(|error| OfflineError::Call { cpu, error })?;
    let outcome = *outcome.lock();
    outcome.map_err(|error| OfflineError::Timers { cpu, error })
}

impl Cpu {
    /// Returns the stack pointer that the CPU has saved, if it has been offline.
    pub(in super::super) fn context(&self) -> Option<u64> {
        Some(self.context.load(Ordering::Acquire)).filter(|context| *context != 0)
    }

    /// Returns whether it has been offline.
    #[cfg(feature = "faults")]
    pub(crate) fn is_restarted(&self) -> bool {
        self.context().is_some()
    }
}
