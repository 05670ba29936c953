//! The trace: its events, and the stream to the launcher.
//!
//! The stream uses a port of its own, not the serial line: [`TRACE_MAGIC`], then [`TracePart`]s in `postcard` encoding, the last
//! one [`TracePart::End`].

use serde::{Deserialize, Serialize};

/// The I/O port of the `isa-debugcon` device that the launcher adds to the machine if a trace is requested.
pub const TRACE_PORT: u16 = 0xe9;

/// The value that a read of [`TRACE_PORT`] returns if the device exists.
pub const TRACE_PORT_READS: u8 = 0xe9;

/// The beginning of the stream.
pub const TRACE_MAGIC: [u8; 8] = *b"octotrc1";

/// The maximum size of a part: a tag of one byte, and four integers of ten bytes.
pub const MAX_TRACE_PART_BYTES: usize = 48;

macro_rules! events {
    ($($(#[$doc:meta])* $class:ident $variant:ident = $number:literal, $name:literal, $a:literal, $b:literal;)+) => {
        /// An event, with two arguments.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[repr(u8)]
        pub enum TraceEvent {
            $($(#[$doc])* $variant = $number,)+
        }

        impl TraceEvent {
            /// All events.
            pub const ALL: &'static [TraceEvent] = &[$(TraceEvent::$variant,)+];

            /// Returns the name of the event and those of its two arguments; an argument without a name is unused.
            pub const fn names(self) -> (&'static str, [&'static str; 2]) {
                match self {
                    $(TraceEvent::$variant => ($name, [$a, $b]),)+
                }
            }

            /// Returns the class of the event.
            pub const fn class(self) -> TraceClass {
                match self {
                    $(TraceEvent::$variant => TraceClass::$class,)+
                }
            }
        }
    };
}

/// The class of an event by its frequency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum TraceClass {
    /// Recorded unless tracing is off; a panic reports these events.
    Rare = 1,
    /// On hot paths; recorded only if a trace is requested.
    Hot = 2,
}

// A slot of the ring has five bits for the number; 0 means empty, 31 an event of the program.
events! {
    /// The boot enters a stage: a [`BootStage`](super::BootStage).
    Rare BootStage = 1, "boot stage", "stage", "";
    /// A CPU enters a stage of its bring-up.
    Rare CpuStage = 2, "cpu stage", "stage", "";
    /// An interrupt handler begins.
    Hot InterruptEnter = 3, "interrupt", "vector", "rip";
    /// An interrupt handler ends.
    Hot InterruptExit = 4, "interrupt exit", "vector", "";
    /// A timer's callback begins.
    Hot TimerExpire = 5, "timer expires", "callback", "deadline_ns";
    /// A timer is armed.
    Hot TimerArm = 6, "timer armed", "callback", "deadline_ns";
    /// A call is put into another CPU's call queue.
    Hot CallSend = 7, "call sent", "function", "target";
    /// Another CPU's call begins.
    Hot CallBegin = 8, "call", "function", "data";
    /// Another CPU's call ends.
    Hot CallEnd = 9, "call end", "function", "";
    /// An empty magazine is refilled, or frames are allocated from the shared layers.
    Hot FrameRefill = 10, "frame refill", "order", "frame";
    /// A CPU drains its frame cache.
    Rare FrameDrain = 11, "frame drain", "", "";
    /// An allocation found no frame, and the caches of the other CPUs are drained.
    Rare DrainOthers = 12, "drain of other CPUs", "order", "";
    /// An allocation fails.
    Rare OutOfMemory = 13, "out of memory", "order", "";
    /// A TLB shootdown begins.
    Rare ShootdownBegin = 14, "shootdown", "address", "pages";
    /// All CPUs have flushed the range.
    Rare ShootdownEnd = 15, "shootdown end", "address", "pages";
    /// This CPU has flushed its TLB for another CPU, up to this generation of unmapped pages.
    Rare TlbFlush = 16, "tlb flush", "generation", "";
    /// A CPU goes offline.
    Rare CpuOffline = 17, "cpu offline", "cpu", "";
    /// A CPU comes back online.
    Rare CpuOnline = 18, "cpu online", "cpu", "";
    /// For the bench.
    Hot BenchHot = 19, "bench", "", "";
    /// For the bench, of the other class.
    Rare BenchRare = 20, "bench", "", "";
    /// A CPU leaves a thread, and runs the next one. The second word is a [`ThreadLeft`](super::ThreadLeft).
    Hot ThreadSwitch = 21, "switch", "next", "left";
    /// A thread that waited is put on a run queue, by whatever the CPU runs.
    Hot ThreadWake = 22, "wake", "thread", "";
    /// A new thread is put on a run queue. The second word has the first eight bytes of its name.
    Hot ThreadSpawn = 23, "spawn", "thread", "name";
    /// A CPU without a thread takes one from the queue of another.
    Hot ThreadSteal = 24, "steal", "thread", "victim";
    /// A CPU runs a thread that another CPU has run last.
    Hot ThreadMigrate = 25, "migrate", "thread", "from";
}

/// The number of all events of a program in a slot of the ring, which has the program's index beside it.
pub const PROGRAM_EVENT: u8 = 31;

/// The number of a program's first event in [`RecordedEvent::event`]; the others follow, in the order of the kernel's file.
pub const FIRST_PROGRAM_EVENT: u16 = 32;

impl TraceEvent {
    /// Returns the event of this number.
    pub fn from_number(number: u16) -> Option<TraceEvent> {
        TraceEvent::ALL.iter().copied().find(|event| *event as u16 == number)
    }
}

/// A recorded event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedEvent {
    /// The CPU's TSC.
    pub tsc: u64,
    /// The number of the event: a [`TraceEvent`], or one of the program from [`FIRST_PROGRAM_EVENT`] on.
    pub event: u16,
    /// The first argument.
    pub a: u64,
    /// The second argument.
    pub b: u64,
}

/// A part of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TracePart {
    /// Once, first.
    Start {
        /// The TSC's frequency.
        tsc_hz: u64,
        /// The TSC at the kernel's entry: the origin of all times.
        entry_tsc: u64,
        /// The maximum observed TSC skew between CPUs.
        skew_cycles: u64,
        /// The run-time address minus the address in the kernel's ELF file.
        slide: u64,
    },
    /// Before a CPU's events.
    Cpu {
        /// The CPU number.
        cpu: u32,
        /// The number of events that it recorded.
        recorded: u64,
        /// The number of these that are lost: overwritten, or incomplete when the CPU was stopped.
        lost: u64,
    },
    /// An event of the last [`TracePart::Cpu`], in order of its beginning.
    Event(RecordedEvent),
    /// After the CPUs: a thread that has not ended.
    Thread {
        /// Its number.
        id: u64,
        /// Its name, with zeros behind it.
        name: [u8; 24],
    },
    /// Once, last.
    End {
        /// The number of [`TracePart::Event`]s.
        events: u64,
    },
}

