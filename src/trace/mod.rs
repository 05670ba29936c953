//! Layer 2: event tracing. `trace!(FrameRefill, order, frame)` records an event with a time stamp, `trace_event!` one of a
//! program.
//!
//! Each CPU has its own [`ring`] and writes it without a lock. An interrupt or NMI may record in the middle of another record.
//! A disabled `trace!` is one NOP (see [`branch`](crate::cpu::static_key)); its arguments are not evaluated. The parameter `trace=`
//! selects at boot what is recorded:
//!
//! - `off`: nothing;
//! - `panic` (default): rare events, in rings of [`SMALL_EVENTS`], which a panic reports;
//! - `all`: all events, in rings of [`TRACE_RING_PAGES`](crate::config::TRACE_RING_PAGES); the default of the shell;
//! - `on`: all events, and the launcher receives the rings at the end of the run.

pub(crate) mod ring;

#[cfg(target_os = "none")]
mod program;
#[cfg(target_os = "none")]
mod record;

#[cfg(target_os = "none")]
pub use program::{HOT, PROGRAM_EVENTS, ProgramEvent, RARE};

#[cfg(all(target_os = "none", feature = "selftest"))]
pub(crate) use record::recorder;
#[cfg(target_os = "none")]
pub(crate) use record::{
    init, install_ring, record, records_hot_events, restarted, ring_of, ring_slots, set_recording,
};

pub(crate) use ring::{MAX_PROGRAM_EVENTS, RING_SLOTS, SMALL_EVENTS};

/// Records an event with up to two words of type `u64`: `trace!(InterruptEnter, vector, rip)`. The words are evaluated only if
/// the event is recorded. On a CPU without a ring nothing is recorded.
///
/// **Context:** any.
#[cfg(target_os = "none")]
macro_rules! trace {
    ($event:ident) => {
        $crate::trace!($event, 0, 0)
    };
    ($event:ident, $a:expr) => {
        $crate::trace!($event, $a, 0)
    };
    ($event:ident, $a:expr, $b:expr) => {{
        let record = || $crate::trace::record($crate::wire::TraceEvent::$event, $a, $b);
        $crate::static_key!($crate::wire::TraceEvent::$event.class() as u32, record())
    }};
}
#[cfg(target_os = "none")]
pub(crate) use trace;
