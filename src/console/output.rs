//! What other modules do with the console: records for the launcher, warnings, displays, and the output of a panic. Each function
//! that has held the console writes the lines that were deferred meanwhile.

use core::fmt::{self, Write};
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use super::deferred_warnings::{self, MAX_WARNING_BYTES, Warning};
use super::drawing;
use super::logger;
use super::port::{
    IS_UNSENT, Json, SERIAL, Unsent, append_record, lock, lock_with_room, may_wait, send_until, try_lock,
    write_unit, write_when,
};
use super::screen::pixels::PixelLayout;
use super::screen::vga::TextMode;
use super::screen::{DisplayMode, LiveScreen, SCREEN};
use super::serial::Serial;
use super::transmit::TRANSMIT_MS;
use super::warning as warning_records;
use crate::sync::Timeout;
use crate::wire::Record;

/// Sends bytes whose interrupt is overdue, and draws the screen. A CPU calls this before it halts: if all CPUs halt, no writer
/// detects a lost interrupt.
///
/// **Context:** thread, interrupts on, no lock held.
#[inline]
pub(crate) fn send_overdue() {
    if IS_UNSENT.load(Ordering::Relaxed) {
        send_unsent();
    } else if drawing::is_dirty() {
        logger::write_deferred();
    }
}

#[inline(never)]
fn send_unsent() {
    let Some(mut serial) = try_lock() else { return };
    if serial.is_overdue() {
        serial.step();
        let (end, is_left) = (serial.end(), serial.is_interrupt_driven());
        serial.leave_to_interrupt();
        drop(serial);
        if !is_left {
            send_until(end, Unsent::Wait);
        }
    } else {
        drop(serial);
    }
    logger::write_deferred();
}

/// Runs a function while this CPU holds the console's lock, with interrupts disabled. Lines of NMIs are deferred meanwhile;
/// other CPUs wait. For tests and fault injection.
///
/// **Context:** thread or interrupt.
pub(crate) fn with_lock<R>(f: impl FnOnce() -> R) -> R {
    let serial = SERIAL.lock();
    let result = f();
    drop(serial);
    logger::write_deferred();
    result
}

/// Sends a record to the launcher, as one whole line. Waits for room in the transmit ring.
///
/// **Context:** any but NMI.
pub(crate) fn send(record: &Record<&str>) {
    send_with(record, Unsent::Defer);
}

/// Sends a record: see [`Unsent`].
fn send_with(record: &Record<&str>, unsent: Unsent) {
    let mut json = Json::new();
    if json.write(record) {
        write_unit(unsent, |serial| json.append_to(serial));
    }
    logger::write_deferred();
}

/// Sends the run's last record, after all deferred lines, and waits until the last byte has left the port, because the exit
/// of the machine does not wait for it. A stalled port gets another [`TRANSMIT_MS`].
///
/// **Context:** any but NMI.
pub(crate) fn send_last(record: &Record<&str>) {
    lock().retry_stalled();
    while logger::write_next_deferred(&mut lock_with_room(), &mut SCREEN.lock()) {}
    drawing::draw(Unsent::Wait);
    send_with(record, Unsent::Wait);
    let mut timeout = Timeout::after_ms(TRANSMIT_MS);
    while !lock().is_flushed() && !timeout.has_passed() {
        core::hint::spin_loop();
    }
}

/// Probes the transmitter's interrupt, and uses it from now on. Returns `false` if the interrupt does not occur; writers then
/// keep polling the port.
///
/// **Context:** the BSP, once, interrupts enabled, when the port's interrupt has a handler that calls [`serve`].
pub(crate) fn send_by_interrupt() -> bool {
    if !lock().begin_probe() {
        drawing::defer();
        return false;
    }
    let _ = Timeout::after_ms(TRANSMIT_MS).wait_until(|| lock().is_probed());
    let is_interrupt_driven = lock().end_probe();
    drawing::defer();
    logger::write_deferred();
    is_interrupt_driven
}

/// Handles the port's interrupt: receives, and sends what writers have left. Spins for the lock, whose holder fills the port
/// at most once.
///
/// **Context:** interrupt.
pub(crate) fn serve() {
    lock().service();
    logger::write_deferred();
}

/// Makes the port signal its interrupt again, after the interrupt was routed to another CPU: an edge may have been lost
/// meanwhile.
///
/// **Context:** thread or interrupt.
pub(crate) fn renew_interrupt() {
    lock().retrigger();
    logger::write_deferred();
}

/// Appends a line of text and leaves all of it to the port's interrupt. Returns `false` if there is no room. For tests.
///
/// **Context:** thread or interrupt.
pub(crate) fn append_only(text: fmt::Arguments) -> bool {
    let mut serial = lock();
    let appended = serial.has_room()
        && serial.append(|unit| {
            // `commit` reports a unit that does not fit.
            let _ = writeln!(unit, "{text}");
        });
    serial.leave_to_interrupt();
    drop(serial);
    logger::write_deferred();
    appended
}

/// Whether the port has taken all output.
///
/// **Context:** thread or interrupt.
pub(crate) fn is_sent() -> bool {
    let is_sent = lock().is_empty();
    logger::write_deferred();
    is_sent
}

