//! The per-CPU frame cache: a magazine for each CPU, on top of the [shared allocator](super::frames).
//!
//! A [magazine](mod@magazine) holds up to [`CAPACITY`] single frames and one run of each order from 1 to 18. Below
//! order 9, an allocation or a free that it can serve needs no locked instruction and touches no cache line of another CPU;
//! from there on, one locked instruction on the state word of the block. A refill moves [`BATCH`] frames from the block table
//! to the magazine, and a flush more than that back.
//!
//! | Module | Content |
//! |---|---|
//! | `magazine`, `run_cache`, `transfer_seq` | the data |
//! | `alloc`, `request`, `free` | allocation and free through a magazine (methods of `Frames`) |
//! | `remote`, `reclaimable` | other CPUs' magazines, read without their cooperation |
//! | `fast_path` | this CPU's magazine, reached through GS |
//! | `shortage`, `readiness` | when the cache is bypassed, because memory is short |
//! | `percpu` | `alloc`, `free`: the policy, with interrupts disabled |
//! | `counters` | per-CPU event counts |
//!
//! **Context.** Thread or interrupt context. Interrupts are disabled while a magazine is in use. In an NMI handler the cache
//! is disabled (`with_alloc_disabled`).

mod alloc;
#[cfg(target_os = "none")]
pub(crate) mod counters;
#[cfg(target_os = "none")]
mod drain;
#[cfg(target_os = "none")]
mod fast_path;
mod free;
pub(super) mod magazine;
#[cfg(target_os = "none")]
mod percpu;
#[cfg(target_os = "none")]
mod readiness;
mod reclaimable;
mod remote;
mod request;
mod run_cache;
#[cfg(target_os = "none")]
mod shortage;
mod transfer_seq;

#[cfg(target_os = "none")]
pub(crate) use drain::{drain_for_shortage, drain_this_cpu};
#[cfg(target_os = "none")]
pub(crate) use fast_path::{
    CACHE_NONEMPTY, is_alloc_disabled, magazine_of, reset_cache, with_alloc_disabled,
};
#[cfg(not(target_os = "none"))]
pub(crate) use magazine::Magazine;
pub use magazine::{BATCH, CAPACITY};
#[cfg(all(target_os = "none", feature = "shell"))]
pub(crate) use percpu::cached_by_this_cpu;
#[cfg(target_os = "none")]
pub(crate) use percpu::{
    alloc, alloc_bulk, alloc_in, alloc_nowait, alloc_run_at_hand, free, free_bulk, local_node, set_local_node,
};
pub(crate) use reclaimable::Reclaimable;
pub(crate) use remote::RemoteMagazine;
#[cfg(target_os = "none")]
pub(crate) use shortage::{end_shortage, note_shortage};
