//! The Multiboot 1 information, its memory map and its modules.

#![no_main]

use libfuzzer_sys::fuzz_target;
use octopod::boot::multiboot1::{Info, memory_map_entries, modules};

#[path = "map.rs"]
mod map;

fuzz_target!(|bytes: &[u8]| {
    let _ = Info::parse(bytes);
    let _ = modules(bytes).count();
    if let Ok(entries) = memory_map_entries(bytes) {
        map::check(entries);
    }
});