/// Counts the transmitter's interrupts since the boot, and how often one was late.
///
/// **Context:** thread or interrupt.
pub(crate) fn transmit_interrupts() -> (u64, u64) {
    let interrupts = lock().transmit_interrupts();
    logger::write_deferred();
    interrupts
}

/// How long a CPU that panics waits for the holder of the console's lock: another CPU may hold it while it writes, or may
/// have been stopped while it held it.
const FORCE_LOCK_MS: u64 = 200;

/// Runs `f` with the serial port and the screen, for the CPU that ends the run. Waits up to [`FORCE_LOCK_MS`] for the holder of
/// the locks, then takes them by force.
///
/// **Context:** any, with interrupts disabled permanently.
///
/// # Safety
/// Code that holds either lock, on this or another CPU, and has not released it after [`FORCE_LOCK_MS`] never resumes. Only
/// the CPU that ends the run calls this.
pub(crate) unsafe fn force_lock(f: impl FnOnce(&mut PanicOutput)) {
    let mut timeout = Timeout::after_ms(FORCE_LOCK_MS);
    let mut serial = loop {
        if let Some(serial) = SERIAL.try_lock() {
            break serial;
        }
        if timeout.has_passed() {
            // SAFETY: the holder never resumes (see # Safety). `Serial` has no invariant that a partial update breaks for
            // memory safety: indices into the ring are masked (`Transmitter`); at worst a line is incomplete.
            unsafe { SERIAL.force_unlock() };
        }
        core::hint::spin_loop();
    };
    // The panic may precede the initialisation of the console.
    serial.open_if_absent();
    let mut screen = loop {
        if let Some(screen) = SCREEN.try_lock() {
            break screen;
        }
        // SAFETY: this lock is only taken under `SERIAL`, which this CPU holds now, so its holder never resumes either (see #
        // Safety). `LiveScreen` has no invariant that a partial update breaks for memory safety: positions are checked on
        // use; at worst the screen is incomplete.
        unsafe { SCREEN.force_unlock() };
    };
    // Bytes in the ring first, then deferred lines.
    serial.set_synchronous();
    while logger::write_next_deferred(&mut serial, &mut screen) {}
    screen.draw();
    f(&mut PanicOutput { serial: &mut serial, screen: &mut screen });
    serial.drain();
}

/// The serial port and the screen, held by the CPU that ends the run.
pub(crate) struct PanicOutput<'a> {
    serial: &'a mut Serial,
    screen: &'a mut LiveScreen,
}

impl PanicOutput<'_> {
    /// Sends a record to the launcher.
    pub(crate) fn send(&mut self, record: &Record<&str>) {
        append_record(self.serial, record);
    }

    /// The serial port alone, for text that would scroll the message off the screen.
    pub(crate) fn serial_only(&mut self) -> &mut impl Write {
        self.serial
    }
}

impl Write for PanicOutput<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.screen.write(text);
        self.screen.draw();
        self.serial.write_str(text)
    }
}

/// Logs a warning and sends its records. If the context cannot wait for the console, both are deferred.
///
/// **Context:** any.
pub(crate) fn warn(warning: Warning) {
    match &warning.wait {
        None => log::warn!("cpu {}: {}", warning.cpu, warning.message.as_str()),
        Some(wait) => log::warn!("cpu {}: {}: it {wait}", warning.cpu, warning.message.as_str()),
    }
    if may_wait() {
        // `Wait`: the CPU that takes the port's interrupt may be the one that the warning is about.
        let has_room = |serial: &Serial| serial.has_room_for(MAX_WARNING_BYTES);
        write_when(has_room, Unsent::Wait, |serial| warning_records::write(serial, &warning));
    } else {
        let cpu = warning.cpu;
        if !deferred_warnings::push(warning) {
            // No verdict depends on a warning's record, so no record number is used up. The line above reports the warning.
            log::warn!("cpu {cpu}: warning not recorded: no room to defer it");
        }
    }
    logger::write_deferred();
}

/// Shows the log in VGA's text mode, if the display is in it. Overwrites the screen.
///
/// **Context:** thread, before APs run.
///
/// # Safety
/// Called once. `cells` is a mapping of physical 0xb8000 that is never unmapped, and no other code drives the display.
pub(crate) unsafe fn open_text(cells: NonNull<u16>) {
    // SAFETY: `cells` is a permanent mapping of the text memory, and no other code drives the display, guaranteed by the caller
    // (see # Safety).
    let Some(mode) = (unsafe { TextMode::find(cells) }) else { return };
    let serial = SERIAL.lock();
    SCREEN.lock().open_text(mode);
    drop(serial);
    logger::write_deferred();
}

/// Shows the log on a framebuffer, unless a display is open, or the layout is invalid or too small. Returns the display.
///
/// **Context:** thread.
///
/// # Safety
/// The pointer is a mapping of [`PixelLayout::bytes`] bytes of display memory that is never unmapped, and no other code writes
/// there.
pub(crate) unsafe fn open_pixels(found: Option<(PixelLayout, NonNull<u8>)>) -> Option<DisplayMode> {
    let serial = SERIAL.lock();
    // SAFETY: the mapping is permanent and of this layout, and no other code writes there, guaranteed by the caller (see # Safety).
    let mode = unsafe { SCREEN.lock().open_pixels(found) };
    drop(serial);
    logger::write_deferred();
    mode
}
