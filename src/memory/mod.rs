//! Layer 4: page tables, stacks, frames.
//!
//! `init` leads from the loader's memory map to the final page tables and the frame allocator. From then on memory is
//! owned by handles: [`OwnedFrame`], [`FrameRange`] and [`FrameBatch`] for frames, [`Mapping`] for frames that are mapped side by
//! side. The functions behind them go by frame number, through this CPU's magazine, and are private to the crate. The
//! allocator itself is in [`mod@frames`], which knows neither CPUs nor interrupts; this module ties it to them.

pub(crate) mod audit;
pub mod frames;
pub mod source;
pub(crate) mod walk;

#[cfg(target_os = "none")]
mod audit_live;
#[cfg(any(target_os = "none", test))]
mod early;
#[cfg(target_os = "none")]
mod for_good;
#[cfg(target_os = "none")]
mod frame_batch;
#[cfg(target_os = "none")]
pub(crate) mod frame_counts;
#[cfg(target_os = "none")]
mod init;
#[cfg(target_os = "none")]
mod ioremap;
#[cfg(target_os = "none")]
mod out_of_memory;
#[cfg(target_os = "none")]
mod own;
#[cfg(target_os = "none")]
mod own_magazine;
#[cfg(target_os = "none")]
mod owned;
#[cfg(target_os = "none")]
mod paging;
#[cfg(target_os = "none")]
mod passage;
#[cfg(target_os = "none")]
mod per_cpu_frames;
#[cfg(target_os = "none")]
mod placement;
#[cfg(target_os = "none")]
mod screen;
#[cfg(target_os = "none")]
pub(crate) mod stacks;
#[cfg(target_os = "none")]
mod vmap;
#[cfg(target_os = "none")]
mod zeroed_slice;

#[cfg(target_os = "none")]
pub(crate) use audit_live::audit_live;
#[cfg(target_os = "none")]
pub(crate) use for_good::{CpuAreas, Zeroable, alloc_slice_from, alloc_slice_zeroed};
#[cfg(target_os = "none")]
pub use frame_batch::FrameBatch;
#[cfg(all(target_os = "none", feature = "faults"))]
pub(crate) use init::map_text_writable;
#[cfg(target_os = "none")]
pub(crate) use init::{init, insert_low, map_stacks, root};
#[cfg(target_os = "none")]
pub(crate) use ioremap::{claim_device, map_device, map_table, peek_table, unmap_device};
#[cfg(target_os = "none")]
pub(crate) use out_of_memory::{Whom, set_drain_others};
#[cfg(target_os = "none")]
pub use own::Octopod;
#[cfg(target_os = "none")]
pub(crate) use own_magazine::{KEEPS_FRAMES, magazine_of, reset_cache, with_alloc_disabled};
#[cfg(target_os = "none")]
pub use owned::{FrameRange, OwnedFrame};
#[cfg(target_os = "none")]
pub use paging::MapError;
#[cfg(target_os = "none")]
pub(crate) use paging::load_root;
#[cfg(target_os = "none")]
pub(crate) use passage::{LowMemory, Passage};
#[cfg(target_os = "none")]
pub(crate) use per_cpu_frames::drain_this_cpu;
#[cfg(all(target_os = "none", feature = "shell"))]
pub(crate) use per_cpu_frames::kept_by_this_cpu;
#[cfg(target_os = "none")]
pub(crate) use per_cpu_frames::{alloc, alloc_bulk, alloc_without_waiting, frames, free, free_bulk};
#[cfg(target_os = "none")]
pub use per_cpu_frames::{free_frames, total_frames};
#[cfg(target_os = "none")]
pub(crate) use placement::{alloc_in, divide, set_home};
#[cfg(target_os = "none")]
pub(crate) use screen::{open_pixel_screen, open_text_screen};
#[cfg(target_os = "none")]
pub(crate) use vmap::{AbandonedPages, region as mapping_region};
#[cfg(target_os = "none")]
pub use vmap::{Mapping, REGION_PAGES, StaleRange, VmapError, vmap};
#[cfg(target_os = "none")]
pub(crate) use zeroed_slice::ZeroedSlice;
