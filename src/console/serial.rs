//! COM1: what it sends, and what it has received.
//!
//! What is sent waits in a ring, from which the lock's holder fills the port ([`Transmitter`]). What was received waits in
//! another ring, to be read without the lock: the interrupt's handler moves it there, and each writer that fills the port.

use core::cell::UnsafeCell;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use heapless::spsc::{Consumer, Producer, Queue};
use uart_16550::backend::{Backend, PioBackend};
use uart_16550::spec::FIFO_SIZE;
use uart_16550::spec::registers::{IER, ISR, LCR, LSR, MCR, offsets};
use uart_16550::{BaudRate, Config, Uart16550};

use super::transmit::{Cause, Port, PortWait, Step, TRANSMIT_MS, Transmitter, Unit};
use super::warning::{self, MAX_WARNING_BYTES};
use crate::patchable;
use crate::sync::{self, Timeout};
use crate::wire::MAX_RECORD_BYTES;

const COM1: u16 = 0x3f8;

/// How many bytes can wait to be sent: a second and a half at 115,200 baud.
const TRANSMIT_BYTES: usize = 16 << 10;

/// The longest line or record that a writer makes room for before it takes the lock to append it: a record, or a line with a
/// prompt to clear before it.
pub(super) const MAX_UNIT_BYTES: usize = 2048;

const _: () = assert!(MAX_RECORD_BYTES + 2 <= MAX_UNIT_BYTES && MAX_UNIT_BYTES <= MAX_WARNING_BYTES);
const _: () = assert!(MAX_WARNING_BYTES <= TRANSMIT_BYTES / 2);

/// Bytes that wait to be sent. Only [`Serial::open_if_absent`] touches it, once, to borrow it permanently.
struct TransmitBytes(UnsafeCell<[u8; TRANSMIT_BYTES]>);

// SAFETY: `Serial::open_if_absent` borrows it once, for the one `Serial` with a port.
unsafe impl Sync for TransmitBytes {}

static BYTES_OF_COM1: TransmitBytes = TransmitBytes(UnsafeCell::new([0; TRANSMIT_BYTES]));

/// How many received bytes the ring holds, and one: an interrupt's handler fills it by 16, a shell empties it at leisure.
pub(super) const RING: usize = 256;

type Bytes = Queue<u8, RING>;

/// Where received bytes wait. Only [`Serial::listen`] touches it, once, to take it apart.
struct Ring(UnsafeCell<Bytes>);

// SAFETY: `Serial::listen` borrows it once; producer and consumer are made to be used on different CPUs.
unsafe impl Sync for Ring {}

static RING_OF_COM1: Ring = Ring(UnsafeCell::new(Bytes::new()));

/// Received bytes for which the ring had no room.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// How often the receiver itself was full when a byte came.
static OVERRUNS: AtomicU64 = AtomicU64::new(0);

/// What was received and lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Bytes for which the ring had no room.
    pub dropped: u64,
    /// Times that the receiver's own 16 bytes were full when one more came.
    pub overruns: u64,
}

/// What was lost since the boot.
pub fn lost() -> Lost {
    Lost { dropped: DROPPED.load(Ordering::Relaxed), overruns: OVERRUNS.load(Ordering::Relaxed) }
}

/// The first serial port; without one, all output is dropped.
pub struct Serial {
    open: Option<(Com1, Transmitter<'static>)>,
    /// Whether nothing is left to an interrupt: a panic.
    is_synchronous: bool,
    /// Whether a prompt stands in the last row of the terminal.
    pub(super) has_prompt: bool,
}

/// A port that is there.
struct Com1 {
    uart: Uart16550<PioBackend>,
    received: Option<Producer<'static, u8, RING>>,
}

impl Serial {
    /// No port yet.
    pub const fn absent() -> Serial {
        Serial { open: None, is_synchronous: false, has_prompt: false }
    }

