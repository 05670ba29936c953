//! Page tables: what is mapped, and with which rights.
//!
//! One address space for all CPUs. Ranges are mapped with the largest pages that they and the processor allow; a
//! page is writable or executable, never both, and the kernel never maps one frame with both rights. The upper half is
//! the same in every tree and so global, but for what is mapped for a time; what a tree has in the lower half goes with the
//! tree.
//!
//! Four levels, always: every door leads in with paging off, and rt0 writes CR4 as a whole, without LA57, so a processor
//! that has five levels uses four. That is enough for 64 TiB of memory; `audit` finds a CPU on which it is otherwise.

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

/// What may be done with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Executed and read.
    Text,
    /// Read.
    Constants,
    /// Read and written.
    Data,
    /// Read and written, for a time: not global, so that a CPU forgets it with a reload of CR3.
    Temporary,
    /// Written, in bursts, and only in pages of 4 KiB (PAT entry 5, which every CPU of ours that has a PAT has as WC; SDM
    /// Vol. 3A, 12.12).
    Screen,
    /// Read and written, past all caches (PAT entry 3: UC; SDM Vol. 3A, 12.12).
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
            Rights::Temporary => Flags::PRESENT | Flags::WRITABLE | Flags::NO_EXECUTE,
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
    /// Something else is mapped there.
    Occupied {
        /// The first such address.
        address: u64,
    },
    /// The physical range lies beyond the direct map's room.
    OutOfReach {
        /// Its end.
        end: u64,
    },
    /// What is to be mapped cannot be there.
    Address(AddressFault),
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MapError::OutOfFrames => f.write_str("no memory for page tables"),
            MapError::Occupied { address } => write!(f, "{address:#x} is mapped already"),
            MapError::OutOfReach { end } => write!(f, "physical addresses up to {end:#x} are out of reach"),
            MapError::Address(fault) => fault.fmt(f),
        }
    }
}

/// Where frames for page tables come from: physical addresses of frames that the direct map shows.
pub type FrameSource<'a> = &'a mut dyn FnMut() -> Option<u64>;

/// A tree of page tables.
pub struct PageTables {
    root: u64,
    largest_level: u8,
}

impl PageTables {
    /// An empty tree.
    pub fn new(pages_1g: bool, frames: FrameSource) -> Result<PageTables, MapError> {
        let root = new_table(frames)?;
        Ok(PageTables { root, largest_level: if pages_1g { 3 } else { 2 } })
    }

    /// The root table's physical address, as CR3 takes it.
    pub fn root(&self) -> u64 {
        self.root
    }

    /// The root table's entry behind an address.
    pub fn root_entry(&self, address: u64) -> Entry {
        load(self.entry(self.root, index(address, LEVELS)))
    }

    /// Copies another tree's root entry: both see the same tables from then on.
    pub fn share_root_entry(&mut self, address: u64, entry: Entry) {
        self.entry(self.root, index(address, LEVELS)).store(entry.0, Ordering::Relaxed);
    }

    /// An entry of a table of this tree.
    fn entry(&self, table: u64, index: usize) -> &AtomicU64 {
        // SAFETY: the callers start at the root, made by `new_table` as every table is, and go to what an entry leads to that is
        // present and no page. Tables are not freed before the tree.
        unsafe { entry_of(table, index) }
    }

    /// Maps `bytes` from `physical` on at `virt`; all three are multiples of 4 KiB. Nothing was mapped there before,
    /// so no TLB holds anything that would have to go.
    ///
    /// # Safety
    /// The tree may be live: what the range leads to is the caller's to make reachable, with these rights.
    pub unsafe fn map(
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
    pub fn is_mapped(&self, address: u64) -> bool {
        let mut is_mapped = false;
        self.walk(address, |step| is_mapped = step.is_page());
        is_mapped
    }

    /// Reads the entries that translate an address, the root's first.
    fn walk(&self, address: u64, visit: impl FnMut(&Step)) {
        let read_entry = |table: u64, index: usize| self.entry(table, index).load(Ordering::Relaxed);
        walk_address(self.root, address, &read_entry, visit);
    }

    /// Takes away the right to write a page of 4 KiB. The caller makes TLBs forget it. `false` if no such page is mapped.
    pub fn make_read_only(&mut self, address: u64) -> bool {
        let entry = self.small_entry(address).filter(|entry| load(entry).has(Flags::PRESENT));
        entry.map(|entry| entry.fetch_and(!Flags::WRITABLE.bits(), Ordering::Relaxed)).is_some()
    }

    /// Makes a page of 4 KiB lead nowhere. Its entry keeps the frame, and stays in use, until [`PageTables::forget`].
    pub fn hide(&mut self, address: u64) {
        if let Some(entry) = self.small_entry(address) {
            // One operation, so that a bit that the processor sets at the same time is not lost.
            entry.fetch_and(!Flags::PRESENT.bits(), Ordering::Relaxed);
        }
    }

    /// Frees the entry of a hidden page; the frame that it led to.
    pub fn forget(&mut self, address: u64) -> Option<u64> {
        let place = self.small_entry(address)?;
        let entry = load(place);
        if entry.is_unused() || entry.has(Flags::PRESENT) {
            return None;
        }
        place.store(0, Ordering::Relaxed);
        Some(entry.address())
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
                    // Rights are decided where the page is; on the way down nothing is denied.
                    entry = Entry::new(new_table(frames)?, Flags::PRESENT | Flags::WRITABLE);
                    // The table's zeros are visible before the entry that leads to it.
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

    /// Makes this CPU use the tree.
    ///
    /// # Safety
    /// The tree maps what this CPU runs and stands on, as it did before.
    pub unsafe fn load(&self) {
        // SAFETY: the tree maps what this CPU runs and stands on, guaranteed by the caller (see # Safety).
        unsafe { load_root(self.root) };
    }
}

/// Makes this CPU use the tree with that root.
///
/// # Safety
/// As for `PageTables::load`.
pub unsafe fn load_root(root: u64) {
    use x86_64::registers::control::{Cr3, Cr3Flags};
    // SAFETY: the tree maps what this CPU runs and stands on, guaranteed by the caller (see # Safety).
    unsafe { Cr3::write(PhysFrame::containing_address(PhysAddr::new(root)), Cr3Flags::empty()) };
}

#[derive(Clone, Copy)]
struct Piece {
    virt: u64,
    physical: u64,
    bytes: u64,
}

/// The place of a table's entry. Processors set bits there on their own (SDM Vol. 3A, 4.8), and other CPUs read it without
/// the tables' lock, so every access is atomic.
///
/// # Safety
/// `table` is the physical address of a page table in the direct map, which stays one for as long as the reference is used.
pub(in crate::memory) unsafe fn entry_of<'a>(table: u64, index: usize) -> &'a AtomicU64 {
    // SAFETY: the caller guarantees a table, a page of 512 aligned words (see # Safety); no code accesses one but by this
    // function, except before it is linked into a tree.
    unsafe { AtomicU64::from_ptr(direct_map::pointer::<u64>(table).add(index % ENTRIES)) }
}

fn load(place: &AtomicU64) -> Entry {
    Entry(place.load(Ordering::Relaxed))
}

fn new_table(frames: FrameSource) -> Result<u64, MapError> {
    let frame = frames().ok_or(MapError::OutOfFrames)?;
    // An entry of zeros is one that is not present.
    // SAFETY: the source hands out frames that are nobody else's and that the direct map shows.
    cpu::zero_page(unsafe { &mut *direct_map::pointer(frame) });
    Ok(frame)
}
