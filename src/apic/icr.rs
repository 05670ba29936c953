//! The interrupt command register (ICR): sending of IPIs.
//!
//! In xAPIC mode the ICR is a pair of registers. A write to the low half sends to the destination in the high half. If
//! another send on the same CPU happens between the two writes, the message goes to the wrong CPU. Four rules prevent
//! this:
//!
//! - In thread and interrupt context, [`send`] and [`Batch::send`] take an [`IrqGuard`], so no interrupt handler runs
//!   between the two writes.
//! - A handler of NMI, #MC or #DB runs although interrupts are disabled. It sends nothing: every function here returns
//!   [`ApicError::InNmi`] there. So a handler that returns leaves both halves unchanged, and a wait for the ICR to become
//!   idle remains valid when the interrupted code continues.
//! - A CPU that panics sends by [`Batch::send_nmi_in_panic`], which takes a [`Panicking`]. The code that it interrupted
//!   may be between the two writes, but never continues.
//! - An IPI to the CPU itself uses the shorthand, which requires only the low half.
//!
//! Only the functions of `registers` that the module `apic` sees write the pair, and of that module only this file calls them.
//!
//! An xAPIC's ICR must not be written while it is *busy*, that is, while the last message has not been accepted. Each
//! send waits for that, at most [`IPI_DELIVERY_MS`] for one message or for all messages of a [`Batch`], and then returns
//! [`ApicError::NotDelivered`]. Nothing was sent in that case. An x2APIC's ICR is never busy. Its write is not ordered
//! after earlier stores, hence the fences (SDM Vol. 3A, 11.12.3).

use super::driver;
use super::error::ApicError;
use super::registers::{
    self, ICR_ASSERT, ICR_INIT, ICR_NMI, ICR_SELF, ICR_START_UP, write_icr, write_icr_self,
};
use crate::config::IPI_DELIVERY_MS;
use crate::cpu::{ApicId, IrqGuard};
use crate::interrupts::{self, Vector};
use crate::panic::Panicking;
use crate::patchable;
use crate::sync::Timeout;

/// A message to another CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// A maskable interrupt with this vector.
    Fixed(Vector),
    /// A non-maskable interrupt (NMI).
    Nmi,
    /// INIT.
    Init,
    /// A start-up IPI (SIPI): the target starts in real mode at the page with this number.
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

/// Sends a message to the CPU with APIC ID `to`.
///
/// **Context:** any with interrupts off, but not an NMI handler. Spins while the ICR is busy.
///
/// # Errors
/// [`ApicError::NotDelivered`] if the ICR stays busy for [`IPI_DELIVERY_MS`]; [`ApicError::InNmi`] in an NMI handler. The
/// message was not sent.
#[inline]
pub(crate) fn send(guard: &IrqGuard, to: ApicId, message: Message) -> Result<(), ApicError> {
    Batch::new().send(guard, to, message)
}

/// A sequence of messages that together wait at most [`IPI_DELIVERY_MS`] for a busy ICR. A CPU whose ICR stays busy
/// therefore waits once for all targets, not once for each. Interrupts may be enabled between two messages.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The limit of the total wait, in milliseconds.
    limit_ms: u64,
    /// The remaining wait, once the ICR was found busy.
    timeout: Option<Timeout>,
}

/// The limit of a [brief](Batch::brief) batch, in milliseconds. An ICR that works is idle again after microseconds.
const BRIEF_MS: u64 = 1;

