//! Types for which zero is a valid value.

/// A type of which a value with every byte zero is valid.
///
/// # Safety
/// All bytes zero must be a valid value of the type.
pub unsafe trait Zeroable {}

// SAFETY: an integer.
unsafe impl Zeroable for u8 {}
// SAFETY: an integer.
unsafe impl Zeroable for u32 {}
// SAFETY: an integer.
unsafe impl Zeroable for u64 {}
// SAFETY: an integer.
unsafe impl Zeroable for core::sync::atomic::AtomicU64 {}
// SAFETY: a `FrameNumber` is a `usize`.
unsafe impl Zeroable for super::frames::FrameNumber {}
// SAFETY: a `Slot` is an array of `AtomicU64`, of which zero is a value.
unsafe impl Zeroable for crate::trace::ring::EventSlot {}
