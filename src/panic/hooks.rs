//! What other layers set for the report of a panic, and what they receive.

use core::fmt;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use super::crash_state::CpuCrashState;
use crate::cpu::CpuId;
use crate::sync::Hook;
use crate::wire::{BootStage, Registers};

pub(super) static SMP_OPS: Hook<&'static dyn SmpOps> = Hook::new();

/// Called after the report.
pub(super) static EXIT_HOOK: Hook<fn()> = Hook::new();

/// The stage of the boot.
static STAGE: AtomicU8 = AtomicU8::new(BootStage::Loader as u8);

/// Why and where a CPU panics.
pub(crate) struct PanicCause<'a> {
    /// The panic message.
    pub message: fmt::Arguments<'a>,
    /// The source location; `None` for an exception.
    pub location: Option<&'a core::panic::Location<'a>>,
    /// Whether this is an exception, raised by the instruction at RIP.
    pub is_exception: bool,
    /// The registers. The backtrace begins at their RBP.
    pub registers: &'a Registers,
}

/// The state of a CPU during a panic, as other CPUs see it.
pub(crate) struct CpuStatus {
    /// The CPU.
    pub cpu: CpuId,
    /// The state to report if the CPU was not stopped: `silent` (no response to the NMI), `offline` or `failed`.
    pub state: &'static str,
    /// Its bring-up stage.
    pub stage: &'static str,
    /// Whether the NMI has stopped it.
    pub was_stopped: bool,
    /// The GS base of its per-CPU area.
    pub gs_base: usize,
    /// Its saved registers, backtrace and locks.
    pub crash_state: &'static CpuCrashState,
}

/// IcrAccess that this CPU ends the run: its interrupts are disabled permanently, and the interrupted code never resumes. Only
/// `panic_now` creates one.
#[derive(Debug)]
pub(crate) struct Panicking {
    // It holds for one CPU, so it must not be sent to another.
    pub(super) _not_send: PhantomData<*mut ()>,
}

/// The operations of the SMP layer for the CPU that panics.
pub(crate) trait SmpOps: Sync {
    /// Stops all other CPUs. Returns when they have stopped, or after a time-out.
    fn stop(&self, panicking: &Panicking);
    /// Calls `visit` for every CPU that has a per-CPU area, in ascending order.
    fn visit(&self, visit: &mut dyn FnMut(CpuStatus));
    /// Returns whether this CPU runs a handler of NMI, #MC, #DF or #DB, which may have interrupted any code.
    fn is_in_nmi(&self) -> bool;
}

/// Registers the SMP layer. Panics from now on stop and report the other CPUs. Only the first call has an effect.
pub(crate) fn set_smp_ops(ops: &'static dyn SmpOps) {
    SMP_OPS.set(ops);
}

/// Registers a function that runs after the report, with all other CPUs stopped. It may log. Only the first call has an effect.
pub(crate) fn set_exit_hook(hook: fn()) {
    EXIT_HOOK.set(hook);
}

/// The TSC's frequency in kHz; 0 if unknown.
static TSC_KHZ: AtomicU64 = AtomicU64::new(0);

/// Sets the TSC's frequency in kHz, which the panic report contains so that the launcher can convert the times of trace events.
///
/// **Context:** the BSP.
pub(crate) fn set_tsc_khz(khz: u64) {
    TSC_KHZ.store(khz, Ordering::Relaxed);
}

pub(super) fn tsc_khz() -> Option<u64> {
    Some(TSC_KHZ.load(Ordering::Relaxed)).filter(|khz| *khz != 0)
}

/// Sets the stage of the boot, which a panic reports.
///
/// **Context:** the BSP.
pub(crate) fn set_stage(stage: BootStage) {
    STAGE.store(stage as u8, Ordering::Relaxed);
}

/// Returns the stage of the boot.
pub(super) fn boot_stage() -> Option<BootStage> {
    BootStage::ALL.get(usize::from(STAGE.load(Ordering::Relaxed))).copied()
}

/// Returns the name of the stage of the boot.
pub(super) fn stage() -> &'static str {
    boot_stage().map_or("", BootStage::name)
}
