//! The CPUs' stacks: a region of their own, in which an address alone tells whose stack it is, which one, and whether
//! it is the guard page below it.
//!
//! Each CPU has one row: its main stack, then the interrupt stacks, each with an unmapped page below. A stack that
//! runs over meets that page; the fault then needs a stack that still works, which is what the double fault's own is
//! for.

use super::boot_alloc::table_frame;
use super::paging::kernel::tables;
use super::paging::tables::{MapError, Rights};
use crate::boot::direct_map;
use crate::boot::memory_map::FRAME_BYTES;
use crate::config::{IST_STACK_PAGES, STACK_PAGES};
use crate::cpu::{CpuId, IstStack};

const PAGE: u64 = FRAME_BYTES;

/// Where the region begins.
fn base() -> u64 {
    direct_map::base() + direct_map::BEYOND
}

/// Which of a CPU's stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    /// The one it works on.
    Main,
    /// One of the interrupt stack table's.
    Ist(IstStack),
}

impl Stack {
    /// All of a CPU's stacks, in the order in which they lie.
    pub const ALL: [Stack; 5] = [
        Stack::Main,
        Stack::Ist(IstStack::ALL[0]),
        Stack::Ist(IstStack::ALL[1]),
        Stack::Ist(IstStack::ALL[2]),
        Stack::Ist(IstStack::ALL[3]),
    ];

    /// Its size, in bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            Stack::Main => STACK_PAGES as u64 * PAGE,
            Stack::Ist(_) => IST_STACK_PAGES as u64 * PAGE,
        }
    }

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Stack::Main => "main",
            Stack::Ist(stack) => stack.name(),
        }
    }

    /// Where its guard page lies in the row.
    const fn offset(self) -> u64 {
        match self {
            Stack::Main => 0,
            Stack::Ist(stack) => {
                PAGE + Stack::Main.bytes() + stack.index() as u64 * (PAGE + IST_STACK_PAGES as u64 * PAGE)
            }
        }
    }
}

/// A row's size: every stack and its guard page.
const ROW_BYTES: u64 = Stack::ALL[4].offset() + PAGE + Stack::ALL[4].bytes();

/// The lowest usable address of a stack; the page below it is its guard.
pub fn bottom(cpu: CpuId, stack: Stack) -> u64 {
    base() + cpu.0 as u64 * ROW_BYTES + stack.offset() + PAGE
}

/// One past a stack's highest address: where a stack pointer starts.
pub fn top(cpu: CpuId, stack: Stack) -> u64 {
    bottom(cpu, stack) + stack.bytes()
}

/// The ends of a CPU's interrupt stacks, in the order of [`IstStack::ALL`].
pub fn ist_tops(cpu: CpuId) -> [u64; 4] {
    IstStack::ALL.map(|stack| top(cpu, Stack::Ist(stack)))
}

/// Bytes of memory that one CPU's stacks take.
pub const BYTES_PER_CPU: u64 =
    STACK_PAGES as u64 * PAGE + IstStack::ALL.len() as u64 * IST_STACK_PAGES as u64 * PAGE;

/// The addresses that the rows of so many CPUs take.
pub fn region(cpus: usize) -> (u64, u64) {
    (base(), base() + cpus as u64 * ROW_BYTES)
}

/// The guard pages of so many CPUs, in ascending order.
pub fn guards(cpus: usize) -> impl Iterator<Item = u64> {
    let cpus = (0..cpus).map(|cpu| CpuId(cpu as u32));
    cpus.flat_map(|cpu| Stack::ALL.map(|stack| bottom(cpu, stack) - PAGE))
}

/// Whose guard page that is, if it is one.
pub fn guard_at(address: u64) -> Option<(CpuId, Stack)> {
    let offset = address.checked_sub(base())?;
    let cpu = CpuId(u32::try_from(offset / ROW_BYTES).ok()?);
    let stack = Stack::ALL
        .into_iter()
        .find(|stack| (bottom(cpu, *stack) - PAGE..bottom(cpu, *stack)).contains(&address))?;
    Some((cpu, stack))
}

/// Maps a CPU's stacks, on frames that nobody else has.
pub fn map_stacks(cpu: CpuId) -> Result<(), MapError> {
    let mut tables = tables().lock();
    let tables = tables.as_mut().ok_or(MapError::OutOfFrames)?;
    for stack in Stack::ALL {
        let bottom = bottom(cpu, stack);
        for page in (bottom..bottom + stack.bytes()).step_by(FRAME_BYTES as usize) {
            let frame = table_frame().ok_or(MapError::OutOfFrames)?;
            // SAFETY: a fresh frame, at an address that is this stack's alone.
            unsafe { tables.map(page, frame, FRAME_BYTES, Rights::Data, &mut table_frame) }?;
        }
    }
    Ok(())
}
