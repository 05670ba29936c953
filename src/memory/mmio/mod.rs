//! Mappings of physical addresses beside RAM, all in the direct map: device registers, the framebuffer, and firmware tables.
//!
//! `mapping` checks and maps, `framebuffer` opens the console's screen with it.

mod framebuffer;
mod mapping;

pub(crate) use framebuffer::{open_pixel_screen, open_text_screen};
pub(super) use mapping::{add_legacy_regions, first_in_use, io_regions, set_layout};
pub(crate) use mapping::{claim_device, map_device, map_table, peek_table, unmap_device};
