//! The side of the CPU that goes offline: each step of [`HotplugState`](super::HotplugState), and back.

use core::sync::atomic::Ordering;

use super::super::{Cpu, call, call_self, cpus, ranks};
use super::{OfflineError, park, wake_requester};
use crate::apic::{self, io_apic};
use crate::config::LEAVE_MS;
use crate::cpu::{self, CpuId, CpuSet, IrqGuard, tlb};
use crate::sync::hotplug::{CpuHotplug, HotplugState, Word};
use crate::sync::{IrqMutex, Timeout};
use crate::time::timer::{self, Guest};
use crate::{console, memory, patchable, trace};

/// Why the last CPU that refused to go did so.
static REFUSAL: IrqMutex<Option<OfflineError>> = IrqMutex::new(None);
crate::name_lock!(REFUSAL);

pub fn why_refused(cpu: CpuId) -> OfflineError {
    REFUSAL.lock().take().unwrap_or(OfflineError::NotOnline { cpu })
}

patchable! {
    /// Whether this CPU, which is that one, has been asked to go.
    pub fn is_asked(me: &Cpu) -> bool {
        me.hotplug.state() == HotplugState::OfflinePending
    }

    /// This CPU takes no more calls, and runs those that have come, its own among them.
    pub fn close(guard: &IrqGuard) {
        call::close(guard);
        call_self::run(guard);
    }
}

/// Where work lets its CPU go: if it has been asked, it goes, and this returns when it is back; whether it was away.
/// Interrupts on, no lock held, nothing under way that others wait for. The timers of this CPU that expire meanwhile are
/// called on the boot processor.
#[inline]
pub fn leave_if_asked() -> bool {
    let me = &cpus()[cpu::current().index()];
    is_asked(me) && leave(me, false)
}

/// The same for a CPU that has nothing to do. If work has come for it, it does not go yet.
pub fn leave_idle(me: &'static Cpu) {
    leave(me, true);
}

#[cold]
fn leave(me: &'static Cpu, is_idle: bool) -> bool {
    // Interrupts are still on, so what a device has sent before this is taken before the CPU goes.
    match io_apic::move_all(me.entry.apic_id, cpus()[CpuId::BSP.index()].entry.apic_id) {
        Ok(0) => {}
        // An edge that came while a pin was masked is lost. The serial port is the one device that has any.
        Ok(_) => console::renew_interrupt(),
        Err(error) => {
            refuse(me, OfflineError::Lines { cpu: me.id(), error });
            return false;
        }
    }
    let mut guard = IrqGuard::new();
    // The requester may have withdrawn the request, or work may have come.
    if !ranks::take_out(me, is_idle) {
        return false;
    }
    trace!(CpuOffline, me.id().0.into());
    let guest = timer::suspend(&guard);
    let handed_over = be_quiet(me, &mut guard).and_then(|()| {
        // The last that runs code from elsewhere. Until then this CPU answers shootdowns, though it is not among the online ones:
        // what it runs may use any mapping. What is pending afterwards is the interrupt of a call that has been run.
        close(&guard);
        me.hotplug.step(Word::advance);
        // A call may have set a timer, so not before.
        hand_over(me, guest)
    });
    let is_offline = handed_over.is_ok();
    if is_offline {
        memory::drain_this_cpu(&guard);
        me.hotplug.step(Word::advance);
        wake_requester();
        // SAFETY: this CPU's own words; it comes back to the same stack, below the context. The addition is the transition
        // `Word::halt` from the state that the step above has made, since no other CPU changes the state now.
        unsafe { park::park(me.context.as_ptr(), me.hotplug.as_ptr(), CpuHotplug::HALT) };
        me.hotplug.step(Word::resume);
    }
    // Back on the stack that it left, with all that `bring_up` does for a CPU behind it; or it has never gone.
    call::open_one(&guard);
    ranks::put_in(me);
    // A shootdown that did not see this CPU yet has unmapped its pages before this.
    tlb::flush(0, usize::MAX, 0);
    timer::resume(&guard);
    trace!(CpuOnline, me.id().0.into());
    match handed_over {
        Ok(()) => {
            me.hotplug.step(Word::complete);
            wake_requester();
        }
        Err(error) => refuse(me, error),
    }
    is_offline
}

/// This CPU stays online, for a reason; unless the request was withdrawn before that.
fn refuse(me: &Cpu, error: OfflineError) {
    // Before the state, which has the requester read it.
    *REFUSAL.lock() = Some(error);
    if me.hotplug.apply(Word::refuse).is_ok() {
        wake_requester();
    }
}

/// Takes every pending interrupt. No device sends any more, but what was sent before the lines were moved may still be in
/// flight; calls come until the inbox is closed, from CPUs that have seen this one online.
///
/// # Panics
/// If interrupts were off before this guard.
fn be_quiet(me: &Cpu, guard: &mut IrqGuard) -> Result<(), OfflineError> {
    let quiet = Timeout::after_ms(LEAVE_MS / 2).wait_until(|| {
        let is_quiet = !apic::is_any_requested(guard);
        if !is_quiet {
            guard.window(core::hint::spin_loop);
        }
        is_quiet
    });
    quiet.map_err(|_| OfflineError::InterruptPending { cpu: me.id(), ms: LEAVE_MS / 2 })?;
    me.hotplug.step(Word::advance);
    Ok(())
}

/// Has the boot processor serve this CPU's timers, if there are any.
fn hand_over(me: &Cpu, guest: Guest) -> Result<(), OfflineError> {
    let cpu = me.id();
    if guest.is_empty() {
        return Ok(());
    }
    let outcome = IrqMutex::new(Ok(()));
    call::call(&CpuSet::of(CpuId::BSP), &|| *outcome.lock() = timer::host(&IrqGuard::new(), guest))
        .map_err(|error| OfflineError::Call { cpu, error })?;
    let outcome = *outcome.lock();
    outcome.map_err(|error| OfflineError::Timers { cpu, error })
}

impl Cpu {
    /// Where it left its stack, if it is away.
    pub(in super::super) fn context(&self) -> Option<u64> {
        Some(self.context.load(Ordering::Acquire)).filter(|context| *context != 0)
    }

    /// Whether it has been offline.
    #[cfg(feature = "faults")]
    pub(crate) fn returns(&self) -> bool {
        self.context().is_some()
    }
}