/// The maximum number of events in a record.
pub const EVENTS_IN_RECORD: usize = 8;

/// The last events of a CPU before a panic, oldest first; up to [`EVENTS_IN_RECORD`] in a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PanicEvents {
    /// The CPU.
    pub cpu: u32,
    /// TSC, number and both arguments of each event.
    pub events: heapless::Vec<(u64, u16, u64, u64), EVENTS_IN_RECORD>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_numbers_are_unique_and_fit_in_five_bits() {
        for event in TraceEvent::ALL {
            assert!((1..PROGRAM_EVENT).contains(&(*event as u8)));
            assert_eq!(TraceEvent::from_number(*event as u16), Some(*event));
        }
    }

    #[test]
    fn the_longest_part_fits_in_its_limit() {
        let longest = [
            TracePart::Event(RecordedEvent { tsc: u64::MAX, event: u16::MAX, a: u64::MAX, b: u64::MAX }),
            TracePart::Start {
                tsc_hz: u64::MAX,
                entry_tsc: u64::MAX,
                skew_cycles: u64::MAX,
                slide: u64::MAX,
            },
            TracePart::Thread { id: u64::MAX, name: [u8::MAX; 24] },
        ];
        for part in longest {
            let mut buffer = [0; MAX_TRACE_PART_BYTES];
            let written = postcard::to_slice(&part, &mut buffer).unwrap();
            assert_eq!(postcard::from_bytes::<TracePart>(written), Ok(part));
        }
    }
}
