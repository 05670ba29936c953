//! A recorded sequence of allocations and frees, to be replayed: what a file of it looks like, and whether it is one.
//!
//! One event a line, in the order in which they happened; blank lines and lines that begin with `#` say nothing:
//!
//! ```text
//! +ID ORDER CPU       CPU allocates a run of 2^ORDER frames, called ID
//! -ID CPU             CPU frees the run called ID
//! ```
//!
//! All numbers are decimal. Runs are called 0, 1, 2 and so on, in the order of their allocation. Any CPU may free a run,
//! once. What the trace never frees is returned at its end.
//!
//! The same code reads it in the launcher and in the kernel, where it has no heap: [`measure`] says how much there is, and
//! [`AllocTrace::load`] puts it into tables of that size. The bytes are whatever they are; nothing here trusts them, or can panic.

#[cfg(not(target_os = "none"))]
extern crate std;

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::config::MAX_CPUS;
use crate::memory::frames::Order;

/// An event of one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It allocates.
    Alloc {
        /// What the run is called.
        id: u32,
        /// How large it is.
        order: Order,
    },
    /// It frees.
    Free {
        /// What the run is called.
        id: u32,
    },
}

/// How much there is in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Events.
    pub events: usize,
    /// Allocations among them.
    pub runs: usize,
    /// CPUs: one more than the highest number.
    pub cpus: usize,
}

/// What is wrong, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceError {
    /// The line, from 1; past the last one, what is wrong is that there are no more.
    pub line: u32,
    /// What is wrong with it.
    pub failure: LineError,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineError {
    /// It is no event.
    NotAnEvent,
    /// A number is missing, or is none, or there is something behind the last.
    Malformed {
        /// Which number.
        what: &'static str,
    },
    /// There is no run so large.
    Order {
        /// The order.
        order: u32,
    },
    /// There may be no CPU of that number.
    Cpu {
        /// The number.
        cpu: u32,
    },
    /// Runs are numbered in the order of their allocation.
    Number {
        /// What it is called.
        id: u32,
        /// What it has to be called.
        next: u32,
    },
    /// What is freed has not been allocated yet.
    Unknown {
        /// What it is called.
        id: u32,
    },
    /// What is freed has been freed before.
    FreedTwice {
        /// What it is called.
        id: u32,
    },
    /// There is no event at all.
    Empty,
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        match self.failure {
            LineError::NotAnEvent => f.write_str("neither `+ID ORDER CPU` nor `-ID CPU`"),
            LineError::Malformed { what } => write!(f, "{what} is missing, or not a plain decimal number"),
            LineError::Order { order } => write!(f, "order {order} is above {}", Order::MAX.get()),
            LineError::Cpu { cpu } => write!(f, "CPU {cpu} is above {}", MAX_CPUS - 1),
            LineError::Number { id, next } => {
                write!(f, "the run is called {id}, and the next in order is {next}")
            }
            LineError::Unknown { id } => write!(f, "run {id} is freed and was not allocated before"),
            LineError::FreedTwice { id } => write!(f, "run {id} is freed a second time"),
            LineError::Empty => f.write_str("the trace ends without an event"),
        }
    }
}

impl core::error::Error for TraceError {}

/// Checks all that needs no memory; what only [`AllocTrace::load`] finds is a run that is freed twice.
///
/// # Errors
/// The first thing that is wrong.
pub fn measure(text: &[u8]) -> Result<Size, TraceError> {
    let mut size = Size { events: 0, runs: 0, cpus: 0 };
    for item in events(text) {
        let (line, cpu, event) = item?;
        let fail = |failure| Err(TraceError { line, failure });
        match event {
            Event::Alloc { id, .. } if id as usize != size.runs => {
                return fail(LineError::Number { id, next: size.runs as u32 });
            }
            Event::Alloc { .. } => size.runs += 1,
            Event::Free { id } if id as usize >= size.runs => return fail(LineError::Unknown { id }),
            Event::Free { .. } => {}
        }
        size.events += 1;
        size.cpus = size.cpus.max(cpu as usize + 1);
    }
    match size.events {
        0 => {
            let lines = if text.is_empty() { 0 } else { lines(text).count() as u32 };
            Err(TraceError { line: lines + 1, failure: LineError::Empty })
        }
        _ => Ok(size),
    }
}

/// A trace that can be replayed.
#[derive(Clone, Copy, Debug)]
pub struct AllocTrace<'a> {
    /// The events of the first CPU, of the second and so on, each CPU's in their order.
    events: &'a [AtomicU64],
    /// Where each CPU's begin, and where the last one's end.
    starts: &'a [AtomicU64],
    /// For each run what became of it, 0 before it is allocated.
    pub runs: &'a [AtomicU64],
}

impl<'a> AllocTrace<'a> {
    /// How many words [`load`](Self::load) needs for each of its tables.
    pub const fn words(size: &Size) -> [usize; 3] {
        [size.events, size.cpus + 1, size.runs]
    }