/// The proof that no other send of this CPU can happen between the two writes to the ICR.
#[derive(Clone, Copy)]
#[allow(dead_code, reason = "only the existence of the references matters")]
pub(crate) enum IcrAccess<'a> {
    /// Interrupts are disabled.
    Guard(&'a IrqGuard),
    /// The CPU panics.
    Panic(&'a Panicking),
}

impl Batch {
    /// Creates a batch that waits at most [`IPI_DELIVERY_MS`].
    #[inline]
    pub(crate) fn new() -> Batch {
        Batch { limit_ms: IPI_DELIVERY_MS, timeout: None }
    }

    /// Creates a batch that waits at most one millisecond, for wake-ups: a CPU that is not woken detects the event
    /// itself, a little later. The sender is often an interrupt handler that has processed many calls.
    #[inline]
    pub(crate) fn brief() -> Batch {
        Batch { limit_ms: BRIEF_MS, timeout: None }
    }

    /// Creates a batch that does not wait: a message is not sent if the ICR is busy.
    pub(crate) fn without_waiting() -> Batch {
        Batch { limit_ms: 0, timeout: Some(Timeout::new(0, 0)) }
    }

    /// Sends a message to the CPU with APIC ID `to`.
    ///
    /// **Context:** as for [`send`].
    ///
    /// # Errors
    /// As for [`send`]. Later messages may still be sent, if the ICR is idle by then.
    #[inline]
    pub(crate) fn send(&mut self, guard: &IrqGuard, to: ApicId, message: Message) -> Result<(), ApicError> {
        transmit(IcrAccess::Guard(guard), self, to, message)
    }

    /// Sends an NMI to the CPU with APIC ID `to`, from any code that panicked.
    ///
    /// **Context:** a panic, interrupts off.
    ///
    /// # Errors
    /// [`ApicError::NotDelivered`]: the message was not sent.
    pub(crate) fn send_nmi_in_panic(&mut self, panicking: &Panicking, to: ApicId) -> Result<(), ApicError> {
        transmit(IcrAccess::Panic(panicking), self, to, Message::Nmi)
    }

    #[inline]
    fn wait_until_idle(&mut self, to: ApicId) -> Result<(), ApicError> {
        // The usual case reads no clock.
        if is_idle() { Ok(()) } else { self.wait_while_busy(to) }
    }

    #[cold]
    #[allow(
        clippy::redundant_closure,
        reason = "with the feature `faults` `is_idle` has the C ABI, so it is no `FnMut`"
    )]
    fn wait_while_busy(&mut self, to: ApicId) -> Result<(), ApicError> {
        let waited_ms = self.limit_ms;
        let timeout = self.timeout.get_or_insert_with(|| Timeout::after_ms(self.limit_ms));
        // The time since the last wait does not count.
        timeout.resume();
        timeout.wait_until(|| is_idle()).map_err(|_| ApicError::NotDelivered { to, waited_ms })
    }
}

patchable! {
    /// Sends a message to another CPU. All messages pass through this function.
    pub(crate) fn transmit(proof: IcrAccess, batch: &mut Batch, to: ApicId, message: Message) -> Result<(), ApicError> {
        match proof {
            IcrAccess::Guard(_) if !may_send() => return Err(ApicError::InNmi),
            IcrAccess::Guard(_) | IcrAccess::Panic(_) => {}
        }
        batch.wait_until_idle(to)?;
        let is_sent = match message {
            // The hot path.
            Message::Fixed(_) => false,
            Message::Nmi => driver::send_nmi(to),
            Message::Init => driver::send_init(to),
            Message::StartUp(page) => driver::send_start_up(to, page),
        };
        if !is_sent {
            write_icr(to, message.command());
        }
        Ok(())
    }

    /// Returns whether this context may send: it is not a handler of NMI, #MC, #DF or #DB. **Context:** any.
    pub(crate) fn may_send() -> bool {
        !interrupts::is_in_nmi()
    }

    /// Returns whether the ICR may be written. **Context:** any.
    pub(crate) fn is_idle() -> bool {
        registers::icr_is_idle()
    }

    /// Returns whether this CPU's local APIC accepts an IPI to the CPU itself. Fault injection replaces this.
    pub(crate) fn accepts_from_itself() -> bool {
        true
    }
}

/// Sends an IPI to this CPU. It is taken as soon as interrupts are enabled.
///
/// **Context:** as for [`send`].
///
/// # Errors
/// As for [`send`].
#[inline]
pub(crate) fn send_to_self(_guard: &IrqGuard, vector: Vector) -> Result<(), ApicError> {
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
