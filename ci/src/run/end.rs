//! The end of the emulator of a run.

use std::time::Duration;

/// The end of a run, as the launcher saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The emulator ended with a status.
    Status(i32),
    /// The kernel ended Bochs.
    ShutDown,
    /// A signal ended the emulator.
    Signal(i32),
    /// The launcher ended the emulator when the time was up.
    Deadline(Duration),
    /// The launcher ended the emulator because it was asked to.
    Interrupted,
    /// The launcher ended the emulator because the kernel booted a second time.
    SecondBoot,
}
