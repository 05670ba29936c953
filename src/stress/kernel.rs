//! The kernel as a [`Platform`] of the workloads.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use super::barrier::Barrier;
use super::failure::Failure;
use super::progress::OPERATIONS;
use super::workloads::Platform;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::registers::read_tsc;
use crate::cpu::{CpuId, IrqGuard};
use crate::smp;
use crate::smp::hotplug::{self, OfflineError, OnlineError};
use crate::sync::Deadline;
use crate::time::timer::{self, Expiry, TimerId};

/// The time from the end of a handler of [`Platform::with_interrupts`] to the next interrupt. The thread has at least this time
/// between two interrupts, however long a handler takes on a busy host.
const INTERRUPT_DELAY: Duration = Duration::from_micros(100);

/// The kernel during one workload.
pub(crate) struct Kernel {
    /// The end of the workload.
    pub end: Deadline,
    /// The time at which a workload ends whose round is not over.
    pub limit: Deadline,
    /// The barrier of its CPUs.
    pub barrier: Barrier,
    /// Whether a CPU was excluded from the barrier while it may still use the workload's memory.
    pub is_cpu_stuck: AtomicBool,
}

impl Kernel {
    fn exclude_cpu(&self, error: &dyn core::fmt::Display) {
        log::error!("{error}");
        self.is_cpu_stuck.store(true, Ordering::Release);
        self.barrier.remove_one();
    }
}

impl Platform for Kernel {
    #[inline(always)]
    fn cycles(&self) -> u64 {
        read_tsc()
    }

    fn has_ended(&self) -> bool {
        self.end.has_passed()
    }

    fn is_overdue(&self) -> bool {
        self.limit.has_passed()
    }

    fn barrier(&self) {
        self.barrier.wait();
    }

    fn wait_until(&self, condition: &dyn Fn() -> bool) {
        self.barrier.wait_until(condition);
    }

    fn count(&self, _: usize, operations: u64) {
        OPERATIONS.add(operations);
    }

    fn offline_cpu(&self, id: u32) -> Result<(), Failure> {
        match hotplug::offline(CpuId(id)) {
            Ok(()) => Ok(()),
            Err(error @ OfflineError::OfflineInProgress { stage, .. }) => {
                self.exclude_cpu(&error);
                Err(Failure::StuckGoingOffline { cpu: id, stage: stage.name() })
            }
            // The CPU is still online.
            Err(error) => {
                log::error!("{error}");
                Err(Failure::DidNotGoOffline { cpu: id })
            }
        }
    }

    fn online_cpu(&self, id: u32) -> Result<(), Failure> {
        hotplug::online(CpuId(id)).map_err(|error| {
            self.exclude_cpu(&error);
            let stage = match error {
                OnlineError::NoProgress { stage, .. } | OnlineError::OnlineInProgress { stage, .. } => {
                    stage.name()
                }
                _ => "offline",
            };
            Failure::DidNotComeOnline { cpu: id, stage }
        })
    }

    fn is_offline_requested(&self, id: u32) -> bool {
        hotplug::is_offline_requested(&smp::cpus()[id as usize])
    }

    fn go_offline(&self, _: u32) {
        hotplug::offline_point();
    }

    fn with_interrupts(&self, handler: &mut dyn FnMut(), work: &mut dyn FnMut(&mut dyn FnMut())) {
        let mut interrupts = Interrupts { handler, next: None };
        let data = (&raw mut interrupts).expose_provenance();
        let arm = |guard: &IrqGuard| {
            // SAFETY: the value must live and be this CPU's: `interrupts` lives until the end of this function, which cancels
            // the timer, and the CPU does not go offline meanwhile.
            unsafe { interrupts_of(guard, data) }.arm(data);
        };
        arm(&IrqGuard::new());
        work(&mut || {});
        let guard = IrqGuard::new();
        // SAFETY: the value must live and be this CPU's: `interrupts` lives until the end of this function, and the CPU does not go
        // offline meanwhile.
        let last = unsafe { interrupts_of(&guard, data) }.next.take();
        last.map(timer::cancel);
    }

    fn report(&self, failure: &Failure) {
        log::error!("{failure}");
    }
}

/// The handler of [`Platform::with_interrupts`] on one CPU, and the timer of its next call.
struct Interrupts<'a> {
    handler: &'a mut dyn FnMut(),
    next: Option<TimerId>,
}

impl Interrupts<'_> {
    fn arm(&mut self, data: usize) {
        let timer = timer::after(INTERRUPT_DELAY, call_handler, data);
        self.next = Some(timer.expect("the first timers of a CPU need no memory"));
    }
}

/// The [`Interrupts`] at an address.
///
/// # Safety
/// The address is that of an `Interrupts` of this CPU, which lives as long as the guard. Only code of this CPU accesses it, with
/// interrupts off.
#[expect(clippy::mut_from_ref, reason = "the guard bounds the lifetime; # Safety makes the reference unique")]
unsafe fn interrupts_of(_: &IrqGuard, data: usize) -> &mut Interrupts<'static> {
    let interrupts = core::ptr::with_exposed_provenance_mut::<Interrupts<'static>>(data);
    // SAFETY: the value lives, and no other reference to it is in use while interrupts are off (see # Safety).
    unsafe { &mut *interrupts }
}

/// The timer's callback: calls the handler, and arms the next timer.
fn call_handler(expiry: &Expiry) {
    let guard = IrqGuard::new();
    // SAFETY: `with_interrupts` owns the value, and cancels the timer before the value ends. The timer expires on the same CPU,
    // which does not go offline meanwhile.
    let interrupts = unsafe { interrupts_of(&guard, expiry.data) };
    (interrupts.handler)();
    interrupts.arm(expiry.data);
}
