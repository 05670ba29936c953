//! Faults of IPIs and NMIs: they cannot be sent, or are lost. Most take effect when all CPUs are online.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::injection::{Injection, Point, on_last_cpu};
use super::names::Fault;
use super::redirects::is_armed;
use crate::apic::{self, ApicError, Batch, IcrAccess, Message};
use crate::config::IPI_DELIVERY_MS;
use crate::cpu::{self, ApicId, CpuId};
use crate::interrupts::Vector;
use crate::smp::hotplug::HotplugState;
use crate::smp::{CallError, Cpu};
use crate::wire::Record;
use crate::{console, smp, static_call};

/// Whether all CPUs are online.
static IS_AT_WORK: AtomicBool = AtomicBool::new(false);

/// Enables these faults.
pub(crate) fn begin() {
    IS_AT_WORK.store(true, Ordering::Release);
}

fn is_at_work() -> bool {
    IS_AT_WORK.load(Ordering::Acquire)
}

pub(super) const INJECTIONS: &[Injection] =
    &[Injection(Point::BeforeWork, Fault::BusyIcrOnLast, call_all_by_busy_icr)];

static_call! {
    apic::is_idle() -> bool => is_idle_but_on_bsp, if |_| is_armed(Fault::BusyIcr);
    apic::is_idle() -> bool => is_idle_but_on_last, if |_| is_armed(Fault::BusyIcrOnLast);
    apic::transmit(proof: IcrAccess, batch: &mut Batch, to: ApicId, message: Message) -> Result<(), ApicError>
        => count_waits, if |_| is_armed(Fault::BusyIcrOnLast);
    apic::may_send() -> bool => may_always_send, if |_| is_armed(Fault::SendInNmi);
    apic::accepts_from_itself() -> bool => refuses_from_itself, if |_| is_armed(Fault::FailSelfIpi);
    apic::transmit(proof: IcrAccess, batch: &mut Batch, to: ApicId, message: Message) -> Result<(), ApicError>
        => fail_wakes, if |_| is_armed(Fault::FailWakes);
    apic::transmit(proof: IcrAccess, batch: &mut Batch, to: ApicId, message: Message) -> Result<(), ApicError>
        => fail_some, if |_| FAILING.iter().any(|(fault, _)| is_armed(*fault));
    apic::transmit(proof: IcrAccess, batch: &mut Batch, to: ApicId, message: Message) -> Result<(), ApicError>
        => lose_some, if |_| LOSING.iter().any(|(fault, _)| is_armed(*fault));
}

/// A fault, and the messages that it affects.
type Rule = (Fault, fn(Message) -> bool);

/// The messages to the last CPU that cannot be sent.
const FAILING: [Rule; 4] = [
    (Fault::FailCall, |message| is_at_work() && message == Message::Fixed(Vector::CALL)),
    (Fault::FailNmi, |message| is_at_work() && message == Message::Nmi),
    (Fault::FailInit, |message| message == Message::Init),
    (Fault::FailRestart, |message| {
        matches!(message, Message::StartUp(_)) && last_is(HotplugState::Restarting)
    }),
];

/// The messages to the last CPU that are lost.
const LOSING: [Rule; 2] = [
    (Fault::SkipSipi, |message| matches!(message, Message::StartUp(_))),
    (Fault::DropSipiOnOnline, |message| {
        matches!(message, Message::StartUp(_)) && last_is(HotplugState::Restarting)
    }),
];

fn last() -> Option<&'static Cpu> {
    smp::cpus().last()
}

fn last_is(state: HotplugState) -> bool {
    last().is_some_and(|last| last.hotplug_state() == state)
}

fn affects(rules: &[Rule], to: ApicId, message: Message) -> bool {
    let is_last = last().is_some_and(|last| last.entry.apic_id == to);
    is_last && rules.iter().any(|(fault, affects)| is_armed(*fault) && affects(message))
}

#[allow(improper_ctypes_definitions)]
extern "C" fn fail_some(
    proof: IcrAccess,
    batch: &mut Batch,
    to: ApicId,
    message: Message,
) -> Result<(), ApicError> {
    if affects(&FAILING, to, message) {
        return Err(ApicError::NotDelivered { to, waited_ms: IPI_DELIVERY_MS });
    }
    apic::transmit::original(proof, batch, to, message)
}

