//! What runs when a timer expires.

/// How many timers each CPU has static storage for.
pub const INLINE: usize = 16;

/// A timer's callback. It must be short and must not block. It may arm and cancel timers, its own included.
///
/// **Context:** the timer interrupt of the CPU that armed the timer (of the BSP while that CPU is offline), interrupts off.
pub type Callback = fn(&Expiry);

/// The argument of a callback.
#[derive(Clone, Copy, Debug)]
pub struct Expiry {
    /// The `data` that the timer was armed with.
    pub data: usize,
    /// The deadline, in nanoseconds of [`now_ns`](crate::time::now_ns).
    pub deadline_ns: u64,
    /// For a periodic timer, the number of whole periods since the deadline, for which the callback is not called.
    pub missed: u64,
}
