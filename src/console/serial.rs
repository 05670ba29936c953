//! COM1: transmission and reception.
//!
//! Bytes to send wait in a ring, from which the lock's holder fills the port ([`Transmitter`]). Received bytes wait in another
//! ring, which is read without the lock: the interrupt handler, and each writer that fills the port, moves bytes there.

use core::cell::UnsafeCell;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use heapless::spsc::{Consumer, Producer, Queue};
use uart_16550::backend::{Backend, PioBackend};
use uart_16550::spec::FIFO_SIZE;
use uart_16550::spec::registers::{IER, ISR, LCR, LSR, MCR, offsets};
use uart_16550::{BaudRate, Config, Uart16550};

use super::deferred_warnings::{self, MAX_WARNING_BYTES};
use super::transmit::{Cause, Port, PortWait, Step, TRANSMIT_MS, Transmitter, Unit};
use crate::patchable;
use crate::sync::{self, Timeout};
use crate::wire::MAX_RECORD_BYTES;

const COM1: u16 = 0x3f8;

/// The size of the transmit ring in bytes: 1.4 s at 115,200 baud.
const TRANSMIT_BYTES: usize = 16 << 10;

/// The bytes that a writer makes room for before it appends a line or a record: the longest record, or the longest line with
/// the sequence that clears a prompt.
pub(super) const MAX_UNIT_BYTES: usize = 2048;

const _: () = assert!(MAX_RECORD_BYTES + 2 <= MAX_UNIT_BYTES && MAX_UNIT_BYTES <= MAX_WARNING_BYTES);
const _: () = assert!(MAX_WARNING_BYTES <= TRANSMIT_BYTES / 2);

/// The transmit ring. Only [`Serial::open_if_absent`] accesses it, once, and borrows it permanently.
struct TransmitRing(UnsafeCell<[u8; TRANSMIT_BYTES]>);

// SAFETY: only `Serial::open_if_absent` accesses it, and borrows it once, for the `Serial` in the lock `SERIAL`.
unsafe impl Sync for TransmitRing {}

static TRANSMIT_RING: TransmitRing = TransmitRing(UnsafeCell::new([0; TRANSMIT_BYTES]));

/// The size of the receive ring: the bytes that it holds plus 1. A handler adds up to 16 bytes at once; the shell reads them
/// later.
pub(super) const RECEIVE_RING_SIZE: usize = 256;

type Bytes = Queue<u8, RECEIVE_RING_SIZE>;

/// The receive ring. Only [`Serial::listen`] accesses it, once, and splits it.
struct ReceiveRing(UnsafeCell<Bytes>);

// SAFETY: only `Serial::listen` accesses it, and borrows it once. `heapless` allows producer and consumer on different CPUs.
unsafe impl Sync for ReceiveRing {}

static RECEIVE_RING: ReceiveRing = ReceiveRing(UnsafeCell::new(Bytes::new()));

/// Received bytes that were dropped because the ring was full.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Overrun errors of the port's receive FIFO.
static OVERRUNS: AtomicU64 = AtomicU64::new(0);

/// Counts of lost input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReceiveErrors {
    /// Bytes that were dropped because the ring was full.
    pub dropped: u64,
    /// Overrun errors: the port's receive FIFO of 16 bytes was full when another byte arrived.
    pub overruns: u64,
}

/// Counts the input lost since the boot.
///
/// **Context:** any.
pub(crate) fn receive_errors() -> ReceiveErrors {
    ReceiveErrors { dropped: DROPPED.load(Ordering::Relaxed), overruns: OVERRUNS.load(Ordering::Relaxed) }
}

/// The first serial port. Without one, all output is dropped.
pub(crate) struct Serial {
    open: Option<(Com1, Transmitter<'static>)>,
    /// Whether output is sent before a write returns: during a panic.
    is_synchronous: bool,
    /// Whether the terminal's last row is a prompt.
    pub(super) has_prompt: bool,
}

/// An open port.
struct Com1 {
    uart: Uart16550<PioBackend>,
    received: Option<Producer<'static, u8, RECEIVE_RING_SIZE>>,
}

impl Serial {
    /// Creates a `Serial` without a port.
    pub(crate) const fn absent() -> Serial {
        Serial { open: None, is_synchronous: false, has_prompt: false }
    }

