//! Non-maskable interrupts (NMIs), which reach a CPU that takes no other interrupts.
//!
//! An NMI does not say why it came, and two that are pending together are delivered as one. So a sender first stores what it
//! wants, and the handler checks for everything each time: is a CPU panicking, does a CPU ask where this one is? If neither,
//! the NMI came from outside, and is counted.
//!
//! An NMI is sent only under an [`NmiPermit`](crate::sync::hotplug::NmiPermit), which keeps the target from being restarted:
//! between INIT and the load of its IDT an NMI would be a triple fault.
//!
//! The handler takes no lock, waits for nothing and sends no interrupt, for it may have interrupted anything; what it logs waits
//! for nothing either. It has a stack of its own, which the next NMI would overwrite; none comes before `iret` (SDM Vol. 3A,
//! 6.7.1), so nothing in it may raise an exception, whose `iret` would unblock NMIs.

use core::fmt;
use core::sync::atomic::Ordering;

use super::hotplug::HotplugState;
use super::{Cpu, bring_up, cpus, lock_stall};
use crate::apic::{self, ApicError, Batch, Message};
use crate::config::{NMI_ANSWER_MS, PANIC_STOP_MS};
use crate::console::{self, LineBuffer, Warning};
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::registers::halt_forever;
use crate::cpu::{self, IrqGuard};
use crate::interrupts::{self, TrapFrame, Vector};
use crate::panic::{self, MAX_FRAMES, Panicking, Victim};
use crate::sync::Timeout;
use crate::sync::hotplug::NmiPermit;
use crate::sync::nmi_request::{NmiRequest, Reason};
use crate::sync::stop::before_stopping_others;
use crate::{boot, patchable, per_cpu};

per_cpu! {
    /// By which another CPU asks this one for its place, which it leaves in its remains.
    static REQUEST: NmiRequest = NmiRequest::new();
}

/// How many NMIs came that no CPU of this kernel had sent: those that a CPU of its own counted, and those that APs counted
/// before they had one.
pub fn nmis() -> u64 {
    let counters = cpus().iter().filter_map(|cpu| cpu.get(interrupts::EXTERNAL_NMIS));
    let by_cpu: u64 = counters.map(|nmis| nmis.load(Ordering::Relaxed)).sum();
    by_cpu + u64::from(bring_up::trampoline_nmis())
}

pub fn register() {
    interrupts::register(Vector::NMI, "NMI", nmi);
    panic::set_others(&AllCpus);
    lock_stall::register();
}

fn nmi(frame: &mut TrapFrame) {
    // The CPU that reports the panic goes on: it is not the one that is to be stopped, whatever the NMI is for.
    if panic::is_reporting() {
        interrupts::EXTERNAL_NMIS.increment();
        return;
    }
    if panic::is_dying() {
        if !panic::has_died() {
            panic::leave_place(&frame.registers());
        }
        if let Some(cpu) = cpus().get(cpu::current().index()) {
            cpu.stopped.store(true, Ordering::Release);
        }
        halt_forever();
    }
    // SAFETY: this CPU's own copy, whose area is never freed (`CpuAreas`); all of it is atomic.
    let request = unsafe { &*REQUEST.as_ptr() };
    match request.begin() {
        Reason::Asked => {
            panic::leave_place(&frame.registers());
            request.finish();
        }
        Reason::Cancelled => {}
        Reason::External => interrupts::EXTERNAL_NMIS.increment(),
    }
}

/// What a dying CPU wants of the others.
struct AllCpus;

impl panic::Others for AllCpus {
    fn stop(&self, panicking: &Panicking) {
        stop_others(panicking);
    }

    fn visit(&self, visit: &mut dyn FnMut(Victim)) {
        for cpu in cpus() {
            let (Some(gs_base), Some(remains)) = (cpu.gs_base(), cpu.get(panic::REMAINS)) else { continue };
            let state = match (cpu.is_online(), cpu.hotplug_state()) {
                (true, _) => "silent",
                (false, HotplugState::NotStarted | HotplugState::Failed) => "failed",
                (false, _) => "offline",
            };
            let was_stopped = cpu.stopped.load(Ordering::Acquire);
            let stage = cpu.stage().name();
            visit(Victim { cpu: cpu.id(), state, stage, was_stopped, gs_base, remains });
        }
    }
}

