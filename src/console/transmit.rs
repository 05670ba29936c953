//! The transmit ring, and the rules by which bytes get from there into the port. Pure: the caller provides the port and the
//! time, so tests run on any host. The console's lock protects all of it.
//!
//! A writer appends a [`Unit`], a line or a record, as a whole or not at all. It then fills the port while the port is ready,
//! one fill of the port's FIFO for each time that it takes the lock ([`Transmitter::step`]). When the port is not ready, the
//! writer leaves the rest to the transmitter's interrupt ([`Transmitter::leave_to_interrupt`]), whose handler fills the port
//! as well ([`Transmitter::service`]).
//!
//! The interrupt is used only after a probe has seen one ([`Transmitter::begin_probe`]). If the port has been ready for
//! [`LATE_NS`] without an interrupt, the interrupt is no longer used: its CPU may be stuck, or an edge was lost. Without it,
//! each writer waits until its own unit is sent.
//!
//! An I/O APIC's ISA pin is edge-triggered, but the port's output is a level that is high while any cause is pending (16550D
//! datasheet, 8.6.3 and table III). Therefore a handler may return only after it has seen no cause pending, or has caused a new
//! edge.

use core::fmt;
use core::sync::atomic::{Ordering, compiler_fence};

use crate::sync::Timeout;

/// How long a writer waits for a port that is not ready, in milliseconds. 16 bytes at 115,200 baud take 1.4 ms.
pub(crate) const TRANSMIT_MS: u64 = 100;

/// After this time, in milliseconds, in which the port was ready, with bytes to send and its interrupt enabled, the interrupt
/// counts as lost.
pub(crate) const LATE_MS: u64 = 100;
/// The same in nanoseconds.
const LATE_NS: u64 = LATE_MS * 1_000_000;

/// The most causes that a handler serves before it returns. Each is one fill, or the received bytes.
const ROUNDS: u32 = 4;

/// A serial port, 16550 or older.
pub(crate) trait Port {
    /// Whether the transmitter's FIFO or holding register is empty.
    fn is_ready(&mut self) -> bool;
    /// How many bytes the transmitter takes when it is ready.
    fn capacity(&self) -> usize;
    /// Writes a byte to the transmitter.
    fn send(&mut self, byte: u8);
    /// Reads all received bytes. Returns their number.
    fn receive(&mut self) -> usize;
    /// Enables or disables the transmitter-empty interrupt.
    fn set_transmit_interrupt(&mut self, is_enabled: bool);
    /// Reads the pending cause. Reading a transmitter-empty cause clears it.
    fn cause(&mut self) -> Cause;
    /// Disables all interrupts and enables them again, which causes an edge if a cause is pending.
    fn retrigger(&mut self);
    /// Reads every register whose read clears a cause.
    fn clear_causes(&mut self);
    /// Disables all interrupts.
    fn disable_interrupts(&mut self);
    /// Leaves loopback mode and clears DLAB, so that the data and interrupt registers are accessible.
    fn leave_test_mode(&mut self);
}

/// The cause of a port's interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// No cause is pending.
    None,
    /// The transmitter is empty.
    Transmit,
    /// Received bytes, or another cause.
    Other,
}

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// There was nothing to send.
    Empty,
    /// The port was not ready.
    Busy,
    /// Bytes were sent.
    Sent,
}

/// The ring, and the state of its transmission.
pub(crate) struct Transmitter<'a> {
    /// The ring; its length is a power of 2.
    bytes: &'a mut [u8],
    /// The number of bytes ever appended, and of bytes ever sent to the port.
    appended: u64,
    sent: u64,
    /// Whether the transmitter's interrupt is enabled.
    is_armed: bool,
    /// Since when the interrupt is enabled and expected, in nanoseconds.
    armed_ns: u64,
    /// Whether a probe waits for its interrupt. Until it occurs, the interrupt is not disabled.
    is_probing: bool,
    /// Whether an interrupt has ever occurred, and whether it is in use.
    is_probed: bool,
    is_interrupt_driven: bool,
    /// Whether the port has not been ready for [`TRANSMIT_MS`].
    is_stalled: bool,
    /// The transmitter's interrupts, and how often one was late.
    interrupts: u64,
    late: u64,
}

