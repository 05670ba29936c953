//! The side of the CPU that goes: each step of [`Departure`], and back.

use core::sync::atomic::Ordering;

use super::super::{Cpu, call, call_self, cpus, ranks};
use super::{Departure, OfflineError, park, wake_who_waits};
use crate::apic::{self, io_apic};
use crate::config::LEAVE_MS;
use crate::cpu::{self, CpuId, CpuSet, IrqGuard, tlb};
use crate::sync::{Deadline, IrqMutex};
use crate::time::timer::{self, Guest};
use crate::{memory, redirectable, trace};

/// Why the last CPU that refused to go did so.
static REFUSAL: IrqMutex<Option<OfflineError>> = IrqMutex::new(None);
crate::name_lock!(REFUSAL);

pub fn why_refused(cpu: CpuId) -> OfflineError {
    REFUSAL.lock().take().unwrap_or(OfflineError::NotOnline { cpu })
}

redirectable! {
    /// Whether this CPU, which is that one, has been asked to go.
    pub fn is_asked(me: &Cpu) -> bool {
        me.departure() == Departure::Asked
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
    if let Err(error) = io_apic::move_all(me.entry.apic_id, cpus()[CpuId::BSP.index()].entry.apic_id) {
        if me.change_departure(Departure::Asked, Departure::Noticed) {
            refuse(me, OfflineError::Lines { cpu: me.id(), error });
        }
        return false;
    }
    let mut guard = IrqGuard::new();
    // Whoever asked may have given up.
    if !me.change_departure(Departure::Asked, Departure::Noticed) {
        return false;
    }
    if !ranks::take_out(me, is_idle) {
        me.set_departure(Departure::Asked);
        return false;
    }
    trace!(CpuLeaves, me.id().0.into());
    close(&guard);
    me.set_departure(Departure::Closed);
    let guest = timer::suspend(&guard);
    let handed_over = be_quiet(me, &mut guard).and_then(|()| hand_over(me, guest));
    let is_gone = handed_over.is_ok();
    if is_gone {
        memory::drain_this_cpu(&guard);
        me.set_departure(Departure::Settled);
        wake_who_waits(&guard);
        // SAFETY: this CPU's own words; it comes back to the same stack, below the context.
        unsafe { park::park(me.context.as_ptr(), me.departure.as_ptr(), Departure::Gone as u32) };
    }
    // Back on the stack that it left, with all that `bring_up` does for a CPU behind it; or it has never gone.
    call::open_one(&guard);
    ranks::put_in(me, is_idle);
    // A shootdown that did not see this CPU yet has unmapped its pages before this.
    tlb::forget(0, usize::MAX, 0);
    timer::resume(&guard);
    trace!(CpuReturns, me.id().0.into());
    match handed_over {
        Ok(()) => {
            me.set_departure(Departure::Here);
            wake_who_waits(&guard);
            true
        }
        Err(error) => {
            refuse(me, error);
            false
        }
    }
}

fn refuse(me: &Cpu, error: OfflineError) {
    *REFUSAL.lock() = Some(error);
    me.set_departure(Departure::Refused);
    wake_who_waits(&IrqGuard::new());
}

/// Takes every pending interrupt. No source sends any more, but what was sent before the lines were moved and the inbox was
/// closed may still be in flight.
///
/// # Panics
/// If interrupts were off before this guard.
fn be_quiet(me: &Cpu, guard: &mut IrqGuard) -> Result<(), OfflineError> {
    let quiet = Deadline::after_ms(LEAVE_MS / 2).wait_until(|| {
        let is_quiet = !apic::is_any_requested(guard);
        if !is_quiet {
            guard.window(core::hint::spin_loop);
        }
        is_quiet
    });
    let stage = Departure::Closed;
    quiet.map_err(|_| OfflineError::DidNotLeave { cpu: me.id(), stage, ms: LEAVE_MS / 2 })?;
    me.set_departure(Departure::Quiet);
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
}
