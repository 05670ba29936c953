//! Interrupt masking. An [`IrqGuard`] is the proof that maskable interrupts are disabled on this CPU.
//!
//! Each CPU counts the reasons for which its maskable interrupts are disabled: one for each live guard, and one for each
//! trap or interrupt that it handles (`interrupts/stubs.S` counts the latter). In all Rust code of the kernel RFLAGS.IF
//! is set exactly when the count is 0, except between the two instructions that change both. Therefore:
//!
//! - Guards nest and may be dropped in any order. The drop of the last one enables interrupts.
//! - A leaked guard ([`core::mem::forget`]) leaves interrupts disabled, which is safe.
//! - A handler counts as a reason, so no guard inside it enables interrupts.
//! - One load tells whether interrupts are enabled; RFLAGS is not read.
//!
//! Inside a guard interrupts are enabled only by [`IrqGuard::window`] and [`IrqGuard::halt`]. They take the guard by
//! `&mut`: no reference to it exists meanwhile, and so no borrow that depends on it. Both panic if the guard is not the
//! only one. No other code of the kernel changes IF, except assembly that ends in a handler or in no Rust code.
//! `clippy.toml` rejects the functions of other crates, and `tests/raw_interrupts.rs` the instructions.

use core::arch::asm;
use core::cell::Cell;
use core::marker::PhantomData;

use crate::cpu::per_cpu_storage::{PerCpuStorage, RawAccess};
use crate::raw_per_cpu;

/// This CPU's count, which the interrupt entry changes too. It starts at 1: each CPU enters Rust code with interrupts
/// disabled, and [`IrqGuard::of_entry`] is the guard for that. Before a CPU has an area of its own (GS base 0) this is
/// the template, which a trap leaves unchanged. The count has 64 bits, so that no number of leaked guards makes it wrap
/// to 0.
#[derive(Clone, Copy)]
struct Depth;

#[unsafe(link_section = ".percpu")]
// SAFETY: it lies in .percpu.
pub(crate) static IRQ_DEPTH: PerCpuStorage<Cell<u64>> = unsafe { PerCpuStorage::new(Cell::new(1)) };

raw_per_cpu!(Depth, IRQ_DEPTH);

/// This CPU's count.
#[inline(always)]
fn depth() -> u64 {
    // SAFETY: the count is 64 bits in a cell, which this CPU alone changes, by single instructions.
    unsafe { Depth::load_64() }
}

/// The proof that maskable interrupts are disabled on this CPU. Only NMI, #MC and the code's own exceptions interrupt the
/// code that holds a guard, and the code does not change CPU. Functions that require this take a `&IrqGuard`.
///
/// Guards nest, in any order; see the [module](self).
///
/// **Context:** any. In a handler, `TrapFrame::irq_guard` in [`interrupts`](crate::interrupts) is such a proof without
/// cost.
#[must_use = "interrupts are on again as soon as the guard is dropped"]
pub struct IrqGuard {
    // The guard is valid on one CPU, so it must not be sent to another.
    _not_send: PhantomData<*mut ()>,
}

impl IrqGuard {
    /// Disables maskable interrupts on this CPU. **Context:** any.
    #[inline(always)]
    pub fn new() -> IrqGuard {
        // SAFETY: IF and this CPU's count change together. An NMI between the two instructions restores both.
        unsafe { asm!("cli", "inc qword ptr gs:[rip + {depth}]", depth = sym IRQ_DEPTH, options(nostack)) };
        IrqGuard { _not_send: PhantomData }
    }

    /// Creates the guard of a CPU that enters Rust code, and sets the CPU's count to 1.
    ///
    /// # Safety
    /// The entry itself calls this, once each time that this CPU enters Rust code. GS base addresses the CPU's area, and
    /// interrupts are disabled. No other guard of this CPU is dropped later, except those of the stack that the CPU
    /// continues on if this guard is forgotten.
    pub(crate) unsafe fn of_entry() -> IrqGuard {
        // INIT may have interrupted an earlier start at any instruction.
        // SAFETY: the count is 64 bits in a cell, to which no reference exists; every number is valid.
        unsafe { Depth::store_64(1) };
        IrqGuard { _not_send: PhantomData }
    }

    /// Returns the guard of a thread that begins: the count is 1, as at each switch.
    ///
    /// # Safety
    /// The first function of a thread calls this, once. The thread that the CPU has left has one guard, and the CPU's count is 1.
    pub(crate) unsafe fn of_switch() -> IrqGuard {
        debug_assert!(depth() == 1);
        IrqGuard { _not_send: PhantomData }
    }

    /// Returns the handler's own share of the count as a guard.
    ///
    /// # Safety
    /// The reference does not outlive the handler's call.
    #[inline(always)]
    pub(crate) unsafe fn of_handler<'handler>() -> &'handler IrqGuard {
        // SAFETY: the type has no data, so any aligned reference is valid. The entry has counted the handler, and a
        // shared reference cannot drop the guard.
        unsafe { core::ptr::NonNull::dangling().as_ref() }
    }

    /// Returns whether this guard is the only reason for which interrupts are disabled, so that its drop enables them.
    /// Code that must not wait with interrupts disabled checks this on its new guard. For a handler's guard, which is
    /// never dropped, the result is the same as for a single guard.
    ///
    /// **Context:** any.
    #[inline(always)]
    pub fn were_enabled(&self) -> bool {
        depth() == 1
    }

