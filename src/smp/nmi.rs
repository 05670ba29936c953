//! NMIs, which reach a CPU that takes no other interrupts.
//!
//! An NMI carries no reason, and two pending NMIs are delivered as one. So a sender first stores its request. The handler
//! checks for every kind of request: a panicking CPU, the launcher, which requests a report at its time limit
//! ([`report_request`](crate::console::report_request)), and a CPU that requests a backtrace of this CPU. If there is none,
//! the NMI is external and is counted.
//!
//! An NMI is sent only under an [`NmiPermit`], which keeps the target from being
//! restarted: between INIT and the load of its IDT an NMI would be a triple fault.
//!
//! A handler that returns takes no lock and sends no interrupt, since it may have interrupted any code. It waits for nothing but a CPU
//! that begins the report for the launcher; its log lines
//! do not wait either. It has a stack of its own, which the next NMI would overwrite. No NMI is delivered before `iret`
//! (SDM Vol. 3A, 6.7.1), so nothing in the handler may raise an exception, whose `iret` would unblock NMIs.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use super::hotplug::HotplugState;
use super::{Cpu, cpus};
use crate::apic::{self, ApicError, Batch, Message};
use crate::config::{NMI_RESPONSE_TIMEOUT_MS, PANIC_STOP_TIMEOUT_MS};
use crate::console::{self, LineBuffer, Warning, report_request};
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::registers::halt_forever;
use crate::cpu::{self, IrqGuard};
use crate::interrupts::{self, TrapFrame, Vector};
use crate::panic::{self, CpuStatus, MAX_FRAMES, PanicCause, Panicking};
use crate::sync::Timeout;
use crate::sync::hotplug::NmiPermit;
use crate::sync::nmi_request::{NmiReason, NmiRequest};
use crate::sync::stop::before_stopping_others;
use crate::wire::REPORT_REQUESTED;
use crate::{boot, patchable, per_cpu};

per_cpu! {
    /// The request of another CPU for a backtrace of this CPU. The handler saves the backtrace in `panic::CRASH_STATE`.
    static REQUEST: NmiRequest = NmiRequest::new();
}

/// Registers the NMI handler and the hook of the panic. Once, on the BSP, before the APs are started.
pub(crate) fn register() {
    report_request::clear();
    interrupts::register(Vector::NMI, "NMI", nmi);
    panic::set_smp_ops(&AllCpus);
}

fn nmi(frame: &mut TrapFrame) {
    // The CPU that reports the panic must not stop, whatever the NMI is for.
    if panic::is_reporting() {
        interrupts::EXTERNAL_NMIS.increment();
        return;
    }
    if report_request::is_pending() {
        // QEMU injects its NMI into every CPU that is not masked, so also into those that are offline.
        if !cpus().get(cpu::current().index()).is_some_and(Cpu::is_online) {
            interrupts::EXTERNAL_NMIS.increment();
            return;
        }
        report(frame);
    }
    if panic::is_panicking() {
        if !panic::has_panicked() {
            panic::save_backtrace(&frame.registers());
        }
        if let Some(cpu) = cpus().get(cpu::current().index()) {
            cpu.stopped.store(true, Ordering::Release);
        }
        halt_forever();
    }
    // SAFETY: this CPU's own copy, in an area that is never freed (`CpuAreas`). `NmiRequest` is `Sync`, so shared borrows
    // by other CPUs are allowed.
    let request = unsafe { &*REQUEST.as_ptr() };
    match request.begin() {
        NmiReason::Requested => {
            panic::save_backtrace(&frame.registers());
            request.finish();
        }
        NmiReason::Cancelled => {}
        NmiReason::External => interrupts::EXTERNAL_NMIS.increment(),
    }
}

