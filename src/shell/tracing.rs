//! The command `trace`.

use core::fmt;

use super::command::Tracing;
use super::error::CommandError;
use crate::console;
use crate::registry::Text;
use crate::smp::{self, Cpu};
use crate::time;
use crate::trace::{self, PROGRAM_EVENTS, SMALL_EVENTS};
use crate::wire::{FIRST_PROGRAM_EVENT, NO_THREAD, RecordedEvent, ThreadLeft, TraceEvent};

/// Starts or stops recording, or shows the newest events.
///
/// # Errors
/// The kernel was booted with `trace=off`.
pub(crate) fn act(tracing: Tracing) -> Result<(), CommandError> {
    if trace::ring_slots() == 0 {
        return Err(CommandError::NoTrace);
    }
    match tracing {
        Tracing::On => set_recording(true),
        Tracing::Off => set_recording(false),
        Tracing::Dump => smp::cpus().iter().for_each(dump),
    }
    Ok(())
}

fn set_recording(records: bool) {
    for gs_base in smp::cpus().iter().filter_map(Cpu::gs_base) {
        // SAFETY: the base must be that of a per-CPU area that stays mapped. Areas are never freed.
        unsafe { trace::set_recording(gs_base, records) };
    }
    let events =
        if trace::records_hot_events() { "everything" } else { "rare events (booted with trace=panic)" };
    match records {
        true => console::print(format_args!("each CPU records {events}")),
        false => console::print(format_args!("no CPU records anything")),
    }
}

/// Shows a CPU's newest events, oldest first.
fn dump(cpu: &Cpu) {
    let Some(gs_base) = cpu.gs_base() else { return };
    // SAFETY: the base must be that of a per-CPU area that stays mapped. Areas are never freed.
    let Some(ring) = (unsafe { trace::ring_of(gs_base) }) else { return };
    console::print(format_args!("cpu {}: {} events recorded, the newest:", cpu.id(), ring.recorded()));
    for traced in ring.newest(SMALL_EVENTS) {
        match traced {
            Some(traced) => console::print(format_args!("{}", Shown(traced))),
            None => console::print(format_args!("    (overwritten meanwhile)")),
        }
    }
}

struct Shown(RecordedEvent);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shown(RecordedEvent { tsc, event, a, b }) = *self;
        let us = time::us_at(tsc);
        write!(f, "    [{:>3}.{:06}] ", us / 1_000_000, us % 1_000_000)?;
        let of_program =
            event.checked_sub(FIRST_PROGRAM_EVENT).and_then(|index| PROGRAM_EVENTS.get(usize::from(index)));
        let (name, words) = match (TraceEvent::from_number(event), of_program) {
            (Some(known), _) => known.names(),
            (None, Some(own)) => (own.header.name.as_str(), own.fields.each_ref().map(Text::as_str)),
            (None, None) => return write!(f, "event {event}"),
        };
        f.write_str(name)?;
        let named = words.into_iter().zip([a, b]).filter(|(word, _)| !word.is_empty());
        named.into_iter().try_for_each(|(word, value)| match (word, TraceEvent::from_number(event)) {
            ("next", Some(_)) if value == NO_THREAD => f.write_str(" next none"),
            ("thread" | "next" | "victim" | "from", Some(_)) => write!(f, " {word} {value}"),
            ("left", Some(_)) => match ThreadLeft::from_word(value) {
                Some(left) => write!(f, " left {} {}", left.thread, left.reason.name()),
                None => f.write_str(" left none"),
            },
            ("name", Some(_)) => {
                let bytes = value.to_le_bytes();
                let name = core::str::from_utf8(&bytes).unwrap_or("?").trim_end_matches('\0');
                write!(f, " name {name}")
            }
            _ => write!(f, " {word} {value:#x}"),
        })
    }
}
