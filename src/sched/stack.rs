//! Stacks of threads: mappings, so that the page below a stack is never mapped and an overflow faults there.
//!
//! Each CPU keeps some stacks of threads that have ended, of the usual size: to map and to unmap costs more than the rest of a
//! thread. They are unmapped under memory pressure, and before free frames are counted ([`release_cached`]).

use core::mem::ManuallyDrop;
use core::ops::Range;
use core::sync::atomic::{AtomicU32, Ordering};

use heapless::Vec;

use super::entity::{Affinity, ThreadId};
use super::inheritance::Inheritance;
use super::own_inheritance::OwnInheritance;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{CpuId, IrqGuard, ThreadName};
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

/// What a stack has for its threads, one after the other.
#[derive(Debug)]
struct Parts {
    mapping: Mapping,
    /// How many of its pages earlier threads have used.
    used_before: u32,
    inheritance: OwnInheritance,
}

/// The stacks that a CPU keeps. Other CPUs lock them only to release them.
type Cached = SpinLock<Vec<Parts, MOST_CACHED>>;

per_cpu! {
    static CACHED: Cached = SpinLock::new(Vec::new());
}
crate::name_lock!(per_cpu CACHED);

/// The deepest use of a stack by a thread that has ended, in pages.
static DEEPEST: AtomicU32 = AtomicU32::new(0);

/// The thread that has used its stack so deeply.
static DEEPEST_THREAD: SpinLock<Option<EndedThread>> = SpinLock::new(None);
crate::name_lock!(DEEPEST_THREAD);

/// A thread that has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndedThread {
    pub(super) id: ThreadId,
    pub(super) name: ThreadName,
    pub(super) cpu: CpuId,
    pub(super) affinity: Affinity,
    pub(super) stack: StackUse,
    pub(super) ran_ns: Option<u64>,
}

/// How much of a thread's stack was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackUse {
    /// The size of the stack in bytes, with the thread's control block.
    pub bytes: usize,
    /// How much of it was written, in bytes: from its end down to its lowest page that was.
    pub used_bytes: usize,
    /// Whether the thread itself has used so much. If not, an earlier thread of the same stack has, and this one at most as much.
    pub is_own: bool,
}

/// Calls `f` with the stacks that this CPU keeps.
#[inline(always)]
fn with_cached<R>(f: impl FnOnce(&mut Vec<Parts, MOST_CACHED>) -> R) -> R {
    let guard = IrqGuard::new();
    CACHED.with(&guard, |cached| f(&mut cached.lock(&guard)))
}

/// A thread's stack. Its drop frees it, or leaves it to the next thread.
#[derive(Debug)]
pub(crate) struct Stack {
    /// The last use takes them: the drop or `release`.
    parts: ManuallyDrop<Parts>,
    /// How many of its pages were used when its thread ended; before, as many as earlier threads have used.
    used_at_end: AtomicU32,
}

impl Stack {
    /// Allocates a stack of at least `bytes`. `None` without memory.
    ///
    /// **Context:** as for [`Mapping::new`].
    #[inline(always)]
    pub(crate) fn alloc(bytes: usize) -> Option<Stack> {
        let pages = bytes.div_ceil(FRAME_BYTES);
        if pages == USUAL_PAGES
            && let Some(parts) = with_cached(Vec::pop)
        {
            return Some(Stack::of(parts));
        }
        let (mapping, inheritance) = new_stack(pages)?;
        Some(Stack::of(Parts { mapping, used_before: 0, inheritance }))
    }

    #[inline(always)]
    fn of(parts: Parts) -> Stack {
        let used_at_end = AtomicU32::new(parts.used_before);
        Stack { parts: ManuallyDrop::new(parts), used_at_end }
    }

    /// As a drop, inlined: the end of each thread is a caller.
    #[inline(always)]
    pub(super) fn release(self) {
        // SAFETY: the stack must not be used any more: it is not dropped.
        unsafe { ManuallyDrop::new(self).leave() };
    }

    /// Leaves the parts to the next thread, or frees them.
    ///
    /// # Safety
    /// It is the last use of the stack.
    #[inline(always)]
    unsafe fn leave(&mut self) {
        // SAFETY: the parts must not be used any more: guaranteed by the caller (see # Safety).
        let mut parts = unsafe { ManuallyDrop::take(&mut self.parts) };
        #[cfg(feature = "faults")]
        if super::faults::leaks_stack() {
            return core::mem::forget(parts);
        }
        parts.used_before = *self.used_at_end.get_mut();
        let usual = parts.mapping.pages() == USUAL_PAGES;
        let kept = if usual { with_cached(|cached| cached.push(parts)) } else { Err(parts) };
        // After the lock is released.
        if let Err(parts) = kept {
            parts.free();
        }
    }

    fn mapping(&self) -> &Mapping {
        &self.parts.mapping
    }

    /// Returns the inheritance of the thread that has the stack.
    pub(super) fn inheritance(&self) -> &'static Inheritance {
        self.parts.inheritance.get()
    }

    /// Returns how much of the stack was used. **Context:** any; the thread may run.
    ///
    /// By the dirty bits of its pages, which cost the thread nothing. A pattern to compare with would have to be written at the start of each
    /// thread: the whole stack, or the result depends on which words a function happens to write. The bits stay when a stack is used again:
    /// to clear them takes a flush of all TLBs. So what earlier threads have used is kept beside the stack.
    pub(super) fn usage(&self) -> StackUse {
        let used = self.used_pages();
        StackUse {
            bytes: self.mapping().bytes(),
            used_bytes: used as usize * FRAME_BYTES,
            is_own: used > self.parts.used_before,
        }
    }

    /// Returns how many pages were used: without one between that was not written, since a function with a frame of more than a page writes to
    /// each page of it first.
    #[inline(always)]
    fn used_pages(&self) -> u32 {
        self.mapping().written_pages_from_end(self.parts.used_before)
    }

    /// Notes how much of the stack was used, by a thread that has ended. **Context:** its CPU, which has left the stack.
    #[inline(always)]
    pub(super) fn note_end(&self, guard: &IrqGuard, thread: impl FnOnce(StackUse) -> EndedThread) {
        let used = self.used_pages();
        self.used_at_end.store(used, Ordering::Relaxed);
        if used > DEEPEST.load(Ordering::Relaxed) {
            note_deepest(guard, thread(self.usage()));
        }
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
        // SAFETY: the stack must not be used any more: it is dropped, and `release` drops none.
        unsafe { self.leave() };
    }
}

#[cold]
#[inline(never)]
fn new_stack(pages: usize) -> Option<(Mapping, OwnInheritance)> {
    let inheritance = OwnInheritance::alloc()?;
    Some((Mapping::new(pages).ok()?, inheritance))
}

impl Parts {
    #[cold]
    #[inline(never)]
    fn free(self) {
        drop(self);
    }
}

#[cold]
#[inline(never)]
fn note_deepest(guard: &IrqGuard, thread: EndedThread) {
    let mut deepest = DEEPEST_THREAD.lock(guard);
    let pages = (thread.stack.used_bytes / FRAME_BYTES) as u32;
    if DEEPEST.fetch_max(pages, Ordering::Relaxed) < pages {
        *deepest = Some(thread);
    }
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
            drop(stack);
            has_released = true;
        }
    }
    has_released
}

/// Returns the thread that has used its stack most deeply, of those that have ended. Does not wait: `None` also if another CPU notes one.
/// **Context:** any.
pub(super) fn deepest_ended() -> Option<EndedThread> {
    DEEPEST_THREAD.try_lock(&IrqGuard::new()).and_then(|deepest| *deepest)
}
