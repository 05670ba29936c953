//! The format of recorded traces of allocations and frees, and its parser.
//!
//! A trace is text, one event a line, in the order of the events. Blank lines and lines that begin with `#` are comments.
//!
//! ```text
//! +ID ORDER CPU       CPU allocates 2^ORDER contiguous frames, called ID
//! =ID ORDER COUNT CPU CPU splits ID into COUNT parts of 2^ORDER frames, called by the next COUNT IDs; ID ends
//! -ID CPU             CPU frees ID
//! ```
//!
//! All numbers are decimal. IDs are 0, 1, 2 and so on, in the order of the allocations and splits. Any CPU may free or split an
//! ID, once.
//! Allocations that the trace does not free are freed at its end.
//!
//! The launcher and the kernel use the same parser. The kernel has no heap: [`measure`] returns the size of a trace, and
//! [`AllocTrace::load`] fills tables of that size. The input is untrusted: no input makes the parser panic.

#[cfg(not(target_os = "none"))]
extern crate std;

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::config::MAX_CPUS;
use crate::memory::frames::Order;

/// An event of one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllocEvent {
    /// It allocates.
    Alloc {
        /// The number of the allocation.
        id: u32,
        /// Its order.
        order: Order,
    },
    /// It frees.
    Free {
        /// The number of the allocation.
        id: u32,
    },
    /// It splits an allocation into parts, which are freed one by one.
    Split {
        /// The number of the allocation, which ends.
        id: u32,
        /// The order of the parts.
        order: Order,
        /// The number of parts.
        count: u32,
        /// The number of the first part; the others follow in ascending order. 0 in an event that was just parsed.
        first: u32,
    },
}

/// The size of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceSize {
    /// The number of events.
    pub events: usize,
    /// The number of allocations, and of parts of split ones.
    pub runs: usize,
    /// The number of CPUs: one more than the highest CPU number.
    pub cpus: usize,
}

/// An error in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceError {
    /// The line, from 1. For [`LineError::Empty`] the line after the last.
    pub line: u32,
    /// The error in that line.
    pub failure: LineError,
}

/// An error in a line of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineError {
    /// The line does not begin like an event.
    NotAnEvent,
    /// A number is missing or malformed, or text follows the last number.
    Malformed {
        /// The name of the number.
        what: &'static str,
    },
    /// The order is too large.
    Order {
        /// The order.
        order: u32,
    },
    /// The CPU number is too large.
    Cpu {
        /// The number.
        cpu: u32,
    },
    /// An allocation has the wrong number.
    Number {
        /// Its number.
        id: u32,
        /// The expected number.
        next: u32,
    },
    /// The allocation that is freed comes later, or never.
    Unknown {
        /// Its number.
        id: u32,
    },
    /// The allocation that is freed or split was freed or split before.
    FreedTwice {
        /// Its number.
        id: u32,
    },
    /// The parts are not the allocation.
    Parts {
        /// The order of the allocation.
        of: u8,
        /// The order of the parts.
        order: u8,
        /// Their number.
        count: u32,
    },
    /// There are more than [`MAX_RUNS`] allocations and parts.
    TooMany,
    /// The trace has no event.
    Empty,
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        match self.failure {
            LineError::NotAnEvent => {
                f.write_str("none of `+ID ORDER CPU`, `=ID ORDER COUNT CPU` and `-ID CPU`")
            }
            LineError::Malformed { what } => write!(f, "{what} is missing, or not a plain decimal number"),
            LineError::Order { order } => write!(f, "order {order} is above {}", Order::MAX.get()),
            LineError::Cpu { cpu } => write!(f, "CPU {cpu} is above {}", MAX_CPUS - 1),
            LineError::Number { id, next } => {
                write!(f, "the run is called {id}, and the next in order is {next}")
            }
            LineError::Unknown { id } => write!(f, "run {id} is freed and was not allocated before"),
            LineError::FreedTwice { id } => write!(f, "run {id} is freed a second time"),
            LineError::Parts { of, order, count } => {
                write!(f, "a run of order {of} does not have {count} parts of order {order}")
            }
            LineError::TooMany => write!(f, "there are more than {MAX_RUNS} runs"),
            LineError::Empty => f.write_str("the trace ends without an event"),
        }
    }
}

impl core::error::Error for TraceError {}

