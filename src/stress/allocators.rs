//! The allocators that the stress can test. To add one, declare it in a file of its own, a `mod` of this module, and add a line
//! to [`ALL`].

mod locked;
pub(crate) mod magazine;

pub use super::allocator::{Allocator, Backing, BorrowedMemory, Borrower, MetadataPage, Run};
use crate::boot::command_line::Named;

/// All allocators, in the order of the list.
const ALL: &[&Allocator] = &[&OCTOPOD, &magazine::MAGAZINE, &locked::LOCKED];

/// The number of allocators.
pub const COUNT: usize = ALL.len();

/// The kernel's allocator. On the host: the same code on memory of the host.
pub static OCTOPOD: Allocator = Allocator {
    name: "octopod",
    summary: "The kernel's own: a magazine of frames for each CPU, and shared buddies behind them.",
    backing: Backing::Kernel,
};

impl Named for &'static Allocator {
    fn all() -> &'static [&'static Allocator] {
        ALL
    }

    fn name(&self) -> &'static str {
        self.name
    }
}
