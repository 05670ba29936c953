//! The allocators that the stress can test. To add one, declare it in a file of its own, a `mod` of this module, and add a line
//! to [`ALL`].

#[cfg(not(target_os = "none"))]
extern crate std;

mod locked;
pub(crate) mod magazine;

pub use super::allocator::{
    Allocator, Backing, BorrowedMemory, Borrower, MemoryShape, MetadataPage, Needs, Run,
};
use crate::boot::command_line::Named;
pub use crate::memory::frames::{FrameNumber, FreeError, Order};
pub use crate::memory::source::{AllocContext, FrameSource};
use crate::registry::Header;

/// All allocators, in the order of the list.
const ALL: &[&Allocator] = &[&OCTOPOD, &magazine::MAGAZINE, &locked::LOCKED];

/// The most allocators that a list can name.
pub const MOST: usize = ALL.len() + MAX_REGISTERED;

/// The most allocators that a program can register.
pub const MAX_REGISTERED: usize = 8;

/// Allocators that the program registers: see [`frame_allocator!`](crate::frame_allocator!).
#[linkme::distributed_slice]
#[doc(hidden)]
pub static ALLOCATORS: [&'static Allocator];

/// Their names, for the launcher.
#[linkme::distributed_slice]
#[doc(hidden)]
pub static ALLOCATOR_NAMES: [Header];

/// Registers an allocator, in any crate of the program: it then runs under each workload and each check, as `--allocator NAME`
/// of `octopod stress`.
///
/// ```
/// use octopod::stress::allocators::*;
///
/// octopod::frame_allocator! {
///     /// Never has a frame.
///     pub static NOTHING = "nothing",
///     metadata: |_| 0,
///     shape: MemoryShape::Ranges,
///     run: |_memory, run| run(&Nothing),
/// }
///
/// struct Nothing;
///
/// impl FrameSource for Nothing {
///     fn alloc(&self, _: &mut AllocContext, _: Order) -> Option<FrameNumber> {
///         None
///     }
///
///     unsafe fn free(&self, _: &mut AllocContext, frame: FrameNumber, _: Order) -> Result<(), FreeError> {
///         Err(FreeError::DoubleFree { frame })
///     }
///
///     fn drain(&self, _: &mut AllocContext) {}
///
///     fn free_frames(&self) -> usize {
///         0
///     }
/// }
/// # fn main() {}
/// ```
///
/// `metadata` is a function from [`Needs`] to bytes; `shape` is a [`MemoryShape`]; `run` makes the allocator on its [`BorrowedMemory`] and
/// passes it on. Names are unique: a program that registers one twice is refused at boot.
#[macro_export]
macro_rules! frame_allocator {
    (
        $(#[doc = $doc:literal])* $vis:vis static $item:ident = $name:literal,
        metadata: $metadata:expr, shape: $shape:expr, run: $run:expr $(,)?
    ) => {
        $(#[doc = $doc])*
        $vis static $item: $crate::stress::allocators::Allocator = $crate::stress::allocators::Allocator {
            name: $name,
            summary: $crate::summary!($($doc)*),
            backing: $crate::stress::allocators::Backing::Borrowed($crate::stress::allocators::Borrower {
                metadata_bytes: $metadata,
                shape: $shape,
                run: $run,
            }),
        };

        const _: () = {
            #[$crate::registry::linkme::distributed_slice($crate::stress::allocators::ALLOCATORS)]
            #[linkme(crate = $crate::registry::linkme)]
            static REGISTERED: &'static $crate::stress::allocators::Allocator = &$item;

            #[$crate::registry::linkme::distributed_slice($crate::stress::allocators::ALLOCATOR_NAMES)]
            #[linkme(crate = $crate::registry::linkme)]
            static NAME: $crate::registry::Header =
                $crate::registry::Header::new($name, $crate::summary!($($doc)*), ::core::file!(), ::core::line!());
        };
    };
}

/// The allocators of a kernel's file, whose names the launcher has read.
#[cfg(not(target_os = "none"))]
static LEARNED: std::sync::OnceLock<std::vec::Vec<&'static Allocator>> = std::sync::OnceLock::new();

/// Makes the allocators of a kernel's file known, each by name and purpose, so that command lines and reports can name them. They do
/// not run in this process. Only the first call has an effect.
#[cfg(not(target_os = "none"))]
pub fn learn(names: impl IntoIterator<Item = (std::string::String, std::string::String)>) {
    let allocator = |(name, summary): (std::string::String, std::string::String)| -> &'static Allocator {
        let backing =
            Backing::Borrowed(Borrower { metadata_bytes: |_| 0, shape: MemoryShape::Ranges, run: |_, _| {} });
        std::boxed::Box::leak(std::boxed::Box::new(Allocator {
            name: name.leak(),
            summary: summary.leak(),
            backing,
        }))
    };
    LEARNED.get_or_init(|| names.into_iter().map(allocator).collect());
}

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

    #[cfg(target_os = "none")]
    fn registered() -> &'static [&'static Allocator] {
        &ALLOCATORS
    }

    // Miri has no linker, which makes the list.
    #[cfg(all(not(target_os = "none"), miri))]
    fn registered() -> &'static [&'static Allocator] {
        &[]
    }

    #[cfg(all(not(target_os = "none"), not(miri)))]
    fn registered() -> &'static [&'static Allocator] {
        LEARNED.get().map_or(&ALLOCATORS, |learned| learned)
    }

    fn name(&self) -> &'static str {
        self.name
    }
}
