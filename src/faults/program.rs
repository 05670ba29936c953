//! Faults of the program: [`fault!`](crate::fault!).

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::registry::Header;

#[cfg(not(target_os = "none"))]
extern crate std;

/// A fault of the program. [`fault!`](crate::fault!) declares it.
pub struct ProgramFault {
    /// Its name, for `inject=`.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub summary: &'static str,
    is_armed: AtomicBool,
}

/// The faults that the program registers.
#[linkme::distributed_slice]
pub static PROGRAM_FAULTS: [&'static ProgramFault];

/// Their names, for the launcher.
#[linkme::distributed_slice]
pub static PROGRAM_FAULT_NAMES: [Header];

impl ProgramFault {
    /// A fault that is not armed.
    pub const fn new(name: &'static str, summary: &'static str) -> ProgramFault {
        ProgramFault { name, summary, is_armed: AtomicBool::new(false) }
    }

    /// Returns whether the command line injects this fault: from the `options` stage of the boot on, and never in a kernel without
    /// fault injection, where the compiler removes the code that depends on it.
    ///
    /// **Context:** any.
    #[inline(always)]
    pub fn is_armed(&self) -> bool {
        cfg!(feature = "faults") && self.is_armed.load(Ordering::Relaxed)
    }

    #[cfg_attr(
        not(all(target_os = "none", feature = "faults")),
        expect(dead_code, reason = "only those kernels inject")
    )]
    pub(super) fn arm(&self) {
        self.is_armed.store(true, Ordering::Relaxed);
    }
}

impl PartialEq for ProgramFault {
    fn eq(&self, other: &ProgramFault) -> bool {
        self.name == other.name
    }
}

impl Eq for ProgramFault {}

impl fmt::Debug for ProgramFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The faults of a kernel's file, whose names the launcher has read.
#[cfg(not(target_os = "none"))]
static LEARNED: std::sync::OnceLock<std::vec::Vec<&'static ProgramFault>> = std::sync::OnceLock::new();

/// Makes the faults of a kernel's file known, each by name and purpose, so that command lines can name them. Only the first call has
/// an effect.
#[cfg(not(target_os = "none"))]
pub fn learn(names: impl IntoIterator<Item = (std::string::String, std::string::String)>) {
    let fault = |(name, summary): (std::string::String, std::string::String)| -> &'static ProgramFault {
        std::boxed::Box::leak(std::boxed::Box::new(ProgramFault::new(name.leak(), summary.leak())))
    };
    LEARNED.get_or_init(|| names.into_iter().map(fault).collect());
}

/// The faults that the program registers; on the host, those of the kernel's file, once they are known.
#[cfg(target_os = "none")]
pub(super) fn registered() -> &'static [&'static ProgramFault] {
    &PROGRAM_FAULTS
}

/// The faults that the program registers; on the host, those of the kernel's file, once they are known.
#[cfg(not(target_os = "none"))]
pub(super) fn registered() -> &'static [&'static ProgramFault] {
    // Miri has no linker, which makes the list.
    let own: &[_] = if cfg!(miri) { &[] } else { &PROGRAM_FAULTS };
    LEARNED.get().map_or(own, |learned| learned)
}

/// Registers a fault, in any crate of the program: a place at which the program does the wrong thing on request, to show that its
/// checks find it.
///
/// ```
/// octopod::fault! {
///     /// An item that is queued is lost.
///     pub static LOSE_ITEM = "lose_item";
/// }
///
/// fn push(queue: &mut Vec<u32>, item: u32) {
///     if !LOSE_ITEM.is_armed() {
///         queue.push(item);
///     }
/// }
/// # let mut queue = Vec::new();
/// # push(&mut queue, 1);
/// # assert_eq!(queue, [1]);
/// ```
///
/// `octopod run --inject lose_item` builds the kernel with the feature `faults` of octopod and arms the fault. It is listed with those
/// of octopod; a name that is registered twice is refused at boot.
#[macro_export]
macro_rules! fault {
    ($($(#[doc = $doc:literal])* $vis:vis static $item:ident = $name:literal;)+) => {$(
        $(#[doc = $doc])*
        $vis static $item: $crate::faults::ProgramFault =
            $crate::faults::ProgramFault::new($name, $crate::summary!($($doc)*));

        const _: () = {
            #[$crate::registry::linkme::distributed_slice($crate::faults::PROGRAM_FAULTS)]
            #[linkme(crate = $crate::registry::linkme)]
            static REGISTERED: &'static $crate::faults::ProgramFault = &$item;

            #[$crate::registry::linkme::distributed_slice($crate::faults::PROGRAM_FAULT_NAMES)]
            #[linkme(crate = $crate::registry::linkme)]
            static NAME: $crate::registry::Header =
                $crate::registry::Header::new($name, $crate::summary!($($doc)*), ::core::file!(), ::core::line!());
        };
    )+};
}
