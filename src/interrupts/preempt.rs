//! Preemption. A [`PreemptGuard`] keeps the running thread on its CPU while interrupts stay on.
//!
//! One word of each CPU holds the number of live guards, and, in its highest bit, whether *no* switch is wanted. So the word
//! is 0 exactly when a switch is wanted and allowed: one comparison decides at the exit of an interrupt, and the decrement of
//! the last guard decides by its zero flag. A thread cannot be switched away while it has a guard, so the count needs no
//! saving: it is 0 at each switch.
//!
//! The scheduler sets the functions that switch and that send this CPU an interrupt ([`set_switch`]). Until then no switch is wanted.

use core::arch::asm;
use core::cell::Cell;
use core::marker::PhantomData;
use core::panic::Location;

use super::frame::TrapFrame;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::per_cpu_storage::{PerCpuStorage, RawAccess};
use crate::cpu::{IrqGuard, interrupts_enabled};
use crate::raw_per_cpu;
use crate::sync::{Hook, Site};
use crate::trace;

/// Set while no switch is wanted.
const NOT_WANTED: u64 = 1 << 63;

/// The bit as the number of its instruction.
const NOT_WANTED_BIT: u32 = NOT_WANTED.trailing_zeros();

/// The first vector that an interrupt of a device or of a local APIC has (SDM Vol. 3A, 6.2). Exceptions have those below.
const FIRST_EXTERNAL: u64 = 32;

/// This CPU's word, which single instructions change.
#[derive(Clone, Copy)]
struct Word;

#[unsafe(link_section = ".percpu")]
// SAFETY: it lies in .percpu.
pub(super) static WORD: PerCpuStorage<Cell<u64>> = unsafe { PerCpuStorage::new(Cell::new(NOT_WANTED)) };

raw_per_cpu!(Word, WORD);

crate::per_cpu! {
    /// Where this CPU's last guard was made: a [`Site`].
    static MADE_AT: Cell<usize> = Cell::new(0);
}

/// Switches to the thread that should run.
static SWITCH: Hook<fn(&IrqGuard)> = Hook::new();

/// Sends this CPU an interrupt, whose exit switches.
static INTERRUPT: Hook<fn(&IrqGuard)> = Hook::new();

/// Sets the function that switches to the thread that should run, if that is another one. It is called with interrupts off by
/// the guard alone, and returns when the calling thread runs again, maybe on another CPU. `interrupt` sends this CPU an interrupt; it is
/// called with interrupts off, also in handlers and with locks held. **Context:** the BSP, once.
pub(crate) fn set_switch(switch: fn(&IrqGuard), interrupt: fn(&IrqGuard)) {
    INTERRUPT.set(interrupt);
    SWITCH.set(switch);
}

#[inline(always)]
fn word() -> u64 {
    // SAFETY: the variable is 64 bits in a cell, which this CPU alone changes, by single instructions.
    unsafe { Word::load_64() }
}

/// The proof that the running thread stays on this CPU, and that no other thread runs on it meanwhile. Interrupts are taken.
///
/// Guards nest, in any order. The drop of the last one switches if a switch was wanted meanwhile; with interrupts off, the switch takes
/// place when they are on again. A guard that is leaked
/// keeps the thread on the CPU and all others off it.
///
/// **Context:** any but NMI. A thread that has one must not block.
#[must_use = "another thread may run as soon as the guard is dropped"]
pub struct PreemptGuard {
    // The guard counts on one CPU, so it must not be sent to another thread.
    _not_send: PhantomData<*mut ()>,
}

impl PreemptGuard {
    /// Keeps the running thread on this CPU.
    #[inline(always)]
    #[track_caller]
    pub fn new() -> PreemptGuard {
        // SAFETY: the variable is 64 bits in a cell. One instruction counts, so the thread is on the CPU of the count from then on.
        unsafe { asm!("inc qword ptr gs:[rip + {word}]", word = sym WORD, options(nostack)) };
        MADE_AT.set(Site::of(Location::caller()).bits());
        PreemptGuard { _not_send: PhantomData }
    }
}

