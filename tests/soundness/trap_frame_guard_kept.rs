//! Keeps the guard that a handler's trap frame lends beyond the handler.
//! refused: lifetime may not live long enough

use octopod::cpu::IrqGuard;
use octopod::interrupts::TrapFrame;

pub fn lent(frame: &TrapFrame) -> &IrqGuard {
    frame.irq_guard()
}

#[cfg(attempt)]
pub fn kept(frame: &TrapFrame) -> &'static IrqGuard {
    frame.irq_guard()
}
