//! Makes a trap frame, which lends an interrupt guard, outside a handler.
//! refused: E0451 field `made_by_entry` of struct `TrapFrame` is private

pub use octopod::interrupts::TrapFrame;

#[cfg(attempt)]
pub fn forge(frame: &TrapFrame) -> TrapFrame {
    TrapFrame { rip: 0, ..*frame }
}