patchable! {
    /// Stops all other CPUs by NMI and waits a moment for them. One that does not stop, or to which none can be sent, is
    /// reported as silent.
    pub fn stop_others(panicking: &Panicking) {
        let guard = IrqGuard::new();
        if !apic::is_enabled(&guard) {
            return;
        }
        before_stopping_others();
        let others = || crate::smp::online().filter(|cpu| cpu.id() != cpu::current());
        let mut batch = Batch::new();
        for cpu in others() {
            // One that has just gone offline takes none. The others' permits are not returned: nothing is restarted any more.
            if let Some(permit) = cpu.hotplug.admit_nmi() {
                core::mem::forget(permit);
                let _ = batch.send_nmi_in_panic(panicking, cpu.entry.apic_id);
            }
        }
        let _ = Timeout::after_ms(PANIC_STOP_MS)
            .wait_until(|| others().all(|cpu| cpu.stopped.load(Ordering::Acquire)));
    }
}

/// Why another CPU did not take an NMI, or did not say where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// The CPU is offline or has not come up, so it is sent no NMI.
    NotOnline,
    /// Another CPU is asking it.
    Busy,
    /// The NMI could not be sent.
    NotSent(ApicError),
    /// It has not answered within [`NMI_ANSWER_MS`].
    Silent,
}

impl fmt::Display for NoPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoPlace::NotOnline => f.write_str("it is not online"),
            NoPlace::Busy => f.write_str("another CPU is asking for it"),
            NoPlace::NotSent(error) => error.fmt(f),
            NoPlace::Silent => write!(f, "no response to an NMI in {NMI_ANSWER_MS} ms"),
        }
    }
}

/// Sends an NMI to a CPU, this one perhaps. What the NMI is for has been stored before. The permit is kept until the target
/// has taken it, or is given up.
///
/// **Context:** any but NMI.
///
/// # Errors
/// [`NoPlace::NotOnline`], [`NoPlace::NotSent`]: no NMI was sent.
pub fn send_nmi(cpu: &Cpu) -> Result<NmiPermit<'_>, NoPlace> {
    let permit = cpu.hotplug.admit_nmi().ok_or(NoPlace::NotOnline)?;
    let sent = apic::send(&IrqGuard::new(), cpu.entry.apic_id, Message::Nmi);
    sent.map(|()| permit).map_err(NoPlace::NotSent)
}

/// Where a CPU was when an NMI struck it.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The instruction.
    pub rip: u64,
    frames: [u64; MAX_FRAMES],
    count: usize,
}

impl Place {
    /// The return addresses on its stack, innermost first.
    pub fn frames(&self) -> &[u64] {
        &self.frames[..self.count]
    }
}

/// Asks another CPU by NMI where it is.
///
/// **Context:** any but NMI, interrupts on or off. Spins up to [`NMI_ANSWER_MS`].
///
/// # Errors
/// See [`NoPlace`].
pub fn place_of(cpu: &'static Cpu) -> Result<Place, NoPlace> {
    let (Some(request), Some(remains)) = (cpu.get(REQUEST), cpu.get(panic::REMAINS)) else {
        return Err(NoPlace::NotOnline);
    };
    if !request.ask() {
        return Err(NoPlace::Busy);
    }
    let asked = send_nmi(cpu).and_then(|permit| {
        let is_answered = || request.is_answered();
        let waited = Timeout::after_ms(NMI_ANSWER_MS).wait_until(is_answered);
        drop(permit);
        waited.map_err(|_| NoPlace::Silent)
    });
    // An answer may have come at the last moment, or because of another NMI.
    let gave_up = match asked {
        Ok(()) => false,
        Err(NoPlace::Silent) => request.cancel(),
        // No NMI is pending for it.
        Err(_) => request.withdraw(),
    };
    if let (Err(error), true) = (asked, gave_up) {
        return Err(error);
    }
    let mut place = Place { rip: 0, frames: [0; MAX_FRAMES], count: 0 };
    place.rip = remains.registers().map_or(0, |registers| registers.rip());
    for (slot, address) in place.frames.iter_mut().zip(remains.frames()) {
        *slot = address;
        place.count += 1;
    }
    request.release();
    Ok(place)
}

/// Reports to people and to the launcher what is wrong with a CPU, where it is, and which lock it waits for.
///
/// **Context:** any but NMI; interrupts on or off.
pub fn warn(cpu: &'static Cpu, kind: &'static str, message: fmt::Arguments) {
    let place = place_of(cpu);
    let place = place.inspect_err(|error| log::warn!("cpu {}: no backtrace: {error}", cpu.id())).ok();
    console::warn(Warning {
        cpu: cpu.id().0,
        kind,
        message: LineBuffer::format(message),
        wait: cpu.lock_wait(),
        rip: place.map(|place| place.rip),
        slide: boot::handoff().slide,
        frames: place.iter().flat_map(|place| place.frames()).copied().collect(),
    });
}
