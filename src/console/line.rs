//! The lock that keeps lines whole, records for the launcher, and the line in the hands of a CPU that dies.
//!
//! The lock turns interrupts off, so it is held for one fill of the port at a time: a writer appends its line to the port's
//! ring ([`transmit`](super::transmit)), and frees the lock between fills. Longer only a line that found no room in the ring
//! although its writer had waited for it ([`Serial::append`]), a panic, and tests hold it.

use core::fmt::{self, Write};
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::LineBuffer;
use super::drawing;
use super::logger;
use super::screen::{LiveScreen, SCREEN};
use super::serial::{Serial, Wait};
use super::transmit::{Step, TRANSMIT_MS};
use crate::cpu::irq_guard::interrupts_enabled;
use crate::cpu::registers::read_tsc;
use crate::sync::{SpinLockIrq, SpinLockIrqGuard, Timeout};
use crate::wire::{MAX_FRAME_BYTES, MAX_JSON_BYTES, Nonce, Record, RecordFrame};

/// A CPU that has freed it calls [`logger::write_kept`]: lines may have come that could not wait for it.
pub(super) static SERIAL: SpinLockIrq<Serial> = SpinLockIrq::new(Serial::absent());
crate::name_lock!(SERIAL);

/// The run's nonce, by which records are framed; 0 while there is none.
static NONCE: AtomicU64 = AtomicU64::new(0);

/// The number of the next record with a nonce. A record that does not fit in a line takes a number too, so that the
/// launcher sees that it is missing.
static NEXT_NUMBER: AtomicU32 = AtomicU32::new(0);

/// Whether the ring held bytes when the console was freed last.
static IS_UNSENT: AtomicBool = AtomicBool::new(false);

/// How long the console was held, at most, in TSC cycles: see [`longest_hold`].
static LONGEST_HOLD: AtomicU64 = AtomicU64::new(0);

/// The console, held by this CPU with interrupts off. How long that takes is measured.
pub(super) struct Held {
    serial: SpinLockIrqGuard<'static, Serial>,
    since: u64,
}

impl Held {
    fn new(serial: SpinLockIrqGuard<'static, Serial>) -> Held {
        Held { serial, since: read_tsc() }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        IS_UNSENT.store(!self.serial.is_empty(), Ordering::Relaxed);
        let cycles = read_tsc().saturating_sub(self.since);
        // Under the lock, so that no other CPU changes it.
        if cycles > LONGEST_HOLD.load(Ordering::Relaxed) {
            LONGEST_HOLD.store(cycles, Ordering::Relaxed);
        }
    }
}

impl Deref for Held {
    type Target = Serial;
    fn deref(&self) -> &Serial {
        &self.serial
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut Serial {
        &mut self.serial
    }
}

/// How long the console was held at most since this was called last, in TSC cycles. Any context.
pub fn take_longest_hold() -> u64 {
    LONGEST_HOLD.swap(0, Ordering::Relaxed)
}

/// Takes the console. Thread or interrupt context.
#[track_caller]
pub(super) fn lock() -> Held {
    Held::new(SERIAL.lock())
}

/// Takes the console if no CPU has it. Any context.
#[track_caller]
pub(super) fn try_lock() -> Option<Held> {
    SERIAL.try_lock().map(Held::new)
}

/// Takes the console when a line or record of any length fits into the ring, or when the port takes no more: until then it
/// sends, in sections of one fill each. Thread or interrupt context.
#[track_caller]
pub(super) fn lock_with_room() -> Held {
    lock_when(Serial::has_room)
}

/// As [`lock_with_room`], but it is the caller that says when there is room.
#[track_caller]
fn lock_when(has_room: impl Fn(&Serial) -> bool) -> Held {
    let mut wait = Wait::new();
    loop {
        let mut serial = lock();
        if has_room(&serial) {
            return serial;
        }
        serial.step();
        if has_room(&serial) || !wait.goes_on(&mut serial) {
            return serial;
        }
        drop(serial);
        core::hint::spin_loop();
    }
}

/// What a writer does about what it has appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// It sends as long as the port is ready, and leaves the rest to the interrupt. With interrupts off, where a handler may
    /// have been called, it fills the port once. It waits for the port only where no interrupt is relied on.
    Leave,
    /// It waits for the port, whether interrupts are on or off: the CPU that takes the interrupt may be what the line is about,
    /// the machine may be about to end, or the writer to hang: what it writes is an error or a warning.
    Send,
}

