//! Interrupt masking: [`IrqGuard`] is the proof that maskable interrupts are off on this CPU.
//!
//! Each CPU counts the reasons for which its maskable interrupts are off: one for each live guard, and one for each trap or
//! interrupt that it handles (`interrupts/stubs.S` counts the handler's own). In all Rust code of the kernel RFLAGS.IF is set
//! exactly when that count is 0, except between the two instructions that change both. So:
//!
//! - guards nest and may be dropped in any order: interrupts are on again when the last one is gone;
//! - a leaked guard ([`core::mem::forget`]) leaves interrupts off, which is safe;
//! - a handler's context counts as disabled, so no guard inside it turns interrupts on;
//! - whether interrupts are on is one load, without a look at the flags.
//!
//! Interrupts are on inside a guard only in [`IrqGuard::window`] and [`IrqGuard::halt`], which take the guard by `&mut`: no
//! reference to it, and so nothing that was borrowed on the strength of it, lives meanwhile. Both panic if it is not the
//! only one. No other code of the kernel changes IF, but for assembly that ends in a handler or in no Rust code at all;
//! `clippy.toml` refuses the functions of other crates and `tests/raw_interrupts.rs` the instructions.

use core::arch::asm;
use core::cell::Cell;
use core::marker::PhantomData;

use crate::cpu::per_cpu::{PerCpu, Template};
use crate::per_cpu;

/// This CPU's count, which the entry of interrupts changes too. It starts at 1: each CPU enters Rust with interrupts off, and
/// [`IrqGuard::of_entry`] is the guard for that. Before a CPU has an area of its own (GS base 0) this is the template, which
/// a trap leaves as it found it. 64 bits wide, so that no number of leaked guards makes it 0.
#[derive(Clone, Copy)]
struct Depth;

#[unsafe(link_section = ".percpu")]
// SAFETY: it lies in .percpu.
pub(crate) static IRQ_DEPTH: Template<Cell<u64>> = unsafe { Template::new(Cell::new(1)) };

per_cpu!(@variable Depth, Cell<u64>, IRQ_DEPTH);

/// While one lives, maskable interrupts are off on this CPU: the code that holds it is not interrupted, except by an NMI, #MC
/// or an exception of its own, and does not change CPU. Functions that need this take a `&IrqGuard`.
///
/// Guards nest, in any order; see the [module](self).
///
/// **Context:** any. In a handler, `Frame::irq_guard` in [`interrupts`](crate::interrupts) is such a proof without a cost.
#[must_use = "interrupts are on again as soon as the guard is dropped"]
pub struct IrqGuard {
    // It is true of one CPU, so it must not reach another.
    _not_send: PhantomData<*mut ()>,
}

impl IrqGuard {
    /// Turns interrupts off.
    #[inline(always)]
    pub fn new() -> IrqGuard {
        // SAFETY: IF and this CPU's count change together. An NMI between the two instructions changes neither in the end.
        unsafe { asm!("cli", "inc qword ptr gs:[rip + {depth}]", depth = sym IRQ_DEPTH, options(nostack)) };
        IrqGuard { _not_send: PhantomData }
    }

    /// The guard of a CPU that enters Rust, whose count is 1 from now on.
    ///
    /// # Safety
    /// Called once each time that this CPU enters Rust, by the entry itself: GS base leads to the CPU's area, interrupts are
    /// off, and no other guard of this CPU will be dropped, but those of the stack that it goes on with if this one is
    /// forgotten.
    pub(crate) unsafe fn of_entry() -> IrqGuard {
        // An INIT may have ended an earlier attempt anywhere.
        Depth.set(1);
        IrqGuard { _not_send: PhantomData }
    }

    /// A handler's own share of the count, as a guard.
    ///
    /// # Safety
    /// The reference lives no longer than the handler's call.
    #[inline(always)]
    pub(crate) unsafe fn of_handler<'handler>() -> &'handler IrqGuard {
        // SAFETY: a reference to a type without data; the entry has counted the handler, and nobody drops what is behind a
        // reference.
        unsafe { core::ptr::NonNull::dangling().as_ref() }
    }

