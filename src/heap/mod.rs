//! Layer 9: the heap. Objects of any size for Rust's `alloc`, cut from the frames of the layer `memory`.
//!
//! An allocation and a free take a magazine of this CPU: an array of pointers to free objects of one size class. Behind the magazines is a depot
//! for each class and node, behind that slabs: runs of frames that are cut into objects. Larger objects are runs of frames. What lies at an
//! address is in a side table, so an object has no header, and every free is checked. `docs/heap.md` describes the design and its invariants.
//!
//! Sub-modules, from the bottom up. A module imports only from those above it in this table:
//!
//! | Module | Content |
//! |---|---|
//! | `size_class` | the sizes of objects, and the class of a layout |
//! | `source` | the interface by which the stress and the benches use any heap |
//! | `sync` | the lock: the real one, or a model checker's |
//! | `backing` | where frames come from |
//! | `chunks` | the heap's own small blocks: magazines and records |
//! | `magazines` | the magazines of a CPU, and the fast path |
//! | `slab` | a slab's record: bitmap and state word |
//! | `map` | what lies at an address |
//! | `depot` | slabs and magazines of a class on a node |
//! | `misuse` | frees that are refused |
//! | `fault_names`, `faults` | bugs of the heap for fault injection |
//! | `mark` | the mark of free objects |
//! | `large_counts` | counts of large objects |
//! | `allocator` | `Heap`: allocation, and a free with its check |
//! | `slab_frames` | where slabs come from and go to |
//! | `exchange` | what happens when a magazine is empty or full |
//! | `large` | objects above the largest class |
//! | `stats` | counts, and the check of the tables |
//! | `sites`, `checked` | objects with red zones, poison and call sites |
//! | `arena` | what the kernel's heap allocates from while an allocator of frames is under test |
//! | `parameters` | whether objects are checked |
//! | `instance` | the one heap that all CPUs share |
//! | `kernel_checked` | the checks of the kernel's heap |
//! | `kernel` | each CPU's magazines, and the `GlobalAlloc` of programs |
//! | `kernel_stats` | what the kernel's heap counts |
//! | `purge`, `cache` | caches of objects that stay constructed |
//! | `host` | the heap on the host, for tests |
//!
//! **Context.** Thread or interrupt context; an interrupt handler's allocation fails at once if there is no frame at hand. In an NMI handler an
//! allocation fails, and a free is refused.

pub(crate) mod allocator;
pub(crate) mod backing;
pub(crate) mod checked;
pub(crate) mod magazines;
pub(crate) mod misuse;
pub(crate) mod sites;
#[doc(hidden)]
pub mod size_class;
pub mod source;
pub(crate) mod stats;

#[cfg(target_os = "none")]
pub(crate) mod arena;
#[cfg(target_os = "none")]
mod cache;
mod chunks;
mod depot;
mod exchange;
pub(crate) mod fault_names;
#[cfg(feature = "faults")]
pub(crate) mod faults;
#[cfg(target_os = "none")]
mod instance;
#[cfg(target_os = "none")]
mod kernel;
#[cfg(target_os = "none")]
mod kernel_checked;
#[cfg(target_os = "none")]
mod kernel_stats;
mod large;
mod large_counts;
mod map;
mod mark;
pub(crate) mod parameters;
#[cfg(target_os = "none")]
mod purge;
mod slab;
mod slab_frames;
mod sync;

#[cfg(not(target_os = "none"))]
pub(crate) mod host;
#[cfg(test)]
mod tests;

#[cfg(target_os = "none")]
#[doc(hidden)]
pub use cache::CacheMagazine;
#[cfg(target_os = "none")]
pub use cache::{Cache, CacheBox};
#[cfg(target_os = "none")]
pub use kernel::KernelHeap;
#[cfg(all(target_os = "none", feature = "selftest"))]
pub(crate) use kernel::{held_frames, try_dealloc, validate};
#[cfg(target_os = "none")]
pub(crate) use kernel::{init, reclaim, table_bytes};
#[cfg(target_os = "none")]
pub(crate) use kernel_checked::{ignore_live_sites, send_live_sites};
#[cfg(target_os = "none")]
pub(crate) use kernel_stats::{ClassCounts, HeapCounts};
pub(crate) use misuse::Misuse;
#[cfg(target_os = "none")]
pub(crate) use parameters::{CHECKED_KEY, HeapChecks};
#[cfg(target_os = "none")]
#[doc(hidden)]
pub use purge::{CACHES, Purge};
