//! Faults of CPUs that go offline and come back, each on the last CPU.

use core::sync::atomic::{AtomicBool, Ordering};

use ap_trampoline::Slot;

use super::Fault;
use super::inject::STRIKE_MS;
use super::redirects::is_armed;
use crate::apic::{self, Message};
use crate::config::{AP_PROGRESS_MS, LEAVE_MS};
use crate::cpu::{self, CpuId, CpuSet, IrqGuard};
use crate::interrupts::{self, TrapFrame, Vector};
use crate::memory::OwnedFrame;
use crate::smp::hotplug;
use crate::smp::{Cpu, Stage};
use crate::sync::{Deadline, STEP_NS, Timeout};
use crate::{smp, static_call, time};

static_call! {
    hotplug::is_asked(me: &Cpu) -> bool => is_asked_but_the_last, if |_| is_armed(Fault::IgnoreOfflineRequest);
    hotplug::close(guard: &IrqGuard) => get_stuck, if |_| is_armed(Fault::HangGoingOffline);
    smp::returns() => return_late, if |_| is_armed(Fault::LateOnOnline);
    hotplug::is_asked(me: &Cpu) -> bool => is_asked_when_the_clock_jumps, if |_| is_armed(Fault::ClockJumpHotplug);
    smp::reached(slot: &Slot, stage: Stage) => reach_when_the_clock_jumps,
        if |_| is_armed(Fault::ClockJumpHotplug);
}

fn last() -> Option<&'static Cpu> {
    smp::cpus().last()
}

#[allow(improper_ctypes_definitions)]
extern "C" fn is_asked_but_the_last(me: &Cpu) -> bool {
    last().is_none_or(|last| last.id() != me.id()) && hotplug::is_asked::original(me)
}

extern "C" fn get_stuck(guard: &IrqGuard) {
    while last().is_some_and(|last| last.id() == cpu::current()) {
        core::hint::spin_loop();
    }
    hotplug::close::original(guard);
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
    let is_asked = hotplug::is_asked::original(me);
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
    smp::reached::original(slot, stage);
}

/// Whether the last CPU runs the handler of an NMI that reached it while it was offline.
static IS_IN_NMI: AtomicBool = AtomicBool::new(false);

/// Takes the last CPU offline, sends it an NMI, which a board may do at any time, and brings it back while it runs the handler.
///
/// # Panics
/// If the CPU then cannot allocate, free, or interrupt itself and others.
pub(super) fn restart_in_nmi() {
    let last = smp::cpus().last().expect("there is a CPU");
    hotplug::offline(last.id()).expect("the last CPU goes offline");
    let handler = interrupts::replace(Vector::NMI, stay_in_nmi);
    apic::send(&IrqGuard::new(), last.entry.apic_id, Message::Nmi).expect("an NMI can be sent");
    let is_in_nmi = Deadline::after_ms(STRIKE_MS).wait_until(|| IS_IN_NMI.load(Ordering::Acquire));
    is_in_nmi.expect("a CPU that is offline takes an NMI");
    interrupts::replace(Vector::NMI, handler);
    hotplug::online(last.id()).expect("INIT ends the handler");
    static HAS_CALLED_ITSELF: AtomicBool = AtomicBool::new(false);
    let work = || {
        let frame = OwnedFrame::alloc().expect("a CPU that is back allocates");
        drop(frame);
        smp::call(&CpuSet::of(CpuId::BSP), &|| {}).expect("a CPU that is back calls others");
        let called = smp::call_self(|_| HAS_CALLED_ITSELF.store(true, Ordering::Release), 0);
        called.expect("a CPU that is back calls itself");
    };
    smp::call(&CpuSet::of(last.id()), &work).expect("a CPU that is back takes calls");
    let has_called = || HAS_CALLED_ITSELF.load(Ordering::Acquire);
    Deadline::after_ms(STRIKE_MS).wait_until(has_called).expect("a CPU that is back runs its own call");
    let place = smp::place_of(last).map(|_| ());
    place.expect("a CPU that is back answers an NMI");
    log::info!("cpu {} works after a restart out of an NMI handler", last.id());
}

/// The handler of an NMI that INIT alone ends.
fn stay_in_nmi(_: &mut TrapFrame) {
    IS_IN_NMI.store(true, Ordering::Release);
    loop {
        core::hint::spin_loop();
    }
}
