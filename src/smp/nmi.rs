//! Non-maskable interrupts: what reaches a CPU that takes no others.
//!
//! An NMI says nothing about why it came, and two that come close together are one. So whoever sends one leaves a word
//! first, and the handler looks for every word each time: has a CPU died, does one want to know where this one is? Only
//! if there is none, the NMI came from outside, and is counted.
//!
//! The handler takes no lock and waits for nobody, for it may have struck anywhere; what it logs waits for nobody either. It
//! has a stack of its own, which the next NMI would begin anew; none comes before `iret` (SDM Vol. 3A, 6.7.1), so nothing
//! in it may raise an exception, whose `iret` would let one in.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::hotplug::Departure;
use super::{Cpu, bring_up, cpus, lock_stall};
use crate::config::{NMI_ANSWER_MS, PANIC_STOP_MS};
use crate::console::{self, LineBuffer, Warning};
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::registers::halt_forever;
use crate::cpu::{self, IrqGuard};
use crate::interrupts::{self, Frame, Vector};
use crate::panic::{self, MAX_FRAMES, Victim};
use crate::sync::Deadline;
use crate::{apic, boot, per_cpu, redirectable};

per_cpu! {
    static REQUEST: Request = Request::new();
}

/// By which another CPU asks this one for its place, which it leaves in its remains.
struct Request {
    /// Whether some CPU is asking.
    is_taken: AtomicBool,
    /// One of [`NONE`], [`ASKED`], [`WRITING`], [`ANSWERED`].
    state: AtomicU32,
}

const NONE: u32 = 0;
const ASKED: u32 = 1;
const WRITING: u32 = 2;
const ANSWERED: u32 = 3;

impl Request {
    const fn new() -> Request {
        Request { is_taken: AtomicBool::new(false), state: AtomicU32::new(NONE) }
    }

    fn change(&self, from: u32, to: u32) -> bool {
        self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// In the handler, on the CPU that was asked.
    fn answer(&self, frame: &Frame) {
        panic::leave_place(&frame.registers());
        self.state.store(ANSWERED, Ordering::Release);
    }
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

fn nmi(frame: &mut Frame) {
    if panic::is_dying() {
        if !panic::has_died() {
            panic::leave_place(&frame.registers());
        }
        if let Some(cpu) = cpus().get(cpu::current().index()) {
            cpu.stopped.store(true, Ordering::Release);
        }
        halt_forever();
    }
    let request = REQUEST.as_ptr();
    // SAFETY: this CPU's own copy, which lives for good; all of it is atomic.
    let request = unsafe { &*request };
    if request.change(ASKED, WRITING) {
        request.answer(frame);
    } else {
        interrupts::EXTERNAL_NMIS.increment();
    }
}

/// What a dying CPU wants of the others.
struct AllCpus;

impl panic::Others for AllCpus {
    fn stop(&self) {
        stop_others();
    }

    fn visit(&self, visit: &mut dyn FnMut(Victim)) {
        for cpu in cpus() {
            let (Some(gs_base), Some(remains)) = (cpu.gs_base(), cpu.get(panic::REMAINS)) else { continue };
            let state = match (cpu.is_online(), cpu.departure()) {
                (true, _) => "silent",
                (false, Departure::Here) => "failed",
                (false, _) => "offline",
            };
            let was_stopped = cpu.stopped.load(Ordering::Acquire);
            let stage = cpu.stage().name();
            visit(Victim { cpu: cpu.id(), state, stage, was_stopped, gs_base, remains });
        }
    }
}

redirectable! {
    /// Stops all other CPUs by NMI and waits a moment for them; one that does not stop is beyond help.
    pub fn stop_others() {
        let guard = IrqGuard::new();
        if !apic::is_enabled(&guard) {
            return;
        }
        let others = || crate::smp::online().filter(|cpu| cpu.id() != cpu::current());
        for cpu in others() {
            apic::send_nmi_in_emergency(cpu.entry.apic_id);
        }
        let _ = Deadline::after_ms(PANIC_STOP_MS)
            .wait_until(|| others().all(|cpu| cpu.stopped.load(Ordering::Acquire)));
    }
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

/// Asks another CPU by NMI where it is. `None` if it does not answer within [`NMI_ANSWER_MS`], if it is offline, or if
/// somebody else is asking. Interrupts may be on or off; not from an NMI.
pub fn place_of(cpu: &'static Cpu) -> Option<Place> {
    let (request, remains) = (cpu.get(REQUEST)?, cpu.get(panic::REMAINS)?);
    // What wakes up in the trampoline has no handlers yet.
    if cpu.departure() == Departure::Gone {
        return None;
    }
    if request.is_taken.swap(true, Ordering::AcqRel) {
        return None;
    }
    request.state.store(ASKED, Ordering::Release);
    apic::send_nmi_in_emergency(cpu.entry.apic_id);
    let is_answered = || request.state.load(Ordering::Acquire) == ANSWERED;
    let place = match Deadline::after_ms(NMI_ANSWER_MS).wait_until(is_answered) {
        Ok(()) => {
            let mut place = Place { rip: 0, frames: [0; MAX_FRAMES], count: 0 };
            place.rip = remains.registers().map_or(0, |registers| registers.rip());
            for (slot, address) in place.frames.iter_mut().zip(remains.frames()) {
                *slot = address;
                place.count += 1;
            }
            Some(place)
        }
        Err(_) => None,
    };
    // One that is still writing keeps its request for good: nobody may mix what it writes with something else.
    if place.is_some() || request.change(ASKED, NONE) {
        request.is_taken.store(false, Ordering::Release);
    }
    place
}

/// Reports to people and to the launcher what is wrong with a CPU, where it is, and which lock it waits for.
///
/// **Context:** any but NMI; interrupts on or off.
pub fn warn(cpu: &'static Cpu, kind: &'static str, message: fmt::Arguments) {
    let place = place_of(cpu);
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
