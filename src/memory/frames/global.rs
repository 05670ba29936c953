//! The kernel's allocator: the one instance of [`Frames`] that all CPUs share.

use spin::Once;

use super::allocator::Frames;

static FRAMES: Once<Frames> = Once::new();
crate::name_lock!(FRAMES, |_, is_so| FRAMES.get().is_some_and(|frames| frames.lock_owners().any(is_so)));

/// Installs the allocator. Once, by the BSP.
pub(in crate::memory) fn set_frames(frames: Frames) {
    FRAMES.call_once(|| frames);
}

/// The shared allocator. Its methods want interrupts disabled.
///
/// # Panics
/// Before [`memory::init`](crate::memory::init()) has set up memory.
pub(crate) fn frames() -> &'static Frames {
    FRAMES.get().expect("frames are used before the memory stage")
}

/// How many frames the allocator manages, free or allocated.
///
/// **Context:** any, once the boot has set up memory.
pub fn total_frames() -> usize {
    frames().total_frames()
}

/// How many frames are free in the shared allocator. It is exact while no CPU allocates or frees; frames that CPUs cache count
/// as allocated.
///
/// **Context:** any, once the boot has set up memory. It reads the state of each 2 MiB: not for hot paths.
pub fn free_frames() -> usize {
    frames().free_frames()
}