/// Sends what was appended before `end`, in sections of one fill each. Thread or interrupt context.
pub(super) fn send_until(end: u64, rest: Rest) {
    let may_stay = interrupts_enabled();
    let mut wait = Wait::new();
    loop {
        let mut serial = lock();
        let step = if serial.has_sent(end) { Step::Empty } else { serial.step() };
        if serial.has_sent(end) {
            return serial.leave();
        }
        let is_left = rest == Rest::Leave && serial.is_driven();
        match step {
            _ if is_left && !may_stay => return serial.leave(),
            Step::Empty | Step::Sent => {}
            Step::Busy if is_left => return serial.leave(),
            Step::Busy => {
                if !wait.goes_on(&mut serial) {
                    return serial.leave();
                }
            }
        }
        drop(serial);
        core::hint::spin_loop();
    }
}

/// As [`send_until`] with [`Rest::Send`], but does not wait in the lock's queue: it gives up when the lock is not free for
/// [`TRANSMIT_MS`]. Any context.
pub(super) fn send_from_any_context(end: u64) {
    let mut wait = Wait::new();
    let mut timeout = Timeout::after_ms(TRANSMIT_MS);
    while !timeout.has_passed() {
        if let Some(mut serial) = try_lock() {
            let step = if serial.has_sent(end) { Step::Empty } else { serial.step() };
            if serial.has_sent(end) || step == Step::Busy && !wait.goes_on(&mut serial) {
                return serial.leave();
            }
            timeout = Timeout::after_ms(TRANSMIT_MS);
        }
        core::hint::spin_loop();
    }
}

/// Sends what an interrupt should have sent and has not, and draws what was not drawn. A CPU calls this before it halts: all CPUs may be about to, so that no
/// writer comes who would notice.
///
/// **Context:** thread, interrupts on, no lock held.
pub fn send_late() {
    if !IS_UNSENT.load(Ordering::Relaxed) {
        if drawing::is_behind() {
            logger::write_kept();
        }
        return;
    }
    let Some(mut serial) = try_lock() else { return };
    if serial.is_overdue() {
        serial.step();
        let (end, is_left) = (serial.end(), serial.is_driven());
        serial.leave();
        drop(serial);
        if !is_left {
            send_until(end, Rest::Send);
        }
    } else {
        drop(serial);
    }
    logger::write_kept();
}

/// Appends a line or a record of this CPU's, whole, and sends it: see [`Rest`]. If the port takes no more, it is dropped.
pub(super) fn write_unit(rest: Rest, append: impl FnOnce(&mut Serial)) {
    write_when(Serial::has_room, rest, append);
}

/// As [`write_unit`], but it is the caller that says when there is room.
pub(super) fn write_when(has_room: impl Fn(&Serial) -> bool, rest: Rest, append: impl FnOnce(&mut Serial)) {
    let mut serial = lock_when(has_room);
    append(&mut serial);
    let end = serial.end();
    drop(serial);
    send_until(end, rest);
}

/// Runs a function while this CPU holds the console, with interrupts off: lines that come meanwhile are kept, or wait.
pub fn hold<R>(f: impl FnOnce() -> R) -> R {
    let serial = SERIAL.lock();
    let result = f();
    drop(serial);
    logger::write_kept();
    result
}

/// Sends a record to the launcher, whole lines only. Any context but an NMI; waits for room in the ring.
pub fn send(record: &Record<&str>) {
    send_with(record, Rest::Leave);
}

/// Sends a record, and does something about what the port has not got yet.
fn send_with(record: &Record<&str>, rest: Rest) {
    let mut json = Json::new();
    if json.write(record) {
        write_unit(rest, |serial| json.append_to(serial));
    }
    logger::write_kept();
}

/// Sends the run's last record, and waits until all of it has left: what ends the machine does not wait. Lines that still
/// wait come before it, whatever the filter is. A port that has stalled before gets another [`TRANSMIT_MS`]. Any context but
/// an NMI.
pub fn send_last(record: &Record<&str>) {
    lock().retry_stalled();
    while logger::write_next_kept(&mut lock_with_room(), &mut SCREEN.lock()) {}
    drawing::draw(Rest::Send);
    send_with(record, Rest::Send);
    let mut timeout = Timeout::after_ms(TRANSMIT_MS);
    while !lock().has_left() && !timeout.has_passed() {
        core::hint::spin_loop();
    }
}

