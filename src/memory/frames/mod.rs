//! The shared frame allocator: which 4 KiB frames of physical memory are free, for all CPUs.
//!
//! It has two layers. [`cache`](super::cache) puts a third one, a magazine per CPU, on top of them.
//!
//! 1. The block table has a state word and a bitmap of 512 bits for each block of 2 MiB. A few atomic operations move a
//!    batch of frames. A free on another CPU costs the same as one on the CPU that allocated the frame. Orders 1 to 8 are
//!    aligned runs of bits in one block.
//! 2. A buddy allocator of whole blocks per zone, behind a lock. A zone is the part of one NUMA node below an address
//!    limit. Orders 9 to 18 come from the buddies: the CPU's own node first, then the others by distance.
//!
//! A block whose frames are all free goes back to the buddy, where it is merged with its free neighbours. A workload that frees
//! all its frames therefore leaves no fragmentation.
//!
//! | Module | Content |
//! |---|---|
//! | `allocator` | `Frames`, the shared state |
//! | `number`, `error`, `fault_names`, `faults` | units, error types, fault injection |
//! | `state`, `bitmap`, `summary`, `table` | the block table and the protocol of its state words |
//! | `block_bits`, `gigabyte`, `buddy` | free runs of whole blocks |
//! | `zone`, `zone_layout`, `zones` | NUMA nodes and zones |
//! | `search`, `search_target`, `hint`, `request` | allocation |
//! | `free`, `free_runs` | frees |
//! | `insert` | adds memory |
//! | `runs` | walks while other CPUs change the table |
//! | `stats`, `validate` | counts, consistency check |
//!
//! **Context.** Thread or interrupt context, not NMI. Interrupts are disabled in all of it: an interrupt handler that
//! allocates could otherwise wait for a lock that its own CPU holds. Nothing waits, except for the lock of a buddy, which
//! is held for a bounded time. The same files compile on the host, where they are tested.

pub(super) mod allocator;
pub(super) mod atomic_frame;
pub(super) mod bitmap;
pub(super) mod block_bits;
pub(super) mod buddy;
pub(super) mod error;
pub(crate) mod fault_names;
#[cfg(feature = "faults")]
pub(crate) mod faults;
pub(super) mod free;
pub(super) mod free_runs;
pub(super) mod gigabyte;
#[cfg(target_os = "none")]
pub(super) mod global;
pub(super) mod hint;
pub(super) mod insert;
pub(super) mod number;
pub(super) mod request;
pub(super) mod runs;
pub(super) mod search;
pub(super) mod search_target;
pub(super) mod state;
pub(super) mod stats;
pub(super) mod summary;
pub(crate) mod sync;
pub(super) mod table;
pub(super) mod validate;
pub(super) mod zone;
pub(super) mod zone_layout;
pub(super) mod zones;

pub(crate) use allocator::Frames;
pub use error::{FreeError, InsertError, Invalid};
pub(crate) use free_runs::Stolen;
pub use number::{FRAME_BYTES, FRAME_SHIFT, FRAMES_PER_BLOCK, FrameNumber, ORDERS, Order};
pub use request::{FrameRequest, Nodes};
pub(crate) use stats::ZoneStats;
pub(crate) use zone::SetZonesError;
#[cfg(not(target_os = "none"))]
pub(crate) use zone::Zone;
pub use zone_layout::{LOW_ZONE_END, MAX_ZONES, NodeId, ZoneId, ZoneLayout, ZoneLayoutError, ZoneType};
