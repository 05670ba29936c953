//! Stacks of threads: mappings, so that the page below a stack is never mapped and an overflow faults there.
//!
//! Each CPU keeps some stacks of threads that have ended, of the usual size: to map and to unmap costs more than the rest of a
//! thread. They are unmapped under memory pressure, and before free frames are counted ([`release_cached`]).

use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

use heapless::Vec;

use crate::cpu::IrqGuard;
use crate::cpu::per_cpu::PerCpu;
use crate::memory::Mapping;
use crate::memory::frames::FRAME_BYTES;
use crate::per_cpu;
use crate::smp;
use crate::sync::SpinLock;

/// The size of a stack for which the thread names none, in bytes.
pub(super) const DEFAULT_STACK_BYTES: usize = 32 * 1024;

/// The pages of such a stack with the thread's control block, its function and its result, if these are small.
const USUAL_PAGES: usize = DEFAULT_STACK_BYTES / FRAME_BYTES + 1;

/// The stacks that a CPU keeps.
const MOST_CACHED: usize = 8;

/// The stacks that a CPU keeps. Other CPUs lock them only to release them.
type Cached = SpinLock<Vec<Mapping, MOST_CACHED>>;

per_cpu! {
    static CACHED: Cached = SpinLock::new(Vec::new());
}
crate::name_lock!(per_cpu CACHED);

/// The deepest use of a stack that was unmapped, in bytes.
static DEEPEST: AtomicUsize = AtomicUsize::new(0);

/// Calls `f` with the stacks that this CPU keeps.
#[inline(always)]
fn with_cached<R>(f: impl FnOnce(&mut Vec<Mapping, MOST_CACHED>) -> R) -> R {
    let guard = IrqGuard::new();
    CACHED.with(&guard, |cached| f(&mut cached.lock(&guard)))
}

/// A thread's stack. Its drop frees it, or leaves it to the next thread.
#[derive(Debug)]
pub(crate) struct Stack(Option<Mapping>);

impl Stack {
    /// Allocates a stack of at least `bytes`. `None` without memory.
    ///
    /// **Context:** as for [`Mapping::new`].
    pub(crate) fn alloc(bytes: usize) -> Option<Stack> {
        let pages = bytes.div_ceil(FRAME_BYTES);
        if pages == USUAL_PAGES
            && let Some(mapping) = with_cached(Vec::pop)
        {
            return Some(Stack(Some(mapping)));
        }
        Mapping::new(pages).ok().map(|mapping| Stack(Some(mapping)))
    }

    fn mapping(&self) -> &Mapping {
        // Only the drop takes it.
        self.0.as_ref().expect("a stack has a mapping")
    }

    /// Returns the addresses of the stack.
    pub(crate) fn range(&self) -> Range<u64> {
        let start = self.mapping().address();
        start..start + self.mapping().bytes() as u64
    }

    /// Returns the end of the stack, from which it grows down.
    pub(crate) fn top(&self) -> *mut u8 {
        // SAFETY: the result is the end of the allocation.
        unsafe { self.mapping().as_ptr().add(self.mapping().bytes()) }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let Some(mapping) = self.0.take() else { return };
        let unmapped = if mapping.pages() == USUAL_PAGES {
            with_cached(|cached| cached.push(mapping)).err()
        } else {
            Some(mapping)
        };
        if let Some(mapping) = unmapped {
            unmap(mapping);
        }
    }
}

/// Unmaps a stack, and notes how deep it was used.
#[cold]
fn unmap(stack: Mapping) {
    DEEPEST.fetch_max(depth_of_use(&stack), Ordering::Relaxed);
}

/// The bytes of a stack from its end down to the lowest page that was written.
fn depth_of_use(stack: &Mapping) -> usize {
    stack.lowest_written_page().map_or(0, |page| (stack.pages() - page) * FRAME_BYTES)
}

/// Unmaps the stacks that the CPUs keep. Returns whether there were any. Their frames are free after a flush
/// (`smp::purge_mappings`).
///
/// **Context:** thread or interrupt; not NMI.
pub(crate) fn release_cached() -> bool {
    let mut has_released = false;
    for cached in smp::cpus().iter().filter_map(|cpu| cpu.get(CACHED)) {
        loop {
            let guard = IrqGuard::new();
            let Some(stack) = cached.lock(&guard).pop() else { break };
            drop(guard);
            unmap(stack);
            has_released = true;
        }
    }
    has_released
}

/// The deepest use of a stack that was unmapped, in bytes: its pages that were written, with the thread's control block.
/// **Context:** any.
pub(crate) fn deepest_use() -> usize {
    DEEPEST.load(Ordering::Relaxed)
}
