//! The interrupt command register (ICR): how this CPU sends interrupts to others and to itself.
//!
//! In xAPIC mode the ICR is a pair of registers, and the write to the low half sends to the destination in the high half.
//! If another send on the same CPU comes between the two writes, the message goes to the wrong CPU. What prevents that:
//!
//! - In thread and interrupt context, [`send`] and [`Batch::send`] take an [`IrqGuard`], so no interrupt handler runs between
//!   the two writes.
//! - A handler of an NMI, machine check or debug exception runs although interrupts are off. In such a handler nothing is
//!   sent: every function here returns [`ApicError::InNmi`]. So a handler that returns leaves both halves as they were, and a
//!   wait for the ICR to become idle still holds when the interrupted code goes on.
//! - A CPU that panics sends by [`Batch::send_nmi_in_panic`], which takes a [`Panicking`]: code that it has interrupted, which
//!   may be between the two writes, never goes on.
//! - An interrupt to the CPU itself uses the shorthand, which needs the low half alone.
//!
//! The two functions that write the pair are private to this module.
//!
//! An xAPIC's ICR must not be written while it is *busy*, that is, while the last message has not been accepted. Each send
//! waits for that, at most [`IPI_DELIVERY_MS`] for one message or for all of a [`Batch`], and then returns
//! [`ApicError::NotDelivered`]. Nothing was sent in that case. An x2APIC's ICR is never busy; its write is not ordered after
//! earlier stores, hence the fences (SDM Vol. 3A, 11.12.3).

use super::registers::{self, ICR_ASSERT, ICR_INIT, ICR_NMI, ICR_SELF, ICR_START_UP};
use super::{ApicError, write_icr, write_icr_self};
use crate::config::IPI_DELIVERY_MS;
use crate::cpu::{ApicId, IrqGuard};
use crate::interrupts::{self, Vector};
use crate::panic::Panicking;
use crate::redirectable;
use crate::sync::Timeout;

/// What to send to another CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// An interrupt.
    Fixed(Vector),
    /// A non-maskable interrupt.
    Nmi,
    /// INIT.
    Init,
    /// A start-up interrupt: begin in real mode at the page of this number.
    StartUp(u8),
}

impl Message {
    #[inline]
    fn command(self) -> u32 {
        match self {
            Message::Fixed(vector) => ICR_ASSERT | u32::from(vector.get()),
            Message::Nmi => ICR_NMI,
            Message::Init => ICR_INIT,
            Message::StartUp(page) => ICR_START_UP | u32::from(page),
        }
    }
}

/// Sends a message to the CPU with that APIC ID.
///
/// **Context:** any with interrupts off, but not an NMI handler. Spins while the ICR is busy.
///
/// # Errors
/// [`ApicError::NotDelivered`] if it stays busy for [`IPI_DELIVERY_MS`], [`ApicError::InNmi`]. The message was not sent.
#[inline]
pub fn send(guard: &IrqGuard, to: ApicId, message: Message) -> Result<(), ApicError> {
    Batch::new().send(guard, to, message)
}

/// Several messages, which together wait at most [`IPI_DELIVERY_MS`] for a busy ICR. So a CPU whose ICR stays busy reports
/// that once for all targets, and not after a wait for each. Interrupts may be on between two messages.
#[derive(Debug)]
pub struct Batch {
    /// How long its messages may wait in all, in milliseconds.
    limit_ms: u64,
    /// What is left of that, once the ICR was found busy.
    timeout: Option<Timeout>,
}

/// How long a [brief](Batch::brief) batch waits, in milliseconds. An ICR that works is idle again after microseconds.
const BRIEF_MS: u64 = 1;

