//! Faults of CPUs that go offline and come back, each on the last CPU.

use core::sync::atomic::{AtomicBool, Ordering};

use ap_trampoline::Slot;

use super::redirects::is_armed;
use crate::boot::command_line::Fault;
use crate::config::{AP_PROGRESS_MS, LEAVE_MS};
use crate::cpu::{self, IrqGuard};
use crate::smp::hotplug;
use crate::smp::{Cpu, Stage};
use crate::sync::{STEP_NS, Timeout};
use crate::{redirect, smp, time};

redirect! {
    hotplug::is_asked(me: &Cpu) -> bool => is_asked_but_the_last, if |_| is_armed(Fault::DeafToLeave);
    hotplug::close(guard: &IrqGuard) => get_stuck, if |_| is_armed(Fault::StuckLeaving);
    smp::returns() => return_late, if |_| is_armed(Fault::LateOnReturn);
    hotplug::is_asked(me: &Cpu) -> bool => is_asked_when_the_clock_jumps, if |_| is_armed(Fault::ClockJumpHotplug);
    smp::reached(slot: &Slot, stage: Stage) => reach_when_the_clock_jumps,
        if |_| is_armed(Fault::ClockJumpHotplug);
}

fn last() -> Option<&'static Cpu> {
    smp::cpus().last()
}

#[allow(improper_ctypes_definitions)]
extern "C" fn is_asked_but_the_last(me: &Cpu) -> bool {
    last().is_none_or(|last| last.id() != me.id()) && hotplug::is_asked::ordinary(me)
}

extern "C" fn get_stuck(guard: &IrqGuard) {
    while last().is_some_and(|last| last.id() == cpu::current()) {
        core::hint::spin_loop();
    }
    hotplug::close::ordinary(guard);
}

/// [`smp::returns`], where the last CPU stays until the requester has given up waiting.
extern "C" fn return_late() {
    if last().is_some_and(|last| last.id() == cpu::current()) {
        while hotplug::is_under_way() {
            core::hint::spin_loop();
        }
    }
}

/// The clock jumps by more than a requester waits, once: when `has_jumped` is not set. This CPU stays here before that until
/// the requester must have begun to wait, and after it until the requester must have looked at the clock.
fn jump_once(has_jumped: &AtomicBool) {
    if has_jumped.swap(true, Ordering::Relaxed) {
        return;
    }
    let stay = || {
        let _ = Timeout::after_ms(STEP_NS / 1_000_000).wait_until(|| false);
    };
    stay();
    time::faults::jump(3 * LEAVE_MS.max(AP_PROGRESS_MS));
    stay();
}

/// [`hotplug::is_asked`], when the last CPU first sees that it is.
#[allow(improper_ctypes_definitions)]
extern "C" fn is_asked_when_the_clock_jumps(me: &Cpu) -> bool {
    static HAS_JUMPED: AtomicBool = AtomicBool::new(false);
    let is_asked = hotplug::is_asked::ordinary(me);
    if is_asked && last().is_some_and(|last| last.id() == me.id()) {
        jump_once(&HAS_JUMPED);
    }
    is_asked
}

/// [`smp::reached`], when the last CPU first comes back, before it is past its slot.
#[allow(improper_ctypes_definitions)]
extern "C" fn reach_when_the_clock_jumps(slot: &Slot, stage: Stage) {
    static HAS_JUMPED: AtomicBool = AtomicBool::new(false);
    let is_last = last().is_some_and(|last| last.id().0 == slot.cpu && last.returns());
    if is_last && stage == Stage::Apic {
        jump_once(&HAS_JUMPED);
    }
    smp::reached::ordinary(slot, stage);
}
