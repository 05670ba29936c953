//! Arms the faults that tests build into the kernel, which break its rules on purpose.
//! refused: E0603 module `faults` is private

pub use octopod::memory::frames;

#[cfg(attempt)]
pub use octopod::memory::frames::faults::arm;