/// Parses a trace and returns its size. Checks everything that needs no memory; only [`AllocTrace::load`] finds an allocation
/// that is freed twice.
///
/// # Errors
/// The first error in the trace.
pub fn measure(text: &[u8]) -> Result<TraceSize, TraceError> {
    let mut size = TraceSize { events: 0, runs: 0, cpus: 0 };
    for item in events(text) {
        let (line, cpu, event) = item?;
        let fail = |failure| Err(TraceError { line, failure });
        match event {
            AllocEvent::Alloc { id, .. } if id as usize != size.runs => {
                return fail(LineError::Number { id, next: size.runs as u32 });
            }
            AllocEvent::Free { id } | AllocEvent::Split { id, .. } if id as usize >= size.runs => {
                return fail(LineError::Unknown { id });
            }
            AllocEvent::Alloc { .. } => size.runs += 1,
            AllocEvent::Split { count, .. } => size.runs += count as usize,
            AllocEvent::Free { .. } => {}
        }
        if size.runs > MAX_RUNS {
            return fail(LineError::TooMany);
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
    /// The events of the first CPU, then of the second and so on, each CPU's in order.
    events: &'a [AtomicU64],
    /// The index of each CPU's first event, and the end of the last CPU's.
    starts: &'a [AtomicU64],
    /// The state of each allocation; 0 before it is allocated.
    pub runs: &'a [AtomicU64],
}

impl<'a> AllocTrace<'a> {
    /// The numbers of words that [`load`](Self::load) needs for its three tables.
    pub const fn words(size: &TraceSize) -> [usize; 3] {
        [size.events, size.cpus + 1, size.runs]
    }

    /// Loads a trace into tables of that many [words](Self::words), all 0.
    ///
    /// # Errors
    /// The first error in the trace.
    ///
    /// # Panics
    /// If [`measure`] was not called with the same text.
    pub fn load(text: &[u8], tables: [&'a [AtomicU64]; 3]) -> Result<AllocTrace<'a>, TraceError> {
        let [events_table, starts, runs] = tables;
        let add =
            |word: &AtomicU64, more: u64| word.store(word.load(Ordering::Relaxed) + more, Ordering::Relaxed);
        // The state of each run while its events are checked: its order plus one, or 0 after its free.
        let mut next = 0;
        let set = |id: u32, state: u8| runs[id as usize].swap(u64::from(state), Ordering::Relaxed) as u8;
        for item in events(text) {
            let (line, cpu, event) = item?;
            let fail = |failure| Err(TraceError { line, failure });
            add(&starts[cpu as usize + 1], 1);
            match event {
                AllocEvent::Alloc { id, order } => {
                    set(id, order.get() + 1);
                    next = id + 1;
                }
                AllocEvent::Free { id } => {
                    if set(id, 0) == 0 {
                        return fail(LineError::FreedTwice { id });
                    }
                }
                AllocEvent::Split { id, order, count, .. } => {
                    let order = order.get();
                    let Some(of) = set(id, 0).checked_sub(1) else {
                        return fail(LineError::FreedTwice { id });
                    };
                    if of.checked_sub(order).is_none_or(|more| count != 1 << more) {
                        return fail(LineError::Parts { of, order, count });
                    }
                    for part in next..next + count {
                        set(part, order + 1);
                    }
                    next += count;
                }
            }
        }
        runs.iter().for_each(|run| run.store(0, Ordering::Relaxed));
        for pair in starts.windows(2) {
            add(&pair[1], pair[0].load(Ordering::Relaxed));
        }
        // Each start advances while the CPU's events are stored. Afterwards it is the start of the next CPU.
        let mut next = 0;
        for item in events(text) {
            let (_, cpu, mut event) = item?;
            match &mut event {
                AllocEvent::Alloc { .. } => next += 1,
                AllocEvent::Split { first, count, .. } => {
                    *first = next;
                    next += *count;
                }
                AllocEvent::Free { .. } => {}
            }
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

    /// The number of CPUs.
    pub fn cpus(&self) -> usize {
        self.starts.len() - 1
    }

    /// The events of a CPU.
    pub fn of(&self, cpu: usize) -> impl Iterator<Item = AllocEvent> + use<'a> {
        let at =
            |index: usize| self.starts.get(index).map_or(0, |start| start.load(Ordering::Relaxed) as usize);
        let range = if cpu < self.cpus() { at(cpu)..at(cpu + 1) } else { 0..0 };
        self.events[range].iter().map(|word| unpack(word.load(Ordering::Relaxed)))
    }
}

/// The most allocations and parts of a trace: an event's word has two of their numbers.
pub const MAX_RUNS: usize = 1 << RUN_BITS;

/// The fields of an event's word: its run, a split's first part, the logarithm of a split's number of parts, and the order plus
/// one, which is 0 for a free.
const RUN_BITS: u32 = 26;
const FIRST_AT: u32 = RUN_BITS;
const COUNT_AT: u32 = 2 * RUN_BITS;
const ORDER_AT: u32 = COUNT_AT + 5;
/// The bit of a split.
const SPLIT: u64 = 1 << 63;

const _: () = assert!(Order::MAX.get() < 31 && ORDER_AT + 6 <= 63);

fn pack(event: AllocEvent) -> u64 {
    let order_field = |order: Order| u64::from(order.get() + 1) << ORDER_AT;
    match event {
        AllocEvent::Alloc { id, order } => u64::from(id) | order_field(order),
        AllocEvent::Free { id } => u64::from(id),
        AllocEvent::Split { id, order, count, first } => {
            let parts = u64::from(first) << FIRST_AT | u64::from(count.trailing_zeros()) << COUNT_AT;
            u64::from(id) | parts | order_field(order) | SPLIT
        }
    }
}

fn unpack(word: u64) -> AllocEvent {
    let field = |at: u32, bits: u32| (word >> at) as u32 & ((1 << bits) - 1);
    let id = field(0, RUN_BITS);
    match field(ORDER_AT, 6).checked_sub(1).and_then(|order| Order::new(order as u8)) {
        Some(order) if word & SPLIT != 0 => {
            AllocEvent::Split { id, order, count: 1 << field(COUNT_AT, 5), first: field(FIRST_AT, RUN_BITS) }
        }
        Some(order) => AllocEvent::Alloc { id, order },
        None => AllocEvent::Free { id },
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.split(|byte| *byte == b'\n').map(|line| line.trim_ascii())
}

/// Parses the events: line, CPU and event of each.
fn events(text: &[u8]) -> impl Iterator<Item = Result<(u32, u32, AllocEvent), TraceError>> {
    let numbered = (1..).zip(lines(text)).filter(|(_, words)| !words.is_empty() && words[0] != b'#');
    numbered.map(|(line, words)| match event(words) {
        Ok((cpu, event)) => Ok((line, cpu, event)),
        Err(failure) => Err(TraceError { line, failure }),
    })
}

fn event(line: &[u8]) -> Result<(u32, AllocEvent), LineError> {
    let (sign, rest) = line.split_first().ok_or(LineError::NotAnEvent)?;
    if !matches!(sign, b'+' | b'-' | b'=') {
        return Err(LineError::NotAnEvent);
    }
    // The first number follows the sign without a space.
    let mut words = rest.split(u8::is_ascii_whitespace).enumerate();
    let mut number = |what| {
        let word = words.by_ref().find(|(index, word)| *index == 0 || !word.is_empty()).map(|(_, word)| word);
        word.and_then(decimal).ok_or(LineError::Malformed { what })
    };
    let id = number("the run's number")?;
    let known = |order| u8::try_from(order).ok().and_then(Order::new).ok_or(LineError::Order { order });
    let event = match sign {
        b'+' => AllocEvent::Alloc { id, order: known(number("the order")?)? },
        b'=' => {
            let order = known(number("the order")?)?;
            let count = number("the number of parts")?;
            // More than a run of the largest order has; the parts' numbers must not overflow.
            if count > 1 << Order::MAX.get() {
                return Err(LineError::Parts { of: Order::MAX.get(), order: order.get(), count });
            }
            AllocEvent::Split { id, order, count, first: 0 }
        }
        _ => AllocEvent::Free { id },
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
    // `parse` accepts a sign, which the format does not have.
    let digits = word.first().is_some_and(u8::is_ascii_digit);
    core::str::from_utf8(word).ok().filter(|_| digits)?.parse().ok()
}

/// TraceTables of [`AllocTrace::load`] in memory of the host.
#[cfg(not(target_os = "none"))]
pub struct TraceTables([std::vec::Vec<AtomicU64>; 3]);

#[cfg(not(target_os = "none"))]
impl TraceTables {
    /// TraceTables for a trace of this size.
    pub fn new(size: &TraceSize) -> TraceTables {
        TraceTables(AllocTrace::words(size).map(|words| (0..words).map(|_| AtomicU64::new(0)).collect()))
    }

    /// Loads a trace into the tables, which must be new.
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
/// The first error in the trace.
#[cfg(not(target_os = "none"))]
pub fn check(text: &[u8]) -> Result<TraceSize, TraceError> {
    let size = measure(text)?;
    TraceTables::new(&size).load(text).map(|_| size)
}

#[cfg(test)]
mod tests;
