//! `log`'s macros on the console: time since rt0, CPU, target, level where it matters, text.
//!
//! A line is formatted before any lock is taken, and written whole while the console's lock is held. What cannot wait for
//! that lock, since it may have struck its holder (an NMI, a machine check), leaves its line where it takes no lock
//! ([`Kept`]); whoever frees the console looks there once more, so that no line is left lying. Lines from before the filter
//! is known wait there too.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU64, Ordering, fence};

use log::{Level, LevelFilter, Log, Metadata, Record};
use spin::Once;

use super::LineBuffer;
use super::drawing;
use super::filter::{self, Filter, MAX_TARGET_BYTES};
use super::kept::Kept;
use super::line::{self, Rest};
use super::screen::{LiveScreen, SCREEN};
use super::serial::Serial;
use super::warning;
use crate::config::MODULES;
use crate::cpu::registers::{frame_pointer, read_tsc};
use crate::cpu::{self, thread};
use crate::sync;

/// The longest line, in bytes; what is longer is cut. The longest message is a refusal of an option.
const MAX_LINE_BYTES: usize = 900;

/// The longest line that can be kept. Shorter, for an NMI's stack is small.
const MAX_KEPT_BYTES: usize = 240;

/// Microseconds since rt0; told by the time layer when it can tell.
static CLOCK: Once<fn() -> u64> = Once::new();

/// The TSC when rt0 began.
static ENTRY_TSC: AtomicU64 = AtomicU64::new(0);

/// What is shown; unknown as long as the command line has not been read.
static FILTER: Once<Filter> = Once::new();

/// Lines that nobody could write when they came.
static KEPT: Kept<KeptLine> = Kept::new();

/// Lines for which there was no room, ever; and how many of them the log has told of.
static LOST: AtomicU64 = AtomicU64::new(0);
static TOLD: AtomicU64 = AtomicU64::new(0);

/// Lines that wait, and lines that were written.
static WAITING: AtomicU64 = AtomicU64::new(0);
static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// A line, and what a filter asks of it.
struct KeptLine {
    level: Level,
    target: LineBuffer<MAX_TARGET_BYTES>,
    line: LineBuffer<MAX_KEPT_BYTES>,
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata) -> bool {
        // As long as no filter is known, a line may still come to be shown.
        FILTER.get().is_none_or(|filter| filter.shows(metadata.level(), metadata.target()))
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        if FILTER.get().is_some() && may_wait() {
            // What comes before a CPU hangs must not wait for an interrupt that this CPU may not take any more.
            let rest = if record.level() <= Level::Warn { Rest::Send } else { Rest::Leave };
            write_line::<MAX_LINE_BYTES>(&line_of(record), rest);
            drawing::draw(rest);
        } else {
            keep(KeptLine {
                level: record.level(),
                target: LineBuffer::format(format_args!("{}", filter::short(record.target()))),
                line: line_of(record),
            });
        }
        write_kept();
    }

    fn flush(&self) {}
}

/// Whether this CPU may wait for the console. Not on one of its interrupt stacks: what leads there is not masked by a lock,
/// and may have interrupted the holder. Nor while it waits for a spin lock, which may be the console's own.
pub(super) fn may_wait() -> bool {
    thread::current().stack().contains(&frame_pointer()) && !sync::is_waiting()
}

fn line_of<const N: usize>(record: &Record) -> LineBuffer<N> {
    let target = filter::top(record.target());
    let mark = Mark(record.level());
    LineBuffer::format(format_args!("{Stamp} {:>4} {target}: {mark}{}", cpu::current(), record.args()))
}

/// The time: in seconds, or before that is known in millions of TSC cycles.
struct Stamp;

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(clock) = CLOCK.get() {
            let us = clock();
            return write!(f, "[{:>3}.{:06}]", us / 1_000_000, us % 1_000_000);
        }
        let cycles = read_tsc().saturating_sub(ENTRY_TSC.load(Ordering::Relaxed));
        write!(f, "[{:>4}.{:02} Mc]", cycles / 1_000_000, cycles / 10_000 % 100)
    }
}

struct Mark(Level);

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Level::Error => "error: ",
            Level::Warn => "warning: ",
            Level::Info => "",
            Level::Debug => "debug: ",
            Level::Trace => "trace: ",
        })
    }
}

/// Writes a line, after those that were kept before it, one for each time that the console is taken, and sends it: see
/// [`Rest`]. Waits for room.
fn write_line<const N: usize>(line: &LineBuffer<N>, rest: Rest) {
    loop {
        let mut serial = line::lock_with_room();
        let mut screen = SCREEN.lock();
        if write_next_kept(&mut serial, &mut screen) {
            continue;
        }
        write(&mut serial, &mut screen, line.as_str());
        let end = serial.end();
        drop(screen);
        drop(serial);
        return line::send_until(end, rest);
    }
}

/// Writes a line for people as it is, whatever the filter: without time, CPU and module. Waits for the console; not from
/// an NMI.
pub fn say(text: fmt::Arguments) {
    write_line::<MAX_LINE_BYTES>(&LineBuffer::format(text), Rest::Leave);
    write_kept();
}

/// Leaves a line for whoever has the console next. Any context; waits for nobody.
fn keep(kept: KeptLine) {
    match KEPT.push(kept) {
        // Counted after it is there: who sees the count finds the line, unless another has been quicker.
        Ok(()) => WAITING.fetch_add(1, Ordering::Relaxed),
        Err(_) => LOST.fetch_add(1, Ordering::Relaxed),
    };
}

