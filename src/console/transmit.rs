//! Serial output on its way: a ring of bytes, and the rules by which they get from there into the port. Pure: what the port
//! is, and what time it is, is the caller's affair, so tests run it on any host. All of it is used under the console's lock,
//! so nothing here is lock-free.
//!
//! A writer appends a [`Unit`], a line or a record, whole or not at all. It then fills the port as long as that is ready,
//! one fill of the port's FIFO for each time that it takes the lock ([`Transmitter::step`]). When the port is not ready, the
//! writer leaves the rest to the transmitter's interrupt ([`Transmitter::leave`]), which does the same ([`Transmitter::service`]).
//!
//! The interrupt is used only after one has been seen ([`Transmitter::begin_probe`]), and is no longer relied on when the port
//! has been ready for [`LATE_NS`] without one: its CPU may be stuck, or the edge was lost. Without it each writer waits until
//! its own unit has left.
//!
//! An I/O APIC's ISA pin is triggered by edges, the port's output is a level: high as long as any cause is pending (16550D
//! datasheet, 8.6.3 and table III). So a handler may return only after it has seen no cause pending, or has made a new edge.

use core::fmt;
use core::sync::atomic::{Ordering, compiler_fence};

use crate::sync::Timeout;

/// How long a writer waits for a port that takes nothing, in milliseconds: 16 bytes at 115,200 baud take 1.4 ms.
pub const TRANSMIT_MS: u64 = 100;

/// The port has been ready, with bytes to send and its interrupt enabled, for so long, in milliseconds: the interrupt is lost.
pub const LATE_MS: u64 = 100;
/// The same in nanoseconds.
const LATE_NS: u64 = LATE_MS * 1_000_000;

/// So many causes a handler serves before it lets others run: each is one fill, or what was received.
const ROUNDS: u32 = 4;

/// A serial port, 16550 or older.
pub trait Port {
    /// Whether the transmitter takes bytes: its FIFO, or its holding register, is empty.
    fn is_ready(&mut self) -> bool;
    /// How many bytes it takes when it is ready.
    fn capacity(&self) -> usize;
    /// Hands it a byte.
    fn send(&mut self, byte: u8);
    /// Takes all bytes that it has received; returns how many there were.
    fn receive(&mut self) -> usize;
    /// Enables or disables the interrupt of an empty transmitter.
    fn set_transmit_interrupt(&mut self, is_enabled: bool);
    /// Why it interrupts. To read that of the transmitter acknowledges it.
    fn cause(&mut self) -> Cause;
    /// Disables all interrupts and enables them again: where a cause is pending, the output has an edge.
    fn retrigger(&mut self);
    /// Reads every register of which a read ends a cause.
    fn clear_causes(&mut self);
    /// Disables all interrupts.
    fn silence(&mut self);
    /// Leaves loopback mode, and makes the data and interrupt registers accessible.
    fn leave_test_mode(&mut self);
}

/// Why a port interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No cause is pending.
    None,
    /// The transmitter is empty.
    Transmit,
    /// Bytes were received, or something else.
    Other,
}

/// What a step has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There was nothing to send.
    Empty,
    /// The port was not ready.
    Busy,
    /// Bytes were sent.
    Sent,
}

/// The ring, and how it is emptied.
pub struct Transmitter<'a> {
    /// A power of two.
    bytes: &'a mut [u8],
    /// Bytes that were appended, ever; and of these, bytes that the port has got.
    appended: u64,
    sent: u64,
    /// Whether the transmitter's interrupt is enabled.
    is_armed: bool,
    /// Since when it has been enabled without one, in nanoseconds.
    armed_ns: u64,
    /// Whether a probe waits for its interrupt: until that comes nothing disables it.
    is_probing: bool,
    /// Whether an interrupt has ever come, and whether it is relied on.
    is_probed: bool,
    is_driven: bool,
    /// Whether the port has not been ready for as long as a writer waits.
    is_stalled: bool,
    /// Interrupts of the transmitter, and those that were late.
    interrupts: u64,
    late: u64,
}