    /// Detects and opens the port, unless it is open: 115,200 baud, 8N1, polled. A port whose transmitter does not become
    /// empty within [`TRANSMIT_MS`] counts as absent.
    pub(crate) fn open_if_absent(&mut self) {
        if self.open.is_some() {
            return;
        }
        let config = Config { baud_rate: BaudRate::Baud115200, ..Config::DEFAULT };
        // SAFETY: only this driver accesses COM1's ports, through the `Serial` in the lock `SERIAL`, which the caller holds; but
        // for the scratch register, which has no function and which `report_request` reads.
        if let Ok(mut uart) = unsafe { Uart16550::new_port(COM1) }
            // `init` waits for an empty transmitter without a time-out. Without a port the bit reads as set.
            && Timeout::after_ms(TRANSMIT_MS)
                .wait_until(|| uart.lsr().contains(LSR::TRANSMITTER_EMPTY))
                .is_ok()
            && uart.init(config).is_ok()
        {
            // SAFETY: the only borrow ever: this block runs once, because `open` is set below and never cleared, and the lock
            // `SERIAL` protects the only `Serial`.
            let bytes = unsafe { &mut *TRANSMIT_RING.0.get() };
            self.open = Some((Com1 { uart, received: None }, Transmitter::new(bytes)));
        }
    }

    /// Enables the receive interrupt and returns the consumer of the receive ring. `None` without a port, and on further calls.
    pub(crate) fn listen(&mut self) -> Option<Consumer<'static, u8, RECEIVE_RING_SIZE>> {
        let (com1, _) = self.open.as_mut()?;
        if com1.received.is_some() {
            return None;
        }
        // SAFETY: the only borrow ever: this line runs once, because `received` is set below and never cleared, and the lock
        // `SERIAL` protects the only `Serial`.
        let (received, consumer) = unsafe { &mut *RECEIVE_RING.0.get() }.split();
        com1.received = Some(received);
        com1.uart.enable_interrupts(IER::DATA_READY);
        Some(consumer)
    }

    /// Moves received bytes from the port to the ring.
    pub(crate) fn receive(&mut self) {
        if let Some((com1, _)) = &mut self.open {
            com1.receive();
        }
    }

    /// Handles the port's interrupt.
    pub(crate) fn service(&mut self) {
        if let Some((com1, transmitter)) = &mut self.open {
            transmitter.service(com1, sync::now_ns());
        }
    }

