//! The serial port behind the console's lock, and the frames of records for the launcher.
//!
//! The lock disables interrupts, so it is held for one fill of the port at a time: a writer appends its line to the transmit
//! ring ([`transmit`](super::transmit)) and frees the lock between two fills. It is held longer only for a line that finds no
//! room although its writer has waited for it ([`Serial::append`]), by a panic, and by tests.

use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::LineBuffer;
use super::serial::{Serial, Wait};
use super::transmit::{Step, TRANSMIT_MS};
use crate::cpu::irq_guard::interrupts_enabled;
use crate::cpu::registers::{frame_pointer, read_tsc};
use crate::cpu::thread;
use crate::sync::{self, SpinLockIrq, SpinLockIrqGuard, Timeout};
use crate::wire::{MAX_FRAME_BYTES, MAX_JSON_BYTES, Nonce, Record, RecordFrame};

/// The serial port. A CPU that has freed this lock calls [`write_deferred`](super::logger::write_deferred), because
/// lines may have been deferred meanwhile.
pub(super) static SERIAL: SpinLockIrq<Serial> = SpinLockIrq::new(Serial::absent());
crate::name_lock!(SERIAL);

/// The run's nonce in the frames of records; 0 if there is none.
static NONCE: AtomicU64 = AtomicU64::new(0);

/// The number of the next record with a nonce. A lost record takes a number too, so that the launcher detects the gap.
static NEXT_NUMBER: AtomicU32 = AtomicU32::new(0);

/// Whether the transmit ring held bytes when the console was last freed.
pub(super) static IS_UNSENT: AtomicBool = AtomicBool::new(false);

/// The longest time that the console was held, in TSC cycles: see [`take_longest_hold`].
static LONGEST_HOLD: AtomicU64 = AtomicU64::new(0);

/// The console, held by this CPU with interrupts disabled. Measures how long it is held.
pub(super) struct ConsoleGuard {
    serial: SpinLockIrqGuard<'static, Serial>,
    since: u64,
}

impl ConsoleGuard {
    fn new(serial: SpinLockIrqGuard<'static, Serial>) -> ConsoleGuard {
        ConsoleGuard { serial, since: read_tsc() }
    }
}

impl Drop for ConsoleGuard {
    fn drop(&mut self) {
        IS_UNSENT.store(!self.serial.is_empty(), Ordering::Relaxed);
        let cycles = read_tsc().saturating_sub(self.since);
        // Under the lock, so no other CPU stores it.
        if cycles > LONGEST_HOLD.load(Ordering::Relaxed) {
            LONGEST_HOLD.store(cycles, Ordering::Relaxed);
        }
    }
}

impl Deref for ConsoleGuard {
    type Target = Serial;
    fn deref(&self) -> &Serial {
        &self.serial
    }
}

impl DerefMut for ConsoleGuard {
    fn deref_mut(&mut self) -> &mut Serial {
        &mut self.serial
    }
}

/// Returns the longest time that the console was held since the last call, in TSC cycles.
///
/// **Context:** any.
pub(crate) fn take_longest_hold() -> u64 {
    LONGEST_HOLD.swap(0, Ordering::Relaxed)
}

/// Takes the console's lock.
///
/// **Context:** thread or interrupt.
#[track_caller]
pub(super) fn lock() -> ConsoleGuard {
    ConsoleGuard::new(SERIAL.lock())
}

/// Takes the console's lock if it is free.
///
/// **Context:** any.
#[track_caller]
pub(super) fn try_lock() -> Option<ConsoleGuard> {
    SERIAL.try_lock().map(ConsoleGuard::new)
}

/// Takes the console's lock when a line or record of any length fits into the transmit ring, or when the port is stalled. Until
/// then sends, with one fill for each time that it takes the lock.
///
/// **Context:** thread or interrupt.
#[track_caller]
pub(super) fn lock_with_room() -> ConsoleGuard {
    lock_when(Serial::has_room)
}

/// [`lock_with_room`] with a condition for sufficient room.
#[track_caller]
fn lock_when(has_room: impl Fn(&Serial) -> bool) -> ConsoleGuard {
    let mut wait = Wait::new();
    loop {
        let mut serial = lock();
        if has_room(&serial) {
            return serial;
        }
        serial.step();
        if has_room(&serial) || !wait.should_wait(&mut serial) {
            return serial;
        }
        drop(serial);
        core::hint::spin_loop();
    }
}

/// Whether this CPU may wait for the console. Not on an interrupt stack: NMIs and exceptions, which use these, may have
/// interrupted the holder. Not while it waits for a spin lock, which may be the console's own.
pub(super) fn may_wait() -> bool {
    thread::current().stack().contains(&frame_pointer()) && !sync::is_waiting()
}

