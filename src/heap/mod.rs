//! Layer 9: the heap. Objects of any size for Rust's `alloc`, cut from the frames of the layer `memory`.
//!
//! | Module | Content |
//! |---|---|
//! | `size_class` | the sizes of objects, and the class of a layout |
//! | `source` | the interface by which the stress and the benches use any heap |

pub mod size_class;
pub mod source;