/// Reports all CPUs, which ends the run: the first CPU that takes the launcher's NMI does, and the others wait until they may stop
/// for it. Returns on a CPU that does not report.
fn report(frame: &TrapFrame) {
    static IS_CLAIMED: AtomicBool = AtomicBool::new(false);
    if !panic::is_panicking() && !IS_CLAIMED.swap(true, Ordering::AcqRel) {
        panic::panic_now(&PanicCause {
            message: format_args!("{REPORT_REQUESTED}"),
            location: None,
            is_exception: true,
            registers: &frame.registers(),
        });
    }
    // The CPU that reports has only to enter the panic. On a timeout it sends this CPU an NMI of its own.
    let _ = Timeout::after_ms(PANIC_STOP_TIMEOUT_MS).wait_until(panic::is_panicking);
}

/// The panic's access to the other CPUs.
struct AllCpus;

impl panic::SmpOps for AllCpus {
    fn stop(&self, panicking: &Panicking) {
        stop_others(panicking);
    }

    fn visit(&self, visit: &mut dyn FnMut(CpuStatus)) {
        for cpu in cpus() {
            let (Some(gs_base), Some(crash_state)) = (cpu.gs_base(), cpu.get(panic::CRASH_STATE)) else {
                continue;
            };
            let state = match (cpu.is_online(), cpu.hotplug_state()) {
                (true, _) => "silent",
                (false, HotplugState::NotStarted | HotplugState::Failed) => "failed",
                (false, _) => "offline",
            };
            let was_stopped = cpu.stopped.load(Ordering::Acquire);
            let stage = cpu.stage().name();
            visit(CpuStatus { cpu: cpu.id(), state, stage, was_stopped, gs_base, crash_state });
        }
    }

    fn is_in_nmi(&self) -> bool {
        interrupts::is_in_nmi()
    }
}

patchable! {
    /// Stops all other online CPUs by NMI and waits up to [`PANIC_STOP_TIMEOUT_MS`] for those to which an NMI was sent. A
    /// CPU that does not stop, or to which no NMI can be sent, is reported as `silent`.
    ///
    /// **Context:** the panicking CPU, interrupts off.
    pub(crate) fn stop_others(panicking: &Panicking) {
        let guard = IrqGuard::new();
        if !apic::is_enabled(&guard) {
            return;
        }
        before_stopping_others();
        let others = || crate::smp::online().filter(|cpu| cpu.id() != cpu::current());
        let mut batch = Batch::new();
        for cpu in others() {
            // A CPU that has just gone offline admits none. The permits are not returned: no CPU is restarted any more.
            if let Some(permit) = cpu.hotplug.admit_nmi() {
                core::mem::forget(permit);
                let sent = batch.send_nmi_in_panic(panicking, cpu.entry.apic_id);
                cpu.is_stop_sent.store(sent.is_ok(), Ordering::Relaxed);
            }
        }
        // Only this CPU stores and reads `is_stop_sent`.
        let will_stop = |cpu: &&Cpu| cpu.is_stop_sent.load(Ordering::Relaxed);
        let _ = Timeout::after_ms(PANIC_STOP_TIMEOUT_MS)
            .wait_until(|| others().filter(will_stop).all(|cpu| cpu.stopped.load(Ordering::Acquire)));
    }
}

/// Why a CPU's backtrace could not be fetched, or no NMI sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BacktraceError {
    /// The CPU is offline or was never online, so no NMI was sent.
    NotOnline,
    /// Another CPU is fetching its backtrace.
    Busy,
    /// The NMI could not be sent.
    NotSent(ApicError),
    /// The CPU has not responded within [`NMI_RESPONSE_TIMEOUT_MS`].
    Silent,
}

impl fmt::Display for BacktraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BacktraceError::NotOnline => f.write_str("it is not online"),
            BacktraceError::Busy => f.write_str("another CPU is fetching it"),
            BacktraceError::NotSent(error) => error.fmt(f),
            BacktraceError::Silent => write!(f, "no response to an NMI in {NMI_RESPONSE_TIMEOUT_MS} ms"),
        }
    }
}

