//! The Multiboot 2 information: the walk over its tags, and their contents.

#![no_main]

use libfuzzer_sys::fuzz_target;
use octopod::boot::multiboot2::{Info, total_bytes};

#[path = "map.rs"]
mod map;

fuzz_target!(|bytes: &[u8]| {
    let _ = total_bytes(bytes);
    // The structure says its own length in its first word; one that is true lets the walk get further.
    let mut whole = bytes.to_vec();
    if let Some(head) = whole.first_chunk_mut::<4>() {
        *head = (bytes.len() as u32).to_le_bytes();
    }
    for bytes in [bytes, &whole] {
        if let Ok(info) = Info::parse(bytes) {
            let _ = info.modules().count();
            if let Some(entries) = info.memory_map {
                map::check(entries.entries());
            }
        }
    }
});
