//! The tree of page tables: [`PageTables`] maps and unmaps.
//!
//! All CPUs share one address space. A range is mapped with the largest pages that it and the processor allow. A page is writable or
//! executable, never both, and the kernel never maps a frame with both rights. The upper half is the same in every tree, so its pages are
//! global, except for those of `mappings`, which writes their entries by itself.
//!
//! There are four levels: every boot protocol enters with paging off, and rt0 writes all of CR4, without LA57. That is enough for 64 TiB of
//! memory. The audit compares CR4 on each CPU.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use x86_64::PhysAddr;
use x86_64::structures::paging::PageTableFlags as Flags;
use x86_64::structures::paging::PhysFrame;

use super::entry::{ENTRIES, Entry, LEVELS, SMALL_PAGE_PAT, index, span};
use super::walk::{Step, walk_address};
use crate::boot::direct_map;
use crate::boot::physical::AddressFault;
use crate::cpu::{self, UPPER_HALF};

/// The rights and the memory type of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rights {
    /// Execute and read.
    Text,
    /// Read only.
    Constants,
    /// Read and write.
    Data,
    /// Read and write, write-combining, in pages of 4 KiB only. It is PAT entry 5, which this kernel sets to WC on every CPU with a PAT
    /// (SDM Vol. 3A, 12.12).
    Screen,
    /// Read and write, uncacheable (PAT entry 3: UC; SDM Vol. 3A, 12.12).
    Device,
}

impl Rights {
    fn flags(self, virt: u64) -> Flags {
        let global = if virt >= UPPER_HALF { Flags::GLOBAL } else { Flags::empty() };
        let common = Flags::PRESENT | global;
        match self {
            Rights::Text => common,
            Rights::Constants => common | Flags::NO_EXECUTE,
            Rights::Data => common | Flags::WRITABLE | Flags::NO_EXECUTE,
            Rights::Screen => {
                common | Flags::WRITABLE | Flags::NO_EXECUTE | SMALL_PAGE_PAT | Flags::WRITE_THROUGH
            }
            Rights::Device => {
                common | Flags::WRITABLE | Flags::NO_EXECUTE | Flags::NO_CACHE | Flags::WRITE_THROUGH
            }
        }
    }
}

/// Why a range could not be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// No frame for a page table.
    OutOfFrames,
    /// The address is mapped already.
    Occupied {
        /// The first such address.
        address: u64,
    },
    /// The physical range ends beyond the direct map.
    OutOfReach {
        /// Its end.
        end: u64,
    },
    /// The physical range cannot contain what is to be mapped.
    Address(AddressFault),
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MapError::OutOfFrames => f.write_str("no memory for page tables"),
            MapError::Occupied { address } => write!(f, "{address:#x} is mapped already"),
            MapError::OutOfReach { end } => {
                write!(f, "physical addresses up to {end:#x} are beyond the direct map")
            }
            MapError::Address(fault) => fault.fmt(f),
        }
    }
}

/// Allocates frames for page tables: their physical addresses. The direct map contains them.
pub(crate) type FrameSource<'a> = &'a mut dyn FnMut() -> Option<u64>;

/// A tree of page tables.
pub(crate) struct PageTables {
    root: u64,
    largest_level: u8,
}

impl PageTables {
    /// An empty tree.
    ///
    /// # Errors
    /// [`MapError::OutOfFrames`].
    pub(crate) fn new(pages_1g: bool, frames: FrameSource) -> Result<PageTables, MapError> {
        let root = new_table(frames)?;
        Ok(PageTables { root, largest_level: if pages_1g { 3 } else { 2 } })
    }

    /// The physical address of the root table, as CR3 takes it.
    pub(crate) fn root(&self) -> u64 {
        self.root
    }

    /// The entry of the root table that translates an address.
    pub(crate) fn root_entry(&self, address: u64) -> Entry {
        load(self.entry(self.root, index(address, LEVELS)))
    }

    /// Sets a root entry to that of another tree: both share the tables below it from then on.
    pub(crate) fn share_root_entry(&mut self, address: u64, entry: Entry) {
        self.entry(self.root, index(address, LEVELS)).store(entry.0, Ordering::Relaxed);
    }