/// Writes what was kept, unless another CPU holds the console, which will then do it: to be called after a line was kept, or
/// the console freed. Any context. Does not wait in the lock's queue, and waits for the port only where no interrupt is relied
/// on, and for warnings: in sections of one fill each, as writers do. Then draws the screen, where the context allows it.
pub(super) fn write_kept() {
    write_kept_lines();
    if drawing::draw(Rest::Leave) {
        // Lines may have come while the console was held for that.
        write_kept_lines();
    }
}

fn write_kept_lines() {
    if FILTER.get().is_none() {
        return;
    }
    loop {
        // Of a CPU that keeps a line and then finds the console held, and one that frees it and then finds no line, one
        // is wrong; this orders what each does first before what it looks at then.
        fence(Ordering::SeqCst);
        if WAITING.load(Ordering::Relaxed) == 0
            && !warning::are_waiting()
            && TOLD.load(Ordering::Relaxed) == LOST.load(Ordering::Relaxed)
        {
            return;
        }
        let Some(mut serial) = line::try_lock() else { return };
        if !serial.has_room() && !serial.is_stalled() {
            if serial.is_driven() && !warning::are_waiting() {
                // The interrupt makes room, and its handler comes here.
                return serial.leave();
            }
            let end = serial.end();
            drop(serial);
            line::send_from_any_context(end);
            continue;
        }
        let has_warning = warning::are_waiting();
        // Free, because it is taken under the console's lock alone, which this CPU has.
        let Some(mut screen) = SCREEN.try_lock() else { return };
        let was_written = write_next_kept(&mut serial, &mut screen);
        drop(screen);
        if !was_written {
            // What is counted stands behind a line that is about to be kept, by a CPU that will come here as well. Or it is
            // to be told how many lines were lost, and there is no room for that.
            return;
        }
        // The CPU that takes the interrupt may be the one that a warning is about.
        if serial.is_driven() && !has_warning {
            serial.step();
            serial.leave();
        } else {
            let end = serial.end();
            drop(serial);
            line::send_from_any_context(end);
        }
    }
}

/// Writes the line that was kept first, or a warning, or how many lines were lost; false if there is nothing to write.
pub(super) fn write_next_kept(serial: &mut Serial, screen: &mut LiveScreen) -> bool {
    if let Some(kept) = KEPT.pop() {
        WAITING.fetch_sub(1, Ordering::Relaxed);
        // Lines from before the filter was known have not gone through it.
        if FILTER.get().copied().unwrap_or_default().shows(kept.level, kept.target.as_str()) {
            write(serial, screen, kept.line.as_str());
        }
        return true;
    }
    if warning::write_next_kept(serial) {
        return true;
    }
    if !serial.has_room() {
        // That line would be lost as well.
        return false;
    }
    let lost = LOST.load(Ordering::Relaxed);
    let untold = lost - TOLD.swap(lost, Ordering::Relaxed);
    if untold > 0 {
        let line: LineBuffer<MAX_KEPT_BYTES> = LineBuffer::format(format_args!(
            "{Stamp} {:>4} console: {}{untold} lines lost: nobody could write them, and there was no room to keep them",
            cpu::current(),
            Mark(Level::Warn)
        ));
        write(serial, screen, line.as_str());
    }
    untold > 0
}

/// Writes one line, whole; one for which the port has no room is shown on the screen alone, and counted as lost.
fn write(serial: &mut Serial, screen: &mut LiveScreen, line: &str) {
    let has_prompt = core::mem::take(&mut serial.has_prompt);
    let is_written = serial.append(|unit| {
        if has_prompt {
            // Back to the row's beginning, and the rest of it away (ECMA-48, 8.3.41).
            unit.append(b"\r\x1b[K");
        }
        // A unit that does not fit says so when it is committed.
        let _ = writeln!(unit, "{line}");
    });
    if is_written { &WRITTEN } else { &LOST }.fetch_add(1, Ordering::Relaxed);
    screen.write(line);
    screen.write("\n");
    drawing::note_written();
}

/// Opens the serial line and installs the logger: from now on lines are kept, until [`set_filter`]. Once, before the first
/// line. Until the clock is known lines bear the millions of TSC cycles since `entry_tsc`.
pub fn init(entry_tsc: u64) {
    ENTRY_TSC.store(entry_tsc, Ordering::Relaxed);
    line::lock().open_if_absent();
    // Fails only where a logger is installed already, and then this one is.
    let _ = log::set_logger(&Logger);
    log::set_max_level(LevelFilter::Trace);
}

/// Says what is shown, and shows of the lines so far what is. Only the first call counts.
pub fn set_filter(filter: Filter) {
    log::set_max_level(FILTER.call_once(|| filter).most());
    write_kept();
    for target in filter.targets().filter(|target| !MODULES.contains(&filter::top(target))) {
        log::warn!("log={target}: octopod has no such module, so this is for lines of your own");
    }
}

/// From now on lines bear this clock's time.
pub fn set_clock(microseconds: fn() -> u64) {
    CLOCK.call_once(|| microseconds);
}

/// Lines of the log since the boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// Those that were written.
    pub written: u64,
    /// Those that wait for whoever has the console.
    pub waiting: u64,
    /// Those that could be neither written nor kept, or that the port had no room for.
    pub lost: u64,
}

/// How many lines there were. Any context; exact when nobody logs.
pub fn lines() -> Lines {
    Lines {
        written: WRITTEN.load(Ordering::Relaxed),
        waiting: WAITING.load(Ordering::Relaxed),
        lost: LOST.load(Ordering::Relaxed),
    }
}
