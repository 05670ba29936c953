//! The lock of the heap: the real one, or a model checker's. The rest of the heap names none of these crates.

pub(super) use crate::memory::frames::sync::{Lock, place};
