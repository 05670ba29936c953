//! The workloads of heaps: those of frame allocators with objects, and three known from heaps.

mod exhaust;
mod hotplug;
mod interrupts;
mod known;
mod random;
mod singles;
mod sizes;

pub(in crate::stress) use exhaust::{HEAP_FRAGMENTATION, HEAP_STORM};
pub(in crate::stress) use hotplug::HEAP_HOTPLUG;
pub(in crate::stress) use interrupts::HEAP_INTERRUPTS;
pub(in crate::stress) use known::{BOX64, LARSON, THREADTEST};
pub(in crate::stress) use random::HEAP_RANDOM;
pub(in crate::stress) use singles::{HEAP_BULK, HEAP_PAIRS, HEAP_REMOTE};
pub(in crate::stress) use sizes::HEAP_SIZES;
