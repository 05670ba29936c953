//! Heaps of other crates, for comparison. Each is behind one lock, unless the crate does without.

pub(super) mod buddy;
pub(super) mod linked_list;
pub(super) mod talc;
pub(super) mod wf_alloc;
