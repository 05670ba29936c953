//! Work for all CPUs at once.

use core::sync::atomic::Ordering;

use super::hotplug::Departure;
use super::ranks::{self, EPOCH};
use super::{Cpu, cpus, hotplug, online, watchdog};
use crate::apic::{self, Message};
use crate::cpu::{self, CpuId, IrqGuard};
use crate::interrupts::{Frame, Vector};
use crate::sync::{Deadline, IrqMutex};
use crate::time::halt_until;

static WORK: IrqMutex<Option<Work>> = IrqMutex::new(None);
crate::name_lock!(WORK);

/// A borrowed function, with its lifetime left out.
#[derive(Clone, Copy)]
struct Work(*const (dyn Fn(&'static Cpu) + Sync));

// SAFETY: the function is `Sync`, and `run_on_all` outlives every use of it.
unsafe impl Send for Work {}

/// Runs `work` on every CPU that is online now, this one among them, and returns when all have finished. The boot processor
/// alone calls this, with interrupts on. A CPU that goes offline out of its work must come back to it; one that comes
/// online meanwhile has no part in it.
///
/// # Panics
/// If a CPU has not finished `limit_ms` after this one: it may still be using what `work` borrows.
pub fn run_on_all(limit_ms: u64, work: &(dyn Fn(&'static Cpu) + Sync)) {
    // SAFETY: only the lifetime is changed. This function returns only when every CPU has finished with it.
    let erased = Work(unsafe {
        core::mem::transmute::<*const (dyn Fn(&'static Cpu) + Sync + '_), *const (dyn Fn(&'static Cpu) + Sync)>(
            work,
        )
    });
    let (epoch, participants) = ranks::begin_work(|| *WORK.lock() = Some(erased));
    wake_others();
    // Until all have finished: whoever has taken the work up is watched by others at work, and one that has not by this.
    let _beating = watchdog::begin();
    run(&cpus()[cpu::current().index()], epoch);
    let deadline = Deadline::after_ms(limit_ms);
    for cpu in participants.iter().map(|cpu| &cpus()[cpu.index()]) {
        // One that was given up while it was away touches nothing any more.
        let is_done = || cpu.finished.load(Ordering::Acquire) >= epoch || cpu.departure() == Departure::Lost;
        if halt_until(&deadline, is_done).is_err() {
            panic!("cpu {} has not finished its work {limit_ms} ms after this one", cpu.id());
        }
    }
}

/// Ends the halt of every other online CPU, so that each looks again at what it waits for.
///
/// # Panics
/// If one cannot be reached.
pub fn wake_others() {
    let me = cpu::current();
    for cpu in online().filter(|cpu| cpu.id() != me) {
        wake_one(cpu);
    }
}

pub(super) fn wake_one(cpu: &Cpu) {
    if let Err(error) = apic::send(&IrqGuard::new(), cpu.entry.apic_id, Message::Fixed(Vector::WAKE)) {
        panic!("cpu {}: {error}", cpu.id());
    }
}

/// Whether a CPU has work that it has not finished.
pub(super) fn is_due(cpu: &Cpu) -> bool {
    cpu.finished.load(Ordering::Acquire) < EPOCH.load(Ordering::Acquire)
}

fn run(cpu: &'static Cpu, epoch: u64) {
    let beating = watchdog::begin();
    let work = *WORK.lock();
    if let Some(Work(work)) = work {
        // SAFETY: `run_on_all` waits until this CPU has finished.
        unsafe { (*work)(cpu) };
    }
    drop(beating);
    cpu.finished.store(epoch, Ordering::Release);
    // The boot processor may be waiting for this.
    if cpu.id() != CpuId::BSP {
        wake_one(&cpus()[CpuId::BSP.index()]);
    }
}

/// The interrupt only ends a halt.
pub(super) fn wake(_: &mut Frame) {
    apic::end_of_interrupt();
}

/// Waits for work, and does it, for good.
pub fn idle() -> ! {
    let me = &cpus()[cpu::current().index()];
    loop {
        let mut guard = IrqGuard::new();
        let epoch = EPOCH.load(Ordering::Acquire);
        if me.finished.load(Ordering::Relaxed) < epoch && me.is_online() {
            drop(guard);
            run(me, epoch);
        } else if hotplug::is_asked(me) {
            drop(guard);
            hotplug::leave_idle(me);
        } else {
            // An interrupt that has arrived since the two checks ends the halt.
            guard.halt();
        }
    }
}
