//! Mappings: frames from anywhere, mapped at adjacent addresses. `docs/mappings.md` explains the design.
//!
//! [`Mapping::new`] allocates frames and maps them; [`vmap`] maps the frames of a batch. The addresses come from a region that is
//! much larger than the machine's memory. Each CPU has a part of it, so that two CPUs that map and unmap share nothing but the frame
//! allocator. A mapping's pages are not global, so a load of CR3 flushes them and nothing else.
//!
//! To unmap is to clear the present bit of the entries. The frames and the addresses are used again only after every CPU has flushed its
//! TLB, or will before it uses a mapping ([`sync::tlb`](crate::sync::tlb)). Unmapped mappings wait in batches, so that many share one
//! flush.
//!
//! | Module | Content |
//! |---|---|
//! | `slots` | slots, and lists of them in the entries of their guards, pure |
//! | `segments` | the shared allocator of addresses, pure |
//! | `ranges` | a CPU's own part of the region, pure |
//! | `region` | the region and its page tables |
//! | `own` | this CPU's own part of the region |
//! | `tlb` | this CPU's part of the flush protocol |
//! | `contents` | the frames of a slot |
//! | `batches` | unmapped slots, their flush, statistics |
//! | `mapping` | the handles |
//! | `rights` | read-only mappings, code, memory of devices |

#[cfg(any(target_os = "none", test))]
mod ranges;
#[cfg(any(target_os = "none", test))]
mod segments;
#[cfg(any(target_os = "none", test))]
mod slots;
#[cfg(test)]
mod tests;

#[cfg(target_os = "none")]
mod batches;
#[cfg(target_os = "none")]
mod contents;
#[cfg(all(target_os = "none", feature = "faults"))]
mod faults;
#[cfg(target_os = "none")]
mod mapping;
#[cfg(target_os = "none")]
mod own;
#[cfg(target_os = "none")]
mod region;
#[cfg(target_os = "none")]
mod rights;
#[cfg(target_os = "none")]
mod tlb;

#[cfg(target_os = "none")]
pub(crate) use batches::{Flushed, begin_flush, flush_unmapped, trim, waiting_pages};
#[cfg(target_os = "none")]
pub use batches::{MappingStatistics, statistics};
#[cfg(all(target_os = "none", feature = "faults"))]
pub(crate) use batches::{is_flushed, keeps_addresses};
#[cfg(target_os = "none")]
pub use mapping::{Mapping, StaleRange, VmapError, vmap};
#[cfg(target_os = "none")]
pub(crate) use own::RANGES;
#[cfg(target_os = "none")]
pub(in crate::memory) use region::init;
#[cfg(target_os = "none")]
pub(crate) use region::region;
#[cfg(target_os = "none")]
pub use region::region_pages;
#[cfg(target_os = "none")]
pub use rights::{CodeMapping, DeviceMapping, DeviceMappingError, DeviceMemory, ReadOnlyMapping};
#[cfg(all(target_os = "none", feature = "selftest"))]
pub(crate) use tlb::is_lazy;
#[cfg(target_os = "none")]
pub(crate) use tlb::{
    AllTlbs, GENERATION as TLB_GENERATION, TLB_WORD, TLB_WORD_STORAGE, Visitor, begin_absent, begin_lazy,
    end_lazy, flush_this_cpu, halt, set_flush_hook,
};
