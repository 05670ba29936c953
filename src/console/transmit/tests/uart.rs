//! Simulated ports.

use std::collections::VecDeque;

use super::super::{Cause, Port};

/// A simulated 16550 behind an edge-triggered pin. It sends a byte on each [`tick`](Uart::tick).
#[derive(Default)]
pub(super) struct Uart {
    pub(super) fifo: VecDeque<u8>,
    pub(super) line: Vec<u8>,
    pub(super) received: VecDeque<u8>,
    pub(super) taken: Vec<u8>,
    pub(super) transmit_enabled: bool,
    pub(super) transmit_pending: bool,
    /// The last level of the output, and the number of edges that no handler has served.
    pub(super) output: bool,
    pub(super) edges: u32,
    /// All fills, in bytes.
    pub(super) fills: Vec<usize>,
    /// Whether it never sends, and whether it never interrupts for an empty transmitter.
    pub(super) is_dead: bool,
    pub(super) is_mute: bool,
    /// Whether another cause is pending, and whether reads do not clear it.
    pub(super) is_stuck: bool,
    pub(super) stays_stuck: bool,
    /// Whether it is in loopback mode.
    pub(super) is_looped: bool,
    /// Whether all interrupts are disabled.
    pub(super) is_silent: bool,
    /// How often `retrigger` was called.
    pub(super) retriggered: u32,
    pub(super) capacity: usize,
}

impl Uart {
    pub(super) fn new() -> Uart {
        Uart { capacity: 16, ..Uart::default() }
    }

    pub(super) fn update(&mut self) {
        let is_pending =
            self.transmit_enabled && self.transmit_pending || !self.received.is_empty() || self.is_stuck;
        let output = is_pending && !self.is_silent;
        self.edges += u32::from(output && !self.output);
        self.output = output;
    }

    /// The time of one byte on the line.
    pub(super) fn tick(&mut self) {
        if self.is_dead {
            return;
        }
        if let Some(byte) = self.fifo.pop_front() {
            if self.is_looped {
                self.received.push_back(byte);
            } else {
                self.line.push(byte);
            }
            if self.fifo.is_empty() {
                self.transmit_pending = !self.is_mute;
            }
        }
        self.update();
    }

    /// The time of a full FIFO on the line.
    pub(super) fn send_fifo(&mut self) {
        (0..16).for_each(|_| self.tick());
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.line.clone()).unwrap()
    }
}

impl Port for Uart {
    fn is_ready(&mut self) -> bool {
        self.fifo.is_empty()
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn send(&mut self, byte: u8) {
        if self.fifo.is_empty() {
            self.fills.push(0);
        }
        self.fifo.push_back(byte);
        *self.fills.last_mut().unwrap() += 1;
        assert!(self.fifo.len() <= self.capacity, "the FIFO overflows");
        self.transmit_pending = false;
        self.update();
    }

    fn receive(&mut self) -> usize {
        let count = self.received.len();
        self.taken.extend(self.received.drain(..));
        self.update();
        count
    }

    fn set_transmit_interrupt(&mut self, is_enabled: bool) {
        if is_enabled && !self.transmit_enabled && self.fifo.is_empty() {
            self.transmit_pending = !self.is_mute;
        }
        self.transmit_enabled = is_enabled;
        self.update();
    }

    fn cause(&mut self) -> Cause {
        if self.is_stuck || !self.received.is_empty() {
            return Cause::Other;
        }
        if self.transmit_enabled && core::mem::take(&mut self.transmit_pending) {
            self.update();
            return Cause::Transmit;
        }
        Cause::None
    }

    fn retrigger(&mut self) {
        self.retriggered += 1;
        let is_enabled = core::mem::replace(&mut self.transmit_enabled, false);
        self.output = false;
        self.transmit_enabled = is_enabled;
        self.transmit_pending |= is_enabled && self.fifo.is_empty() && !self.is_mute;
        self.update();
    }

    fn clear_causes(&mut self) {
        self.is_stuck &= self.stays_stuck;
        self.update();
    }

    fn disable_interrupts(&mut self) {
        (self.transmit_enabled, self.is_silent) = (false, true);
        self.update();
    }

    fn leave_test_mode(&mut self) {
        self.is_looped = false;
    }
}

/// A port that sends bytes immediately.
pub(super) struct Instant<'a>(pub(super) &'a mut Uart);

impl Port for Instant<'_> {
    fn is_ready(&mut self) -> bool {
        while !self.0.fifo.is_empty() {
            self.0.tick();
        }
        true
    }

    fn capacity(&self) -> usize {
        16
    }

    fn send(&mut self, byte: u8) {
        self.0.send(byte);
    }

    fn receive(&mut self) -> usize {
        self.0.receive()
    }

    fn set_transmit_interrupt(&mut self, is_enabled: bool) {
        self.is_ready();
        self.0.set_transmit_interrupt(is_enabled);
    }

    fn cause(&mut self) -> Cause {
        self.is_ready();
        self.0.cause()
    }

    fn retrigger(&mut self) {
        self.is_ready();
        self.0.retrigger();
    }

    fn clear_causes(&mut self) {
        self.0.clear_causes();
    }

    fn disable_interrupts(&mut self) {
        self.0.disable_interrupts();
    }

    fn leave_test_mode(&mut self) {
        self.0.leave_test_mode();
    }
}
