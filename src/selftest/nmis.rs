//! NMIs that a part of the self-test sends.
//!
//! While [`with_handler`] runs, an NMI that [`send`] has announced calls the part's function. Any other NMI (a panic, a request
//! for a backtrace, one from outside) goes to the previous handler. So a machine that fails during the part still stops, and
//! still reports the backtrace of each CPU.

use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use crate::cpu::per_cpu::PerCpu;
use crate::interrupts::{self, HandlerSlot, TrapFrame, Vector};
use crate::per_cpu;
use crate::smp::{self, BacktraceError, Cpu};

per_cpu! {
    /// Whether an NMI from [`send`] to this CPU is pending.
    static IS_ANNOUNCED: AtomicBool = AtomicBool::new(false);
    /// NMIs that [`send`] sent to this CPU.
    static SENT: AtomicU64 = AtomicU64::new(0);
    /// The number of those whose function has returned.
    static HANDLED: AtomicU64 = AtomicU64::new(0);
}

/// The handler from before the part.
static PREVIOUS: HandlerSlot = HandlerSlot::new(interrupts::UNREGISTERED);

/// The part's function, a `fn()`.
static ON_NMI: AtomicPtr<()> = AtomicPtr::new(nothing as fn() as *mut ());

fn nothing() {}

/// Runs `part`, during which each NMI from [`send`] calls `on_nmi`. Restores the previous handler afterwards.
///
/// **Context:** thread of the BSP, interrupts on; one caller at a time.
pub(crate) fn with_handler<R>(on_nmi: fn(), part: impl FnOnce() -> R) -> R {
    ON_NMI.store(on_nmi as *mut (), Ordering::Release);
    PREVIOUS.replace(interrupts::handler(Vector::NMI));
    let previous = interrupts::replace(Vector::NMI, nmi);
    let outcome = part();
    interrupts::replace(Vector::NMI, previous);
    outcome
}

fn nmi(frame: &mut TrapFrame) {
    // SAFETY: the pointer is to this CPU's own copy. Its per-CPU area is never freed, and the value is atomic.
    if !unsafe { &*IS_ANNOUNCED.as_ptr() }.swap(false, Ordering::AcqRel) {
        return PREVIOUS.get()(frame);
    }
    // SAFETY: the value must be a `fn()`. Only the initial value and `with_handler` store one, and both store a `fn()`.
    let on_nmi = unsafe { core::mem::transmute::<*mut (), fn()>(ON_NMI.load(Ordering::Acquire)) };
    on_nmi();
    // SAFETY: the pointer is to this CPU's own copy. Its per-CPU area is never freed, and the value is atomic.
    unsafe { &*HANDLED.as_ptr() }.fetch_add(1, Ordering::Release);
}

/// Sends an NMI to a CPU. The previous one must have been [handled](is_idle): two pending NMIs are delivered as one (SDM Vol. 3A,
/// 6.7.1).
///
/// **Context:** any but NMI.
///
/// # Errors
/// No NMI was sent.
pub(crate) fn send(cpu: &Cpu) -> Result<(), BacktraceError> {
    let (Some(is_announced), Some(sent)) = (cpu.get(IS_ANNOUNCED), cpu.get(SENT)) else {
        return Err(BacktraceError::NotOnline);
    };
    sent.fetch_add(1, Ordering::Relaxed);
    is_announced.store(true, Ordering::Release);
    // No CPU is restarted during the parts that use this, so the permit need not be kept until the NMI is handled.
    smp::send_nmi(cpu).map(drop).inspect_err(|_| {
        is_announced.store(false, Ordering::Relaxed);
        sent.fetch_sub(1, Ordering::Relaxed);
    })
}

/// Whether a CPU has handled every NMI from [`send`].
pub(crate) fn is_idle(cpu: &Cpu) -> bool {
    handled(cpu) == cpu.get(SENT).map_or(0, |sent| sent.load(Ordering::Relaxed))
}

/// The number of these NMIs that a CPU has handled since the boot.
pub(crate) fn handled(cpu: &Cpu) -> u64 {
    cpu.get(HANDLED).map_or(0, |handled| handled.load(Ordering::Acquire))
}

/// The number of these NMIs that this CPU has handled since the boot. Called by `on_nmi`, it does not count the current NMI.
pub(crate) fn handled_here() -> u64 {
    HANDLED.get()
}