impl<'a> Transmitter<'a> {
    /// Creates an empty transmitter, which polls the port.
    ///
    /// # Panics
    /// If the length of `bytes` is not a power of 2.
    pub(crate) fn new(bytes: &'a mut [u8]) -> Transmitter<'a> {
        assert!(bytes.len().is_power_of_two());
        Transmitter {
            bytes,
            appended: 0,
            sent: 0,
            is_armed: false,
            armed_ns: 0,
            is_probing: false,
            is_probed: false,
            is_interrupt_driven: false,
            is_stalled: false,
            interrupts: 0,
            late: 0,
        }
    }

    /// The number of bytes in the ring.
    fn length(&self) -> usize {
        // At most the ring's length, also if the lock was taken by force during an update.
        self.appended.wrapping_sub(self.sent).min(self.bytes.len() as u64) as usize
    }

    /// Whether all bytes were sent to the port.
    pub(crate) fn is_empty(&self) -> bool {
        self.length() == 0
    }

    /// The free space in bytes.
    pub(crate) fn room(&self) -> usize {
        self.bytes.len() - self.length()
    }

    /// The position after all appended bytes.
    pub(crate) fn end(&self) -> u64 {
        self.appended
    }

    /// The number of bytes ever sent to the port.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether all bytes before this position were sent to the port.
    pub(crate) fn has_sent(&self, end: u64) -> bool {
        self.sent >= end
    }

    /// Whether a writer may leave unsent bytes to the interrupt.
    pub(crate) fn is_interrupt_driven(&self) -> bool {
        self.is_interrupt_driven
    }

    /// Whether the port is stalled: a writer's wait has timed out, and nothing was sent since. Writers do not wait for it.
    pub(crate) fn is_stalled(&self) -> bool {
        self.is_stalled
    }

    /// Marks the port as stalled, after a writer's wait has timed out.
    pub(crate) fn set_stalled(&mut self) {
        self.is_stalled = true;
    }

    /// Makes the next writer wait for the port again.
    pub(crate) fn retry_stalled(&mut self) {
        self.is_stalled = false;
    }

    /// The transmitter's interrupts, and how often one was late.
    pub(crate) fn interrupts(&self) -> (u64, u64) {
        (self.interrupts, self.late)
    }

    /// Begins a line or record.
    pub(crate) fn unit(&mut self) -> Unit<'_, 'a> {
        Unit {
            end: self.appended,
            limit: self.sent.wrapping_add(self.bytes.len() as u64),
            fits: true,
            to: self,
        }
    }

    /// Fills the port once, if it is ready.
    pub(crate) fn step(&mut self, port: &mut impl Port, now_ns: u64) -> Step {
        port.receive();
        if self.is_empty() {
            self.disarm(port);
            return Step::Empty;
        }
        if !port.is_ready() {
            // An interrupt is not late while the port is busy.
            self.armed_ns = now_ns;
            return Step::Busy;
        }
        if self.is_armed && self.is_interrupt_driven && now_ns.saturating_sub(self.armed_ns) >= LATE_NS {
            self.is_interrupt_driven = false;
            self.late += 1;
        }
        self.fill(port);
        if self.is_empty() {
            self.disarm(port);
        }
        Step::Sent
    }

    /// Sends up to one fill to a port that is ready.
    fn fill(&mut self, port: &mut impl Port) {
        for _ in 0..self.length().min(port.capacity()) {
            let byte = self.bytes[self.sent as usize & (self.bytes.len() - 1)];
            // Before the byte is sent, so that a CPU that takes the lock by force does not send it twice.
            self.sent += 1;
            compiler_fence(Ordering::Release);
            port.send(byte);
        }
        self.is_stalled = false;
    }

    /// Whether there are bytes, and their interrupt is disabled or has not occurred for [`LATE_NS`]. [`step`](Self::step)
    /// tells whether the port is just busy.
    pub(crate) fn is_overdue(&self, now_ns: u64) -> bool {
        !self.is_empty() && (!self.is_armed || now_ns.saturating_sub(self.armed_ns) >= LATE_NS)
    }

    /// Leaves unsent bytes to the interrupt. Also enables an interrupt that was late, so that it may be used again.
    pub(crate) fn leave_to_interrupt(&mut self, port: &mut impl Port, now_ns: u64) {
        if self.is_probed && !self.is_armed && !self.is_empty() {
            self.is_armed = true;
            self.armed_ns = now_ns;
            port.set_transmit_interrupt(true);
        }
    }

    /// Disables the interrupt, unless a probe waits for it: it may be the only one that occurs.
    fn disarm(&mut self, port: &mut impl Port) {
        if !self.is_probing && core::mem::take(&mut self.is_armed) {
            port.set_transmit_interrupt(false);
        }
    }

    /// Handles the port's interrupt: receives and sends until no cause is pending, or makes the port signal it again.
    pub(crate) fn service(&mut self, port: &mut impl Port, now_ns: u64) {
        // The interrupt works (again), whatever the cause is: a writer may have cleared the cause meanwhile.
        self.is_interrupt_driven = self.is_probed;
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
                // None of the handled causes is the pending one. Returning now would leave the output high without another
                // edge; signalling it again would cause an endless loop of interrupts.
                if is_cleared {
                    self.poll_without_interrupts(port);
                    return;
                }
                port.clear_causes();
                is_cleared = true;
            }
        }
    }

    /// Enables the interrupt of an empty transmitter; [`end_probe`](Self::end_probe) returns whether it occurred. The
    /// transmitter is empty because some ports interrupt after sending, but not when the interrupt is enabled.
    pub(crate) fn begin_probe(&mut self, port: &mut impl Port) {
        self.is_armed = true;
        self.is_probing = true;
        port.set_transmit_interrupt(true);
    }

    /// Whether an interrupt has occurred since [`begin_probe`](Self::begin_probe).
    pub(crate) fn is_probed(&self) -> bool {
        self.is_probed
    }

    /// Ends the probe. Uses the interrupt if it has occurred, and returns whether it has.
    pub(crate) fn end_probe(&mut self, port: &mut impl Port) -> bool {
        self.is_probing = false;
        self.is_interrupt_driven = self.is_probed;
        if self.is_empty() || !self.is_probed {
            self.disarm(port);
        }
        self.is_probed
    }

    /// Disables the interrupt and polls the port from now on. For a panic.
    pub(crate) fn poll_only(&mut self, port: &mut impl Port) {
        // The previous holder of the lock may have been stopped at any instruction, also while the port was in loopback mode.
        port.leave_test_mode();
        self.reset_interrupt_state();
        self.is_stalled = false;
        port.set_transmit_interrupt(false);
    }

    /// Disables all of the port's interrupts, because a cause cannot be cleared and no further edge occurs. Writers poll the
    /// port, and receive bytes.
    fn poll_without_interrupts(&mut self, port: &mut impl Port) {
        self.reset_interrupt_state();
        port.disable_interrupts();
    }

    /// Stops using the interrupt.
    fn reset_interrupt_state(&mut self) {
        (self.is_interrupt_driven, self.is_probed, self.is_probing, self.is_armed) =
            (false, false, false, false);
    }

    /// Makes the port signal pending causes again, after its interrupt was routed to another CPU: an edge may have been lost.
    pub(crate) fn retrigger(&mut self, port: &mut impl Port) {
        port.retrigger();
    }
}

