//! Collects the boot information of Multiboot 1.

use super::BootError;
use super::copies::{Copies, Parsed};
use super::loader_memory::{LoaderMemory, check_length};
use crate::boot::multiboot1::{
    INFO_BYTES, Info, MODULE_ENTRY_BYTES, memory_map_entries, modules, without_file_name,
};

/// Copies the boot information at the physical address `info`.
///
/// # Errors
/// The Multiboot information is malformed or out of reach, or has no memory map.
pub(crate) fn read(memory: &LoaderMemory, info: u64, copies: &mut Copies) -> Result<Parsed, BootError> {
    let info = memory.bytes("the boot information", info, INFO_BYTES as u64)?;
    let info = Info::parse(info).map_err(BootError::Multiboot1)?;
    let map = info.memory_map.ok_or(BootError::NoMemoryMap)?;
    let length = check_length("the memory map", map.len())?;
    let map = memory.bytes("the memory map", map.start, length)?;
    let map_report = copies.map.fill(memory_map_entries(map).map_err(BootError::Multiboot1)?);
    if let Some(address) = info.command_line_address {
        let loader = match info.loader_name_address {
            Some(name) => memory.string(name)?,
            None => &[],
        };
        copies.set_command_line(without_file_name(memory.string(address)?, loader))?;
    }
    if let Some(list) = info.modules {
        let list = memory.table("the list of modules", list, MODULE_ENTRY_BYTES)?;
        for module in modules(list) {
            let text = module.command_line_address.map(|address| memory.string(address)).transpose()?;
            copies.push_module(module.range, text.unwrap_or_default())?;
        }
    }
    Ok(Parsed { map_report, rsdp: None, framebuffer: info.framebuffer })
}