impl<'a> Transmitter<'a> {
    /// An empty one, polled.
    ///
    /// # Panics
    /// If the length is not a power of two.
    pub fn new(bytes: &'a mut [u8]) -> Transmitter<'a> {
        assert!(bytes.len().is_power_of_two());
        Transmitter {
            bytes,
            appended: 0,
            sent: 0,
            is_armed: false,
            armed_ns: 0,
            is_probing: false,
            is_probed: false,
            is_driven: false,
            is_stalled: false,
            interrupts: 0,
            late: 0,
        }
    }

    fn length(&self) -> usize {
        // Whatever a holder of the lock was stopped at, no more than the ring.
        self.appended.wrapping_sub(self.sent).min(self.bytes.len() as u64) as usize
    }

    /// Whether all bytes have gone to the port.
    pub fn is_empty(&self) -> bool {
        self.length() == 0
    }

    /// For how many bytes there is room.
    pub fn room(&self) -> usize {
        self.bytes.len() - self.length()
    }

    /// The position behind all that was appended.
    pub fn end(&self) -> u64 {
        self.appended
    }

    /// How many bytes have gone to the port, ever.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether everything before that position has gone to the port.
    pub fn has_sent(&self, end: u64) -> bool {
        self.sent >= end
    }

    /// Whether a writer may leave what it has appended to the interrupt.
    pub fn is_driven(&self) -> bool {
        self.is_driven
    }

    /// Whether a writer need not wait for the port: another one has waited without effect, and nothing was sent since.
    pub fn is_stalled(&self) -> bool {
        self.is_stalled
    }

    /// A writer has waited for the port as long as it may.
    pub fn set_stalled(&mut self) {
        self.is_stalled = true;
    }

    /// The next writer waits for the port again: what it writes is worth that.
    pub fn retry_stalled(&mut self) {
        self.is_stalled = false;
    }

    /// Interrupts of the transmitter, and how often one was late.
    pub fn interrupts(&self) -> (u64, u64) {
        (self.interrupts, self.late)
    }

    /// Begins a line or a record.
    pub fn unit(&mut self) -> Unit<'_, 'a> {
        Unit {
            end: self.appended,
            limit: self.sent.wrapping_add(self.bytes.len() as u64),
            fits: true,
            to: self,
        }
    }

    /// Fills the port once, if it is ready.
    pub fn step(&mut self, port: &mut impl Port, now_ns: u64) -> Step {
        port.receive();
        if self.is_empty() {
            self.disarm(port);
            return Step::Empty;
        }
        if !port.is_ready() {
            // It is not late as long as there is something that it waits for.
            self.armed_ns = now_ns;
            return Step::Busy;
        }
        if self.is_armed && self.is_driven && now_ns.saturating_sub(self.armed_ns) >= LATE_NS {
            self.is_driven = false;
            self.late += 1;
        }
        self.fill(port);
        if self.is_empty() {
            self.disarm(port);
        }
        Step::Sent
    }

    fn fill(&mut self, port: &mut impl Port) {
        for _ in 0..self.length().min(port.capacity()) {
            let byte = self.bytes[self.sent as usize & (self.bytes.len() - 1)];
            // First, so that a CPU that takes the lock by force sends no byte again.
            self.sent += 1;
            compiler_fence(Ordering::Release);
            port.send(byte);
        }
        self.is_stalled = false;
    }

    /// Whether there are bytes for which no interrupt has come for [`LATE_NS`], or is enabled: [`step`](Self::step) tells whether
    /// that is for the port being busy.
    pub fn is_overdue(&self, now_ns: u64) -> bool {
        !self.is_empty() && (!self.is_armed || now_ns.saturating_sub(self.armed_ns) >= LATE_NS)
    }

    /// The writer goes, and the interrupt sends the rest. Where it was late this lets it come again.
    pub fn leave(&mut self, port: &mut impl Port, now_ns: u64) {
        if self.is_probed && !self.is_armed && !self.is_empty() {
            self.is_armed = true;
            self.armed_ns = now_ns;
            port.set_transmit_interrupt(true);
        }
    }

    /// Not while a probe waits: the interrupt that this takes away may be the only one that the probe gets.
    fn disarm(&mut self, port: &mut impl Port) {
        if !self.is_probing && core::mem::take(&mut self.is_armed) {
            port.set_transmit_interrupt(false);
        }
    }

    /// The port's interrupt: receives and sends until no cause is pending, or lets it interrupt again.
    pub fn service(&mut self, port: &mut impl Port, now_ns: u64) {
        // It comes after all, if it was late: whatever the cause is, for a writer may have taken that away meanwhile.
        self.is_driven = self.is_probed;
        self.armed_ns = now_ns;
        let mut is_cleared = false;
        for round in 0.. {
            let cause = port.cause();
            if cause == Cause::None {
                return;
            }
            if round == ROUNDS {
                return port.retrigger();
            }
            if cause == Cause::Transmit {
                self.interrupts += 1;
                self.is_probed = true;
                self.is_probing = false;
            }
            let received = port.receive();
            let is_sending = self.is_armed && !self.is_empty() && port.is_ready();
            if is_sending {
                self.fill(port);
            }
            if self.is_empty() {
                self.disarm(port);
            }
            if cause == Cause::Other && received == 0 && !is_sending {
                // What the port was read for is not the cause. To return now would leave the output high, without an edge
                // ever again; to retrigger would interrupt for ever.
                if is_cleared {
                    self.poll_without_interrupts(port);
                    return;
                }
                port.clear_causes();
                is_cleared = true;
            }
        }
    }

    /// Lets an empty transmitter interrupt once: [`end_probe`](Self::end_probe) tells whether it did. What a port does that
    /// has bytes to send is no test: it may interrupt for those, but not when the interrupt is enabled.
    pub fn begin_probe(&mut self, port: &mut impl Port) {
        self.is_armed = true;
        self.is_probing = true;
        port.set_transmit_interrupt(true);
    }

    /// Whether an interrupt has come since [`begin_probe`](Self::begin_probe).
    pub fn is_probed(&self) -> bool {
        self.is_probed
    }

    /// From now on the interrupt is relied on, if one has come; returns that.
    pub fn end_probe(&mut self, port: &mut impl Port) -> bool {
        self.is_probing = false;
        self.is_driven = self.is_probed;
        if self.is_empty() || !self.is_probed {
            self.disarm(port);
        }
        self.is_probed
    }

    /// From now on the interrupt is not relied on, and does not come: for a panic.
    pub fn poll_only(&mut self, port: &mut impl Port) {
        // A holder of the lock may have been stopped at any instruction, also with the port in loopback mode.
        port.leave_test_mode();
        self.forget_interrupt();
        self.is_stalled = false;
        port.set_transmit_interrupt(false);
    }

    /// A cause stays pending whatever is read: no edge comes any more. Writers poll, and receive what has come.
    fn poll_without_interrupts(&mut self, port: &mut impl Port) {
        self.forget_interrupt();
        port.silence();
    }

    fn forget_interrupt(&mut self) {
        (self.is_driven, self.is_probed, self.is_probing, self.is_armed) = (false, false, false, false);
    }

    /// The interrupt was led to another CPU: an edge of any cause may be lost, also one of the receiver.
    pub fn retrigger(&mut self, port: &mut impl Port) {
        port.retrigger();
    }
}

/// A writer's wait for the port, which ends when the port has taken nothing for [`TRANSMIT_MS`], without the time for which
/// the host has stopped this CPU: then the port may have had no time either, and what is written would be lost.
#[derive(Clone, Copy, Debug)]
pub struct PortWait {
    /// What is left, and how many bytes the port had got; `None` until it has been found busy.
    busy: Option<(Timeout, u64)>,
}

impl PortWait {
    /// One that begins.
    #[allow(clippy::new_without_default, reason = "nothing needs a default")]
    pub const fn new() -> PortWait {
        PortWait { busy: None }
    }

