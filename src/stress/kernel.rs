//! The kernel as a [`Platform`] of the workloads.

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

/// The period of the interrupts of [`Platform::with_interrupts`].
const INTERRUPT_PERIOD: Duration = Duration::from_micros(100);

/// The kernel during one workload.
pub struct Kernel {
    /// The end of the workload.
    pub end: Deadline,
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

    fn with_interrupts(&self, mut handler: &mut dyn FnMut(), work: &mut dyn FnMut(&mut dyn FnMut())) {
        let data = (&raw mut handler).expose_provenance();
        let timer = timer::every(INTERRUPT_PERIOD, call_handler, data);
        let timer = timer.expect("the first timers of a CPU need no memory");
        work(&mut || {});
        timer::cancel(timer);
    }

    fn report(&self, failure: &Failure) {
        log::error!("{failure}");
    }
}

/// The timer's callback: calls the handler.
fn call_handler(expiry: &Expiry) {
    let handler = core::ptr::with_exposed_provenance_mut::<&mut dyn FnMut()>(expiry.data);
    // SAFETY: the handler must live, and not be accessed otherwise. `with_interrupts` owns it, and does not access it until it
    // has cancelled the timer. The timer expires on the same CPU, which does not go offline meanwhile.
    let handler = unsafe { &mut *handler };
    handler();
}
