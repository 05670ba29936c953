//! The scheduling classes, and their order: the more urgent of two is the greater one.

/// The scheduling class of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Runs before every fair thread of its CPU and before every thread of a lower priority there. Threads of one priority take turns, a
    /// slice each. Such a thread does not move to another CPU because a thread of a lower priority runs there.
    RealTime {
        /// From 0, the lowest, to [`MAX_PRIORITY`].
        priority: u8,
    },
    /// Shares the CPU with the other fair threads by weight.
    Fair,
}

/// The greatest priority of a real-time thread.
pub const MAX_PRIORITY: u8 = 63;

/// A class as a number: 0 for fair threads, above it the priorities of real-time threads in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Urgency(u8);

impl Urgency {
    /// That of a fair thread.
    pub(crate) const FAIR: Urgency = Urgency(0);

    /// Returns that of a class.
    pub(crate) const fn of(class: Class) -> Urgency {
        match class {
            Class::Fair => Urgency::FAIR,
            Class::RealTime { priority } if priority < MAX_PRIORITY => Urgency(priority + 1),
            Class::RealTime { .. } => Urgency(MAX_PRIORITY + 1),
        }
    }

    /// Returns the class.
    pub(crate) const fn class(self) -> Class {
        match self.0 {
            0 => Class::Fair,
            above => Class::RealTime { priority: above - 1 },
        }
    }

    /// Returns it as a small number, of which [`from_number`](Self::from_number) makes it again.
    #[inline(always)]
    pub(crate) const fn number(self) -> u32 {
        self.0 as u32
    }

    /// Makes it of [`number`](Self::number).
    #[inline(always)]
    pub(crate) const fn from_number(number: u32) -> Urgency {
        Urgency(number as u8)
    }
}
