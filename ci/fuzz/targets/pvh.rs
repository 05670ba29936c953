//! The PVH start info and its memory map, and the kernel's own map that is filled from them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use octopod::boot::pvh::{HEAD_BYTES_V1, StartInfo, memory_map_entries};

#[path = "map.rs"]
mod map;

fuzz_target!(|bytes: &[u8]| {
    let _ = StartInfo::parse(bytes);
    map::check(memory_map_entries(bytes.get(HEAD_BYTES_V1..).unwrap_or_default()));
});
