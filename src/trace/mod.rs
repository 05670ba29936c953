//! Layer 2: what happened, recorded as it happens: `trace!(FrameRefill, order, frame)`.
//!
//! Each CPU has a [`ring`] of its own and writes it without a lock; interrupts and NMIs may record in the middle of a
//! record. Where nothing is recorded, `trace!` is one NOP (see [`branch`](crate::cpu::static_key)), and its arguments are not
//! even computed. `trace=` decides at boot: `off`; `panic`, the default, which records what comes seldom in rings of
//! [`SMALL_EVENTS`], for a panic to tell; `all`, which records all of it in rings of [`TRACE_RING_PAGES`], as the shell does;
//! `on`, which sends them to the launcher, too.

pub mod ring;

#[cfg(target_os = "none")]
mod record;

#[cfg(target_os = "none")]
pub use record::{give_ring, init, record, records_all, ring_of, set_recording, slots_wanted};

use crate::config::TRACE_RING_PAGES;

/// Events that a CPU keeps for a panic.
pub const SMALL_EVENTS: usize = 32;

/// Slots of the ring that each CPU has while a trace is wanted.
pub const RING_SLOTS: usize = TRACE_RING_PAGES * crate::cpu::PAGE_BYTES / ring::SLOT_BYTES as usize;

const _: () = assert!(RING_SLOTS.is_power_of_two(), "trace_ring_pages is a power of two");
const _: () = assert!(SMALL_EVENTS.is_power_of_two());

/// Records an event with up to two words: `trace!(InterruptEnter, vector, rip)`, each a `u64`. Any context; on a CPU
/// that has no ring yet, nothing is recorded. The words are computed only if the event is recorded.
#[cfg(target_os = "none")]
macro_rules! trace {
    ($event:ident) => { $crate::trace!($event, 0, 0) };
    ($event:ident, $a:expr) => { $crate::trace!($event, $a, 0) };
    ($event:ident, $a:expr, $b:expr) => {{
        let record = || $crate::trace::record($crate::wire::TraceEvent::$event, $a, $b);
        // SAFETY: the instruction does nothing; if boot has made it a jump, it goes to the block and spoils no register.
        unsafe {
            core::arch::asm!(
                "2: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00",
                ".pushsection .static_keys, \"a\", @progbits",
                ".balign 4",
                ".long 2b - .",
                ".long {block} - .",
                ".long {class}",
                ".popsection",
                block = label { record() },
                class = const $crate::wire::TraceEvent::$event.class() as u32,
                options(nomem, nostack, preserves_flags)
            )
        }
    }};
}
#[cfg(target_os = "none")]
pub(crate) use trace;