    /// Looks for the port and sets it up, unless that has been done: 115,200 baud, 8N1, polled. A port whose transmitter does
    /// not get empty within [`TRANSMIT_MS`] counts as absent.
    pub fn open_if_absent(&mut self) {
        if self.open.is_some() {
            return;
        }
        let config = Config { baud_rate: BaudRate::Baud115200, ..Config::DEFAULT };
        // SAFETY: COM1's ports belong to this driver alone; the caller holds the only `Serial`.
        if let Ok(mut uart) = unsafe { Uart16550::new_port(COM1) }
            // `init` waits for that without a bound. Without a port it reads as set.
            && Timeout::after_ms(TRANSMIT_MS)
                .wait_until(|| uart.lsr().contains(LSR::TRANSMITTER_EMPTY))
                .is_ok()
            && uart.init(config).is_ok()
        {
            // SAFETY: the only borrow there ever is: `open` is set below, permanently, by the holder of the only `Serial`
            // (`SERIAL` in `line`).
            let bytes = unsafe { &mut *BYTES_OF_COM1.0.get() };
            self.open = Some((Com1 { uart, received: None }, Transmitter::new(bytes)));
        }
    }

    /// Lets the port interrupt when it has received something, and returns the end where that comes out. `None` without a
    /// port, and if it has been done.
    pub fn listen(&mut self) -> Option<Consumer<'static, u8, RING>> {
        let (com1, _) = self.open.as_mut()?;
        if com1.received.is_some() {
            return None;
        }
        // SAFETY: the only borrow there ever is: `received` is set below, permanently, by the holder of the only `Serial`
        // (`SERIAL` in `line`).
        let (received, consumer) = unsafe { &mut *RING_OF_COM1.0.get() }.split();
        com1.received = Some(received);
        com1.uart.enable_interrupts(IER::DATA_READY);
        Some(consumer)
    }

    /// Moves what the port has received to the ring.
    pub fn receive(&mut self) {
        if let Some((com1, _)) = &mut self.open {
            com1.receive();
        }
    }

    /// Serves the port's interrupt.
    pub fn service(&mut self) {
        if let Some((com1, transmitter)) = &mut self.open {
            transmitter.service(com1, sync::now_ns());
        }
    }

    /// Lets the port receive the bytes from itself; what it holds unread by then comes before them. More bytes than the
    /// port holds are an overrun. False without a port, or if what was sent before does not leave it.
    pub fn loop_back(&mut self, bytes: &[u8]) -> bool {
        self.flush();
        let Some((Com1 { uart, .. }, transmitter)) = &mut self.open else { return false };
        let mut timeout = Timeout::after_ms(TRANSMIT_MS);
        let has_left = timeout.wait_until(|| status(uart).contains(LSR::TRANSMITTER_EMPTY)).is_ok();
        if !has_left || !transmitter.is_empty() {
            return false;
        }
        let mode = uart.mcr();
        let set_mode = |uart: &mut Uart16550<PioBackend>, mode: MCR| {
            // SAFETY: the register exists, and the holder of the only `Serial` alone drives the port.
            unsafe { uart.backend_mut().write(offsets::MCR as u8, mode.bits()) };
        };
        set_mode(uart, mode | MCR::LOOP_BACK);
        let looped = bytes.iter().all(|byte| {
            let sent = timeout.wait_until(|| uart.try_send_byte(*byte).is_ok()).is_ok();
            sent && timeout.wait_until(|| status(uart).contains(LSR::TRANSMITTER_EMPTY)).is_ok()
        });
        set_mode(uart, mode);
        looped
    }

    /// Appends a line or a record, whole. False, and nothing is appended, if there is no room and the port takes no more.
    /// Where there is no port all of it is dropped, which counts as sent.
    pub fn append(&mut self, unit: impl Fn(&mut Unit)) -> bool {
        let Some((_, transmitter)) = &mut self.open else { return true };
        let mut appended = append(transmitter, &unit);
        if !appended {
            // Rare: writers have made room before they took the lock (`has_room`).
            self.flush();
            let Some((_, transmitter)) = &mut self.open else { return true };
            appended = append(transmitter, &unit);
        }
        if self.is_synchronous {
            self.flush();
        }
        appended
    }

    /// Whether a line or record of any length fits, and where warnings wait one of these, or is dropped at once.
    pub fn has_room(&self) -> bool {
        self.has_room_for(if warning::are_waiting() { MAX_WARNING_BYTES } else { MAX_UNIT_BYTES })
    }

    /// Whether so many bytes fit, or are dropped at once.
    pub fn has_room_for(&self, bytes: usize) -> bool {
        self.open.as_ref().is_none_or(|(_, transmitter)| transmitter.room() >= bytes)
    }

