//! The heap of the crate `wf_alloc`: lists for each CPU, without locks. A span of it never changes its size class again.

use core::alloc::Layout;
use core::ptr::NonNull;

use wf_alloc::{ThreadToken, WfSpanAllocator};

use crate::heap::source::{HeapError, HeapSource, this_cpu};
use crate::memory::source::uninterrupted;
use crate::stress::heap::arena::HeapArena;
use crate::stress::heap::definition::{Heap, HeapBacking, HeapRun};

/// The heap `wf_alloc`.
pub(in crate::stress::heap) static WF_ALLOC: Heap = Heap {
    name: "wf_alloc",
    summary: "The heap of the crate `wf_alloc`: lists for each CPU, without locks; it keeps its spans.",
    backing: HeapBacking::Arena(run),
};

/// The allocator. A token must be used by one thread at a time: the CPU's number, with interrupts disabled.
struct WaitFree(WfSpanAllocator);

/// Returns whether the processor has CMPXCHG16B, which the crate uses without a check (CPUID 1:ECX.13).
fn has_cmpxchg16b() -> bool {
    #[cfg(target_arch = "x86_64")]
    return core::arch::x86_64::__cpuid(1).ecx & 1 << 13 != 0;
    #[cfg(not(target_arch = "x86_64"))]
    true
}

fn run(arena: &HeapArena<'_>, run: HeapRun<'_>) {
    if !has_cmpxchg16b() {
        return arena.decline("the processor lacks CMPXCHG16B");
    }
    let (start, bytes) = (arena.start().as_ptr(), arena.bytes());
    // SAFETY: the memory must be valid, and outlive the allocator without moving. The arena outlives this function.
    let made = unsafe { WfSpanAllocator::from_metadata_region(arena.cpus(), start, bytes) };
    let (allocator, metadata) = made.expect("an arena has room for the metadata of wf_alloc");
    let heap = WaitFree(allocator);
    // SAFETY: the offset must lie in the arena. `from_metadata_region` has used no more of it.
    let rest = unsafe { start.add(metadata) };
    // SAFETY: the rest must be valid and unused, and the allocator must not move from now on: `heap` stays where it is.
    unsafe { heap.0.init(rest, bytes - metadata) };
    run(&heap);
}

impl WaitFree {
    fn with_token<R>(&self, f: impl FnOnce(ThreadToken) -> R) -> R {
        uninterrupted(|| {
            // SAFETY: a token must be used by one thread at a time, and its number be less than the number of CPUs. The CPU's own
            // number is, as interrupts are disabled; on the host each thread has another number.
            f(unsafe { self.0.registry.token_from_raw(this_cpu()) })
        })
    }
}

// SAFETY: objects must be valid, aligned and disjoint. `alloc_with_token` guarantees it.
unsafe impl HeapSource for WaitFree {
    fn alloc(&self, layout: Layout) -> Result<NonNull<u8>, HeapError> {
        // SAFETY: the token must be of this allocator and this thread alone (see `with_token`).
        let object = self.with_token(|token| unsafe { self.0.alloc_with_token(layout, token) });
        NonNull::new(object).ok_or(HeapError::OutOfMemory)
    }

    unsafe fn dealloc(&self, object: NonNull<u8>, layout: Layout) -> Result<(), HeapError> {
        // SAFETY: the object must come from this allocator with this layout, guaranteed by the caller (see `HeapSource::dealloc`); the
        // token must be of this thread alone (see `with_token`).
        self.with_token(|token| unsafe { self.0.dealloc_with_token(object.as_ptr(), layout, token) });
        Ok(())
    }
}
