//! `log`'s macros, on the serial line: time since rt0, CPU, level where it matters, target, text.

use core::fmt::Write;

use log::{Level, LevelFilter, Log, Metadata, Record};
use spin::Once;

use super::SERIAL;
use crate::cpu;

/// Microseconds since rt0; told by the time layer when it can tell.
static CLOCK: Once<fn() -> u64> = Once::new();

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = match record.level() {
            Level::Error => "error: ",
            Level::Warn => "warning: ",
            Level::Info | Level::Debug | Level::Trace => "",
        };
        let target = record.target();
        let target = target.strip_prefix("octopod::").unwrap_or(target);
        let target = target.split("::").next().unwrap_or(target);
        let now = CLOCK.get().map(|clock| clock());
        let mut serial = SERIAL.lock();
        // The serial line drops what it cannot send; it never fails.
        let _ = match now {
            Some(us) => write!(serial, "[{:>3}.{:06}]", us / 1_000_000, us % 1_000_000),
            None => write!(serial, "[  -.------]"),
        };
        let _ = writeln!(serial, " {:>4} {target}: {level}{}", cpu::current(), record.args());
    }

    fn flush(&self) {}
}

/// Opens the serial line and installs the logger. Once, before the first line.
pub fn init() {
    SERIAL.lock().open_if_absent();
    // Fails only where a logger is installed already, and then this one is.
    let _ = log::set_logger(&Logger);
    log::set_max_level(LevelFilter::Info);
}

/// From now on lines bear this clock's time.
pub fn set_clock(microseconds: fn() -> u64) {
    CLOCK.call_once(|| microseconds);
}
