//! The CPUs' stacks. They have a region of their own, in which an address determines the CPU, the stack, and whether it is a guard page.
//!
//! Each CPU has one row: its main stack, then its IST stacks, each above an unmapped guard page. A stack overflow faults on that page; the
//! double fault has a stack of its own, so that its handler works then.

use super::boot_alloc::table_frame;
use super::paging::kernel::tables;
use super::paging::tables::{MapError, Rights};
use crate::boot::direct_map;
use crate::boot::memory_map::FRAME_BYTES;
use crate::config::{IST_STACK_PAGES, STACK_PAGES};
use crate::cpu::{CpuId, IstStack};

const PAGE: u64 = FRAME_BYTES;

/// The first address of the region.
fn base() -> u64 {
    direct_map::base() + direct_map::VMAP_OFFSET
}

/// A stack of a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stack {
    /// The main stack.
    Main,
    /// A stack of the interrupt stack table.
    Ist(IstStack),
}

impl Stack {
    /// All stacks of a CPU, in ascending order of their addresses.
    pub(crate) const ALL: [Stack; 5] = [
        Stack::Main,
        Stack::Ist(IstStack::ALL[0]),
        Stack::Ist(IstStack::ALL[1]),
        Stack::Ist(IstStack::ALL[2]),
        Stack::Ist(IstStack::ALL[3]),
    ];

    /// Its size in bytes.
    pub(crate) const fn bytes(self) -> u64 {
        match self {
            Stack::Main => STACK_PAGES as u64 * PAGE,
            Stack::Ist(_) => IST_STACK_PAGES as u64 * PAGE,
        }
    }

    /// The name in reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Stack::Main => "main",
            Stack::Ist(stack) => stack.name(),
        }
    }

    /// The offset of its guard page in the row.
    const fn offset(self) -> u64 {
        match self {
            Stack::Main => 0,
            Stack::Ist(stack) => {
                PAGE + Stack::Main.bytes() + stack.index() as u64 * (PAGE + IST_STACK_PAGES as u64 * PAGE)
            }
        }
    }
}

/// The size of a row: every stack and its guard page.
const ROW_BYTES: u64 = Stack::ALL[4].offset() + PAGE + Stack::ALL[4].bytes();

/// The lowest usable address of a stack; the page below it is its guard.
pub(crate) fn bottom(cpu: CpuId, stack: Stack) -> u64 {
    base() + cpu.0 as u64 * ROW_BYTES + stack.offset() + PAGE
}

/// The end of a stack: the initial stack pointer.
pub(crate) fn top(cpu: CpuId, stack: Stack) -> u64 {
    bottom(cpu, stack) + stack.bytes()
}

/// The ends of a CPU's IST stacks, in the order of [`IstStack::ALL`].
pub(crate) fn ist_tops(cpu: CpuId) -> [u64; 4] {
    IstStack::ALL.map(|stack| top(cpu, Stack::Ist(stack)))
}

/// The memory of one CPU's stacks in bytes, without guard pages.
pub(crate) const BYTES_PER_CPU: u64 =
    STACK_PAGES as u64 * PAGE + IstStack::ALL.len() as u64 * IST_STACK_PAGES as u64 * PAGE;

/// The region of the first `cpus` CPUs: its first address and its end.
pub(crate) fn region(cpus: usize) -> (u64, u64) {
    (base(), base() + cpus as u64 * ROW_BYTES)
}

/// The guard pages of the first `cpus` CPUs, in ascending order.
pub(crate) fn guards(cpus: usize) -> impl Iterator<Item = u64> {
    let cpus = (0..cpus).map(|cpu| CpuId(cpu as u32));
    cpus.flat_map(|cpu| Stack::ALL.map(|stack| bottom(cpu, stack) - PAGE))
}

/// The stack below which this guard page is, if the address is in one.
pub(crate) fn guard_at(address: u64) -> Option<(CpuId, Stack)> {
    let offset = address.checked_sub(base())?;
    let cpu = CpuId(u32::try_from(offset / ROW_BYTES).ok()?);
    let stack = Stack::ALL
        .into_iter()
        .find(|stack| (bottom(cpu, *stack) - PAGE..bottom(cpu, *stack)).contains(&address))?;
    Some((cpu, stack))
}

/// Maps the stacks of a CPU to new frames.
///
/// **Context:** boot, on the BSP, once for each CPU.
///
/// # Errors
/// [`MapError`]. A part of the stacks may be mapped then.
pub(crate) fn map_stacks(cpu: CpuId) -> Result<(), MapError> {
    let mut tables = tables().lock();
    let tables = tables.as_mut().ok_or(MapError::OutOfFrames)?;
    for stack in Stack::ALL {
        let bottom = bottom(cpu, stack);
        for page in (bottom..bottom + stack.bytes()).step_by(FRAME_BYTES as usize) {
            let frame = table_frame().ok_or(MapError::OutOfFrames)?;
            // SAFETY: `table_frame` has allocated the frame for this page alone, and no other page has this address.
            unsafe { tables.map(page, frame, FRAME_BYTES, Rights::Data, &mut table_frame) }?;
        }
    }
    Ok(())
}
