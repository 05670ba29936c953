//! The kernel's own copies of the boot information.

use super::BootError;
use crate::boot::defect::Defect;
use crate::boot::io_regions::IoRegions;
use crate::boot::memory_map::{MapReport, MemoryMap, PhysRange, ReservedReason};
use crate::boot::module_archive::{MAX_MODULES, name_in};
use crate::boot::modules::LoadedModule;
use crate::boot::multiboot1::Framebuffer;
use crate::boot::physical::{PhysicalLayout, Purpose};
use crate::boot::{MAX_COMMAND_LINE_BYTES, report_defect};
use crate::console::LineBuffer;

/// An RSDP of revision 2 has 36 bytes; later revisions may append fields.
const MAX_RSDP_BYTES: usize = 64;

/// The parts of the boot information that outlive the loader's memory.
pub(crate) struct Copies {
    pub map: MemoryMap,
    pub command_line: LineBuffer<MAX_COMMAND_LINE_BYTES>,
    /// The first `module_count` are used.
    pub modules: [LoadedModule; MAX_MODULES],
    pub module_count: usize,
    /// The first `rsdp_bytes` are used.
    pub rsdp: [u8; MAX_RSDP_BYTES],
    pub rsdp_bytes: usize,
}

/// The parts of the boot information that are passed by value.
#[derive(Default)]
pub(crate) struct Parsed {
    pub map_report: MapReport,
    pub rsdp: Option<RsdpPlace>,
    pub framebuffer: Option<Framebuffer>,
}

/// Where the RSDP is: at a physical address, or in [`Copies::rsdp`].
pub(crate) enum RsdpPlace {
    At(u64),
    Copied,
}

impl Copies {
    pub(crate) const EMPTY: Copies = Copies {
        map: MemoryMap::empty(),
        command_line: LineBuffer::new(),
        modules: [LoadedModule { range: PhysRange::new(0, 0), name: LineBuffer::new() }; MAX_MODULES],
        module_count: 0,
        rsdp: [0; MAX_RSDP_BYTES],
        rsdp_bytes: 0,
    };

    /// Copies the command line.
    ///
    /// # Errors
    /// [`BootError::TooLong`] beyond [`MAX_COMMAND_LINE_BYTES`].
    pub(crate) fn set_command_line(&mut self, line: &[u8]) -> Result<(), BootError> {
        if line.len() > MAX_COMMAND_LINE_BYTES {
            let (length, limit) = (line.len() as u64, MAX_COMMAND_LINE_BYTES as u64);
            return Err(BootError::TooLong { what: "the kernel command line", length, limit });
        }
        self.command_line.push_bytes(line);
        Ok(())
    }

    /// Appends a module to the list. `text` is what the loader passes with it.
    ///
    /// # Errors
    /// [`BootError::TooLong`] beyond [`MAX_MODULES`].
    pub(crate) fn push_module(&mut self, range: PhysRange, text: &[u8]) -> Result<(), BootError> {
        let Some(slot) = self.modules.get_mut(self.module_count) else {
            let what = "the list of modules";
            let bytes = size_of::<LoadedModule>() as u64;
            let (length, limit) = ((MAX_MODULES as u64 + 1) * bytes, MAX_MODULES as u64 * bytes);
            return Err(BootError::TooLong { what, length, limit });
        };
        slot.range = range;
        slot.name.push_bytes(name_in(text).as_bytes());
        self.module_count += 1;
        Ok(())
    }

    /// Copies the RSDP, at most [`MAX_RSDP_BYTES`] of it.
    pub(crate) fn copy_rsdp(&mut self, rsdp: &[u8]) -> RsdpPlace {
        self.rsdp_bytes = rsdp.len().min(MAX_RSDP_BYTES);
        self.rsdp[..self.rsdp_bytes].copy_from_slice(&rsdp[..self.rsdp_bytes]);
        RsdpPlace::Copied
    }

    /// Reserves the modules. A module at an invalid address is reported as a defect and becomes an empty range; the other
    /// modules keep their indices.
    pub(crate) fn reserve_modules(&mut self, address_bits: u8) {
        let io_regions = IoRegions::new();
        for LoadedModule { range: module, .. } in &mut self.modules[..self.module_count] {
            let layout =
                PhysicalLayout { regions: self.map.regions(), io_regions: &io_regions, address_bits };
            let bytes = module.end.saturating_sub(module.start);
            match layout.check(module.start, bytes, Purpose::Module) {
                Ok(range) => {
                    let _ = self.map.reserve(range, ReservedReason::LoaderInfo);
                }
                Err(fault) => {
                    let end = module.end;
                    let reason = format_args!("ends at {end:#x}: {fault}: not used");
                    report_defect(&Defect {
                        table: "module",
                        address: Some(module.start),
                        offset: None,
                        reason,
                    });
                    *module = PhysRange::new(0, 0);
                }
            }
        }
    }
}