impl Default for PreemptGuard {
    #[track_caller]
    fn default() -> Self {
        PreemptGuard::new()
    }
}

impl Drop for PreemptGuard {
    #[inline(always)]
    fn drop(&mut self) {
        let is_due: u8;
        // SAFETY: `new` has counted this guard on this CPU, on which the thread has stayed.
        unsafe {
            asm!("dec qword ptr gs:[rip + {word}]", "setz {is_due}", word = sym WORD, is_due = out(reg_byte) is_due,
                options(nostack));
        }
        if is_due != 0 {
            switch_if_allowed();
        }
    }
}

/// Returns whether a guard keeps the running thread on this CPU.
///
/// **Context:** any. Without a guard the result `false` may refer to another CPU by the time it is used.
pub fn is_preemption_disabled() -> bool {
    word() & !NOT_WANTED != 0
}

/// Returns where the last guard of this CPU was made, for reports. **Context:** any.
pub(crate) fn preempt_guard_site() -> Site {
    // SAFETY: only `PreemptGuard::new` stores, and it stores a site's bits.
    unsafe { Site::from_bits(MADE_AT.get()) }
}

/// Requests a switch on this CPU: it takes place at the exit of the current interrupt, or when the last guard is dropped,
/// or in [`switch_if_wanted`].
///
/// **Context:** interrupts off.
#[inline(always)]
pub(crate) fn want_switch(_: &IrqGuard) {
    // SAFETY: the variable is 64 bits in a cell; one instruction changes one bit of it.
    unsafe {
        asm!("btr qword ptr gs:[rip + {word}], {bit}", word = sym WORD, bit = const NOT_WANTED_BIT, options(nostack));
    }
}

/// Notes that the wanted switch takes place now.
///
/// **Context:** interrupts off.
#[inline(always)]
pub(crate) fn clear_wanted(_: &IrqGuard) {
    // SAFETY: the variable is 64 bits in a cell; one instruction changes one bit of it.
    unsafe {
        asm!("bts qword ptr gs:[rip + {word}], {bit}", word = sym WORD, bit = const NOT_WANTED_BIT, options(nostack));
    }
}

/// Returns whether a switch is wanted on this CPU. **Context:** interrupts off.
pub(crate) fn is_switch_wanted() -> bool {
    word() & NOT_WANTED == 0
}

/// Switches now if that is wanted, and no guard of either kind forbids it.
///
/// **Context:** any but NMI.
#[inline]
pub(crate) fn switch_if_wanted() {
    if word() == 0 {
        switch_if_allowed();
    }
}

/// A switch is wanted, and no [`PreemptGuard`] forbids it.
#[cold]
fn switch_if_allowed() {
    let are_enabled = interrupts_enabled();
    let guard = IrqGuard::new();
    if are_enabled {
        switch(&guard);
    } else if let Some(interrupt) = INTERRUPT.get() {
        // The end of the section with interrupts off does not look at the word. The interrupt is pending until then.
        interrupt(&guard);
    }
}

#[inline(always)]
fn switch(guard: &IrqGuard) {
    // The thread may have moved between the check and the guard. The completion of a switch may want the next one: it queues the
    // previous thread if that was woken meanwhile.
    while word() == 0
        && let Some(switch) = SWITCH.get()
    {
        switch(guard);
    }
}

/// Switches at the exit of an interrupt, if that is allowed. NMI and exceptions do not switch: they may have interrupted code
/// with interrupts off, and run on stacks of the CPU.
///
/// **Context:** the interrupt entry, after the dispatch; the word is 0.
pub(super) fn at_exit(frame: &mut TrapFrame) {
    // `int n` of the self-test may have interrupted a section with interrupts off: then the handler is not the only reason.
    if frame.vector >= FIRST_EXTERNAL && frame.irq_guard().were_enabled() {
        // The recorder of trace events uses one CPU's ring in several instructions.
        (frame.rip, frame.rdi) = trace::restarted(frame.rip, frame.rdi);
        switch(frame.irq_guard());
    }
}
