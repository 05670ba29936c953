//! Mappings that are not plain memory: read-only ones, code, and memory of devices.

use core::fmt;

use x86_64::structures::paging::PageTableFlags as Flags;

use super::batches::unmap_lazily;
use super::contents::{BORROWED, Source, change_flags, enter_physical, map_large};
use super::mapping::{Mapping, VmapError, take_slot};
use super::own::put;
use super::region::address_of;
use super::slots::Slot;
use crate::boot::memory_map::FRAME_BYTES;
use crate::boot::physical::{AddressFault, REACH_BITS};
use crate::cpu::ControlRegisters;
use crate::memory::mmio;
use crate::memory::paging::entry::{MemoryType as PatType, SMALL_PAGE_PAT};

/// A mapping that no CPU can write through: `smp::make_read_only` makes it. It owns its frames, and is unmapped as a [`Mapping`] is.
#[derive(Debug)]
#[must_use = "a mapping that is dropped is unmapped"]
pub struct ReadOnlyMapping(pub(super) Mapping);

/// A mapping whose content can be executed, and that no CPU can write through: `smp::make_executable` makes it. It owns its frames, and
/// is unmapped as a [`Mapping`] is.
#[derive(Debug)]
#[must_use = "a mapping that is dropped is unmapped"]
pub struct CodeMapping(Mapping);

impl ReadOnlyMapping {
    /// The read-only form of a mapping. Until every CPU has flushed its TLB, some may still write.
    pub(crate) fn begin(mapping: Mapping) -> ReadOnlyMapping {
        // SAFETY: the mapping owns its slot. It is consumed, and its successor lets nothing be written.
        unsafe { change_flags(mapping.slot(), Flags::WRITABLE, Flags::empty()) };
        ReadOnlyMapping(mapping)
    }

    /// A pointer to the first byte, valid for reads while the mapping lives.
    pub fn as_ptr(&self) -> *const u8 {
        self.0.as_ptr()
    }

    /// The first address.
    pub fn address(&self) -> u64 {
        self.0.address()
    }

    /// The size in bytes.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

impl CodeMapping {
    /// The executable form of a mapping that no TLB has as writable. Until every CPU has flushed its TLB, some may refuse to execute it.
    pub(crate) fn begin(mapping: ReadOnlyMapping) -> CodeMapping {
        // SAFETY: the mapping owns its slot. It is consumed, and its successor is not writable either; only execution becomes possible.
        unsafe { change_flags(mapping.0.slot(), Flags::NO_EXECUTE, Flags::empty()) };
        CodeMapping(mapping.0)
    }

    /// A pointer to the first byte, valid for reads and for execution while the mapping lives.
    pub fn as_ptr(&self) -> *const u8 {
        self.0.as_ptr()
    }

    /// The first address.
    pub fn address(&self) -> u64 {
        self.0.address()
    }

    /// The size in bytes.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

/// How a processor caches a mapping of device memory (SDM Vol. 3A, 12.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceMemory {
    /// Write-back: memory that behaves as RAM does.
    WriteBack,
    /// Write-combining: writes may be collected, as for a frame buffer. Uncacheable on a processor without a page attribute table.
    WriteCombining,
    /// Uncacheable: registers.
    Uncacheable,
}

impl DeviceMemory {
    fn flags(self) -> Flags {
        let uncacheable = Flags::NO_CACHE | Flags::WRITE_THROUGH;
        match self {
            DeviceMemory::WriteBack => Flags::empty(),
            // PAT entry 5, if this kernel has set the PAT.
            DeviceMemory::WriteCombining
                if PatType::of(ControlRegisters::read().pat, 5) == PatType::WRITE_COMBINING =>
            {
                SMALL_PAGE_PAT | Flags::WRITE_THROUGH
            }
            DeviceMemory::WriteCombining | DeviceMemory::Uncacheable => uncacheable,
        }
    }
}

/// Memory of a device, mapped for reads and writes. It owns its addresses, but not the memory. Its drop unmaps it, as that of a [`Mapping`].
#[must_use = "a mapping that is dropped is unmapped"]
pub struct DeviceMapping {
    slot: Slot,
    physical: u64,
}

/// Why memory of a device could not be mapped. Nothing is mapped then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceMappingError {
    /// A physical page is RAM, or a device's that the kernel uses by itself.
    InUse {
        /// Its physical address.
        physical: u64,
    },
    /// The pages exceed the processor's physical addresses, or those that the kernel can map.
    TooHigh {
        /// The width of the addresses, in bits.
        bits: u8,
    },
    /// The addresses or the page tables.
    Map(VmapError),
}

