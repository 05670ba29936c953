//! The trace: what can be recorded, and the stream in which a run's records go to the launcher.
//!
//! The stream goes over a port of its own, not over the serial line: [`TRACE_MAGIC`], then [`TracePart`]s one behind the
//! other as `postcard` writes them, the last one [`TracePart::End`].

use serde::{Deserialize, Serialize};

/// The I/O port of the `isa-debugcon` device that the launcher adds to the machine when a trace is wanted.
pub const TRACE_PORT: u16 = 0xe9;

/// What a read of [`TRACE_PORT`] gives where the device is.
pub const TRACE_PORT_READS: u8 = 0xe9;

/// What the stream begins with.
pub const TRACE_MAGIC: [u8; 8] = *b"octotrc1";

/// The longest part, in bytes: a tag of one, and four integers of ten.
pub const MAX_TRACE_PART_BYTES: usize = 48;

macro_rules! events {
    ($($(#[$doc:meta])* $class:ident $variant:ident = $number:literal, $name:literal, $a:literal, $b:literal;)+) => {
        /// What can be recorded, each with two words of its own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[repr(u8)]
        pub enum TraceEvent {
            $($(#[$doc])* $variant = $number,)+
        }

        impl TraceEvent {
            /// All of them.
            pub const ALL: &'static [TraceEvent] = &[$(TraceEvent::$variant,)+];

            /// Its name, and those of its two words; a word without a name says nothing.
            pub const fn names(self) -> (&'static str, [&'static str; 2]) {
                match self {
                    $(TraceEvent::$variant => ($name, [$a, $b]),)+
                }
            }

            /// How much tracing it takes for it to be recorded.
            pub const fn class(self) -> TraceClass {
                match self {
                    $(TraceEvent::$variant => TraceClass::$class,)+
                }
            }
        }
    };
}

/// How often an event comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum TraceClass {
    /// So seldom that it is recorded unless tracing is off, for a panic to tell.
    Rare = 1,
    /// On hot paths: recorded only if a trace is wanted.
    Hot = 2,
}

// A slot of the ring keeps the number in five bits, and 0 for an empty one.
events! {
    /// The boot has come to a stage: a [`BootStage`](super::BootStage).
    Rare BootStage = 1, "boot stage", "stage", "";
    /// A CPU has come to a stage of its bring-up.
    Rare CpuStage = 2, "cpu stage", "stage", "";
    /// An interrupt's handler begins.
    Hot InterruptEnter = 3, "interrupt", "vector", "rip";
    /// It has ended.
    Hot InterruptExit = 4, "interrupt exit", "vector", "";
    /// A timer's callback is about to be called.
    Hot TimerExpire = 5, "timer expires", "callback", "deadline_ns";
    /// A timer has been armed.
    Hot TimerArm = 6, "timer armed", "callback", "deadline_ns";
    /// A call has been put into another CPU's inbox.
    Hot CallSend = 7, "call sent", "function", "target";
    /// A call of another CPU's begins to run.
    Hot CallBegin = 8, "call", "function", "data";
    /// It has ended.
    Hot CallEnd = 9, "call end", "function", "";
    /// A magazine was empty and has been filled, or frames came from the shared layers.
    Hot FrameRefill = 10, "frame refill", "order", "frame";
    /// A CPU gives back all frames that it keeps.
    Rare FrameDrain = 11, "frame drain", "", "";
    /// No frames were left, and the other CPUs are asked for theirs.
    Rare DrainOthers = 12, "drain of other CPUs", "order", "";
    /// A request got no frame.
    Rare OutOfMemory = 13, "out of memory", "order", "";
    /// A shootdown begins.
    Rare ShootdownBegin = 14, "shootdown", "address", "pages";
    /// Every CPU has dropped the range.
    Rare ShootdownEnd = 15, "shootdown end", "address", "pages";
    /// This CPU drops a range.
    Rare TlbFlush = 16, "tlb flush", "address", "pages";
    /// A CPU goes offline.
    Rare CpuOffline = 17, "cpu offline", "cpu", "";
    /// It is back.
    Rare CpuOnline = 18, "cpu online", "cpu", "";
    /// What the bench measures.
    Hot BenchHot = 19, "bench", "", "";
    /// The same, of the other class.
    Rare BenchRare = 20, "bench", "", "";
}

impl TraceEvent {
    /// The event with that number.
    pub fn from_number(number: u8) -> Option<TraceEvent> {
        TraceEvent::ALL.iter().copied().find(|event| *event as u8 == number)
    }
}

/// An event as it was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedEvent {
    /// The CPU's TSC.
    pub tsc: u64,
    /// What happened, by number.
    pub event: u8,
    /// The first word.
    pub a: u64,
    /// The second.
    pub b: u64,
}

/// A part of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TracePart {
    /// Once, first.
    Start {
        /// The TSC's frequency.
        tsc_hz: u64,
        /// The TSC when the kernel was entered: the zero of all times.
        entry_tsc: u64,
        /// By how much CPUs' TSCs are apart at most, as far as is known.
        skew_cycles: u64,
        /// What to subtract from an address to find it in the kernel's ELF file.
        slide: u64,
    },
    /// Before a CPU's events.
    Cpu {
        /// Its number.
        cpu: u32,
        /// Events that it recorded.
        recorded: u64,
        /// Those among them that are lost: overwritten by later ones, or about to be written when the CPU was stopped.
        lost: u64,
    },
    /// One of the last CPU's, in the order in which they were begun.
    Event(RecordedEvent),
    /// Once, last.
    End {
        /// All [`TracePart::Event`]s.
        events: u64,
    },
}

/// Events that fit in a record.
pub const EVENTS_IN_RECORD: usize = 8;

/// The last events of a CPU when the kernel has panicked, oldest first; up to [`EVENTS_IN_RECORD`] in a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PanicEvents {
    /// The CPU.
    pub cpu: u32,
    /// Each with its TSC, number, and both words.
    pub events: heapless::Vec<(u64, u8, u64, u64), EVENTS_IN_RECORD>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_events_number_fits_in_five_bits_and_is_no_others() {
        for event in TraceEvent::ALL {
            assert!((1..32).contains(&(*event as u8)));
            assert_eq!(TraceEvent::from_number(*event as u8), Some(*event));
        }
    }

    #[test]
    fn the_longest_part_fits() {
        let longest = [
            TracePart::Event(RecordedEvent { tsc: u64::MAX, event: 255, a: u64::MAX, b: u64::MAX }),
            TracePart::Start {
                tsc_hz: u64::MAX,
                entry_tsc: u64::MAX,
                skew_cycles: u64::MAX,
                slide: u64::MAX,
            },
        ];
        for part in longest {
            let mut buffer = [0; MAX_TRACE_PART_BYTES];
            let written = postcard::to_slice(&part, &mut buffer).unwrap();
            assert_eq!(postcard::from_bytes::<TracePart>(written), Ok(part));
        }
    }
}
