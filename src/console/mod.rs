//! Layer 2: the serial line, for people (`log`'s macros) and for programs (`send`), and the [`screen`], for people only.
//!
//! One lock keeps lines whole between CPUs; it masks interrupts, so a handler may log as well. So may an NMI: where it
//! could wait for the very code that it struck, its line is kept, and written by the CPU that frees the lock. [`filter`] says
//! which lines are shown. What the line receives is read by `read_byte`.

pub(crate) mod cut;
pub mod filter;
pub(crate) mod kept;
pub mod screen;
#[cfg(any(target_os = "none", test))]
mod transmit;

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
    LastWords, append_only, hold, is_sent, renew_interrupt, send, send_by_interrupt, send_last, send_late,
    serve, set_record_nonce, take_longest_hold, take_over, transmit_interrupts,
};
#[cfg(target_os = "none")]
pub use line_buffer::LineBuffer;
#[cfg(target_os = "none")]
pub(crate) use logger::{Lines, init, lines, say, set_clock, set_filter};
#[cfg(target_os = "none")]
pub(crate) use serial::{Lost, lost};
#[cfg(target_os = "none")]
pub(crate) use warning::{Places, Warning, warn};
#[cfg(all(target_os = "none", feature = "faults"))]
pub(crate) use {serial::transmit_interrupt, transmit::LATE_MS};