    /// Whether to wait on; else the port is stalled.
    pub fn goes_on(&mut self, transmitter: &mut Transmitter, now_ns: u64) -> bool {
        if transmitter.is_stalled() {
            return false;
        }
        match &mut self.busy {
            Some((timeout, sent)) if *sent == transmitter.sent() => {
                if timeout.check(now_ns) {
                    transmitter.set_stalled();
                }
                !transmitter.is_stalled()
            }
            _ => {
                self.busy = Some((Timeout::new(now_ns, TRANSMIT_MS * 1_000_000), transmitter.sent()));
                true
            }
        }
    }
}

/// A line or a record that is being appended. Nothing of it is sent before [`commit`](Unit::commit).
pub struct Unit<'t, 'a> {
    to: &'t mut Transmitter<'a>,
    end: u64,
    limit: u64,
    fits: bool,
}

impl Unit<'_, '_> {
    /// Appends bytes as they are.
    pub fn append(&mut self, bytes: &[u8]) {
        if (bytes.len() as u64) > self.limit.wrapping_sub(self.end) {
            self.fits = false;
        }
        if !self.fits {
            return;
        }
        let mask = self.to.bytes.len() - 1;
        let at = self.end as usize & mask;
        let (first, second) = bytes.split_at(bytes.len().min(self.to.bytes.len() - at));
        self.to.bytes[at..][..first.len()].copy_from_slice(first);
        self.to.bytes[..second.len()].copy_from_slice(second);
        self.end += bytes.len() as u64;
    }

    /// Lets all of it be sent. False, and nothing is, if it has not fitted.
    pub fn commit(self) -> bool {
        if self.fits {
            // Whole, also for a CPU that takes the lock by force.
            compiler_fence(Ordering::Release);
            self.to.appended = self.end;
        }
        self.fits
    }
}

impl fmt::Write for Unit<'_, '_> {
    /// Text for people: a line feed also returns the carriage.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (index, line) in text.split('\n').enumerate() {
            if index > 0 {
                self.append(b"\r\n");
            }
            self.append(line.as_bytes());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