    /// An entry of a table of this tree.
    fn entry(&self, table: u64, index: usize) -> &AtomicU64 {
        // SAFETY: `walk` and `fill` start at the root and follow entries that lead to tables. `new_table` makes all of them, and none
        // is freed before the tree.
        unsafe { entry_of(table, index) }
    }

    /// Maps `bytes` bytes from `physical` on at `virt`. All three are multiples of 4 KiB. No TLB has to be flushed, because nothing was mapped
    /// there before.
    ///
    /// # Errors
    /// [`MapError`]. A part of the range may be mapped then.
    ///
    /// # Safety
    /// If the tree is in use, the caller may make this physical range accessible with these rights.
    pub(crate) unsafe fn map(
        &mut self,
        virt: u64,
        physical: u64,
        bytes: u64,
        rights: Rights,
        frames: FrameSource,
    ) -> Result<(), MapError> {
        let end = physical + bytes;
        if end > direct_map::MAX_PHYSICAL {
            return Err(MapError::OutOfReach { end });
        }
        self.fill(self.root, LEVELS, Piece { virt, physical, bytes }, rights, frames)
    }

    /// Whether an address is mapped.
    pub(crate) fn is_mapped(&self, address: u64) -> bool {
        let mut is_mapped = false;
        self.walk(address, |step| is_mapped = step.is_page());
        is_mapped
    }

    /// Reads the entries that translate an address, the root's first.
    fn walk(&self, address: u64, visit: impl FnMut(&Step)) {
        let read_entry = |table: u64, index: usize| self.entry(table, index).load(Ordering::Relaxed);
        walk_address(self.root, address, &read_entry, visit);
    }

    /// Makes a page of 4 KiB read-only. The caller flushes it from the TLBs. `false` if no such page is mapped.
    pub(crate) fn make_read_only(&mut self, address: u64) -> bool {
        let entry = self.small_entry(address).filter(|entry| load(entry).has(Flags::PRESENT));
        entry.map(|entry| entry.fetch_and(!Flags::WRITABLE.bits(), Ordering::Relaxed)).is_some()
    }

    /// Unmaps a page of 4 KiB: its entry is not present any more, but keeps the frame until
    /// [`release_entry`](Self::release_entry). The caller flushes it from the TLBs.
    pub(crate) fn unmap(&mut self, address: u64) {
        if let Some(entry) = self.small_entry(address) {
            // One operation, so that an accessed or dirty bit that a processor sets at the same time is not lost.
            entry.fetch_and(!Flags::PRESENT.bits(), Ordering::Relaxed);
        }
    }

    /// Clears the entry of an unmapped page; the physical address of its frame.
    pub(crate) fn release_entry(&mut self, address: u64) -> Option<u64> {
        let place = self.small_entry(address)?;
        let entry = load(place);
        if entry.is_unused() || entry.has(Flags::PRESENT) {
            return None;
        }
        place.store(0, Ordering::Relaxed);
        Some(entry.address())
    }

    /// The physical address of the table of that level which spans an address. Tables on the way there are made if they are missing.
    ///
    /// # Errors
    /// [`MapError`], also if a large page is mapped there.
    pub(in crate::memory) fn table_at(
        &mut self,
        address: u64,
        level: u8,
        frames: FrameSource,
    ) -> Result<u64, MapError> {
        let mut table = self.root;
        for above in (level + 1..=LEVELS).rev() {
            let place = self.entry(table, index(address, above));
            let mut entry = load(place);
            if entry.is_unused() {
                entry = Entry::new(new_table(frames)?, Flags::PRESENT | Flags::WRITABLE);
                // `Release`: the table's zeros are visible before the entry that leads to it.
                place.store(entry.0, Ordering::Release);
            } else if entry.has(Flags::HUGE_PAGE) {
                return Err(MapError::Occupied { address });
            }
            table = entry.address();
        }
        Ok(table)
    }

    /// The entry of a page table of the lowest level, if there is that table.
    fn small_entry(&mut self, address: u64) -> Option<&AtomicU64> {
        let mut last = None;
        self.walk(address, |step| last = Some(*step));
        let Step { table, index, .. } = last.filter(|step| step.level == 1)?;
        Some(self.entry(table, index))
    }