    /// Makes the port receive these bytes in loopback mode, after bytes that it already holds. More bytes than fit into its
    /// receive FIFO cause an overrun error. Returns `false` without a port, or if earlier output does not leave the port.
    pub(crate) fn loop_back(&mut self, bytes: &[u8]) -> bool {
        self.flush();
        let Some((Com1 { uart, .. }, transmitter)) = &mut self.open else { return false };
        let mut timeout = Timeout::after_ms(TRANSMIT_MS);
        let is_flushed = timeout.wait_until(|| status(uart).contains(LSR::TRANSMITTER_EMPTY)).is_ok();
        if !is_flushed || !transmitter.is_empty() {
            return false;
        }
        let mode = uart.mcr();
        let set_mode = |uart: &mut Uart16550<PioBackend>, mode: MCR| {
            // SAFETY: MCR is a register of an open port, which only the holder of `SERIAL` accesses.
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

    /// Appends a whole line or record. Returns `false` and appends nothing if there is no room and the port is stalled.
    /// Without a port, drops it and returns `true`.
    pub(crate) fn append(&mut self, unit: impl Fn(&mut Unit)) -> bool {
        let Some((_, transmitter)) = &mut self.open else { return true };
        let mut appended = append(transmitter, &unit);
        if !appended {
            // Rare: writers wait for room before they append (`has_room`).
            self.flush();
            let Some((_, transmitter)) = &mut self.open else { return true };
            appended = append(transmitter, &unit);
        }
        if self.is_synchronous {
            self.flush();
        }
        appended
    }

    /// Whether a line or record of any length fits; if warnings are deferred, whether a warning fits. `true` without a port.
    pub(crate) fn has_room(&self) -> bool {
        self.has_room_for(if deferred_warnings::has_any() { MAX_WARNING_BYTES } else { MAX_UNIT_BYTES })
    }

    /// Whether this many bytes fit. `true` without a port.
    pub(crate) fn has_room_for(&self, bytes: usize) -> bool {
        self.open.as_ref().is_none_or(|(_, transmitter)| transmitter.room() >= bytes)
    }

    /// The position after all appended bytes.
    pub(crate) fn end(&self) -> u64 {
        self.open.as_ref().map_or(0, |(_, transmitter)| transmitter.end())
    }

    /// Whether the port has taken all bytes before this position.
    pub(crate) fn has_sent(&self, end: u64) -> bool {
        self.open.as_ref().is_none_or(|(_, transmitter)| transmitter.has_sent(end))
    }

    /// Whether the port has taken all bytes.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.as_ref().is_none_or(|(_, transmitter)| transmitter.is_empty())
    }

    /// Fills the port once, if it is ready.
    pub(crate) fn step(&mut self) -> Step {
        let Some((com1, transmitter)) = &mut self.open else { return Step::Empty };
        transmitter.step(com1, sync::now_ns())
    }

    /// Whether there are bytes whose interrupt is overdue, or that no interrupt will send.
    pub(crate) fn is_overdue(&self) -> bool {
        self.open.as_ref().is_some_and(|(_, transmitter)| transmitter.is_overdue(sync::now_ns()))
    }

    /// Leaves unsent bytes to the interrupt, if it is in use.
    pub(crate) fn leave_to_interrupt(&mut self) {
        if let Some((com1, transmitter)) = &mut self.open {
            transmitter.leave_to_interrupt(com1, sync::now_ns());
        }
    }

    /// Whether a writer may leave unsent bytes to the interrupt.
    pub(crate) fn is_interrupt_driven(&self) -> bool {
        self.open.as_ref().is_some_and(|(_, transmitter)| transmitter.is_interrupt_driven())
    }

    /// Whether the port is stalled: it has not been ready for [`TRANSMIT_MS`]. Writers do not wait for it.
    pub(crate) fn is_stalled(&self) -> bool {
        self.open.as_ref().is_some_and(|(_, transmitter)| transmitter.is_stalled())
    }

    /// Makes the next writer wait for a stalled port again.
    pub(crate) fn retry_stalled(&mut self) {
        if let Some((_, transmitter)) = &mut self.open {
            transmitter.retry_stalled();
        }
    }

    /// Starts the probe of the transmitter's interrupt. Returns `false` without a port.
    pub(crate) fn begin_probe(&mut self) -> bool {
        self.open.as_mut().map(|(com1, transmitter)| transmitter.begin_probe(com1)).is_some()
    }

    /// Whether the transmitter's interrupt has occurred.
    pub(crate) fn is_probed(&self) -> bool {
        self.open.as_ref().is_some_and(|(_, transmitter)| transmitter.is_probed())
    }

    /// Ends the probe. Uses the interrupt if it has occurred, and returns whether it has.
    pub(crate) fn end_probe(&mut self) -> bool {
        self.open.as_mut().is_some_and(|(com1, transmitter)| transmitter.end_probe(com1))
    }

    /// Makes the port signal its interrupt again.
    pub(crate) fn retrigger(&mut self) {
        if let Some((com1, transmitter)) = &mut self.open {
            transmitter.retrigger(com1);
        }
    }

    /// The transmitter's interrupts, and how often one was late.
    pub(crate) fn transmit_interrupts(&self) -> (u64, u64) {
        self.open.as_ref().map_or((0, 0), |(_, transmitter)| transmitter.interrupts())
    }

    /// Disables the interrupt and loopback mode, and makes each write send its bytes before it returns. For the CPU that ends
    /// the run.
    pub(crate) fn set_synchronous(&mut self) {
        self.is_synchronous = true;
        if let Some((com1, transmitter)) = &mut self.open {
            transmitter.poll_only(com1);
        }
        self.flush();
    }

    /// Waits, with the lock held, until the port has taken all bytes or is stalled. Takes milliseconds for each line.
    pub(crate) fn flush(&mut self) {
        let mut wait = Wait::new();
        while self.step() != Step::Empty && wait.should_wait(self) {
            core::hint::spin_loop();
        }
    }

    /// Whether the last byte has left the port.
    pub(crate) fn is_flushed(&mut self) -> bool {
        let Some((Com1 { uart, .. }, _)) = &mut self.open else { return true };
        status(uart).contains(LSR::TRANSMITTER_EMPTY)
    }

    /// Waits until the last byte has left the port, or the port is stalled.
    pub(crate) fn drain(&mut self) {
        self.flush();
        let mut timeout = Timeout::after_ms(TRANSMIT_MS);
        while !self.is_flushed() && !timeout.has_passed() {
            core::hint::spin_loop();
        }
    }
}

/// Appends a whole unit. Returns `false` if it does not fit.
fn append(transmitter: &mut Transmitter, unit: &impl Fn(&mut Unit)) -> bool {
    let mut appended = transmitter.unit();
    unit(&mut appended);
    appended.commit()
}

/// A wait for the port: see [`PortWait`].
pub(super) struct Wait(PortWait);

impl Wait {
    /// Starts a wait.
    pub(crate) fn new() -> Wait {
        Wait(PortWait::new())
    }

