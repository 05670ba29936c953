//! Layer 2: the serial line, for people (`log`'s macros) and for programs ([`send`]).
//!
//! One lock keeps lines whole between CPUs; it masks interrupts, so a handler may log as well. An NMI may not: it
//! could wait for the code that it struck. What the line receives is read by [`read_byte`].

mod input;
mod line_buffer;
mod logger;
mod serial;

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU64, Ordering};

pub use input::{listen, loop_back, read_byte, receive};
pub use line_buffer::LineBuffer;
pub use logger::{init, set_clock};

use crate::sync::{Deadline, IrqMutex};
use crate::wire::{MARKER, MAX_RECORD_BYTES, Record};
use serial::Serial;
pub use serial::{Lost, lost};

static SERIAL: IrqMutex<Serial> = IrqMutex::new(Serial::absent());

/// Records that did not fit in a line; the launcher is told in the events.
static RECORDS_CUT: AtomicU64 = AtomicU64::new(0);

/// Sends a record to the launcher, whole lines only. Any context but an NMI; waits for the line.
pub fn send(record: &Record<&str>) {
    write_record(&mut SERIAL.lock(), record);
}

/// Sends the run's last record, and waits until all of it has left: what ends the machine does not wait. Any context but
/// an NMI.
pub fn send_last(record: &Record<&str>) {
    let mut serial = SERIAL.lock();
    write_record(&mut serial, record);
    serial.drain();
}

/// How many records were too long to be sent.
pub fn records_cut() -> u64 {
    RECORDS_CUT.load(Ordering::Relaxed)
}

/// How long a dying CPU waits for the line's holder, which may be another CPU in the middle of a line, or one that was
/// stopped there.
const TAKE_OVER_MS: u64 = 200;

/// Hands the serial line to a CPU that is dying: waits for its holder a moment, then takes it all the same.
///
/// # Safety
/// All other CPUs have been told to stop; only the one CPU that ends the run calls this.
pub unsafe fn take_over(f: impl FnOnce(&mut LastWords)) {
    let deadline = Deadline::after_ms(TAKE_OVER_MS);
    let mut serial = loop {
        if let Some(serial) = SERIAL.try_lock() {
            break serial;
        }
        if deadline.has_passed() {
            // SAFETY: the holder is stopped, or is the very code that died on this CPU. A line cut in two is the
            // worst that a half-done holder leaves behind.
            unsafe { SERIAL.force_unlock() };
        }
        core::hint::spin_loop();
    };
    // A CPU may die before there is a console.
    serial.open_if_absent();
    f(&mut LastWords(&mut serial));
    serial.drain();
}

/// The serial line in the hands of a CPU that ends the run.
pub struct LastWords<'a>(&'a mut Serial);

impl LastWords<'_> {
    /// Sends a record.
    pub fn send(&mut self, record: &Record<&str>) {
        write_record(self.0, record);
    }
}

impl Write for LastWords<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_str(text)
    }
}

fn write_record(serial: &mut Serial, record: &Record<&str>) {
    let mut buffer = [0; MAX_RECORD_BYTES - MARKER.len() - 2];
    match serde_json_core::to_slice(record, &mut buffer) {
        Ok(length) => {
            serial.write_bytes(MARKER.as_bytes());
            serial.write_bytes(&buffer[..length]);
            serial.write_bytes(b"\r\n");
        }
        Err(_) => {
            RECORDS_CUT.fetch_add(1, Ordering::Relaxed);
        }
    }
}
