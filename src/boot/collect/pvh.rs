//! Collects the boot information of PVH.

use super::BootError;
use super::copies::{Copies, Parsed, RsdpPlace};
use super::loader_memory::LoaderMemory;
use crate::boot::pvh::{
    HEAD_BYTES_V1, MEMORY_MAP_ENTRY_BYTES, MODULE_ENTRY_BYTES, StartInfo, memory_map_entries, modules,
};

/// Copies the boot information at the physical address `info`.
///
/// # Errors
/// The start info is malformed or out of reach, or has no memory map.
pub(crate) fn read(memory: &LoaderMemory, info: u64, copies: &mut Copies) -> Result<Parsed, BootError> {
    let info = memory.bytes("the boot information", info, HEAD_BYTES_V1 as u64)?;
    let info = StartInfo::parse(info).map_err(BootError::Pvh)?;
    let map = info.memory_map.ok_or(BootError::NoMemoryMap)?;
    let map = memory.table("the memory map", map, MEMORY_MAP_ENTRY_BYTES)?;
    let map_report = copies.map.fill(memory_map_entries(map));
    if let Some(address) = info.command_line_address {
        copies.set_command_line(memory.string(address)?)?;
    }
    if let Some(list) = info.modules {
        let list = memory.table("the list of modules", list, MODULE_ENTRY_BYTES)?;
        for range in modules(list) {
            // Xen's text is not read: QEMU passes none.
            copies.push_module(range, &[])?;
        }
    }
    Ok(Parsed { map_report, rsdp: info.rsdp_address.map(RsdpPlace::At), framebuffer: None })
}