    /// Whether to continue waiting. `false` if the port is stalled or absent.
    pub(crate) fn should_wait(&mut self, serial: &mut Serial) -> bool {
        let Some((_, transmitter)) = &mut serial.open else { return false };
        self.0.should_wait(transmitter, sync::now_ns())
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
        // SAFETY: DATA is a register of an open port. `Transmitter` sends only when the port is ready, and at most `capacity`
        // bytes.
        unsafe { self.uart.backend_mut().write(offsets::DATA as u8, byte) };
    }

    /// Before `listen` there is no ring; bytes stay in the port.
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

    /// Some ports raise a character time-out without `DATA_READY`; only a read of the data register clears it, and the byte
    /// read is invalid. For the other causes see 16550D datasheet, table III.
    fn clear_causes(&mut self) {
        if !status(&mut self.uart).contains(LSR::DATA_READY) {
            // SAFETY: DATA is a register of an open port, which only the holder of `SERIAL` accesses.
            unsafe { self.uart.backend_mut().read(offsets::DATA as u8) };
        }
        self.uart.msr();
    }

    fn disable_interrupts(&mut self) {
        self.uart.disable_interrupts(IER::from_bits_retain(!0));
    }

    fn leave_test_mode(&mut self) {
        let (line, modem) = (self.uart.lcr(), self.uart.mcr());
        // SAFETY: LCR is a register of an open port, which only the holder of `SERIAL` accesses.
        unsafe { self.uart.backend_mut().write(offsets::LCR as u8, (line - LCR::DLAB).bits()) };
        // SAFETY: MCR is a register of an open port, which only the holder of `SERIAL` accesses.
        unsafe { self.uart.backend_mut().write(offsets::MCR as u8, (modem - MCR::LOOP_BACK).bits()) };
    }
}

patchable! {
    /// The bit of the interrupt enable register for the transmitter-empty interrupt.
    pub(crate) fn transmit_interrupt() -> u8 {
        IER::THR_EMPTY.bits()
    }
}

/// Reads the line status register. A read clears an overrun error, so it is counted here.
fn status(uart: &mut Uart16550<PioBackend>) -> LSR {
    let status = uart.lsr();
    if status.contains(LSR::OVERRUN_ERROR) {
        OVERRUNS.fetch_add(1, Ordering::Relaxed);
    }
    status
}

impl fmt::Write for Serial {
    /// Writes text. A line feed becomes CR LF.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // A unit that does not fit is dropped: the port is stalled.
        self.append(|unit| {
            let _ = fmt::Write::write_str(unit, text);
        });
        Ok(())
    }
}