    /// The position behind all that was appended.
    pub fn end(&self) -> u64 {
        self.open.as_ref().map_or(0, |(_, transmitter)| transmitter.end())
    }

    /// Whether the port has got everything before that position.
    pub fn has_sent(&self, end: u64) -> bool {
        self.open.as_ref().is_none_or(|(_, transmitter)| transmitter.has_sent(end))
    }

    /// Whether the port has got everything.
    pub fn is_empty(&self) -> bool {
        self.open.as_ref().is_none_or(|(_, transmitter)| transmitter.is_empty())
    }

    /// Fills the port once, if it is ready.
    pub fn step(&mut self) -> Step {
        let Some((com1, transmitter)) = &mut self.open else { return Step::Empty };
        transmitter.step(com1, sync::now_ns())
    }

    /// Whether there are bytes that an interrupt should have sent by now, or that none will send.
    pub fn is_overdue(&self) -> bool {
        self.open.as_ref().is_some_and(|(_, transmitter)| transmitter.is_overdue(sync::now_ns()))
    }

    /// Leaves the rest to the interrupt, if it is relied on.
    pub fn leave(&mut self) {
        if let Some((com1, transmitter)) = &mut self.open {
            transmitter.leave(com1, sync::now_ns());
        }
    }

    /// Whether a writer may leave the rest to the interrupt.
    pub fn is_driven(&self) -> bool {
        self.open.as_ref().is_some_and(|(_, transmitter)| transmitter.is_driven())
    }

    /// Whether a writer need not wait for the port, which has not been ready for [`TRANSMIT_MS`].
    pub fn is_stalled(&self) -> bool {
        self.open.as_ref().is_some_and(|(_, transmitter)| transmitter.is_stalled())
    }

    /// The next writer waits for a stalled port again.
    pub fn retry_stalled(&mut self) {
        if let Some((_, transmitter)) = &mut self.open {
            transmitter.retry_stalled();
        }
    }

    /// Lets an empty transmitter interrupt once; false without a port.
    pub fn begin_probe(&mut self) -> bool {
        self.open.as_mut().map(|(com1, transmitter)| transmitter.begin_probe(com1)).is_some()
    }

    /// Whether the transmitter has ever interrupted.
    pub fn is_probed(&self) -> bool {
        self.open.as_ref().is_some_and(|(_, transmitter)| transmitter.is_probed())
    }

    /// From now on the interrupt is relied on, if one has come; returns that.
    pub fn end_probe(&mut self) -> bool {
        self.open.as_mut().is_some_and(|(com1, transmitter)| transmitter.end_probe(com1))
    }

    /// The interrupt was led to another CPU.
    pub fn retrigger(&mut self) {
        if let Some((com1, transmitter)) = &mut self.open {
            transmitter.retrigger(com1);
        }
    }

    /// Interrupts of the transmitter, and how often one was late.
    pub fn transmit_interrupts(&self) -> (u64, u64) {
        self.open.as_ref().map_or((0, 0), |(_, transmitter)| transmitter.interrupts())
    }

    /// From now on all output has left when it is written, without interrupts, on the line and not to the port itself
    /// ([`loop_back`](Self::loop_back)). For a CPU that ends the run.
    pub fn set_synchronous(&mut self) {
        self.is_synchronous = true;
        if let Some((com1, transmitter)) = &mut self.open {
            transmitter.poll_only(com1);
        }
        self.flush();
    }

    /// Waits, with the lock held, until the port has got everything, or takes no more. For rare cases: this takes milliseconds
    /// for each line.
    pub fn flush(&mut self) {
        let mut wait = Wait::new();
        while self.step() != Step::Empty && wait.goes_on(self) {
            core::hint::spin_loop();
        }
    }

    /// Whether the last byte has left the port.
    pub fn has_left(&mut self) -> bool {
        let Some((Com1 { uart, .. }, _)) = &mut self.open else { return true };
        status(uart).contains(LSR::TRANSMITTER_EMPTY)
    }

    /// Waits until the last byte has left, or never will.
    pub fn drain(&mut self) {
        self.flush();
        let mut timeout = Timeout::after_ms(TRANSMIT_MS);
        while !self.has_left() && !timeout.has_passed() {
            core::hint::spin_loop();
        }
    }
}

fn append(transmitter: &mut Transmitter, unit: &impl Fn(&mut Unit)) -> bool {
    let mut appended = transmitter.unit();
    unit(&mut appended);
    appended.commit()
}

