//! Faults of CPU hotplug, each on the last CPU.

use core::sync::atomic::{AtomicBool, Ordering};

use ap_trampoline::ApSlot;

use super::injection::{FAULT_TIMEOUT_MS, Injection, Point};
use super::names::Fault;
use super::redirects::is_armed;
use crate::apic::{self, Message};
use crate::config::{AP_BRINGUP_TIMEOUT_MS, CPU_OFFLINE_TIMEOUT_MS};
use crate::cpu::{self, CpuId, CpuSet, IrqGuard};
use crate::interrupts::{self, TrapFrame, Vector};
use crate::memory::OwnedFrame;
use crate::smp::hotplug;
use crate::smp::{Cpu, Stage};
use crate::sync::{STEP_NS, Timeout};
use crate::wire::Record;
use crate::{console, smp, static_call, time};

pub(super) const INJECTIONS: &[Injection] =
    &[Injection(Point::BeforeWork, Fault::RestartInNmi, restart_in_nmi)];

static_call! {
    hotplug::is_offline_requested(me: &Cpu) -> bool => is_requested_except_of_last, if |_| is_armed(Fault::IgnoreOfflineRequest);
    hotplug::close(guard: &IrqGuard) => hang_in_close, if |_| is_armed(Fault::HangGoingOffline);
    smp::before_resume() => resume_late, if |_| is_armed(Fault::LateOnOnline);
    hotplug::is_offline_requested(me: &Cpu) -> bool => is_requested_as_clock_jumps, if |_| is_armed(Fault::ClockJumpHotplug);
    smp::enter_stage(slot: &ApSlot, stage: Stage) => enter_stage_as_clock_jumps,
        if |_| is_armed(Fault::ClockJumpHotplug);
}

fn last() -> Option<&'static Cpu> {
    smp::cpus().last()
}

#[allow(improper_ctypes_definitions)]
extern "C" fn is_requested_except_of_last(me: &Cpu) -> bool {
    last().is_none_or(|last| last.id() != me.id()) && hotplug::is_offline_requested::original(me)
}

extern "C" fn hang_in_close(guard: &IrqGuard) {
    while last().is_some_and(|last| last.id() == cpu::current()) {
        core::hint::spin_loop();
    }
    hotplug::close::original(guard);
}

/// [`smp::before_resume`], in which the last CPU spins until the requester has stopped waiting.
extern "C" fn resume_late() {
    if last().is_some_and(|last| last.id() == cpu::current()) {
        while hotplug::is_operation_active() {
            core::hint::spin_loop();
        }
    }
}

/// Makes the clock jump once, by more than a requester waits. This CPU spins before that until the requester must have
/// begun to wait, and after it until the requester must have read the clock.
fn jump_once(has_jumped: &AtomicBool) {
    if has_jumped.swap(true, Ordering::Relaxed) {
        return;
    }
    let stay = || {
        let _ = Timeout::after_ms(STEP_NS / 1_000_000).wait_until(|| false);
    };
    stay();
    time::faults::jump(3 * CPU_OFFLINE_TIMEOUT_MS.max(AP_BRINGUP_TIMEOUT_MS));
    stay();
}

/// [`hotplug::is_offline_requested`], with the jump when the last CPU first sees a request.
#[allow(improper_ctypes_definitions)]
extern "C" fn is_requested_as_clock_jumps(me: &Cpu) -> bool {
    static HAS_JUMPED: AtomicBool = AtomicBool::new(false);
    let is_offline_requested = hotplug::is_offline_requested::original(me);
    if is_offline_requested && last().is_some_and(|last| last.id() == me.id()) {
        jump_once(&HAS_JUMPED);
    }
    is_offline_requested
}

/// [`smp::enter_stage`], with the jump when the last CPU is first restarted, before it has passed its slot.
#[allow(improper_ctypes_definitions)]
extern "C" fn enter_stage_as_clock_jumps(slot: &ApSlot, stage: Stage) {
    static HAS_JUMPED: AtomicBool = AtomicBool::new(false);
    let is_last = last().is_some_and(|last| last.id().0 == slot.cpu && last.is_restarted());
    if is_last && stage == Stage::Apic {
        jump_once(&HAS_JUMPED);
    }
    smp::enter_stage::original(slot, stage);
}

/// Whether the last CPU runs the handler of an NMI that it took while it was offline.
static IS_IN_NMI: AtomicBool = AtomicBool::new(false);

/// Takes the last CPU offline, sends it an NMI, as a board may at any time, and brings it online while it runs the
/// handler.
///
/// # Panics
/// If the CPU then cannot allocate, free, or send IPIs to itself and other CPUs.
fn restart_in_nmi() {
    let last = smp::cpus().last().expect("there is a CPU");
    hotplug::offline(last.id()).expect("the last CPU goes offline");
    let handler = interrupts::replace(Vector::NMI, stay_in_nmi);
    apic::send(&IrqGuard::new(), last.entry.apic_id, Message::Nmi).expect("an NMI can be sent");
    let is_in_nmi = Timeout::after_ms(FAULT_TIMEOUT_MS).wait_until(|| IS_IN_NMI.load(Ordering::Acquire));
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
    Timeout::after_ms(FAULT_TIMEOUT_MS).wait_until(has_called).expect("a CPU that is back runs its own call");
    let place = smp::backtrace_of(last).map(|_| ());
    place.expect("a CPU that is back answers an NMI");
    log::info!("cpu {} works after a restart out of an NMI handler", last.id());
    console::send(&Record::number("fault", "cpu_restarted_in_nmi", last.id().0.into()));
}

/// An NMI handler that only INIT ends.
fn stay_in_nmi(_: &mut TrapFrame) {
    IS_IN_NMI.store(true, Ordering::Release);
    loop {
        core::hint::spin_loop();
    }
}