    fn fill(
        &self,
        at: u64,
        level: u8,
        mut piece: Piece,
        rights: Rights,
        frames: FrameSource,
    ) -> Result<(), MapError> {
        let span = span(level);
        while piece.bytes > 0 {
            let place = self.entry(at, index(piece.virt, level));
            let entry = load(place);
            let here = piece.bytes.min(span - piece.virt % span);
            let whole = here == span && piece.physical.is_multiple_of(span);
            if whole && level <= self.largest_level {
                if !entry.is_unused() {
                    return Err(MapError::Occupied { address: piece.virt });
                }
                let huge = if level > 1 { Flags::HUGE_PAGE } else { Flags::empty() };
                let entry = Entry::new(piece.physical, rights.flags(piece.virt) | huge);
                place.store(entry.0, Ordering::Relaxed);
            } else {
                let mut entry = entry;
                if entry.is_unused() {
                    // The entry of the page restricts the rights; those on the way to it allow everything.
                    entry = Entry::new(new_table(frames)?, Flags::PRESENT | Flags::WRITABLE);
                    // `Release`: the table's zeros are visible before the entry that leads to it.
                    place.store(entry.0, Ordering::Release);
                } else if entry.has(Flags::HUGE_PAGE) {
                    return Err(MapError::Occupied { address: piece.virt });
                }
                self.fill(entry.address(), level - 1, Piece { bytes: here, ..piece }, rights, frames)?;
            }
            piece = Piece {
                virt: piece.virt.wrapping_add(here),
                physical: piece.physical + here,
                bytes: piece.bytes - here,
            };
        }
        Ok(())
    }

    /// Loads the tree into CR3 of this CPU.
    ///
    /// # Safety
    /// The tree maps the code that this CPU executes and its stack, as the previous tree did.
    pub(crate) unsafe fn load(&self) {
        // SAFETY: the tree maps this CPU's code and stack, guaranteed by the caller (see # Safety).
        unsafe { load_root(self.root) };
    }
}

/// Loads the tree with that root into CR3 of this CPU.
///
/// **Context:** any.
///
/// # Safety
/// The tree maps the code that this CPU executes and its stack, as the previous tree did.
pub(crate) unsafe fn load_root(root: u64) {
    use x86_64::registers::control::{Cr3, Cr3Flags};
    // SAFETY: the tree maps this CPU's code and stack, guaranteed by the caller (see # Safety).
    unsafe { Cr3::write(PhysFrame::containing_address(PhysAddr::new(root)), Cr3Flags::empty()) };
}

#[derive(Clone, Copy)]
struct Piece {
    virt: u64,
    physical: u64,
    bytes: u64,
}

/// The entry of a table. Every access is atomic: processors set accessed and dirty bits (SDM Vol. 3A, 4.8), and other CPUs read entries
/// without the lock of the page tables.
///
/// # Safety
/// `table` is the physical address of a page table in the direct map, and stays one while the reference is used.
pub(in crate::memory) unsafe fn entry_of<'a>(table: u64, index: usize) -> &'a AtomicU64 {
    // SAFETY: `table` is a page of 512 words, guaranteed by the caller (see # Safety), and `index % ENTRIES` is below 512.
    let entry = unsafe { direct_map::pointer::<u64>(table).add(index % ENTRIES) };
    // SAFETY: the word is aligned, as `table` is, and stays one, guaranteed by the caller (see # Safety). Only `new_table`
    // accesses one otherwise, before the table is linked into a tree.
    unsafe { AtomicU64::from_ptr(entry) }
}

fn load(place: &AtomicU64) -> Entry {
    Entry(place.load(Ordering::Relaxed))
}

fn new_table(frames: FrameSource) -> Result<u64, MapError> {
    let frame = frames().ok_or(MapError::OutOfFrames)?;
    // An entry of zeros is not present.
    // SAFETY: the source has allocated the frame for this call, and the direct map contains it (`FrameSource`).
    cpu::zero_page(unsafe { &mut *direct_map::pointer(frame) });
    Ok(frame)
}
