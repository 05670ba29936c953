//! The kernel's stream: a magic, then parts in sequence.

use std::io::{self, Read};

use octopod::wire::{RecordedEvent, TRACE_MAGIC, TracePart};

/// Events and names of threads that a trace may have: those of more than a thousand CPUs with rings of the usual size. A stream of more comes from
/// a kernel that has lost its way.
const MOST_EVENTS: u64 = 4 << 20;

/// A part of a stream has fewer bytes.
const PART_BYTES: usize = 256;
/// Bytes that are read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// The head of a trace, before its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// The TSC's frequency; 0 if the kernel did not know it yet.
    pub tsc_hz: u64,
    /// The TSC when the kernel was entered.
    pub entry_tsc: u64,
    /// By how much CPUs' TSCs are apart at most, as far as is known.
    pub skew_cycles: u64,
    /// The offset of an address from that in the kernel's ELF file.
    pub slide: u64,
}

/// A part of a trace that is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Section {
    /// A trace begins; what came before counts for nothing.
    Start(Start),
    /// A CPU, in their order.
    Cpu(CpuTrace),
    /// A thread that has not ended.
    Thread {
        /// Its number.
        id: u64,
        /// Its name.
        name: String,
    },
}

/// The events of a CPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuTrace {
    /// Its number.
    pub cpu: u32,
    /// Events that it recorded.
    pub recorded: u64,
    /// The number of lost events.
    pub lost: u64,
    /// The others, by time.
    pub events: Vec<RecordedEvent>,
}

impl CpuTrace {
    /// All of its events have come.
    fn complete(mut self) -> Section {
        // An event that interrupts a record comes after it in the ring, but was earlier.
        self.events.sort_by_key(|event| event.tsc);
        Section::Cpu(self)
    }
}

/// The reason why a stream cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// Nothing came.
    #[error("the kernel sent no trace")]
    Empty,
    /// It begins with something else.
    #[error("what came by the trace's port is no trace")]
    NoMagic,
    /// The system cannot read it.
    #[error("the trace cannot be read: {kind}")]
    Unreadable {
        /// The kind of the error.
        kind: io::ErrorKind,
    },
    /// There are more events and threads than a kernel has room for.
    #[error("the trace has more than {most} events and threads")]
    TooMany {
        /// The limit.
        most: u64,
    },
    /// A part is none.
    #[error("the trace cannot be read from byte {at} on")]
    Part {
        /// The offset, in bytes.
        at: usize,
    },
    /// It ends without its last part.
    #[error("the trace is cut after {events} events")]
    Cut {
        /// The previous part.
        events: u64,
    },
    /// The last part counts others than have come.
    #[error("{came} trace events came of {sent}")]
    Count {
        /// As the kernel reports it.
        sent: u64,
        /// As the launcher has them.
        came: u64,
    },
}

/// Reads a stream and passes on its sections as they come. No more than one CPU's events are held.
///
/// # Errors
/// It is none, or not whole; what was passed on before is then not to be used.
pub fn sections(source: impl Read, mut take: impl FnMut(Section)) -> Result<(), StreamError> {
    let mut parts = Parts::new(source);
    parts.magic()?;
    let (mut came, mut named, mut open) = (0, 0, None::<CpuTrace>);
    loop {
        let at = parts.at;
        let Some(part) = parts.next(came)? else { return Err(StreamError::Cut { events: came }) };
        match part {
            TracePart::Start { tsc_hz, entry_tsc, skew_cycles, slide } => {
                open = None;
                take(Section::Start(Start { tsc_hz, entry_tsc, skew_cycles, slide }));
            }
            TracePart::Cpu { cpu, recorded, lost } => {
                let next = CpuTrace { cpu, recorded, lost, events: Vec::new() };
                if let Some(cpu) = open.replace(next) {
                    take(cpu.complete());
                }
            }
            TracePart::Event(event) => {
                came += 1;
                if came + named > MOST_EVENTS {
                    return Err(StreamError::TooMany { most: MOST_EVENTS });
                }
                open.as_mut().ok_or(StreamError::Part { at })?.events.push(event);
            }
            TracePart::Thread { id, name } => {
                named += 1;
                if came + named > MOST_EVENTS {
                    return Err(StreamError::TooMany { most: MOST_EVENTS });
                }
                let name = String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned();
                take(Section::Thread { id, name });
            }
            TracePart::End { events: sent } if sent == came => {
                if let Some(cpu) = open {
                    take(cpu.complete());
                }
                return Ok(());
            }
            TracePart::End { events: sent } => return Err(StreamError::Count { sent, came }),
        }
    }
}

/// The parts of a stream, decoded one by one.
struct Parts<R> {
    source: R,
    buffer: Vec<u8>,
    /// Bytes of the buffer that have been used.
    used: usize,
    /// Bytes of the stream that have been used.
    at: usize,
    has_ended: bool,
}

impl<R: Read> Parts<R> {
    fn new(source: R) -> Parts<R> {
        Parts { source, buffer: Vec::new(), used: 0, at: 0, has_ended: false }
    }

    /// Fills the buffer until it has a whole part, if there is one.
    fn fill(&mut self) -> Result<(), StreamError> {
        while self.buffer.len() - self.used < PART_BYTES && !self.has_ended {
            self.buffer.drain(..self.used);
            self.used = 0;
            let mut chunk = self.source.by_ref().take(CHUNK_BYTES as u64);
            let read = chunk.read_to_end(&mut self.buffer);
            self.has_ended = read.map_err(|error| StreamError::Unreadable { kind: error.kind() })? == 0;
        }
        Ok(())
    }

    fn magic(&mut self) -> Result<(), StreamError> {
        self.fill()?;
        match self.buffer.strip_prefix(&TRACE_MAGIC) {
            _ if self.buffer.is_empty() => Err(StreamError::Empty),
            None => Err(StreamError::NoMagic),
            Some(_) => {
                (self.used, self.at) = (TRACE_MAGIC.len(), TRACE_MAGIC.len());
                Ok(())
            }
        }
    }

    /// The next part; `None` at the end of the stream. So many events `came` before.
    fn next(&mut self, came: u64) -> Result<Option<TracePart>, StreamError> {
        self.fill()?;
        let bytes = &self.buffer[self.used..];
        if bytes.is_empty() {
            return Ok(None);
        }
        let (part, rest) = match postcard::take_from_bytes(bytes) {
            Ok(read) => read,
            Err(postcard::Error::DeserializeUnexpectedEnd) => return Err(StreamError::Cut { events: came }),
            Err(_) => return Err(StreamError::Part { at: self.at }),
        };
        let length = bytes.len() - rest.len();
        self.used += length;
        self.at += length;
        Ok(Some(part))
    }
}
