//! Last words: once, from the first CPU that dies, after the others have been stopped by NMI. It tells of each CPU where
//! it was, in which stage, with which registers and locks; of one that died a moment later also why.
//!
//! What may go wrong comes last. First a block of fixed format is left in memory ([`LastWords`](crate::wire::LastWords)),
//! then the message goes out, then the calls, then the other CPUs. A panic within all that says so in a line of its own and
//! ends the run; what was said before stands. A CPU that dies when another has already leaves its reason for that one to
//! tell.

mod backtrace;
mod last_words;
mod remains;
mod speak;

use core::fmt;
use core::marker::PhantomData;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use spin::Once;

pub use backtrace::backtrace;
pub use remains::{CRASH_STATE, CpuCrashState, has_died, registers_here, save_backtrace};

use crate::console;
use crate::cpu::{self, CpuId, irq_guard, registers};
use crate::wire::{BootStage, ExitCode, Registers};

/// The CPU that is dying; there is only ever one.
static DYING: AtomicU32 = AtomicU32::new(NOBODY);
const NOBODY: u32 = u32::MAX;

/// Whether it has died a second time, over its last words.
static DIED_AGAIN: AtomicBool = AtomicBool::new(false);

static OTHERS: Once<&'static dyn Others> = Once::new();

/// What is done when everything has been said.
static AT_END: Once<fn()> = Once::new();

/// How far the boot has come.
static STAGE: AtomicU8 = AtomicU8::new(BootStage::Loader as u8);

/// A backtrace ends here at the latest.
pub const MAX_FRAMES: usize = 32;

/// What a CPU died of.
pub struct Death<'a> {
    /// What happened.
    pub message: fmt::Arguments<'a>,
    /// Where in the source it panicked.
    pub location: Option<&'a core::panic::Location<'a>>,
    /// Whether the instruction at RIP is at fault: in an exception.
    pub is_exception: bool,
    /// The registers, from whose frame pointer the backtrace begins.
    pub registers: &'a Registers,
}

/// What is known of a CPU from outside.
pub struct Victim {
    /// Its number.
    pub cpu: CpuId,
    /// The state to be told, if it left no remains: `silent`, `offline` or `failed`.
    pub state: &'static str,
    /// The stage of its bring-up.
    pub stage: &'static str,
    /// Whether it was stopped.
    pub was_stopped: bool,
    /// The GS base of its area.
    pub gs_base: usize,
    /// What it left.
    pub remains: &'static CpuCrashState,
}

/// The proof that this CPU ends the run: its interrupts are off permanently, and the code that the panic has interrupted never
/// goes on. [`die`] alone makes one.
#[derive(Debug)]
pub struct Panicking {
    // It is true of one CPU, so it must not reach another.
    _not_send: PhantomData<*mut ()>,
}

/// What the layer that knows all CPUs does for one that is dying.
pub trait Others: Sync {
    /// Stops all other CPUs; returns when they have stopped, or will not.
    fn stop(&self, panicking: &Panicking);
    /// Shows every CPU that has an area, in their order.
    fn visit(&self, visit: &mut dyn FnMut(Victim));
}

/// From now on a dying CPU can stop the others, and tell of them.
pub fn set_others(others: &'static dyn Others) {
    OTHERS.call_once(|| others);
}

/// Sets what is done when everything has been said, with all other CPUs stopped; it may log.
pub fn set_at_end(at_end: fn()) {
    AT_END.call_once(|| at_end);
}

/// The TSC's frequency in kHz; 0 while it is not known.
static TSC_KHZ: AtomicU64 = AtomicU64::new(0);

/// Sets the TSC's frequency, in kHz, by which the times of a panic's trace events become microseconds. The boot processor
/// alone calls this.
pub fn set_tsc_khz(khz: u64) {
    TSC_KHZ.store(khz, Ordering::Relaxed);
}

fn tsc_khz() -> Option<u64> {
    Some(TSC_KHZ.load(Ordering::Relaxed)).filter(|khz| *khz != 0)
}

/// Whether some CPU is dying. One that is told to stop then stops for good.
pub fn is_dying() -> bool {
    DYING.load(Ordering::Acquire) != NOBODY
}

/// Whether it is this CPU that reports the panic. **Context:** any.
pub fn is_reporting() -> bool {
    DYING.load(Ordering::Acquire) == cpu::current().0
}

/// Says how far the boot has come. The boot processor alone calls this.
pub fn set_stage(stage: BootStage) {
    STAGE.store(stage as u8, Ordering::Relaxed);
}

fn stage() -> &'static str {
    BootStage::ALL.get(usize::from(STAGE.load(Ordering::Relaxed))).map_or("", |stage| stage.name())
}

/// Ends the run with last words. Any context; of several CPUs that die at once the first speaks and tells of the others.
pub fn die(death: &Death) -> ! {
    irq_guard::disable_forever();
    let me = cpu::current();
    match DYING.compare_exchange(NOBODY, me.0, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {}
        Err(dying) if dying == me.0 => die_again(me, death),
        Err(_) => {
            remains::leave_death(death.registers, death.message);
            registers::halt_forever()
        }
    }
    speak::leave_first_words(me, death);
    // Before the console's lock is taken, or taken away.
    remains::save_backtrace(death.registers);
    if let Some(others) = OTHERS.get() {
        others.stop(&Panicking { _not_send: PhantomData });
    }
    // SAFETY: `take_over` takes the locks of the serial line and of the screen, by force if need be. A forced lock aliases the
    // `&mut` of its holder, which is sound only if the holder never uses it again. The holder is one of these:
    // - this CPU, in code below on this stack, which `die` does not return to (`-> !`); no handler runs here any more that
    //   would take the lock (`disable_forever`, and I4 for NMI and #MC);
    // - a CPU that `Others::stop` has stopped: its NMI handler (`smp::nmi`) halts it permanently, since `is_dying` is true
    //   from the exchange above on and is never reset. An NMI that this CPU gets returns here (`is_reporting`);
    // - a CPU that has panicked too: it has failed the exchange above and halts permanently;
    // - a CPU that `Others::stop` has not stopped: it takes no NMI (a virtual CPU that its host has stopped, firmware in SMM),
    //   or it is coming up and not online yet. It gets another TAKE_OVER_MS to release the lock. If it goes on after that, in
    //   the middle of a write, the two use the UART and the screen at the same time: this is the one case that nothing
    //   excludes. What either value holds are port numbers, positions and characters, each index checked where it is used, so
    //   the damage is garbled output. No memory is allocated, freed or given to another owner under these locks, and the run
    //   ends.
    // Only one CPU comes here: `DYING` leaves NOBODY once.
    unsafe { console::take_over(|line| speak::speak(line, me, death)) };
    if let Some(at_end) = AT_END.get() {
        at_end();
    }
    registers::exit(ExitCode::Panicked)
}

/// The last words themselves went wrong.
fn die_again(me: CpuId, death: &Death) -> ! {
    if !DIED_AGAIN.swap(true, Ordering::AcqRel) {
        // SAFETY: this CPU is the one that won the exchange in `die`, and has panicked in what it did since. If it holds the
        // locks itself, the holder is code below on this stack, to which `die_again` does not return. Others that hold them
        // have been stopped by the `die` below, or get what it says of those that cannot be.
        unsafe { console::take_over(|line| speak::speak_again(line, me, death)) };
    }
    registers::exit(ExitCode::Panicked)
}

/// What `panic!` ends in.
pub fn panicked(info: &PanicInfo) -> ! {
    die(&Death {
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