/// Sends an NMI to a CPU, which may be this one. The caller has stored the request before. It keeps the permit until the
/// target has taken the NMI, or until it stops waiting.
///
/// **Context:** thread or interrupt, interrupts on or off; not NMI.
///
/// # Errors
/// [`BacktraceError::NotOnline`], [`BacktraceError::NotSent`]: no NMI was sent.
pub(crate) fn send_nmi(cpu: &Cpu) -> Result<NmiPermit<'_>, BacktraceError> {
    let permit = cpu.hotplug.admit_nmi().ok_or(BacktraceError::NotOnline)?;
    let sent = apic::send(&IrqGuard::new(), cpu.entry.apic_id, Message::Nmi);
    sent.map(|()| permit).map_err(BacktraceError::NotSent)
}

/// The backtrace of another CPU, as it was interrupted by an NMI.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RemoteBacktrace {
    /// The interrupted instruction.
    pub rip: u64,
    frames: [u64; MAX_FRAMES],
    count: usize,
}

impl RemoteBacktrace {
    /// Returns the return addresses on its stack, innermost first.
    pub(crate) fn frames(&self) -> &[u64] {
        &self.frames[..self.count]
    }
}

/// Fetches another CPU's backtrace by NMI.
///
/// **Context:** thread or interrupt, interrupts on or off; not NMI. Spins up to [`NMI_RESPONSE_TIMEOUT_MS`].
///
/// # Errors
/// See [`BacktraceError`].
pub(crate) fn backtrace_of(cpu: &'static Cpu) -> Result<RemoteBacktrace, BacktraceError> {
    let (Some(request), Some(state)) = (cpu.get(REQUEST), cpu.get(panic::CRASH_STATE)) else {
        return Err(BacktraceError::NotOnline);
    };
    if !request.claim() {
        return Err(BacktraceError::Busy);
    }
    let outcome = send_nmi(cpu).and_then(|permit| {
        let is_answered = || request.is_answered();
        let waited = Timeout::after_ms(NMI_RESPONSE_TIMEOUT_MS).wait_until(is_answered);
        drop(permit);
        waited.map_err(|_| BacktraceError::Silent)
    });
    // The answer may have been completed after the time-out, or by the handler of another NMI.
    let gave_up = match outcome {
        Ok(()) => false,
        Err(BacktraceError::Silent) => request.cancel(),
        // No NMI is pending for it.
        Err(_) => request.withdraw(),
    };
    if let (Err(error), true) = (outcome, gave_up) {
        return Err(error);
    }
    let mut backtrace = RemoteBacktrace { rip: 0, frames: [0; MAX_FRAMES], count: 0 };
    backtrace.rip = state.registers().map_or(0, |registers| registers.rip());
    for (slot, address) in backtrace.frames.iter_mut().zip(state.frames()) {
        *slot = address;
        backtrace.count += 1;
    }
    request.release();
    Ok(backtrace)
}

/// Logs a warning about a CPU and sends it as a record, with the CPU's backtrace and the lock that it waits for.
///
/// **Context:** thread or interrupt, interrupts on or off; not NMI. Spins up to [`NMI_RESPONSE_TIMEOUT_MS`].
pub(crate) fn warn(cpu: &'static Cpu, kind: &'static str, message: fmt::Arguments) {
    let backtrace = backtrace_of(cpu);
    let backtrace = backtrace.inspect_err(|error| log::warn!("cpu {}: no backtrace: {error}", cpu.id())).ok();
    console::warn(Warning {
        cpu: cpu.id().0,
        kind,
        message: LineBuffer::format(message),
        wait: cpu.lock_wait(),
        rip: backtrace.map(|backtrace| backtrace.rip),
        slide: boot::handoff().slide,
        frames: backtrace.iter().flat_map(|backtrace| backtrace.frames()).copied().collect(),
    });
}
