//! Collects the boot information of Multiboot 2.

use super::BootError;
use super::copies::{Copies, Parsed};
use super::loader_memory::{LoaderMemory, check_length};
use crate::boot::multiboot2::{HEAD_BYTES, Info, total_bytes};

/// Copies the boot information at the physical address `info`.
///
/// # Errors
/// The Multiboot 2 information is malformed or out of reach, or has no memory map.
pub(crate) fn read(memory: &LoaderMemory, info: u64, copies: &mut Copies) -> Result<Parsed, BootError> {
    let head = memory.bytes("the boot information", info, HEAD_BYTES as u64)?;
    let length = total_bytes(head).map_err(BootError::Multiboot2)?;
    let length = check_length("the Multiboot 2 information", length.into())?;
    let bytes = memory.bytes("the boot information", info, length)?;
    let info = Info::parse(bytes).map_err(BootError::Multiboot2)?;
    let map_report = copies.map.fill(info.memory_map.ok_or(BootError::NoMemoryMap)?.entries());
    copies.set_command_line(info.command_line.unwrap_or_default())?;
    for module in info.modules() {
        copies.push_module(module.range, module.command_line)?;
    }
    let rsdp = info.rsdp.map(|rsdp| copies.copy_rsdp(rsdp));
    Ok(Parsed { map_report, rsdp, framebuffer: info.framebuffer })
}
