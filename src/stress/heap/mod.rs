//! The heaps that the stress can test, and the objects of its workloads.
//!
//! A heap is a [`HeapSource`]. Each object of a workload has marks in its memory (`stress::marks`), which name its owner, and the
//! heap's counts are compared before and after each workload (`stress::heap_snapshot`). To add a heap, declare it in a file of `foreign`, and
//! add a line to [`ALL`]; a program registers one by [`heap!`](crate::heap!).

#[cfg(not(target_os = "none"))]
extern crate std;

pub(in crate::stress) mod arena;
mod definition;
mod foreign;
pub(in crate::stress) mod object;
mod own;
pub(in crate::stress) mod sizes;

pub use self::arena::HeapArena;
pub use self::definition::{Heap, HeapBacking, HeapRun};
use crate::boot::command_line::Named;
pub use crate::heap::source::{GlobalHeap, HeapError, HeapSource, HeapStatistics, this_cpu};
use crate::registry::Header;

/// All heaps, in the order of the list.
const ALL: &[&Heap] = &[
    &own::OCTOPOD,
    &foreign::talc::TALC,
    &foreign::linked_list::LINKED_LIST,
    &foreign::buddy::BUDDY,
    &foreign::wf_alloc::WF_ALLOC,
];

/// The heap that is tested if none is named.
pub(crate) const DEFAULT: &Heap = ALL[0];

/// The most heaps that a list can name.
pub const MOST: usize = ALL.len() + MAX_REGISTERED;

/// The most heaps that a program can register.
pub const MAX_REGISTERED: usize = 8;

/// Heaps that the program registers: see [`heap!`](crate::heap!).
#[linkme::distributed_slice]
#[doc(hidden)]
pub static HEAPS: [&'static Heap];

/// Their names, for the launcher.
#[linkme::distributed_slice]
#[doc(hidden)]
pub static HEAP_NAMES: [Header];

/// Registers a heap, in any crate of the program: it then runs under each workload of heaps and each check, as `--heap NAME` of
/// `octopod stress`.
///
/// ```
/// use core::alloc::Layout;
/// use core::ptr::NonNull;
///
/// use octopod::stress::heap::*;
///
/// octopod::heap! {
///     /// Never has memory.
///     pub static EMPTY = "empty",
///     run: |_arena, run| run(&Empty),
/// }
///
/// struct Empty;
///
/// // SAFETY: an object must be valid, aligned and disjoint from others. There is none.
/// unsafe impl HeapSource for Empty {
///     fn alloc(&self, _: Layout) -> Result<NonNull<u8>, HeapError> {
///         Err(HeapError::OutOfMemory)
///     }
///
///     unsafe fn dealloc(&self, _: NonNull<u8>, _: Layout) -> Result<(), HeapError> {
///         Err(HeapError::NoObject)
///     }
/// }
/// # fn main() {}
/// ```
///
/// `run` makes the heap on its [`HeapArena`] and passes it on. [`GlobalHeap`] makes a heap of any `GlobalAlloc`. Names are unique: a
/// program that registers one twice is refused at boot.
#[macro_export]
macro_rules! heap {
    ($(#[doc = $doc:literal])* $vis:vis static $item:ident = $name:literal, run: $run:expr $(,)?) => {
        $(#[doc = $doc])*
        $vis static $item: $crate::stress::heap::Heap = $crate::stress::heap::Heap {
            name: $name,
            summary: $crate::summary!($($doc)*),
            backing: $crate::stress::heap::HeapBacking::Arena($run),
        };

        const _: () = {
            #[$crate::registry::linkme::distributed_slice($crate::stress::heap::HEAPS)]
            #[linkme(crate = $crate::registry::linkme)]
            static REGISTERED: &'static $crate::stress::heap::Heap = &$item;

            #[$crate::registry::linkme::distributed_slice($crate::stress::heap::HEAP_NAMES)]
            #[linkme(crate = $crate::registry::linkme)]
            static NAME: $crate::registry::Header =
                $crate::registry::Header::new($name, $crate::summary!($($doc)*), ::core::file!(), ::core::line!());
        };
    };
}

/// The heaps of a kernel's file, whose names the launcher has read.
#[cfg(not(target_os = "none"))]
static LEARNED: std::sync::OnceLock<std::vec::Vec<&'static Heap>> = std::sync::OnceLock::new();

/// Makes the heaps of a kernel's file known, each by name and purpose, so that command lines and reports can name them. They do not
/// run in this process. Only the first call has an effect.
#[cfg(not(target_os = "none"))]
pub fn learn(names: impl IntoIterator<Item = (std::string::String, std::string::String)>) {
    let heap = |(name, summary): (std::string::String, std::string::String)| -> &'static Heap {
        let backing = HeapBacking::Arena(|_, _| {});
        std::boxed::Box::leak(std::boxed::Box::new(Heap {
            name: name.leak(),
            summary: summary.leak(),
            backing,
        }))
    };
    LEARNED.get_or_init(|| names.into_iter().map(heap).collect());
}

impl Named for &'static Heap {
    fn all() -> &'static [&'static Heap] {
        ALL
    }

    #[cfg(target_os = "none")]
    fn registered() -> &'static [&'static Heap] {
        &HEAPS
    }

    // Miri has no linker, which makes the list.
    #[cfg(all(not(target_os = "none"), miri))]
    fn registered() -> &'static [&'static Heap] {
        &[]
    }

    #[cfg(all(not(target_os = "none"), not(miri)))]
    fn registered() -> &'static [&'static Heap] {
        LEARNED.get().map_or(&HEAPS, |learned| learned)
    }

    fn name(&self) -> &'static str {
        self.name
    }
}
