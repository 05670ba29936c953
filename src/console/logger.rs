//! The backend of the `log` macros. A line shows the time since the kernel's entry in seconds, the CPU, the module, the level if
//! it is not info, and the text: `[    0.050466] cpu0 acpi: warning: text`.
//!
//! A line is formatted before any lock is taken, and written whole under the console's lock. Code that cannot wait for this
//! lock, because it may have interrupted the holder (an NMI, a machine check), pushes its line to a lock-free queue
//! ([`DeferredQueue`]). Each CPU that frees the console checks the queue, so that no line stays there. Lines from before the
//! filter is set wait there as well.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU64, Ordering, fence};

use log::{Level, LevelFilter, Log, Metadata, Record};
use spin::Once;

use super::LineBuffer;
use super::deferred::DeferredQueue;
use super::drawing;
use super::filter::{self, Filter, MAX_TARGET_BYTES};
use super::port::{self, Unsent, may_wait};
use super::screen::{LiveScreen, SCREEN};
use super::serial::Serial;
use super::{deferred_warnings, warning};
use crate::config::MODULES;
use crate::cpu;
use crate::cpu::registers::read_tsc;
use crate::sync::Hook;

/// The longest line in bytes; longer ones are truncated. The longest message reports an invalid option.
const MAX_LINE_BYTES: usize = 900;

/// The longest deferred line in bytes. Shorter, because an NMI's stack is small.
const MAX_DEFERRED_BYTES: usize = 240;

/// The clock in microseconds since the kernel's entry; the time layer sets it.
static CLOCK: Hook<fn() -> u64> = Hook::new();

/// The TSC at the kernel's entry.
static ENTRY_TSC: AtomicU64 = AtomicU64::new(0);

/// The TSC's frequency in kHz before [`CLOCK`] is set; 0 if it is unknown.
static ESTIMATED_TSC_KHZ: AtomicU64 = AtomicU64::new(0);

/// The latest time stamp by the estimated frequency, in microseconds. Later stamps are not less, although the clock may differ from
/// the estimate.
static LAST_ESTIMATE_US: AtomicU64 = AtomicU64::new(0);

/// The filter; unset until the command line is parsed.
static FILTER: Once<Filter> = Once::new();

/// Lines that could not be written at once.
static DEFERRED: DeferredQueue<DeferredLine> = DeferredQueue::new();

/// Lines that were lost, and how many of these the log has reported.
static LOST: AtomicU64 = AtomicU64::new(0);
static REPORTED_LOST: AtomicU64 = AtomicU64::new(0);

/// Deferred lines that wait, and lines that were written.
static WAITING: AtomicU64 = AtomicU64::new(0);
static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// A deferred line, with the level and target for the filter.
struct DeferredLine {
    level: Level,
    target: LineBuffer<MAX_TARGET_BYTES>,
    line: LineBuffer<MAX_DEFERRED_BYTES>,
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata) -> bool {
        // Until the filter is set, every line may have to be shown.
        FILTER.get().is_none_or(|filter| filter.shows(metadata.level(), metadata.target()))
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        if FILTER.get().is_some() && may_wait() {
            // The last line before a CPU hangs must not wait for an interrupt that this CPU may not take.
            let unsent = if record.level() <= Level::Warn { Unsent::Wait } else { Unsent::Defer };
            write_line::<MAX_LINE_BYTES>(&line_of(record), unsent);
            drawing::draw(unsent);
        } else {
            defer_line(DeferredLine {
                level: record.level(),
                target: LineBuffer::format(format_args!("{}", filter::short(record.target()))),
                line: line_of(record),
            });
        }
        write_deferred();
    }

    fn flush(&self) {}
}

/// Formats a log record.
fn line_of<const N: usize>(record: &Record) -> LineBuffer<N> {
    let target = filter::top(record.target());
    let prefix = LevelPrefix(record.level());
    LineBuffer::format(format_args!(
        "{} cpu{} {target}: {prefix}{}",
        Timestamp::now(),
        cpu::current(),
        record.args()
    ))
}

/// A time since the kernel's entry in microseconds. Formatted in seconds, as Linux does.
struct Timestamp(u64);