impl fmt::Display for DeviceMappingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceMappingError::InUse { physical } => {
                write!(f, "physical address {physical:#x} is RAM, or a device's that the kernel uses")
            }
            DeviceMappingError::TooHigh { bits } => {
                write!(f, "physical pages beyond the {bits} bits of addresses that can be mapped")
            }
            DeviceMappingError::Map(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for DeviceMappingError {}

impl DeviceMapping {
    /// Maps so many pages of a device's memory, from a physical address on.
    ///
    /// **Context:** as for [`Mapping`].
    ///
    /// # Errors
    /// [`DeviceMappingError`].
    ///
    /// # Panics
    /// If the address is no multiple of 4 KiB.
    ///
    /// # Safety
    /// Accesses to these physical addresses, and accesses that the processor does ahead of the program if the type is not uncacheable,
    /// change no memory that Rust code relies on. Other mappings of these addresses have the same memory type (SDM Vol. 3A, 12.12.4).
    pub unsafe fn new(
        physical: u64,
        pages: usize,
        memory: DeviceMemory,
    ) -> Result<DeviceMapping, DeviceMappingError> {
        assert!(physical.is_multiple_of(FRAME_BYTES), "{physical:#x} is not the address of a page");
        if pages == 0 {
            return Err(DeviceMappingError::Map(VmapError::Empty));
        }
        match mmio::first_in_use(physical, pages as u64) {
            Ok(None) => {}
            Ok(Some(physical)) => return Err(DeviceMappingError::InUse { physical }),
            Err(AddressFault::TooHigh { bits }) => return Err(DeviceMappingError::TooHigh { bits }),
            Err(_) => return Err(DeviceMappingError::TooHigh { bits: REACH_BITS }),
        }
        let flags = Flags::WRITABLE | Flags::NO_EXECUTE | BORROWED | memory.flags();
        let slot = take_slot(pages).map_err(DeviceMappingError::Map)?;
        if slot.is_large() {
            // SAFETY: `take_slot` has given the slot to this call alone, unmapped. The caller is responsible for accesses (see # Safety).
            if let Err(error) = unsafe { map_large(slot, &Source::Physical(physical), flags) } {
                put(slot);
                return Err(DeviceMappingError::Map(VmapError::Map(error)));
            }
        } else {
            // SAFETY: `take_slot` has given the slot to this call alone, unmapped, and the flags above have `BORROWED`.
            unsafe { enter_physical(slot, physical, flags) };
        }
        Ok(DeviceMapping { slot, physical })
    }

    /// A pointer to the first byte, valid for volatile accesses to [`pages`](Self::pages) pages while the mapping lives.
    pub fn as_ptr(&self) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut(address_of(self.slot.first) as usize)
    }

    /// The physical address of the first byte.
    pub fn physical_address(&self) -> u64 {
        self.physical
    }

    /// How many pages there are.
    pub fn pages(&self) -> usize {
        self.slot.pages as usize
    }
}

impl Drop for DeviceMapping {
    fn drop(&mut self) {
        // SAFETY: this mapping owned the slot and ends here. Its pointer is valid while the mapping lives (`as_ptr`).
        unsafe { unmap_lazily(self.slot) };
    }
}

impl fmt::Debug for DeviceMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceMapping({:#x}, {} pages)", self.physical, self.slot.pages)
    }
}