/// Lets the transmitter's interrupt send what writers leave, from now on; false where it does not come, so that the port is
/// polled as before.
///
/// **Context:** once, by the BSP with interrupts on, when the port's interrupt has a handler that calls [`serve`].
pub fn send_by_interrupt() -> bool {
    if !lock().begin_probe() {
        drawing::defer();
        return false;
    }
    let _ = Timeout::after_ms(TRANSMIT_MS).wait_until(|| lock().is_probed());
    let is_driven = lock().end_probe();
    drawing::defer();
    logger::write_kept();
    is_driven
}

/// Serves the port's interrupt: receives, and sends what writers have left. Waits for the lock, whose holder fills the port
/// once at most.
pub fn serve() {
    lock().service();
    logger::write_kept();
}

/// The port's interrupt was led to another CPU: an edge that came meanwhile is lost, so the port makes another. Thread or
/// interrupt context.
pub fn renew_interrupt() {
    lock().retrigger();
    logger::write_kept();
}

/// Appends a line for people and sends nothing of it; what has not gone by another way when all are appended is left to the
/// interrupt. False if there is no room. For tests.
pub fn append_only(text: fmt::Arguments) -> bool {
    let mut serial = lock();
    let appended = serial.has_room()
        && serial.append(|unit| {
            // A unit that does not fit says so when it is committed.
            let _ = writeln!(unit, "{text}");
        });
    serial.leave();
    drop(serial);
    logger::write_kept();
    appended
}

/// Whether the port has got all output. Thread or interrupt context.
pub fn is_sent() -> bool {
    let is_sent = lock().is_empty();
    logger::write_kept();
    is_sent
}

/// Interrupts of the transmitter since the boot, and how often one was late. Thread or interrupt context.
pub fn transmit_interrupts() -> (u64, u64) {
    let interrupts = lock().transmit_interrupts();
    logger::write_kept();
    interrupts
}

/// Frames all further records by the run's nonce. Called once, when the kernel command line has been read. Any context.
pub fn set_record_nonce(nonce: Option<Nonce>) {
    NONCE.store(nonce.map_or(0, Nonce::get), Ordering::Relaxed);
}

/// A record is neither written nor kept: it takes a number all the same, so that the launcher sees that it is missing.
fn count_lost_record() {
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
    let mut timeout = Timeout::after_ms(TAKE_OVER_MS);
    let mut serial = loop {
        if let Some(serial) = SERIAL.try_lock() {
            break serial;
        }
        if timeout.has_passed() {
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
    // What had been written comes first, then the lines that wait.
    serial.set_synchronous();
    while logger::write_next_kept(&mut serial, &mut screen) {}
    screen.draw();
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
        append_record(self.serial, record);
    }

    /// The serial line alone: for what would push the message off a screen.
    pub fn aside(&mut self) -> &mut impl Write {
        self.serial
    }
}

impl Write for LastWords<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.screen.write(text);
        self.screen.draw();
        self.serial.write_str(text)
    }
}

/// Appends a record; if there is no room and the port takes no more, it is missing, as its number shows.
pub(super) fn append_record(serial: &mut Serial, record: &Record<&str>) {
    let mut json = Json::new();
    if json.write(record) {
        json.append_to(serial);
    }
}

/// A record without its frame, written before the lock is taken.
struct Json {
    bytes: [u8; MAX_JSON_BYTES],
    length: usize,
}

impl Json {
    const fn new() -> Json {
        Json { bytes: [0; MAX_JSON_BYTES], length: 0 }
    }

    /// Writes the record in place: a panic on an interrupt stack has no room for a second copy. False if it does not fit, which
    /// is counted.
    #[inline(never)]
    fn write(&mut self, record: &Record<&str>) -> bool {
        match serde_json_core::to_slice(record, &mut self.bytes) {
            Ok(length) => self.length = length,
            Err(_) => count_lost_record(),
        }
        self.length > 0
    }

    /// The caller holds the line, so the numbers go out in their order.
    fn append_to(&self, serial: &mut Serial) {
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