/// A wait for the port: see [`PortWait`].
pub(super) struct Wait(PortWait);

impl Wait {
    /// One that begins.
    pub fn new() -> Wait {
        Wait(PortWait::new())
    }

    /// Whether to wait on; else the port is stalled, or there is none.
    pub fn goes_on(&mut self, serial: &mut Serial) -> bool {
        let Some((_, transmitter)) = &mut serial.open else { return false };
        self.0.goes_on(transmitter, sync::now_ns())
    }
}

impl Port for Com1 {
    fn is_ready(&mut self) -> bool {
        self.uart.ready_to_send().is_ok()
    }

    fn capacity(&self) -> usize {
        if self.uart.fifo_enabled() { FIFO_SIZE } else { 1 }
    }

    fn send(&mut self, byte: u8) {
        // SAFETY: the register exists; the transmitter was ready (`Transmitter::step`, `service`) and gets no more bytes than it
        // takes then (`capacity`).
        unsafe { self.uart.backend_mut().write(offsets::DATA as u8, byte) };
    }

    /// Bytes without a ring are left in the port.
    fn receive(&mut self) -> usize {
        let Some(ring) = &mut self.received else { return 0 };
        let mut count = 0;
        while status(&mut self.uart).contains(LSR::DATA_READY) {
            let Ok(byte) = self.uart.try_receive_byte() else { break };
            count += 1;
            if ring.enqueue(byte).is_err() {
                DROPPED.fetch_add(1, Ordering::Relaxed);
            }
        }
        count
    }

    fn set_transmit_interrupt(&mut self, is_enabled: bool) {
        let interrupt = IER::from_bits_retain(transmit_interrupt());
        if is_enabled {
            self.uart.enable_interrupts(interrupt);
        } else {
            self.uart.disable_interrupts(interrupt);
        }
    }

    fn cause(&mut self) -> Cause {
        let status = self.uart.isr();
        let cause = status & (ISR::IIC_0 | ISR::IIC_1 | ISR::IIC_2);
        match status.contains(ISR::INTERRUPT_STATUS) {
            true => Cause::None,
            // 16550D datasheet, table III.
            false if cause == ISR::IIC_0 => Cause::Transmit,
            false => Cause::Other,
        }
    }

    fn retrigger(&mut self) {
        let enabled = self.uart.ier();
        self.uart.disable_interrupts(enabled);
        self.uart.enable_interrupts(enabled);
    }

    /// Some ports raise a character time-out without `DATA_READY`, which only a read of the data register ends: that byte is
    /// none. The others are those of 16550D datasheet, table III.
    fn clear_causes(&mut self) {
        if !status(&mut self.uart).contains(LSR::DATA_READY) {
            // SAFETY: the register exists, and the holder of the only `Serial` alone drives the port.
            unsafe { self.uart.backend_mut().read(offsets::DATA as u8) };
        }
        self.uart.msr();
    }

    fn silence(&mut self) {
        self.uart.disable_interrupts(IER::from_bits_retain(!0));
    }

    fn leave_test_mode(&mut self) {
        let (line, modem) = (self.uart.lcr(), self.uart.mcr());
        // SAFETY: the registers exist, and the holder of the only `Serial` alone drives the port.
        unsafe {
            self.uart.backend_mut().write(offsets::LCR as u8, (line - LCR::DLAB).bits());
            self.uart.backend_mut().write(offsets::MCR as u8, (modem - MCR::LOOP_BACK).bits());
        }
    }
}

patchable! {
    /// The bit of the interrupt enable register that lets an empty transmitter interrupt.
    pub fn transmit_interrupt() -> u8 {
        IER::THR_EMPTY.bits()
    }
}

/// The line status; reading it clears an overrun error, so it is counted here.
fn status(uart: &mut Uart16550<PioBackend>) -> LSR {
    let status = uart.lsr();
    if status.contains(LSR::OVERRUN_ERROR) {
        OVERRUNS.fetch_add(1, Ordering::Relaxed);
    }
    status
}

impl fmt::Write for Serial {
    /// Text for people: a line feed also returns the carriage.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // A unit that does not fit says so when it is committed, and then it is dropped: the port takes no more.
        self.append(|unit| {
            let _ = fmt::Write::write_str(unit, text);
        });
        Ok(())
    }
}