/// The action of a writer for bytes that it has appended and the port has not yet accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    /// It sends while the port is ready, and leaves the rest to the port's interrupt. With interrupts disabled it fills the
    /// port once. It waits for the port only if no interrupt is in use.
    Defer,
    /// It waits for the port, also with interrupts disabled. For errors, warnings and the last record: the CPU that takes the
    /// interrupt may be the one that the line is about, the machine may be about to end, or the writer may be about to hang.
    Wait,
}

/// Sends the bytes before position `end`, with one fill for each time that it takes the lock.
///
/// **Context:** thread or interrupt.
pub(super) fn send_until(end: u64, unsent: Unsent) {
    let may_loop = interrupts_enabled();
    let mut wait = Wait::new();
    loop {
        let mut serial = lock();
        let step = if serial.has_sent(end) { Step::Empty } else { serial.step() };
        if serial.has_sent(end) {
            return serial.leave_to_interrupt();
        }
        let is_left = unsent == Unsent::Defer && serial.is_interrupt_driven();
        match step {
            _ if is_left && !may_loop => return serial.leave_to_interrupt(),
            Step::Empty | Step::Sent => {}
            Step::Busy if is_left => return serial.leave_to_interrupt(),
            Step::Busy => {
                if !wait.should_wait(&mut serial) {
                    return serial.leave_to_interrupt();
                }
            }
        }
        drop(serial);
        core::hint::spin_loop();
    }
}

/// [`send_until`] with [`Unsent::Wait`] that does not queue for the lock: it gives up if the lock is not free for
/// [`TRANSMIT_MS`].
///
/// **Context:** any.
pub(super) fn send_from_any_context(end: u64) {
    let mut wait = Wait::new();
    let mut timeout = Timeout::after_ms(TRANSMIT_MS);
    while !timeout.has_passed() {
        if let Some(mut serial) = try_lock() {
            let step = if serial.has_sent(end) { Step::Empty } else { serial.step() };
            if serial.has_sent(end) || step == Step::Busy && !wait.should_wait(&mut serial) {
                return serial.leave_to_interrupt();
            }
            timeout = Timeout::after_ms(TRANSMIT_MS);
        }
        core::hint::spin_loop();
    }
}

/// Appends a whole line or record and sends it: see [`Unsent`]. Drops it if the port is stalled and the ring full.
pub(super) fn write_unit(unsent: Unsent, append: impl FnOnce(&mut Serial)) {
    write_when(Serial::has_room, unsent, append);
}

/// [`write_unit`] with a condition for sufficient room.
pub(super) fn write_when(
    has_room: impl Fn(&Serial) -> bool,
    unsent: Unsent,
    append: impl FnOnce(&mut Serial),
) {
    let mut serial = lock_when(has_room);
    append(&mut serial);
    let end = serial.end();
    drop(serial);
    send_until(end, unsent);
}

/// Sets the run's nonce for the frames of all further records.
///
/// **Context:** any; once, when the command line has been parsed.
pub(crate) fn set_record_nonce(nonce: Option<Nonce>) {
    NONCE.store(nonce.map_or(0, Nonce::get), Ordering::Relaxed);
}

/// Uses up a number for a record that is lost, so that the launcher detects the gap.
fn count_lost_record() {
    NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
}

/// Appends a record. If there is no room and the port is stalled, the record is lost; the launcher detects the gap in the
/// numbers.
pub(super) fn append_record(serial: &mut Serial, record: &Record<&str>) {
    let mut json = Json::new();
    if json.write(record) {
        json.append_to(serial);
    }
}

/// A record as JSON without its frame, encoded before the lock is taken.
pub(super) struct Json {
    bytes: [u8; MAX_JSON_BYTES],
    length: usize,
}

impl Json {
    pub(super) const fn new() -> Json {
        Json { bytes: [0; MAX_JSON_BYTES], length: 0 }
    }

    /// Encodes the record in place, because an interrupt stack has no room for a second copy. Returns `false` and counts the
    /// record as lost if it does not fit.
    #[inline(never)]
    pub(super) fn write(&mut self, record: &Record<&str>) -> bool {
        match serde_json_core::to_slice(record, &mut self.bytes) {
            Ok(length) => self.length = length,
            Err(_) => count_lost_record(),
        }
        self.length > 0
    }

    /// Appends the record with its frame. The caller holds the lock, so numbers are in ascending order.
    pub(super) fn append_to(&self, serial: &mut Serial) {
        let nonce = Nonce::new(NONCE.load(Ordering::Relaxed));
        let tag = nonce.map(|nonce| (nonce, NEXT_NUMBER.fetch_add(1, Ordering::Relaxed)));
        let frame = LineBuffer::<MAX_FRAME_BYTES>::format(format_args!("{}", RecordFrame { tag }));
        serial.append(|unit| {
            unit.append(frame.as_str().as_bytes());
            unit.append(&self.bytes[..self.length]);
            unit.append(b"\r\n");
        });
    }
}
