//! The panic path. The CPU that panics first stops all other CPUs by NMI and reports: its message, registers and backtrace;
//! then the stage, registers, held locks and backtrace of each other CPU; and the message of each CPU that also panicked.
//!
//! The steps are ordered by their risk of failing: (1) write the [`PanicRecord`](crate::wire::PanicRecord) to memory, (2) print
//! the message, (3) print the backtrace, (4) print the other CPUs, (5) print the program's own lines, (6) list
//! the threads. A panic during the report
//! prints one more line and ends the run; one in the program's lines, after those that remain. A CPU that panics after another one saves its message and registers in its [`CpuCrashState`] and halts; the first CPU
//! reports them.

mod backtrace;
mod context;
mod crash_state;
mod hooks;
mod output;
mod record;
mod threads;

use core::marker::PhantomData;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

pub(crate) use backtrace::{
    INTERRUPTED_RIP, INTERRUPTED_RSP, MAX_FRAMES, backtrace, backtrace_in, backtrace_of,
};
pub use context::{MAX_LINE_BYTES, MAX_LINES, PANIC_CONTEXTS, PanicContext};
pub(crate) use crash_state::{CRASH_STATE, CpuCrashState, has_panicked, registers_here, save_backtrace};
pub(crate) use hooks::{
    CpuStatus, PanicCause, Panicking, SmpOps, set_exit_hook, set_smp_ops, set_stage, set_tsc_khz,
};
use hooks::{EXIT_HOOK, SMP_OPS};
pub(crate) use threads::set_thread_lister;

use crate::cpu::{self, CpuId, irq_guard, registers};
use crate::wire::ExitCode;
use crate::{console, sync};

/// The CPU that reports the panic, or [`NO_CPU`]. Set once, never reset.
static PANICKING_CPU: AtomicU32 = AtomicU32::new(NO_CPU);
const NO_CPU: u32 = u32::MAX;

/// Whether that CPU has panicked again during its report.
static HAS_NESTED: AtomicBool = AtomicBool::new(false);

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

/// Reports a panic and ends the run. If another CPU is already panicking, saves the cause for its report and halts.
///
/// **Context:** any.
pub(crate) fn panic_now(cause: &PanicCause) -> ! {
    irq_guard::disable_forever();
    #[cfg(feature = "checked")]
    sync::lock_order::stop();
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
        let mut is_whole = false;
        // SAFETY: this CPU has won the exchange in `panic_now`. If it holds the locks itself, the holder is interrupted code on
        // this stack, to which `panic_nested` does not return (`-> !`). Other holders have been stopped by the interrupted
        // `panic_now`; for those that could not be stopped, its SAFETY comment holds.
        unsafe { console::force_lock(|line| is_whole = output::print_nested(line, me, cause)) };
        // A panic of the program's lines leaves nothing out.
        if let Some(hook) = EXIT_HOOK.get().filter(|_| is_whole) {
            hook();
        }
    }
    registers::exit(ExitCode::Panicked)
}

/// Handles `panic!`.
pub(crate) fn panicked(info: &PanicInfo) -> ! {
    panic_now(&PanicCause {
        message: format_args!("{}", info.message()),
        // A lock that is misused is the fault of its caller.
        location: sync::misused_at(info.location()).or(info.location()),
        is_exception: false,
        registers: &registers_here(),
    })
}

#[cfg(all(target_os = "none", not(test)))]
#[panic_handler]
fn panic_handler(info: &PanicInfo) -> ! {
    panicked(info)
}