#[allow(improper_ctypes_definitions)]
extern "C" fn lose_some(
    proof: IcrAccess,
    batch: &mut Batch,
    to: ApicId,
    message: Message,
) -> Result<(), ApicError> {
    if affects(&LOSING, to, message) {
        return Ok(());
    }
    apic::transmit::original(proof, batch, to, message)
}

/// Fails every second IPI that wakes a CPU.
#[allow(improper_ctypes_definitions)]
extern "C" fn fail_wakes(
    proof: IcrAccess,
    batch: &mut Batch,
    to: ApicId,
    message: Message,
) -> Result<(), ApicError> {
    static WAKES: AtomicU32 = AtomicU32::new(0);
    let is_wake = matches!(message, Message::Fixed(Vector::WAKE | Vector::RESCHEDULE));
    if is_wake && is_at_work() && WAKES.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
        return Err(ApicError::NotDelivered { to, waited_ms: IPI_DELIVERY_MS });
    }
    apic::transmit::original(proof, batch, to, message)
}

extern "C" fn may_always_send() -> bool {
    true
}

extern "C" fn refuses_from_itself() -> bool {
    false
}

extern "C" fn is_idle_but_on_bsp() -> bool {
    (cpu::current() != CpuId::BSP || !is_at_work()) && apic::is_idle::original()
}

/// How many times the last CPU has found its ICR busy.
static POLLS: AtomicU32 = AtomicU32::new(0);

/// The number of messages for which it has waited.
static WAITS: AtomicU32 = AtomicU32::new(0);

/// The least number of polls of a wait. A message that fails without a wait takes fewer. A check counts at most an eighth
/// of a time-out, so a wait takes more even if the host stops the CPU.
const POLLS_OF_A_WAIT: u32 = 8;

extern "C" fn is_idle_but_on_last() -> bool {
    if is_at_work() && last().is_some_and(|last| last.id() == cpu::current()) {
        POLLS.fetch_add(1, Ordering::Relaxed);
        return false;
    }
    apic::is_idle::original()
}

/// [`apic::transmit`], which counts the messages for which the last CPU waits.
#[allow(improper_ctypes_definitions)]
extern "C" fn count_waits(
    proof: IcrAccess,
    batch: &mut Batch,
    to: ApicId,
    message: Message,
) -> Result<(), ApicError> {
    let before = POLLS.load(Ordering::Relaxed);
    let sent = apic::transmit::original(proof, batch, to, message);
    if sent.is_err() && POLLS.load(Ordering::Relaxed) - before >= POLLS_OF_A_WAIT {
        WAITS.fetch_add(1, Ordering::Relaxed);
    }
    sent
}

/// Calls all other CPUs from the last CPU, whose ICR is busy, with and without a wait.
///
/// # Panics
/// If a call succeeds, or waits for the ICR more than once.
fn call_all_by_busy_icr() {
    on_last_cpu(&|| {
        let others = smp::other_online();
        type Call<'a> = &'a dyn Fn() -> Result<(), CallError>;
        let calls: [(&str, Call<'_>); 2] = [
            ("call", &|| smp::call(&others, &|| {})),
            ("call_async", &|| smp::call_async(&others, |_| {}, 0)),
        ];
        for (name, call) in calls {
            let before = WAITS.load(Ordering::Relaxed);
            let outcome = call();
            let waits = WAITS.load(Ordering::Relaxed) - before;
            let count = others.len();
            assert!(matches!(outcome, Err(CallError::NotSent { .. })), "{name}: {outcome:?}");
            assert!(waits == 1, "{name}: {waits} waits for a busy ICR, {count} targets");
            log::info!("{name}: cpu {} waited once for its ICR, {count} targets", cpu::current());
            console::send(&Record::number("fault.icr_waits", name, waits.into()));
            console::send(&Record::number("fault.icr_targets", name, count as u64));
            console::send(&Record::number("fault.icr_sender", name, cpu::current().0.into()));
        }
    });
}
