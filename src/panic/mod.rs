//! The panic path. The CPU that panics first stops all other CPUs by NMI and reports: its message, registers and backtrace;
//! then the stage, registers, held locks and backtrace of each other CPU; and the message of each CPU that also panicked.
//!
//! The steps are ordered by their risk of failing: (1) write the [`PanicRecord`](crate::wire::PanicRecord) to memory, (2) print
//! the message, (3) print the backtrace, (4) print the other CPUs. A panic during the report prints one more line and ends the
//! run. A CPU that panics after another one saves its message and registers in its [`CpuCrashState`] and halts; the first CPU
//! reports them.

mod backtrace;
mod crash_state;
mod output;
mod record;

use core::fmt;
use core::marker::PhantomData;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

pub(crate) use backtrace::backtrace;
pub(crate) use crash_state::{CRASH_STATE, CpuCrashState, has_panicked, registers_here, save_backtrace};

use crate::console;
use crate::cpu::{self, CpuId, irq_guard, registers};
use crate::sync::Hook;
use crate::wire::{BootStage, ExitCode, Registers};

/// The CPU that reports the panic, or [`NO_CPU`]. Set once, never reset.
static PANICKING_CPU: AtomicU32 = AtomicU32::new(NO_CPU);
const NO_CPU: u32 = u32::MAX;

/// Whether that CPU has panicked again during its report.
static HAS_NESTED: AtomicBool = AtomicBool::new(false);

static SMP_OPS: Hook<&'static dyn SmpOps> = Hook::new();

/// Called after the report.
static EXIT_HOOK: Hook<fn()> = Hook::new();

/// The stage of the boot.
static STAGE: AtomicU8 = AtomicU8::new(BootStage::Loader as u8);

/// The most return addresses of a backtrace.
pub(crate) const MAX_FRAMES: usize = 32;

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
/// [`panic_now`] creates one.
#[derive(Debug)]
pub(crate) struct Panicking {
    // It holds for one CPU, so it must not be sent to another.
    _not_send: PhantomData<*mut ()>,
}

/// What the SMP layer does for the CPU that panics.
pub(crate) trait SmpOps: Sync {
    /// Stops all other CPUs. Returns when they have stopped, or after a time-out.
    fn stop(&self, panicking: &Panicking);
    /// Calls `visit` for every CPU that has a per-CPU area, in ascending order.
    fn visit(&self, visit: &mut dyn FnMut(CpuStatus));
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

fn tsc_khz() -> Option<u64> {
    Some(TSC_KHZ.load(Ordering::Relaxed)).filter(|khz| *khz != 0)
}

/// Whether a CPU is panicking. A CPU that receives an NMI from then on halts permanently.
///
/// **Context:** any.
pub(crate) fn is_panicking() -> bool {
    PANICKING_CPU.load(Ordering::Acquire) != NO_CPU
}

/// Whether this CPU reports the panic.
///
/// **Context:** any.
pub(crate) fn is_reporting() -> bool {
    PANICKING_CPU.load(Ordering::Acquire) == cpu::current().0
}

/// Sets the stage of the boot, which a panic reports.
///
/// **Context:** the BSP.
pub(crate) fn set_stage(stage: BootStage) {
    STAGE.store(stage as u8, Ordering::Relaxed);
}

fn stage() -> &'static str {
    BootStage::ALL.get(usize::from(STAGE.load(Ordering::Relaxed))).map_or("", |stage| stage.name())
}

/// Reports a panic and ends the run. If another CPU is already panicking, saves the cause for its report and halts.
///
/// **Context:** any.
pub(crate) fn panic_now(cause: &PanicCause) -> ! {
    irq_guard::disable_forever();
    let me = cpu::current();
    match PANICKING_CPU.compare_exchange(NO_CPU, me.0, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {}
        Err(panicking) if panicking == me.0 => panic_nested(me, cause),
        Err(_) => {
            crash_state::save_panic(cause.registers, cause.message);
            registers::halt_forever()
        }
    }
    output::write_panic_record(me, cause);
    // Before the console's lock is taken: it would be listed among the held locks.
    crash_state::save_backtrace(cause.registers);
    if let Some(ops) = SMP_OPS.get() {
        ops.stop(&Panicking { _not_send: PhantomData });
    }
    // SAFETY: `force_lock` takes the locks of the serial port and of the screen, by force if necessary. A forced lock aliases
    // the `&mut` of its holder, which is sound only if the holder never uses it again. The holder is one of these:
    // - this CPU, in interrupted code, to which `panic_now` does not return (`-> !`). No further handler takes the lock on this
    //   CPU (`disable_forever`, and I4 for NMI and #MC);
    // - a CPU that `SmpOps::stop` has stopped: its NMI handler (`smp::nmi`) halts it permanently, since `is_panicking` is true
    //   from the exchange above on and is never reset. An NMI on this CPU returns (`is_reporting`);
    // - a CPU that has also panicked: its exchange above has failed, and it halts permanently;
    // - a CPU that `SmpOps::stop` has not stopped: it takes no NMI (its host has stopped the virtual CPU, or firmware runs in
    //   SMM), or it is not online yet. It has another FORCE_LOCK_MS to release the lock. If it resumes after that in the middle
    //   of a write, both CPUs use the UART and the screen at the same time. This is the one case that nothing excludes. Both
    //   values hold port numbers, positions and characters, and each index is checked where it is used, so the damage is garbled
    //   output. No memory is allocated, freed or transferred under these locks, and the run ends.
    // Only one CPU reaches this line: `PANICKING_CPU` leaves NO_CPU once.
    unsafe { console::force_lock(|line| output::print_panic(line, me, cause)) };
    if let Some(hook) = EXIT_HOOK.get() {
        hook();
    }
    registers::exit(ExitCode::Panicked)
}

/// Reports a panic that occurred during the report, once, and ends the run.
fn panic_nested(me: CpuId, cause: &PanicCause) -> ! {
    if !HAS_NESTED.swap(true, Ordering::AcqRel) {
        // SAFETY: this CPU has won the exchange in `panic_now`. If it holds the locks itself, the holder is interrupted code on
        // this stack, to which `panic_nested` does not return (`-> !`). Other holders have been stopped by the interrupted
        // `panic_now`; for those that could not be stopped, its SAFETY comment holds.
        unsafe { console::force_lock(|line| output::print_nested(line, me, cause)) };
    }
    registers::exit(ExitCode::Panicked)
}

/// Handles `panic!`.
pub(crate) fn panicked(info: &PanicInfo) -> ! {
    panic_now(&PanicCause {
        message: format_args!("{}", info.message()),
        location: info.location(),
        is_exception: false,
        registers: &registers_here(),
    })
}

#[cfg(all(target_os = "none", not(test)))]
#[panic_handler]
fn panic_handler(info: &PanicInfo) -> ! {
    panicked(info)
}
