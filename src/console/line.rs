//! The lock that keeps lines whole, records for the launcher, and the line in the hands of a CPU that dies.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::LineBuffer;
use super::logger;
use super::screen::{LiveScreen, SCREEN};
use super::serial::Serial;
use crate::sync::{Deadline, IrqMutex};
use crate::wire::{MAX_FRAME_BYTES, MAX_JSON_BYTES, Nonce, Record, RecordFrame};

/// Whoever has freed it calls [`logger::write_kept`]: lines may have come that could not wait for it.
pub(super) static SERIAL: IrqMutex<Serial> = IrqMutex::new(Serial::absent());
crate::name_lock!(SERIAL);

/// The run's nonce, by which records are framed; 0 while there is none.
static NONCE: AtomicU64 = AtomicU64::new(0);

/// The number of the next record with a nonce. A record that does not fit in a line takes a number too, so that the
/// launcher sees that it is missing.
static NEXT_NUMBER: AtomicU32 = AtomicU32::new(0);

/// Runs a function while this CPU holds the console, with interrupts off: lines that come meanwhile are kept, or wait.
pub fn hold<R>(f: impl FnOnce() -> R) -> R {
    let serial = SERIAL.lock();
    let result = f();
    drop(serial);
    logger::write_kept();
    result
}

/// Sends a record to the launcher, whole lines only. Any context but an NMI; waits for the line.
pub fn send(record: &Record<&str>) {
    write_record(&mut SERIAL.lock(), record);
    logger::write_kept();
}

/// Sends the run's last record, and waits until all of it has left: what ends the machine does not wait. Lines that still
/// wait come before it, whatever the filter is. Any context but an NMI.
pub fn send_last(record: &Record<&str>) {
    let mut serial = SERIAL.lock();
    logger::write_all_kept(&mut serial, &mut SCREEN.lock());
    write_record(&mut serial, record);
    serial.drain();
}

/// Frames all further records by the run's nonce. Called once, when the kernel command line has been read. Any context.
pub fn set_record_nonce(nonce: Option<Nonce>) {
    NONCE.store(nonce.map_or(0, Nonce::get), Ordering::Relaxed);
}

/// A record is neither written nor kept: it takes a number all the same, so that the launcher sees that it is missing.
pub(super) fn count_lost_record() {
    NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
}

/// How long a dying CPU waits for the line's holder, which may be another CPU in the middle of a line, or one that was
/// stopped there.
const TAKE_OVER_MS: u64 = 200;

/// Runs `f` with the serial line and the screen, for a CPU that ends the run: waits for their holder for [`TAKE_OVER_MS`], then
/// takes the locks by force.
///
/// **Context:** any, with interrupts off permanently.
///
/// # Safety
/// The code that holds either lock, on this CPU or on another, does not go on if it has not released it in that time. Only the
/// one CPU that ends the run calls this.
pub unsafe fn take_over(f: impl FnOnce(&mut LastWords)) {
    let deadline = Deadline::after_ms(TAKE_OVER_MS);
    let mut serial = loop {
        if let Some(serial) = SERIAL.try_lock() {
            break serial;
        }
        if deadline.has_passed() {
            // SAFETY: the holder does not go on (see # Safety). `Serial` tolerates to be left half-way: it is a port, and
            // counts that are only printed; the worst is a line cut in two.
            unsafe { SERIAL.force_unlock() };
        }
        core::hint::spin_loop();
    };
    // A CPU may die before there is a console.
    serial.open_if_absent();
    let mut screen = loop {
        if let Some(screen) = SCREEN.try_lock() {
            break screen;
        }
        // SAFETY: this lock is taken under that of the line alone, which this CPU has now, so its holder does not go on either.
        // `LiveScreen` tolerates to be left half-way: positions are checked where they are used; the worst is a screen half
        // drawn.
        unsafe { SCREEN.force_unlock() };
    };
    logger::write_all_kept(&mut serial, &mut screen);
    f(&mut LastWords { serial: &mut serial, screen: &mut screen });
    serial.drain();
}

/// The serial line and the screen in the hands of a CPU that ends the run.
pub struct LastWords<'a> {
    serial: &'a mut Serial,
    screen: &'a mut LiveScreen,
}

impl LastWords<'_> {
    /// Sends a record.
    pub fn send(&mut self, record: &Record<&str>) {
        write_record(self.serial, record);
    }

    /// The serial line alone: for what would push the message off a screen.
    pub fn aside(&mut self) -> &mut impl Write {
        self.serial
    }
}

impl Write for LastWords<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.screen.write(text);
        self.serial.write_str(text)
    }
}

pub(super) fn write_record(serial: &mut Serial, record: &Record<&str>) {
    // The caller holds the line, so the numbers go out in their order.
    let nonce = Nonce::new(NONCE.load(Ordering::Relaxed));
    let tag = nonce.map(|nonce| (nonce, NEXT_NUMBER.fetch_add(1, Ordering::Relaxed)));
    let mut buffer = [0; MAX_JSON_BYTES];
    let Ok(length) = serde_json_core::to_slice(record, &mut buffer) else { return };
    let frame = LineBuffer::<MAX_FRAME_BYTES>::format(format_args!("{}", RecordFrame { tag }));
    serial.write_bytes(frame.as_str().as_bytes());
    serial.write_bytes(&buffer[..length]);
    serial.write_bytes(b"\r\n");
}