    /// Whether this is the only reason for which interrupts are off, so that they will be on when it is dropped. Code that
    /// must not wait with interrupts off asks this of a guard that it has made. The guard of a handler, which is never dropped,
    /// answers as if it were one.
    #[inline(always)]
    pub fn were_enabled(&self) -> bool {
        Depth.get() == 1
    }

    /// Runs `f` with interrupts on. At least one pending interrupt is taken, whatever `f` does.
    ///
    /// # Panics
    /// If interrupts were off before this guard: another guard's holder relies on it, or this is a handler.
    pub fn window<R>(&mut self, f: impl FnOnce() -> R) -> R {
        self.check_only_one();
        // SAFETY: this was the only guard, which is borrowed by this function alone, so nothing relies on interrupts being
        // off. STI takes effect after the next instruction (SDM Vol. 2B, STI), hence the NOP.
        unsafe {
            asm!("dec qword ptr gs:[rip + {depth}]", "sti", "nop", depth = sym IRQ_DEPTH, options(nostack));
        }
        let result = f();
        core::mem::forget(IrqGuard::new());
        result
    }

    /// Halts until the next interrupt, which is taken; interrupts are off again when this returns. One that has been pending
    /// since before ends the halt as well, so a condition that a handler makes true is checked under the guard first.
    ///
    /// # Panics
    /// As for [`window`](Self::window): the halt would never end.
    pub fn halt(&mut self) {
        self.check_only_one();
        // SAFETY: `check_only_one` has found the count 1, so this is the only guard, and `&mut self` keeps it unused while interrupts
        // are on; count and flag are what they were when this returns. No interrupt is taken between STI and HLT (SDM Vol. 2B, STI), but an NMI, whose
        // handler skips the HLT (`interrupts::handlers::skip_halt`).
        unsafe {
            asm!("dec qword ptr gs:[rip + {depth}]", "sti", "hlt", "cli", "inc qword ptr gs:[rip + {depth}]",
                depth = sym IRQ_DEPTH, options(nostack));
        }
    }

    #[inline(always)]
    fn check_only_one(&self) {
        if !self.were_enabled() {
            nested(Depth.get());
        }
    }
}

#[cold]
#[inline(never)]
fn nested(depth: u64) -> ! {
    panic!("interrupts cannot be turned on inside {depth} guards or handlers");
}

impl Default for IrqGuard {
    fn default() -> Self {
        IrqGuard::new()
    }
}

impl Drop for IrqGuard {
    #[inline(always)]
    fn drop(&mut self) {
        #[cfg(debug_assertions)]
        check_consistent();
        // SAFETY: `new` or `of_entry` has counted this guard. With the last one nothing relies on interrupts being off any
        // more, and the code that a handler interrupted has been counted too. Memory counts as touched, so no access moves
        // past this.
        unsafe {
            asm!("dec qword ptr gs:[rip + {depth}]", "jnz 2f", "sti", "2:", depth = sym IRQ_DEPTH,
                options(nostack));
        }
    }
}

/// Of a guard that is about to be dropped: interrupts are off, and it has been counted.
#[cfg(debug_assertions)]
fn check_consistent() {
    let depth = Depth.get();
    if depth == 0 || flags_allow_interrupts() {
        // The panic's own guards see a count that tells the truth again.
        disable_forever();
        panic!("a guard is dropped with interrupts on, or uncounted (depth {depth})");
    }
}

/// What RFLAGS says, for checks of the count.
#[cfg(debug_assertions)]
fn flags_allow_interrupts() -> bool {
    let flags: u64;
    // SAFETY: reads the flags by way of one word below the stack pointer.
    unsafe { asm!("pushfq", "pop {}", out(reg) flags, options(preserves_flags)) };
    flags & 1 << 9 != 0
}

/// Whether this CPU takes maskable interrupts: no guard lives, and no handler runs.
///
/// **Context:** any; without a guard the answer `true` may be of another CPU by the time it is used.
#[inline(always)]
pub fn interrupts_enabled() -> bool {
    Depth.get() == 0
}

/// Turns interrupts off on this CPU, permanently: nothing that runs here later turns them on.
///
/// **Context:** any, NMI too: code that does not return.
pub fn disable_forever() {
    core::mem::forget(IrqGuard::new());
}