/// A writer's wait for the port. It ends when the port has taken no byte for [`TRANSMIT_MS`]. Time in which the host has
/// stopped this CPU does not count: the port may have been stopped as well.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PortWait {
    /// The time-out, and the number of bytes sent when it started; `None` until the port is busy.
    busy: Option<(Timeout, u64)>,
}

impl PortWait {
    /// Starts a wait.
    #[allow(clippy::new_without_default, reason = "nothing needs a default")]
    pub(crate) const fn new() -> PortWait {
        PortWait { busy: None }
    }

    /// Whether to continue waiting. `false` if the port is stalled.
    pub(crate) fn should_wait(&mut self, transmitter: &mut Transmitter, now_ns: u64) -> bool {
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

/// A line or record that is being appended. [`commit`](Unit::commit) makes it visible to the transmission.
pub(crate) struct Unit<'t, 'a> {
    to: &'t mut Transmitter<'a>,
    end: u64,
    limit: u64,
    fits: bool,
}

impl Unit<'_, '_> {
    /// Appends bytes unchanged.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
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

    /// Makes the whole unit available for sending. Returns `false` and drops it if it did not fit.
    pub(crate) fn commit(self) -> bool {
        if self.fits {
            // The bytes before the length, also for a CPU that takes the lock by force.
            compiler_fence(Ordering::Release);
            self.to.appended = self.end;
        }
        self.fits
    }
}

impl fmt::Write for Unit<'_, '_> {
    /// Appends text. A line feed becomes CR LF.
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
