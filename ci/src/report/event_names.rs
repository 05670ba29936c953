//! Names for the numbers in an event: functions, vectors and stages.

use std::cell::RefCell;
use std::collections::HashMap;

use octopod::wire::{BootStage, FIRST_PROGRAM_EVENT, StagesUs, ThreadLeft, TraceEvent, thread_in};
use serde_json::{Map, Value, json};

use crate::kernel::Symbols;
use crate::kernel::registry::EventEntry;

/// Facts that are not in the trace itself.
pub struct EventNames<'a> {
    symbols: &'a Symbols,
    slide: u64,
    vectors: HashMap<u64, String>,
    program: Vec<EventEntry>,
    /// Those that were looked up, by their addresses: a trace has the same ones again and again.
    functions: RefCell<HashMap<u64, String>>,
}

impl<'a> EventNames<'a> {
    /// With the names of vectors, as the kernel's table of interrupts has them.
    pub fn new(
        symbols: &'a Symbols,
        slide: u64,
        vectors: impl IntoIterator<Item = (u8, String)>,
    ) -> EventNames<'a> {
        let vectors = vectors.into_iter().map(|(vector, name)| (vector.into(), name)).collect();
        EventNames { symbols, slide, vectors, program: Vec::new(), functions: RefCell::default() }
    }

    /// The same, with the events that the program records.
    pub fn with_program(self, program: Vec<EventEntry>) -> EventNames<'a> {
        EventNames { program, ..self }
    }

    /// The program's event of this number, if it is one.
    pub fn of_program(&self, event: u16) -> Option<&EventEntry> {
        event.checked_sub(FIRST_PROGRAM_EVENT).and_then(|index| self.program.get(usize::from(index)))
    }

    /// The name of an event: that of its subject, or else of its kind.
    pub fn title(&self, event: TraceEvent, a: u64) -> String {
        match event {
            TraceEvent::BootStage => boot_stage(a),
            TraceEvent::CpuStage => cpu_stage(a),
            TraceEvent::InterruptEnter => self.vector(a),
            TraceEvent::CallBegin => format!("call {}", self.function(a)),
            _ => event.names().0.to_owned(),
        }
    }

    /// Its words by name.
    pub fn arguments(&self, event: TraceEvent, a: u64, b: u64) -> Map<String, Value> {
        let mut arguments = Map::new();
        for (name, value) in event.names().1.into_iter().zip([a, b]).filter(|(name, _)| !name.is_empty()) {
            let shown = match name {
                "function" | "callback" | "rip" => json!(self.function(value)),
                "address" | "data" => json!(format!("{value:#x}")),
                "vector" => json!(match self.vectors.get(&value) {
                    Some(name) => format!("{value:#04x} {name}"),
                    None => format!("{value:#04x}"),
                }),
                "stage" => json!(self.title(event, value)),
                "next" => json!(thread_in(value)),
                "left" => match ThreadLeft::from_word(value) {
                    Some(left) => json!(format!("{}, {}", left.thread, left.reason.name())),
                    None => Value::Null,
                },
                "name" => json!(String::from_utf8_lossy(&value.to_le_bytes()).trim_end_matches('\0')),
                _ => json!(value),
            };
            arguments.insert(name.to_owned(), shown);
        }
        arguments
    }

    /// The event in a line, for people.
    pub fn line(&self, event: u16, a: u64, b: u64) -> String {
        if let Some(own) = self.of_program(event) {
            let fields = program_arguments(own, a, b);
            let fields = fields.iter().map(|(name, value)| format!(", {name} {value}"));
            return fields.fold(own.name.clone(), |line, field| line + &field);
        }
        let Some(event) = TraceEvent::from_number(event) else { return format!("event {event}") };
        let mut line = event.names().0.to_owned();
        for (name, value) in self.arguments(event, a, b) {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            line.push_str(&format!(", {name} {value}"));
        }
        line
    }

    fn vector(&self, vector: u64) -> String {
        self.vectors.get(&vector).cloned().unwrap_or_else(|| format!("vector {vector:#04x}"))
    }

    fn function(&self, address: u64) -> String {
        let mut known = self.functions.borrow_mut();
        let name = known.entry(address).or_insert_with(|| {
            let name = self.symbols.function(address, self.slide);
            name.unwrap_or_else(|| format!("{address:#x}"))
        });
        name.clone()
    }
}

/// The fields of a program's event by name.
pub fn program_arguments(event: &EventEntry, a: u64, b: u64) -> Map<String, Value> {
    let named = event.fields.iter().zip([a, b]).filter(|(name, _)| !name.is_empty());
    named.map(|(name, value)| (name.clone(), json!(value))).collect()
}

fn boot_stage(number: u64) -> String {
    let stage = usize::try_from(number).ok().and_then(|number| BootStage::ALL.get(number));
    stage.map_or_else(|| format!("stage {number}"), |stage| stage.name().to_owned())
}

fn cpu_stage(number: u64) -> String {
    let names = StagesUs::default().in_order().map(|(name, _)| name);
    let stage = usize::try_from(number).ok().and_then(|number| names.get(number).copied());
    stage.map_or_else(|| format!("stage {number}"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The launcher names a CPU's stages after the report's, the kernel numbers them after the trampoline's.
    #[test]
    fn stages_have_the_trampolines_order() {
        let source = include_str!("../../../ap_trampoline/lib.rs");
        let names: Vec<_> = (0..9).map(cpu_stage).collect();
        let places: Vec<_> = names.iter().map(|name| source.find(&format!("\"{name}\""))).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{names:?} {places:?}");
    }
}
