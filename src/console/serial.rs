//! COM1.

use core::fmt;

use uart_16550::backend::PioBackend;
use uart_16550::{BaudRate, Config, Uart16550};

use crate::sync::Deadline;

const COM1: u16 = 0x3f8;

/// How long to wait for the transmitter before a write is dropped: 16 bytes at 115,200 baud take 1.4 ms.
const TRANSMIT_MS: u64 = 100;

/// The first serial port; without one, whatever is written is dropped.
pub struct Serial(Option<Uart16550<PioBackend>>);

impl Serial {
    /// No port yet.
    pub const fn absent() -> Serial {
        Serial(None)
    }

    /// Looks for the port and sets it up, unless that has been done: 115,200 baud, 8N1, polled.
    pub fn open_if_absent(&mut self) {
        if self.0.is_some() {
            return;
        }
        let config = Config { baud_rate: BaudRate::Baud115200, ..Config::DEFAULT };
        // SAFETY: COM1's ports belong to nobody else; the caller holds the only `Serial`.
        if let Ok(mut uart) = unsafe { Uart16550::new_port(COM1) }
            && uart.init(config).is_ok()
        {
            self.0 = Some(uart);
        }
    }

    /// Writes the bytes as they are. A transmitter that never gets ready costs the rest of the bytes, not the run.
    pub fn write_bytes(&mut self, mut bytes: &[u8]) {
        let Some(uart) = &mut self.0 else { return };
        let mut deadline = Deadline::after_ms(TRANSMIT_MS);
        while !bytes.is_empty() {
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