    /// Runs `f` with interrupts enabled. At least one pending interrupt is taken, even if `f` does nothing.
    ///
    /// **Context:** thread.
    ///
    /// # Panics
    /// If interrupts were disabled before this guard: another guard's holder depends on it, or this is a handler.
    #[track_caller]
    pub fn window<R>(&mut self, f: impl FnOnce() -> R) -> R {
        self.check_only_one();
        // SAFETY: `check_only_one` has found the count 1, so this is the only guard. `&mut self` borrows it, so no code
        // depends on disabled interrupts. STI takes effect after the next instruction (SDM Vol. 2B, STI), hence the NOP.
        unsafe {
            asm!("dec qword ptr gs:[rip + {depth}]", "sti", "nop", depth = sym IRQ_DEPTH, options(nostack));
        }
        let result = f();
        core::mem::forget(IrqGuard::new());
        result
    }

    /// Halts until the next interrupt and handles it. Interrupts are disabled again on return. A pending interrupt ends
    /// the halt as well, so the caller checks the condition that a handler makes true under the guard first.
    ///
    /// **Context:** thread.
    ///
    /// # Panics
    /// As for [`window`](Self::window): the halt would never end.
    #[track_caller]
    pub fn halt(&mut self) {
        self.halt_or(|_| {});
    }

    /// As [`halt`](Self::halt), and calls `not_woken` if the halt has ended without an interrupt, as SMM can do (SDM Vol. 3C, 32.10).
    ///
    /// **Context:** thread.
    ///
    /// # Panics
    /// As for [`window`](Self::window).
    #[inline(always)]
    #[track_caller]
    pub(crate) fn halt_or(&mut self, not_woken: impl FnOnce(&IrqGuard)) {
        self.check_only_one();
        // The count -1 marks the halt: the interrupt entry adds 1, finds 0, flushes the TLB if it has to, and sets the count to 1
        // (`interrupts/stubs.S`). The handler's end makes it 0. No Rust code runs with the mark.
        // SAFETY: `check_only_one` has found the count 1, so this is the only guard. `&mut self` keeps it unused while
        // interrupts are enabled. Count and flag have their former values on return: without an interrupt the addition finds the
        // mark, and the count is set. No interrupt is taken between STI and HLT (SDM Vol. 2B, STI), except an NMI, whose
        // handler skips the HLT (`interrupts::handlers::skip_halt`).
        unsafe {
            asm!("mov qword ptr gs:[rip + {depth}], -1", "sti", "hlt", "cli", "inc qword ptr gs:[rip + {depth}]", "jz {not_woken}",
                depth = sym IRQ_DEPTH,
                not_woken = label {
                    // SAFETY: the count is 64 bits in a cell, to which no reference exists; every number is valid.
                    unsafe { Depth::store_64(1) };
                    not_woken(self);
                },
                options(nostack));
        }
    }

    #[inline(always)]
    #[track_caller]
    fn check_only_one(&self) {
        // SAFETY: the instructions compare the count and jump. One instruction reads and compares, as each halt does this.
        unsafe {
            asm!("cmp qword ptr gs:[rip + {depth}], 1", "jne {nested}", depth = sym IRQ_DEPTH,
                nested = label { nested(depth()) }, options(nostack));
        }
    }
}

#[cold]
#[inline(never)]
#[track_caller]
fn nested(depth: u64) -> ! {
    panic!("interrupts cannot be enabled: {depth} guards or handlers are active");
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
        // SAFETY: `new` or `of_entry` has counted this guard. After the last one no code depends on disabled interrupts,
        // because code that a handler interrupted is counted too. The asm block clobbers memory, so the compiler moves no
        // access past it.
        unsafe {
            asm!("dec qword ptr gs:[rip + {depth}]", "jnz 2f", "sti", "2:", depth = sym IRQ_DEPTH,
                options(nostack));
        }
    }
}

/// Checks, before a guard is dropped, that interrupts are disabled and that the guard is counted.
#[cfg(debug_assertions)]
fn check_consistent() {
    let depth = depth();
    if depth == 0 || flags_allow_interrupts() {
        // The panic's own guards rely on a count that matches IF.
        disable_forever();
        panic!("IrqGuard dropped with interrupts enabled or uncounted (depth {depth})");
    }
}

/// Reads RFLAGS.IF, to check the count.
#[cfg(debug_assertions)]
fn flags_allow_interrupts() -> bool {
    let flags: u64;
    // SAFETY: the instructions read the flags through one word below the stack pointer.
    unsafe { asm!("pushfq", "pop {}", out(reg) flags, options(preserves_flags)) };
    flags & 1 << 9 != 0
}

/// Returns whether this CPU takes maskable interrupts: no guard is live, and no handler runs.
///
/// **Context:** any. Without a guard the result `true` may refer to another CPU by the time it is used.
#[inline(always)]
pub fn interrupts_enabled() -> bool {
    depth() == 0
}

/// Disables interrupts on this CPU permanently.
///
/// **Context:** any, NMI too: code that does not return.
pub(crate) fn disable_forever() {
    core::mem::forget(IrqGuard::new());
}
