//! The kernel's stream: a magic, then parts one behind the other.

use octopod::wire::{TRACE_MAGIC, TracePart, Traced};

/// All that was traced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The TSC's frequency; 0 if the kernel did not know it yet.
    pub tsc_hz: u64,
    /// The TSC when the kernel was entered.
    pub entry_tsc: u64,
    /// By how much CPUs' TSCs are apart at most, as far as is known.
    pub skew_cycles: u64,
    /// What to subtract from an address to find it in the kernel's ELF file.
    pub slide: u64,
    /// The CPUs, in their order.
    pub cpus: Vec<CpuTrace>,
}

impl Trace {
    /// Events that all CPUs have lost.
    pub fn lost(&self) -> u64 {
        self.cpus.iter().fold(0, |sum, cpu| sum.saturating_add(cpu.lost))
    }
}

/// What a CPU recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuTrace {
    /// Its number.
    pub cpu: u32,
    /// Events that it recorded.
    pub recorded: u64,
    /// Those of them that are lost.
    pub lost: u64,
    /// The others, by time.
    pub events: Vec<Traced>,
}

/// Why a stream cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// Nothing came.
    #[error("the kernel sent no trace")]
    Empty,
    /// It begins with something else.
    #[error("what came by the trace's port is no trace")]
    NoMagic,
    /// A part is none.
    #[error("the trace cannot be read from byte {at} on")]
    Part {
        /// Where.
        at: usize,
    },
    /// It ends without its last part.
    #[error("the trace is cut after {events} events")]
    Cut {
        /// What came before.
        events: u64,
    },
    /// The last part counts others than have come.
    #[error("{came} trace events came of {sent}")]
    Count {
        /// As the kernel says.
        sent: u64,
        /// As the launcher has them.
        came: u64,
    },
}

/// Reads a stream.
pub fn read(bytes: &[u8]) -> Result<Trace, StreamError> {
    if bytes.is_empty() {
        return Err(StreamError::Empty);
    }
    let mut rest = bytes.strip_prefix(&TRACE_MAGIC).ok_or(StreamError::NoMagic)?;
    let mut trace = Trace::default();
    let mut came = 0;
    while !rest.is_empty() {
        let wrong = StreamError::Part { at: bytes.len() - rest.len() };
        let (part, after) = match postcard::take_from_bytes(rest) {
            Ok(read) => read,
            Err(postcard::Error::DeserializeUnexpectedEnd) => return Err(StreamError::Cut { events: came }),
            Err(_) => return Err(wrong),
        };
        rest = after;
        match part {
            TracePart::Start { tsc_hz, entry_tsc, skew_cycles, slide } => {
                trace = Trace { tsc_hz, entry_tsc, skew_cycles, slide, cpus: Vec::new() };
            }
            TracePart::Cpu { cpu, recorded, lost } => {
                trace.cpus.push(CpuTrace { cpu, recorded, lost, events: Vec::new() });
            }
            TracePart::Event(event) => {
                came += 1;
                trace.cpus.last_mut().ok_or(wrong)?.events.push(event);
            }
            TracePart::End { events: sent } if sent == came => {
                // What interrupts a record comes behind it in the ring, and was earlier.
                trace.cpus.iter_mut().for_each(|cpu| cpu.events.sort_by_key(|event| event.tsc));
                return Ok(trace);
            }
            TracePart::End { events: sent } => return Err(StreamError::Count { sent, came }),
        }
    }
    Err(StreamError::Cut { events: came })
}