    /// Loads a trace into tables of as many [words](Self::words), all 0.
    ///
    /// # Errors
    /// The first thing that is wrong.
    ///
    /// # Panics
    /// If the text is another than [`measure`] has seen.
    pub fn load(text: &[u8], tables: [&'a [AtomicU64]; 3]) -> Result<AllocTrace<'a>, TraceError> {
        let [events_table, starts, runs] = tables;
        let add =
            |word: &AtomicU64, more: u64| word.store(word.load(Ordering::Relaxed) + more, Ordering::Relaxed);
        for item in events(text) {
            let (line, cpu, event) = item?;
            add(&starts[cpu as usize + 1], 1);
            if let Event::Free { id } = event
                && runs[id as usize].swap(1, Ordering::Relaxed) == 1
            {
                return Err(TraceError { line, failure: LineError::FreedTwice { id } });
            }
        }
        runs.iter().for_each(|run| run.store(0, Ordering::Relaxed));
        for pair in starts.windows(2) {
            add(&pair[1], pair[0].load(Ordering::Relaxed));
        }
        // Each start moves on to the next one while its CPU's events are put there, and then all are one place too far.
        for item in events(text) {
            let (_, cpu, event) = item?;
            let start = &starts[cpu as usize];
            events_table[start.load(Ordering::Relaxed) as usize].store(pack(event), Ordering::Relaxed);
            add(start, 1);
        }
        for pair in starts.windows(2).rev() {
            pair[1].store(pair[0].load(Ordering::Relaxed), Ordering::Relaxed);
        }
        starts[0].store(0, Ordering::Relaxed);
        Ok(AllocTrace { events: events_table, starts, runs })
    }

    /// How many CPUs there are.
    pub fn cpus(&self) -> usize {
        self.starts.len() - 1
    }

    /// A CPU's events.
    pub fn of(&self, cpu: usize) -> impl Iterator<Item = Event> + use<'a> {
        let at =
            |index: usize| self.starts.get(index).map_or(0, |start| start.load(Ordering::Relaxed) as usize);
        let range = if cpu < self.cpus() { at(cpu)..at(cpu + 1) } else { 0..0 };
        self.events[range].iter().map(|word| unpack(word.load(Ordering::Relaxed)))
    }
}

/// An order's place in an event's word, above its number; then whether it is an allocation.
const ORDER_AT: u32 = 32;
const ALLOC: u64 = 1 << 40;

fn pack(event: Event) -> u64 {
    match event {
        Event::Alloc { id, order } => u64::from(id) | u64::from(order.get()) << ORDER_AT | ALLOC,
        Event::Free { id } => u64::from(id),
    }
}

fn unpack(word: u64) -> Event {
    let id = word as u32;
    match Order::new((word >> ORDER_AT) as u8).filter(|_| word & ALLOC != 0) {
        Some(order) => Event::Alloc { id, order },
        None => Event::Free { id },
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.split(|byte| *byte == b'\n').map(|line| line.trim_ascii())
}

/// Line, CPU and what happened, of each event by itself.
fn events(text: &[u8]) -> impl Iterator<Item = Result<(u32, u32, Event), TraceError>> {
    let numbered = (1..).zip(lines(text)).filter(|(_, words)| !words.is_empty() && words[0] != b'#');
    numbered.map(|(line, words)| match event(words) {
        Ok((cpu, event)) => Ok((line, cpu, event)),
        Err(failure) => Err(TraceError { line, failure }),
    })
}

fn event(line: &[u8]) -> Result<(u32, Event), LineError> {
    let (sign, rest) = line.split_first().ok_or(LineError::NotAnEvent)?;
    if !matches!(sign, b'+' | b'-') {
        return Err(LineError::NotAnEvent);
    }
    // What stands right behind the sign, so not after a space.
    let mut words = rest.split(u8::is_ascii_whitespace).enumerate();
    let mut number = |what| {
        let word = words.by_ref().find(|(index, word)| *index == 0 || !word.is_empty()).map(|(_, word)| word);
        word.and_then(decimal).ok_or(LineError::Malformed { what })
    };
    let id = number("the run's number")?;
    let event = if *sign == b'+' {
        let order = number("the order")?;
        let known = u8::try_from(order).ok().and_then(Order::new).ok_or(LineError::Order { order })?;
        Event::Alloc { id, order: known }
    } else {
        Event::Free { id }
    };
    let cpu = number("the CPU")?;
    if cpu >= MAX_CPUS {
        return Err(LineError::Cpu { cpu });
    }
    match words.find(|(_, word)| !word.is_empty()) {
        None => Ok((cpu, event)),
        Some(_) => Err(LineError::Malformed { what: "the end of the line" }),
    }
}

fn decimal(word: &[u8]) -> Option<u32> {
    // The library's parser takes a sign, which has no meaning here.
    let digits = word.first().is_some_and(u8::is_ascii_digit);
    core::str::from_utf8(word).ok().filter(|_| digits)?.parse().ok()
}

/// A trace in memory of the host's own, as [`AllocTrace::load`] wants it.
#[cfg(not(target_os = "none"))]
pub struct Tables([std::vec::Vec<AtomicU64>; 3]);

#[cfg(not(target_os = "none"))]
impl Tables {
    /// Of that size.
    pub fn new(size: &Size) -> Tables {
        Tables(AllocTrace::words(size).map(|words| (0..words).map(|_| AtomicU64::new(0)).collect()))
    }

    /// Loads a trace into them, which are new.
    ///
    /// # Errors
    /// As for [`AllocTrace::load`].
    pub fn load(&self, text: &[u8]) -> Result<AllocTrace<'_>, TraceError> {
        AllocTrace::load(text, self.0.each_ref().map(std::vec::Vec::as_slice))
    }
}

/// Checks a whole trace.
///
/// # Errors
/// The first thing that is wrong.
#[cfg(not(target_os = "none"))]
pub fn check(text: &[u8]) -> Result<Size, TraceError> {
    let size = measure(text)?;
    Tables::new(&size).load(text).map(|_| size)
}

#[cfg(test)]
mod tests;
