//! The proof that interrupts are off on this CPU.

use core::arch::asm;
use core::marker::PhantomData;

use x86_64::instructions::interrupts;

/// While it lives, maskable interrupts are off on this CPU, so whoever holds it neither is interrupted (but by an
/// NMI, #MC or an exception of its own) nor changes CPU. What needs that takes a `&IrqGuard` as its proof.
///
/// Guards nest: only the outermost turns interrupts on again, and only if they were on.
#[must_use = "interrupts are on again as soon as the guard is dropped"]
pub struct IrqGuard {
    were_enabled: bool,
    // It speaks of one CPU, so it must not reach another.
    _not_send: PhantomData<*const ()>,
}

impl IrqGuard {
    /// Turns interrupts off.
    #[inline(always)]
    pub fn new() -> IrqGuard {
        let were_enabled = interrupts::are_enabled();
        interrupts::disable();
        IrqGuard { were_enabled, _not_send: PhantomData }
    }

    /// For a handler, which the processor enters with interrupts off: spares it a look at the flags.
    ///
    /// # Safety
    /// Interrupts are off, and stay so while the guard lives.
    #[inline(always)]
    pub unsafe fn in_handler() -> IrqGuard {
        IrqGuard { were_enabled: false, _not_send: PhantomData }
    }

    /// Whether interrupts were on before: what may not wait with interrupts off asks this.
    pub fn were_enabled(&self) -> bool {
        self.were_enabled
    }
}

impl Default for IrqGuard {
    fn default() -> Self {
        IrqGuard::new()
    }
}

impl Drop for IrqGuard {
    #[inline(always)]
    fn drop(&mut self) {
        if self.were_enabled {
            // Not the crate's function, which adds a NOP.
            // SAFETY: they were on before the guard. Memory counts as touched, so nothing moves out past this.
            unsafe { asm!("sti", options(nostack, preserves_flags)) };
        }
    }
}