impl Timestamp {
    /// The time by the clock. Before the clock is set, the time by the TSC's estimated frequency, or 0 without an estimate.
    fn now() -> Timestamp {
        if let Some(clock) = CLOCK.get() {
            return Timestamp(clock().max(LAST_ESTIMATE_US.load(Ordering::Relaxed)));
        }
        let khz = ESTIMATED_TSC_KHZ.load(Ordering::Relaxed);
        let cycles = read_tsc().saturating_sub(ENTRY_TSC.load(Ordering::Relaxed));
        let us = cycles.saturating_mul(1000).checked_div(khz).unwrap_or(0);
        Timestamp(us.max(LAST_ESTIMATE_US.fetch_max(us, Ordering::Relaxed)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:>5}.{:06}]", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// Formats a level as a prefix of the message.
struct LevelPrefix(Level);

impl fmt::Display for LevelPrefix {
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

/// Writes a line and sends it: see [`Unsent`]. Writes deferred lines first, one each time that it takes the console. Waits
/// for room.
fn write_line<const N: usize>(line: &LineBuffer<N>, unsent: Unsent) {
    loop {
        let mut serial = port::lock_with_room();
        let mut screen = SCREEN.lock();
        if write_next_deferred(&mut serial, &mut screen) {
            continue;
        }
        write(&mut serial, &mut screen, line.as_str());
        let end = serial.end();
        drop(screen);
        drop(serial);
        return port::send_until(end, unsent);
    }
}

/// Prints a line as it is: without time, CPU and module, and whatever the filter.
///
/// **Context:** any but NMI. Spins for the console.
pub(crate) fn print(text: fmt::Arguments) {
    write_line::<MAX_LINE_BYTES>(&LineBuffer::format(text), Unsent::Defer);
    write_deferred();
}

/// Queues a line for the next CPU that holds the console. Lock-free.
///
/// **Context:** any.
fn defer_line(line: DeferredLine) {
    match DEFERRED.push(line) {
        // Counted after the push: a CPU that sees the count finds the line, unless another CPU has popped it.
        Ok(()) => WAITING.fetch_add(1, Ordering::Relaxed),
        Err(_) => LOST.fetch_add(1, Ordering::Relaxed),
    };
}

/// Writes deferred lines, and draws the screen if the context allows it. Called after a line was deferred, and after the
/// console was freed. If another CPU holds the console, that CPU writes them. Does not wait for the lock. Waits for the port
/// only if no interrupt is in use, and for warnings: with one fill for each time that it takes the lock, as writers do.
///
/// **Context:** any.
pub(super) fn write_deferred() {
    write_deferred_lines();
    if drawing::draw(Unsent::Defer) {
        // Lines may have been deferred while this CPU held the console to draw.
        write_deferred_lines();
    }
}

/// The part of [`write_deferred`] for lines.
fn write_deferred_lines() {
    if FILTER.get().is_none() {
        return;
    }
    loop {
        // One CPU defers a line and then finds the console held; another frees the console and then finds no line. The fence
        // orders the write before the read on both, so that at least one of them sees the other's write.
        fence(Ordering::SeqCst);
        if WAITING.load(Ordering::Relaxed) == 0
            && !deferred_warnings::has_any()
            && REPORTED_LOST.load(Ordering::Relaxed) == LOST.load(Ordering::Relaxed)
        {
            return;
        }
        let Some(mut serial) = port::try_lock() else { return };
        if !serial.has_room() && !serial.is_stalled() {
            if serial.is_interrupt_driven() && !deferred_warnings::has_any() {
                // The port's interrupt makes room, and its handler calls `write_deferred`.
                return serial.leave_to_interrupt();
            }
            let end = serial.end();
            drop(serial);
            port::send_from_any_context(end);
            continue;
        }
        let has_warning = deferred_warnings::has_any();
        // Free, because it is only taken under the console's lock, which this CPU holds.
        let Some(mut screen) = SCREEN.try_lock() else { return };
        let was_written = write_next_deferred(&mut serial, &mut screen);
        drop(screen);
        if !was_written {
            // Either the CPU that deferred a line has not counted it yet, and will call this function. Or lost lines are to be
            // reported, and there is no room for the report.
            return;
        }
        // The CPU that takes the port's interrupt may be the one that a warning is about.
        if serial.is_interrupt_driven() && !has_warning {
            serial.step();
            serial.leave_to_interrupt();
        } else {
            let end = serial.end();
            drop(serial);
            port::send_from_any_context(end);
        }
    }
}

/// Writes the oldest deferred line, or else a deferred warning, or else the number of lost lines. Returns `false` if there was
/// nothing to write.
pub(super) fn write_next_deferred(serial: &mut Serial, screen: &mut LiveScreen) -> bool {
    if let Some(deferred) = DEFERRED.pop() {
        WAITING.fetch_sub(1, Ordering::Relaxed);
        // Lines from before the filter was set have not been filtered.
        if FILTER.get().copied().unwrap_or_default().shows(deferred.level, deferred.target.as_str()) {
            write(serial, screen, deferred.line.as_str());
        }
        return true;
    }
    if warning::write_next_deferred(serial) {
        return true;
    }
    if !serial.has_room() {
        // The report would be lost as well.
        return false;
    }
    let lost = LOST.load(Ordering::Relaxed);
    let unreported = lost - REPORTED_LOST.swap(lost, Ordering::Relaxed);
    if unreported > 0 {
        let line: LineBuffer<MAX_DEFERRED_BYTES> = LineBuffer::format(format_args!(
            "{} cpu{} console: {}{unreported} lines lost: console busy, and no room to defer them",
            Timestamp::now(),
            cpu::current(),
            LevelPrefix(Level::Warn)
        ));
        write(serial, screen, line.as_str());
    }
    unreported > 0
}

/// Writes a whole line to the port and the screen. If the port has no room, the line appears only on the screen and counts as
/// lost.
fn write(serial: &mut Serial, screen: &mut LiveScreen, line: &str) {
    let has_prompt = core::mem::take(&mut serial.has_prompt);
    let is_written = serial.append(|unit| {
        if has_prompt {
            // Carriage return, and erase to the end of the line (ECMA-48, 8.3.41).
            unit.append(b"\r\x1b[K");
        }
        // `commit` reports a unit that does not fit.
        let _ = writeln!(unit, "{line}");
    });
    if is_written { &WRITTEN } else { &LOST }.fetch_add(1, Ordering::Relaxed);
    screen.write(line);
    screen.write("\n");
    drawing::mark_dirty();
}

/// Opens the serial port and installs the logger. Lines are deferred until [`set_filter`]. They show the time since
/// `entry_tsc`: see [`set_estimated_tsc_hz`] and [`set_clock`].
///
/// **Context:** the BSP, once, before the first line.
pub(crate) fn init(entry_tsc: u64) {
    ENTRY_TSC.store(entry_tsc, Ordering::Relaxed);
    port::lock().open_if_absent();
    // Fails only if this logger is already installed.
    let _ = log::set_logger(&Logger);
    log::set_max_level(LevelFilter::Trace);
}

/// Sets the filter, and writes the deferred lines that it shows. Only the first call has an effect.
pub(crate) fn set_filter(filter: Filter) {
    log::set_max_level(FILTER.call_once(|| filter).most());
    write_deferred();
    for target in filter.targets().filter(|target| !MODULES.contains(&filter::top(target))) {
        log::warn!(
            "log={target}: octopod has no such module; the rule applies to lines of other crates only"
        );
    }
}

/// Sets the TSC's estimated frequency in hertz, for the time stamps until [`set_clock`]. Without it, they are 0.
pub(crate) fn set_estimated_tsc_hz(hz: u64) {
    ESTIMATED_TSC_KHZ.store(hz / 1000, Ordering::Relaxed);
}

/// Sets the clock for time stamps, in microseconds. Only the first call has an effect.
pub(crate) fn set_clock(microseconds: fn() -> u64) {
    CLOCK.set(microseconds);
}

/// Counts of log lines since the boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    /// Lines that were written.
    pub written: u64,
    /// Deferred lines that wait for the console.
    pub waiting: u64,
    /// Lines that could neither be written nor deferred, or that the port had no room for.
    pub lost: u64,
}

/// Counts the log lines. Exact while no CPU logs.
///
/// **Context:** any.
pub(crate) fn lines() -> Lines {
    Lines {
        written: WRITTEN.load(Ordering::Relaxed),
        waiting: WAITING.load(Ordering::Relaxed),
        lost: LOST.load(Ordering::Relaxed),
    }
}
