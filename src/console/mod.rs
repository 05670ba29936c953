//! Layer 2: the console. The serial port carries text (the macros of `log`) and records for the launcher (`send`). The
//! [`screen`] shows the text only.
//!
//! One lock keeps lines whole between CPUs. It disables interrupts, so handlers may log. NMI handlers may log as well: where
//! one cannot wait for the lock, because it may have interrupted the holder, its line is deferred, and the CPU that frees the
//! lock writes it. [`filter`] decides which lines are shown. `read_byte` returns received bytes.

pub(crate) mod deferred;
#[doc(hidden)]
pub mod filter;
#[doc(hidden)]
pub mod screen;
#[cfg(any(target_os = "none", test))]
mod transmit;
pub(crate) mod truncated;

#[cfg(any(target_os = "none", test))]
mod bounded_lines;

#[cfg(target_os = "none")]
mod deferred_warnings;
#[cfg(target_os = "none")]
mod drawing;
#[cfg(target_os = "none")]
mod input;
#[cfg(any(target_os = "none", test))]
mod line_buffer;
#[cfg(target_os = "none")]
mod logger;
#[cfg(target_os = "none")]
mod output;
#[cfg(target_os = "none")]
mod port;
#[cfg(target_os = "none")]
pub(crate) mod report_request;
#[cfg(target_os = "none")]
mod serial;
#[cfg(target_os = "none")]
mod warning;

#[cfg(target_os = "none")]
pub(crate) use bounded_lines::BoundedLines;
#[cfg(target_os = "none")]
pub(crate) use deferred_warnings::Warning;
#[cfg(target_os = "none")]
pub(crate) use input::{listen, loop_back, prompt, read_byte, receive};
#[cfg(target_os = "none")]
pub use line_buffer::LineBuffer;
#[cfg(target_os = "none")]
pub(crate) use logger::{Lines, init, lines, print, set_clock, set_estimated_tsc_hz, set_filter};
#[cfg(target_os = "none")]
pub(crate) use output::{
    PanicOutput, append_only, force_lock, is_sent, open_pixels, open_text, renew_interrupt, send,
    send_by_interrupt, send_last, send_overdue, serve, transmit_interrupts, warn, with_lock,
};
#[cfg(target_os = "none")]
pub(crate) use port::{set_record_nonce, take_longest_hold};
#[cfg(target_os = "none")]
pub(crate) use serial::{ReceiveErrors, receive_errors};
#[cfg(target_os = "none")]
pub(crate) use warning::LockWaitSites;
#[cfg(all(target_os = "none", feature = "faults"))]
pub(crate) use {serial::transmit_interrupt, transmit::LATE_MS};
