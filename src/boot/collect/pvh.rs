//! Collects the boot information of PVH.

use super::copies::{Copies, Parsed, RsdpPlace};
use super::{BootError, loader_memory};
use crate::boot::pvh::{
    HEAD_BYTES_V1, MEMORY_MAP_ENTRY_BYTES, MODULE_ENTRY_BYTES, StartInfo, memory_map_entries, modules,
};

/// Copies the boot information at the physical address `info`.
///
/// # Errors
/// The start info is malformed or out of reach, or has no memory map.
///
/// # Safety
/// As for [`collect`](super::collect).
pub(crate) unsafe fn read(info: u64, copies: &mut Copies) -> Result<Parsed, BootError> {
    // SAFETY: `loader_memory` needs rt0's page tables and no earlier write outside the image, guaranteed by the caller (see
    // # Safety), and that the slices are dropped: `copies` copies what it is passed, and this function returns no slice.
    unsafe {
        let info = loader_memory::bytes("the boot information", info, HEAD_BYTES_V1 as u64)?;
        let info = StartInfo::parse(info).map_err(BootError::Pvh)?;
        let map = info.memory_map.ok_or(BootError::NoMemoryMap)?;
        let map = loader_memory::table("the memory map", map, MEMORY_MAP_ENTRY_BYTES)?;
        let map_report = copies.map.fill(memory_map_entries(map));
        if let Some(address) = info.command_line_address {
            copies.set_command_line(loader_memory::string(address)?)?;
        }
        if let Some(list) = info.modules {
            let list = loader_memory::table("the list of modules", list, MODULE_ENTRY_BYTES)?;
            for range in modules(list) {
                copies.push_module(range)?;
            }
        }
        Ok(Parsed { map_report, rsdp: info.rsdp_address.map(RsdpPlace::At), framebuffer: None })
    }
}
