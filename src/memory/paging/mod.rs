//! Page tables: the tree of the kernel, its entries, and the walk of an address.
//!
//! | Module | Content |
//! |---|---|
//! | `entry` | what an entry says, and memory types |
//! | `walk` | the walk of addresses, pure |
//! | `tables` | `PageTables`: maps and unmaps |
//! | `kernel` | the kernel's own tree, behind its lock |

pub(super) mod entry;
#[cfg(target_os = "none")]
pub(super) mod kernel;
#[cfg(target_os = "none")]
pub(super) mod tables;
pub(crate) mod walk;

#[cfg(all(target_os = "none", feature = "selftest"))]
pub(crate) use kernel::access_at;
#[cfg(target_os = "none")]
pub(crate) use kernel::root;
#[cfg(all(target_os = "none", feature = "shell"))]
pub(crate) use kernel::translate_live;
#[cfg(target_os = "none")]
pub use tables::MapError;
#[cfg(target_os = "none")]
pub(crate) use tables::load_root;
