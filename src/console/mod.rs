//! Layer 2: the console. The serial port carries text (the macros of `log`) and records for the launcher (`send`). The
//! [`screen`] shows the text only.
//!
//! One lock keeps lines whole between CPUs. It disables interrupts, so handlers may log. NMI handlers may log as well: where
//! one cannot wait for the lock, because it may have interrupted the holder, its line is deferred, and the CPU that frees the
//! lock writes it. [`filter`] decides which lines are shown. `read_byte` returns received bytes.

pub(crate) mod deferred;
pub mod filter;
pub mod screen;
#[cfg(any(target_os = "none", test))]
mod transmit;
pub(crate) mod truncated;

#[cfg(target_os = "none")]
mod drawing;
#[cfg(target_os = "none")]
mod input;
#[cfg(target_os = "none")]
mod line;
#[cfg(target_os = "none")]
mod line_buffer;
#[cfg(target_os = "none")]
mod logger;
#[cfg(target_os = "none")]
mod serial;
#[cfg(target_os = "none")]
mod warning;

#[cfg(target_os = "none")]
pub(crate) use input::{listen, loop_back, prompt, read_byte, receive};
#[cfg(target_os = "none")]
pub(crate) use line::{
    PanicOutput, append_only, force_lock, is_sent, renew_interrupt, send, send_by_interrupt, send_last,
    send_overdue, serve, set_record_nonce, take_longest_hold, transmit_interrupts, with_lock,
};
#[cfg(target_os = "none")]
pub use line_buffer::LineBuffer;
#[cfg(target_os = "none")]
pub(crate) use logger::{Lines, init, lines, print, set_clock, set_estimated_tsc_hz, set_filter};
#[cfg(target_os = "none")]
pub(crate) use serial::{ReceiveErrors, receive_errors};
#[cfg(target_os = "none")]
pub(crate) use warning::{LockWaitSites, Warning, warn};
#[cfg(all(target_os = "none", feature = "faults"))]
pub(crate) use {serial::transmit_interrupt, transmit::LATE_MS};