/// Why no other send of this CPU can come between the two writes.
#[derive(Clone, Copy)]
#[allow(dead_code, reason = "what counts is that the references exist")]
pub enum Proof<'a> {
    /// Interrupts are off.
    Guard(&'a IrqGuard),
    /// The CPU panics.
    Panic(&'a Panicking),
}

impl Batch {
    /// A batch without messages.
    #[inline]
    pub fn new() -> Batch {
        Batch { limit_ms: IPI_DELIVERY_MS, timeout: None }
    }

    /// A batch that waits at most a millisecond, for wake-ups: a CPU that is not woken finds by itself what it waits for, a
    /// little later. The sender often is an interrupt handler, and has answered many calls.
    #[inline]
    pub fn brief() -> Batch {
        Batch { limit_ms: BRIEF_MS, timeout: None }
    }

    /// A batch that does not wait: what the ICR is too busy for is not sent.
    pub fn without_waiting() -> Batch {
        Batch { limit_ms: 0, timeout: Some(Timeout::new(0, 0)) }
    }

    /// Sends a message to the CPU with that APIC ID.
    ///
    /// **Context:** as for [`send`].
    ///
    /// # Errors
    /// As for [`send`]. Later messages may still be sent, if the ICR is idle by then.
    #[inline]
    pub fn send(&mut self, guard: &IrqGuard, to: ApicId, message: Message) -> Result<(), ApicError> {
        transmit(Proof::Guard(guard), self, to, message)
    }

    /// Sends an NMI to the CPU with that APIC ID, whatever this CPU was doing when it panicked.
    ///
    /// # Errors
    /// [`ApicError::NotDelivered`]
    pub fn send_nmi_in_panic(&mut self, panicking: &Panicking, to: ApicId) -> Result<(), ApicError> {
        transmit(Proof::Panic(panicking), self, to, Message::Nmi)
    }

    #[inline]
    fn wait_until_idle(&mut self, to: ApicId) -> Result<(), ApicError> {
        // The usual case, for which no clock is read.
        if is_idle() { Ok(()) } else { self.wait_while_busy(to) }
    }

    #[cold]
    #[allow(
        clippy::redundant_closure,
        reason = "with deliberate faults built in `is_idle` has the C ABI, so it is no `FnMut`"
    )]
    fn wait_while_busy(&mut self, to: ApicId) -> Result<(), ApicError> {
        let waited_ms = self.limit_ms;
        let timeout = self.timeout.get_or_insert_with(|| Timeout::after_ms(self.limit_ms));
        // What has passed since the last wait is none of it.
        timeout.resume();
        timeout.wait_until(|| is_idle()).map_err(|_| ApicError::NotDelivered { to, waited_ms })
    }
}

redirectable! {
    /// What every message to another CPU goes through.
    pub fn transmit(proof: Proof, batch: &mut Batch, to: ApicId, message: Message) -> Result<(), ApicError> {
        match proof {
            Proof::Guard(_) if !may_send() => return Err(ApicError::InNmi),
            Proof::Guard(_) | Proof::Panic(_) => {}
        }
        batch.wait_until_idle(to)?;
        write_icr(to, message.command());
        Ok(())
    }

    /// Whether the context is one that sends: not a handler of an NMI, machine check or debug exception.
    pub fn may_send() -> bool {
        !interrupts::is_in_nmi()
    }

    /// Whether the ICR may be written.
    pub fn is_idle() -> bool {
        registers::icr_is_idle()
    }

    /// Whether this CPU's local APIC accepts an interrupt to the CPU itself.
    pub fn accepts_from_itself() -> bool {
        true
    }
}

/// Interrupts this CPU itself, as soon as its interrupts are on.
///
/// **Context:** as for [`send`].
///
/// # Errors
/// As for [`send`].
#[inline]
pub fn send_to_self(_guard: &IrqGuard, vector: Vector) -> Result<(), ApicError> {
    if !may_send() {
        return Err(ApicError::InNmi);
    }
    if !is_idle() || !accepts_from_itself() {
        wait_to_interrupt_itself()?;
    }
    write_icr_self(ICR_ASSERT | ICR_SELF | u32::from(vector.get()));
    Ok(())
}

#[cold]
fn wait_to_interrupt_itself() -> Result<(), ApicError> {
    let to = registers::read_id();
    if !accepts_from_itself() {
        return Err(ApicError::NotDelivered { to, waited_ms: IPI_DELIVERY_MS });
    }
    Batch::new().wait_while_busy(to)
}
