//! What the latencies of a workload include.

/// What a latency includes: the calls under test, and the interrupts meanwhile; not the check of the owner words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timed {
    /// An allocation.
    Allocation,
    /// An allocation, and the free of the same frames later.
    Pair,
    /// A free.
    Free,
    /// Nothing: the workload does not call the allocator itself.
    Nothing,
    /// A call of `yield_now`, until the thread runs again.
    Yield,
    /// From a wake-up to the first instruction of the thread that was woken.
    WakeUp,
    /// A hand-over to another thread, and the one back.
    RoundTrip,
    /// From the sending of a value to its arrival.
    Message,
    /// The lock of a mutex, with the wait for it.
    Lock,
    /// A thread spawned, run and joined.
    SpawnJoin,
    /// From the time for which a thread sleeps to its first instruction after that.
    Lateness,
}

impl Timed {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Timed::Allocation => "allocation",
            Timed::Pair => "pair",
            Timed::Free => "free",
            Timed::Nothing => "nothing",
            Timed::Yield => "yield",
            Timed::WakeUp => "wake-up",
            Timed::RoundTrip => "round trip",
            Timed::Message => "message",
            Timed::Lock => "lock",
            Timed::SpawnJoin => "spawn and join",
            Timed::Lateness => "lateness",
        }
    }
}
