//! Layer 4: page tables, frames, mappings and stacks.
//!
//! [`init()`] builds the final page tables and the frame allocator from the memory map. From then on handles own memory:
//! [`OwnedFrame`], [`FrameRange`] and [`FrameBatch`] own frames, a [`Mapping`] owns frames that are mapped at adjacent
//! addresses. The functions behind the handles take frame numbers and are private to the crate.
//!
//! Sub-modules, from the bottom up. A module imports only from those above it in this table:
//!
//! | Module | Content |
//! |---|---|
//! | [`frames`] | the shared frame allocator: block table, buddies, zones |
//! | `reclaim` | what an allocation does when no frame is found, and the hook by which the other CPUs drain their caches |
//! | `heap_slot` | this CPU's heap cache, and the hook by which the heap above is drained |
//! | [`cache`] | the per-CPU frame cache: magazine, fast path, policy, drain |
//! | [`source`], `kernel_allocator` | the interface of allocators, and the kernel's implementation |
//! | `owned`, `frame_batch` | handles that own frames |
//! | `boot_alloc`, `early_frames`, `zeroed_slice` | memory that is never freed; frames before the allocator; large tables |
//! | `paging` | page tables, and the walk of an address |
//! | `stacks`, `mappings`, `mmio`, `trampoline_tables` | what is mapped: stacks, mappings, devices, the AP trampoline |
//! | `numa_init` | zones from the firmware's NUMA tables |
//! | `audit` | the audit of the page tables against what each mapping may be |
//! | `init` | the boot stage |
//! | `host` | the allocator on the host, for tests |
//!
//! **Hooks.** Upward calls go through function pointers that a higher layer sets once:
//!
//! | Hook | Set by | Called by |
//! |---|---|---|
//! | [`set_drain_hook`] | `smp::drain` | `reclaim`: the other CPUs drain their frame caches |
//! | [`set_heap_hook`] | `heap` | `heap_slot`: the heap returns what it has cached |
//! | [`set_flush_hook`] | `smp::shootdown` | `mappings`: the other CPUs flush their TLBs |

pub mod cache;
pub mod frames;
pub mod source;

pub(crate) mod audit;
pub(crate) mod paging;
mod zeroable;

#[cfg(target_os = "none")]
mod boot_alloc;
#[cfg(any(target_os = "none", test))]
mod early_frames;
#[cfg(target_os = "none")]
mod frame_batch;
#[cfg(target_os = "none")]
mod heap_slot;
#[cfg(not(target_os = "none"))]
pub mod host;
#[cfg(target_os = "none")]
mod init;
#[cfg(target_os = "none")]
mod kernel_allocator;
#[cfg(any(target_os = "none", test))]
mod mappings;
#[cfg(target_os = "none")]
mod mmio;
#[cfg(target_os = "none")]
mod numa_init;
#[cfg(target_os = "none")]
mod owned;
#[cfg(target_os = "none")]
mod reclaim;
#[cfg(target_os = "none")]
pub(crate) mod stacks;
#[cfg(test)]
mod tests;
#[cfg(target_os = "none")]
mod trampoline_tables;
#[cfg(target_os = "none")]
mod zeroed_slice;

#[cfg(target_os = "none")]
pub(crate) use audit::audit_live;
#[cfg(target_os = "none")]
pub(crate) use boot_alloc::{CpuAreas, alloc_slice_from, alloc_slice_zeroed};
#[cfg(all(target_os = "none", feature = "shell"))]
pub(crate) use cache::cached_by_this_cpu;
#[cfg(target_os = "none")]
pub(crate) use cache::{
    CACHE_NONEMPTY, alloc, alloc_bulk, alloc_in, alloc_nowait, drain_for_shortage, drain_this_cpu, free,
    free_bulk, is_alloc_disabled, local_node, magazine_of, note_shortage, reset_cache, set_local_node,
    with_alloc_disabled,
};
#[cfg(target_os = "none")]
pub use frame_batch::FrameBatch;
#[cfg(target_os = "none")]
pub(crate) use frames::global::frames;
#[cfg(target_os = "none")]
pub use frames::global::{free_frames, total_frames};
#[cfg(target_os = "none")]
pub(crate) use heap_slot::{
    HEAP_RECLAIM, HeapHooks, MAGAZINES_BYTES, clear_heap_cache, has_no_heap_cache, heap_cache, no_fast_path,
    set_heap_cache, set_heap_hook,
};
#[cfg(all(target_os = "none", feature = "faults"))]
pub(crate) use init::map_text_writable;
#[cfg(target_os = "none")]
pub(crate) use init::{add_low_memory, init};
#[cfg(target_os = "none")]
pub use kernel_allocator::KernelAllocator;
#[cfg(all(target_os = "none", feature = "selftest"))]
pub(crate) use mappings::is_lazy;
#[cfg(target_os = "none")]
pub(crate) use mappings::{
    AllTlbs, Flushed, RANGES, TLB_GENERATION, TLB_WORD, TLB_WORD_STORAGE, Visitor, begin_absent, begin_flush,
    begin_lazy, end_lazy, flush_this_cpu, flush_unmapped, halt, region as mapping_region, set_flush_hook,
    trim, waiting_pages,
};
#[cfg(target_os = "none")]
pub use mappings::{
    CodeMapping, DeviceMapping, DeviceMappingError, DeviceMemory, Mapping, MappingStatistics,
    ReadOnlyMapping, StaleRange, VmapError, region_pages as mapping_region_pages,
    statistics as mapping_statistics, vmap,
};
#[cfg(all(target_os = "none", feature = "faults"))]
pub(crate) use mappings::{is_flushed, keeps_addresses};
#[cfg(target_os = "none")]
pub(crate) use mmio::{
    claim_device, map_device, map_table, open_pixel_screen, open_text_screen, peek_table, unmap_device,
};
#[cfg(target_os = "none")]
pub(crate) use numa_init::set_zones;
#[cfg(target_os = "none")]
pub use owned::{FrameRange, OwnedFrame};
#[cfg(target_os = "none")]
pub use paging::MapError;
#[cfg(all(target_os = "none", feature = "selftest"))]
pub(crate) use paging::access_at;
#[cfg(target_os = "none")]
pub(crate) use paging::{load_root, root};
#[cfg(target_os = "none")]
pub(crate) use reclaim::{DrainScope, RemoteCaches, set_drain_hook};
#[cfg(target_os = "none")]
pub(crate) use stacks::map_stacks;
#[cfg(target_os = "none")]
pub(crate) use trampoline_tables::{LowMemory, TrampolineTables};
pub use zeroable::Zeroable;
#[cfg(target_os = "none")]
pub(crate) use zeroed_slice::ZeroedSlice;
