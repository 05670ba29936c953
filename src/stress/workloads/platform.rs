//! What the workloads need of the kernel, or of the host.

use crate::stress::failure::Failure;

/// The environment of the workloads: the kernel, or threads of the host.
#[doc(hidden)]
pub trait Platform: Sync {
    /// A clock for latencies: TSC cycles in the kernel.
    fn cycles(&self) -> u64;
    /// Whether the workload's time is over.
    fn has_ended(&self) -> bool;
    /// Whether it has been over for `EXHAUST_LIMIT`: then a round that allocates much memory ends as well.
    fn is_overdue(&self) -> bool;
    /// Waits until all CPUs of the workload have arrived.
    fn barrier(&self);
    /// Waits until `condition` holds, which another CPU of the workload makes true.
    fn wait_until(&self, condition: &dyn Fn() -> bool);
    /// Adds to the operations of the calling CPU, whose rank is `rank`.
    fn count(&self, rank: usize, operations: u64);
    /// Takes another CPU offline, which interrupts its work.
    ///
    /// # Errors
    /// [`Failure::DidNotGoOffline`]: the CPU continues its work. Other errors: it takes part in no further barrier.
    fn offline_cpu(&self, id: u32) -> Result<(), Failure>;
    /// Brings a CPU online.
    ///
    /// # Errors
    /// The CPU did not come online; it takes part in no further barrier.
    fn online_cpu(&self, id: u32) -> Result<(), Failure>;
    /// Whether the calling CPU, whose number is `id`, is requested to go offline.
    fn is_offline_requested(&self, id: u32) -> bool;
    /// Takes the calling CPU offline, and returns when it is online again.
    fn go_offline(&self, id: u32);
    /// Runs `work` while `handler` interrupts it on the same CPU. A platform without interrupts passes `handler` to `work`,
    /// which calls it between its operations; others pass a function that does nothing.
    fn with_interrupts(&self, handler: &mut dyn FnMut(), work: &mut dyn FnMut(&mut dyn FnMut()));
    /// Logs the first failure at once: the workload may not end.
    fn report(&self, failure: &Failure);
}
