//! What the workloads need of the kernel.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use super::barrier::Barrier;
use super::failure::Failure;
use super::progress::OPERATIONS;
use super::workloads::Platform;
use crate::cpu::CpuId;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::registers::read_tsc;
use crate::smp;
use crate::smp::hotplug::{self, OfflineError, OnlineError};
use crate::sync::Deadline;
use crate::time::timer::{self, Expiry};

/// How often a CPU is interrupted that is to be: 10,000 times a second.
const INTERRUPT_PERIOD: Duration = Duration::from_micros(100);

/// The kernel, for one workload.
pub struct Kernel<'a> {
    /// When to end.
    pub end: Deadline,
    /// Where all CPUs at work meet.
    pub barrier: Barrier<'a>,
    /// Whether a CPU was left out that may still have to do with the work.
    pub is_cpu_stuck: AtomicBool,
}

impl Kernel<'_> {
    fn exclude_cpu(&self, error: &dyn core::fmt::Display) {
        log::error!("{error}");
        self.is_cpu_stuck.store(true, Ordering::Release);
        self.barrier.remove_one();
    }
}

impl Platform for Kernel<'_> {
    #[inline(always)]
    fn cycles(&self) -> u64 {
        read_tsc()
    }

    fn has_ended(&self) -> bool {
        self.end.has_passed()
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
                Err(Failure::Stuck { cpu: id, stage: stage.name() })
            }
            // As online as before.
            Err(error) => {
                log::error!("{error}");
                Err(Failure::Stayed { cpu: id })
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
                _ => "away",
            };
            Failure::Gone { cpu: id, stage }
        })
    }

    fn is_offline_requested(&self, id: u32) -> bool {
        hotplug::is_offline_requested(&smp::cpus()[id as usize])
    }

    fn go_offline(&self, _: u32) {
        hotplug::offline_point();
    }

    fn with_interrupts(&self, mut handler: &mut dyn FnMut(), work: &mut dyn FnMut(&mut dyn FnMut())) {
        let data = (&raw mut handler).expose_provenance();
        let timer = timer::every(INTERRUPT_PERIOD, strike, data);
        let timer = timer.expect("a CPU at work has few timers, and the first need no memory");
        work(&mut || {});
        timer::cancel(timer);
    }

    fn report(&self, failure: &Failure) {
        log::error!("{failure}");
    }
}

/// The timer's callback: calls the handler.
fn strike(expiry: &Expiry) {
    let handler = core::ptr::with_exposed_provenance_mut::<&mut dyn FnMut()>(expiry.data);
    // SAFETY: `interrupted` has the handler, and does not touch it until it has cancelled the timer, on this CPU: it does not
    // go offline meanwhile, so the timer is served here and nowhere else.
    let handler = unsafe { &mut *handler };
    handler();
}
