//! Events of the program: [`trace_event!`](crate::trace_event!).

use super::ring::MAX_PROGRAM_EVENTS;
use crate::registry::{Header, Text};
use crate::wire::{PROGRAM_EVENT, TraceClass};

/// An event that the program records.
#[doc(hidden)]
#[repr(C)]
pub struct ProgramEvent {
    /// Its name, and its place.
    pub header: Header,
    /// The names of its fields; empty for one that it does not have.
    pub fields: [Text; 2],
}

/// The events of the program. An event's number is its index.
#[doc(hidden)]
#[linkme::distributed_slice]
pub static PROGRAM_EVENTS: [ProgramEvent];

/// The class of an event that a panic reports, for the expansion of `trace_event!`.
#[doc(hidden)]
pub const RARE: u32 = TraceClass::Rare as u32;
/// The class of an event that is recorded only on request.
#[doc(hidden)]
pub const HOT: u32 = TraceClass::Hot as u32;

impl ProgramEvent {
    /// The declaration of an event.
    #[doc(hidden)]
    pub const fn new(
        name: &'static str,
        file: &'static str,
        line: u32,
        fields: [&'static str; 2],
    ) -> ProgramEvent {
        ProgramEvent {
            header: Header::new(name, "", file, line),
            fields: [Text::new(fields[0]), Text::new(fields[1])],
        }
    }

    /// Records it on this CPU. `trace_event!` calls this if the event is enabled.
    ///
    /// **Context:** any.
    #[doc(hidden)]
    #[cold]
    #[inline(never)]
    pub fn record(&'static self, a: u64, b: u64) {
        let from_first = (&raw const *self).addr().wrapping_sub(PROGRAM_EVENTS.as_ptr().addr());
        let index = from_first / size_of::<ProgramEvent>();
        // The boot refuses a program with more.
        if index < PROGRAM_EVENTS.len().min(MAX_PROGRAM_EVENTS) {
            super::record::record_number(super::ring::number(PROGRAM_EVENT, index as u16), a, b);
        }
    }
}

/// Records an event of the program, by name, with a time stamp and up to two fields, each any integer.
///
/// ```ignore
/// octopod::trace_event!("item queued", id = item.id, length = queue.len());
/// octopod::trace_event!(rare, "queue full");
/// ```
///
/// `--trace` and the shell's `trace dump` show it by its name with its fields. A `rare` event is also among those that a panic
/// reports, and is recorded unless the command line has `trace=off`; others only with `trace=on` or `all`. The same name at several
/// places is the same event.
///
/// A disabled event is one NOP; its fields are not evaluated.
///
/// **Context:** any, also NMI.
#[macro_export]
macro_rules! trace_event {
    (rare, $name:literal $(, $field:ident = $value:expr)* $(,)?) => {
        $crate::trace_event!(@fields RARE, $name, $($field = $value),*)
    };
    ($name:literal $(, $field:ident = $value:expr)* $(,)?) => {
        $crate::trace_event!(@fields HOT, $name, $($field = $value),*)
    };
    (@fields $class:ident, $name:literal,) => {
        $crate::trace_event!(@record $class, $name, "", 0, "", 0)
    };
    (@fields $class:ident, $name:literal, $a:ident = $x:expr) => {
        $crate::trace_event!(@record $class, $name, ::core::stringify!($a), $x, "", 0)
    };
    (@fields $class:ident, $name:literal, $a:ident = $x:expr, $b:ident = $y:expr) => {
        $crate::trace_event!(@record $class, $name, ::core::stringify!($a), $x, ::core::stringify!($b), $y)
    };
    (@record $class:ident, $name:literal, $a:expr, $x:expr, $b:expr, $y:expr) => {{
        #[$crate::registry::linkme::distributed_slice($crate::trace::PROGRAM_EVENTS)]
        #[linkme(crate = $crate::registry::linkme)]
        static EVENT: $crate::trace::ProgramEvent =
            $crate::trace::ProgramEvent::new($name, ::core::file!(), ::core::line!(), [$a, $b]);
        let record = || EVENT.record(($x) as u64, ($y) as u64);
        $crate::static_key!($crate::trace::$class, record())
    }};
}
