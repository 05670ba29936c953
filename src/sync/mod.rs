//! Layer 2: locks that are safe against interrupts, and waits that end.

mod deadline;
mod irq_mutex;

pub use deadline::{Deadline, TimedOut, set_tsc_khz};
pub use irq_mutex::{IrqMutex, IrqMutexGuard};
