//! COM1: what it sends, and what it has received.
//!
//! Whoever holds the line sends and receives: the interrupt's handler, and a writer in between, who may hold the line for
//! longer than the receiver's 16 bytes last. What was received waits in a ring, to be read without the line's lock.

use core::cell::UnsafeCell;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use heapless::spsc::{Consumer, Producer, Queue};
use uart_16550::backend::{Backend, PioBackend};
use uart_16550::spec::registers::{IER, LSR, MCR, offsets};
use uart_16550::{BaudRate, Config, Uart16550};

use crate::sync::Deadline;

const COM1: u16 = 0x3f8;

/// How long to wait for the transmitter before a write is dropped, or what it holds is given up: 16 bytes at 115,200 baud
/// take 1.4 ms.
const TRANSMIT_MS: u64 = 100;

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

/// The first serial port; without one, whatever is written is dropped.
pub struct Serial {
    uart: Option<Uart16550<PioBackend>>,
    received: Option<Producer<'static, u8, RING>>,
    /// Whether a prompt stands in the last row of the terminal.
    pub(super) has_prompt: bool,
}

impl Serial {
    /// No port yet.
    pub const fn absent() -> Serial {
        Serial { uart: None, received: None, has_prompt: false }
    }

    /// Looks for the port and sets it up, unless that has been done: 115,200 baud, 8N1, polled.
    pub fn open_if_absent(&mut self) {
        if self.uart.is_some() {
            return;
        }
        let config = Config { baud_rate: BaudRate::Baud115200, ..Config::DEFAULT };
        // SAFETY: COM1's ports belong to nobody else; the caller holds the only `Serial`.
        if let Ok(mut uart) = unsafe { Uart16550::new_port(COM1) }
            && uart.init(config).is_ok()
        {
            self.uart = Some(uart);
        }
    }

    /// Lets the port interrupt when it has received something, and gives the end where that comes out. `None` without a
    /// port, and if it has been done.
    pub fn listen(&mut self) -> Option<Consumer<'static, u8, RING>> {
        let uart = self.uart.as_mut()?;
        if self.received.is_some() {
            return None;
        }
        // SAFETY: the only borrow there ever is: `received` is set below, for good, by whoever holds the only `Serial`.
        let (received, consumer) = unsafe { &mut *RING_OF_COM1.0.get() }.split();
        self.received = Some(received);
        uart.enable_interrupts(IER::DATA_READY);
        Some(consumer)
    }

    /// Moves what the port has received to the ring, until the port has no more: only then does it interrupt again.
    pub fn receive(&mut self) {
        let (Some(uart), Some(ring)) = (&mut self.uart, &mut self.received) else { return };
        while let Ok(byte) = uart.try_receive_byte() {
            if ring.enqueue(byte).is_err() {
                DROPPED.fetch_add(1, Ordering::Relaxed);
            }
        }
        let _ = status(uart);
    }

    /// Lets the port receive the bytes from itself; what it holds unread by then comes before them. More bytes than the
    /// port holds are an overrun. False without a port, or if what was sent before does not leave it.
    pub fn loop_back(&mut self, bytes: &[u8]) -> bool {
        let Some(uart) = &mut self.uart else { return false };
        let deadline = Deadline::after_ms(TRANSMIT_MS);
        if deadline.wait_until(|| status(uart).contains(LSR::TRANSMITTER_EMPTY)).is_err() {
            return false;
        }
        let mode = uart.mcr();
        let set_mode = |uart: &mut Uart16550<PioBackend>, mode: MCR| {
            // SAFETY: the register exists, and nobody else drives the port.
            unsafe { uart.backend_mut().write(offsets::MCR as u8, mode.bits()) };
        };
        set_mode(uart, mode | MCR::LOOP_BACK);
        let looped = bytes.iter().all(|byte| {
            let sent = deadline.wait_until(|| uart.try_send_byte(*byte).is_ok()).is_ok();
            sent && deadline.wait_until(|| status(uart).contains(LSR::TRANSMITTER_EMPTY)).is_ok()
        });
        set_mode(uart, mode);
        looped
    }

    /// Writes the bytes as they are. A transmitter that never gets ready costs the rest of the bytes, not the run.
    pub fn write_bytes(&mut self, mut bytes: &[u8]) {
        let mut deadline = Deadline::after_ms(TRANSMIT_MS);
        while !bytes.is_empty() {
            self.receive();
            let Some(uart) = &mut self.uart else { return };
            let sent = uart.send_bytes(bytes);
            bytes = &bytes[sent..];
            if sent > 0 {
                deadline = Deadline::after_ms(TRANSMIT_MS);
            } else if deadline.has_passed() {
                return;
            } else {
                core::hint::spin_loop();
            }
        }
    }

    /// Makes room for a line where a prompt stands: back to the row's beginning, and the rest of it away (ECMA-48, 8.3.41).
    pub(super) fn clear_prompt(&mut self) {
        if core::mem::take(&mut self.has_prompt) {
            self.write_bytes(b"\r\x1b[K");
        }
    }

    /// Waits until the last byte has left, or never will.
    pub fn drain(&mut self) {
        let Some(uart) = &mut self.uart else { return };
        let deadline = Deadline::after_ms(TRANSMIT_MS);
        while !status(uart).contains(LSR::TRANSMITTER_EMPTY) && !deadline.has_passed() {
            core::hint::spin_loop();
        }
    }
}

/// The line status; reading it takes the notice of an overrun away, so it is counted here.
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
        for (index, line) in text.split('\n').enumerate() {
            if index > 0 {
                self.write_bytes(b"\r\n");
            }
            self.write_bytes(line.as_bytes());
        }
        Ok(())
    }
}
