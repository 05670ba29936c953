//! Makes a trap frame, which lends an interrupt guard, outside a handler.
//! refused: E0451 field `made_by_entry` of struct `octopod::interrupts::Frame` is private

pub use octopod::interrupts::Frame;

#[cfg(attempt)]
pub fn forge(frame: &Frame) -> Frame {
    Frame { rip: 0, ..*frame }
}
