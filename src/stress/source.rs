//! The allocators under test. Workloads know an allocator as a [`FrameSource`] only, so each workload runs on all of them, in
//! the kernel and on the host, with the same checks.

#[cfg(target_os = "none")]
pub(crate) use crate::memory::KernelAllocator;
pub(crate) use crate::memory::source::{AllocContext, FrameSource, uninterrupted};
