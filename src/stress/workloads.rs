//! The workloads. Each CPU runs the same function until the workload ends. The same code runs in the kernel and on the host;
//! [`Platform`] is what it needs of either.

#[cfg(not(target_os = "none"))]
extern crate std;

mod affinity;
mod channel;
mod churn;
mod condvar;
mod exhaust;
mod hackbench;
mod half;
mod heap;
mod heap_worker;
mod held_run;
mod hotplug;
mod interrupts;
mod mappings;
mod member;
mod mixed;
mod mutex;
mod objects;
mod owning;
mod ping_pong;
mod platform;
mod priority;
mod replay;
mod run_word;
mod schbench;
mod sched_hotplug;
mod sched_mixed;
mod sched_yield;
mod singles;
mod spawn_storm;
mod steal;
mod sums;
mod threads;
mod timed;
mod timers;
mod worker;

pub use heap_worker::HeldObject;
pub use held_run::HeldRun;
pub use member::Member;
pub use objects::HeapTarget;
pub(in crate::stress) use objects::SLOTS;
pub use replay::REPLAY;
pub use singles::PAIRS;
pub(in crate::stress) use threads::run as run_threads;
pub(crate) use worker::EXHAUST_LIMIT;
pub(in crate::stress) use worker::ROUNDS;
pub use worker::{
    Body, Details, HeapWorker, Platform, ROUND_CUT, Setup, Shared, ThreadRun, Timed, Worker, Workload, run,
};

use crate::boot::command_line::Named;
use crate::registry::{Header, by_name};

/// All workloads, in the order of the list and of the run. To add one, declare it in a file of its own and add a line.
const ALL: &[&Workload] = &[
    &singles::PAIRS,
    &singles::BULK,
    &mixed::RANDOM,
    &singles::REMOTE,
    &mixed::MIXED_ORDERS,
    &exhaust::FRAGMENTATION,
    &hotplug::HOTPLUG,
    &interrupts::INTERRUPTS,
    &mappings::MAPPINGS,
    &exhaust::STORM,
    &churn::CHURN5_50,
    &churn::CHURN0_50,
    &churn::CHURN3_50,
    &churn::CHURN9_50,
    &churn::CHURN0_90,
    &churn::CHURN3_90,
    &churn::CHURN5_90,
    &churn::CHURN9_90,
    &half::HALF_FULL_PAIRS,
    &half::SHUFFLED_FREE,
    &replay::REPLAY,
    &heap::HEAP_PAIRS,
    &heap::HEAP_BULK,
    &heap::HEAP_RANDOM,
    &heap::HEAP_REMOTE,
    &heap::HEAP_SIZES,
    &heap::HEAP_FRAGMENTATION,
    &heap::HEAP_HOTPLUG,
    &heap::HEAP_INTERRUPTS,
    &heap::HEAP_STORM,
    &heap::THREADTEST,
    &heap::LARSON,
    &heap::BOX64,
    &sched_yield::SCHED_YIELD,
    &ping_pong::PING_PONG,
    &hackbench::HACKBENCH,
    &mutex::MUTEX,
    &priority::PRIORITY,
    &channel::CHANNEL,
    &condvar::CONDVAR,
    &schbench::SCHBENCH,
    &spawn_storm::SPAWN_STORM,
    &steal::STEAL,
    &affinity::AFFINITY,
    &timers::TIMERS,
    &sched_hotplug::SCHED_HOTPLUG,
    &sched_mixed::SCHED_MIXED,
];

/// The most workloads that a list can name.
pub const MOST: usize = ALL.len() + MAX_REGISTERED;

/// The most workloads that a program can register.
pub const MAX_REGISTERED: usize = 8;

/// Workloads that the program registers: see [`workload!`](crate::workload!).
#[linkme::distributed_slice]
#[doc(hidden)]
pub static WORKLOADS: [&'static Workload];

/// Their names, for the launcher.
#[linkme::distributed_slice]
#[doc(hidden)]
pub static WORKLOAD_NAMES: [Header];

/// The names of those of heaps.
#[linkme::distributed_slice]
#[doc(hidden)]
pub static HEAP_WORKLOAD_NAMES: [Header];

/// Registers a workload, in any crate of the program: it then runs on each allocator under test with the same checks as those of
/// octopod.
///
/// ```
/// use octopod::memory::frames::Order;
///
/// octopod::workload! {
///     /// Each CPU allocates one frame and frees it.
///     pub static ONE = "one",
///     run: |worker| {
///         while worker.has_next_round() {
///             if let Some(frame) = worker.allocate(Order::FRAME) {
///                 worker.free_held(frame);
///             }
///         }
///     },
/// }
/// # fn main() {}
/// ```
///
/// `run` is called on each CPU with its [`Worker`], and frees all that it holds before it returns. With `heap` instead of `run` the
/// workload runs on each heap under test, and the function is called with a [`HeapWorker`]. Names are unique: a program
/// that registers one twice is refused at boot.
#[macro_export]
macro_rules! workload {
    ($(#[doc = $doc:literal])* $vis:vis static $item:ident = $name:literal, run: $run:expr $(,)?) => {
        $crate::workload!(@body $(#[doc = $doc])* $vis static $item = $name, Frames($run), WORKLOAD_NAMES);
    };
    ($(#[doc = $doc:literal])* $vis:vis static $item:ident = $name:literal, heap: $run:expr $(,)?) => {
        $crate::workload!(@body $(#[doc = $doc])* $vis static $item = $name, Heap($run), HEAP_WORKLOAD_NAMES);
    };
    (@body $(#[doc = $doc:literal])* $vis:vis static $item:ident = $name:literal, $body:ident($run:expr), $names:ident) => {
        $(#[doc = $doc])*
        $vis static $item: $crate::stress::workloads::Workload = $crate::stress::workloads::Workload {
            name: $name,
            summary: $crate::summary!($($doc)*),
            is_default: true,
            on_host: true,
            timed: $crate::stress::workloads::Timed::Allocation,
            holds_runs: false,
            run: $crate::stress::workloads::Body::$body($run),
            details: ::core::option::Option::None,
        };

        const _: () = {
            #[$crate::registry::linkme::distributed_slice($crate::stress::workloads::WORKLOADS)]
            #[linkme(crate = $crate::registry::linkme)]
            static REGISTERED: &'static $crate::stress::workloads::Workload = &$item;

            #[$crate::registry::linkme::distributed_slice($crate::stress::workloads::$names)]
            #[linkme(crate = $crate::registry::linkme)]
            static NAME: $crate::registry::Header =
                $crate::registry::Header::new($name, $crate::summary!($($doc)*), ::core::file!(), ::core::line!());
        };
    };
}

/// The workloads of a kernel's file, whose names the launcher has read.
#[cfg(not(target_os = "none"))]
static LEARNED: std::sync::OnceLock<std::vec::Vec<&'static Workload>> = std::sync::OnceLock::new();

/// Makes the workloads of a kernel's file known, each by name and purpose and whether it works on heaps, so that command lines and
/// reports can name them. They do not run in this process. Only the first call has an effect.
#[cfg(not(target_os = "none"))]
pub fn learn(names: impl IntoIterator<Item = (std::string::String, std::string::String, bool)>) {
    let workload = |(name, summary, is_of_heaps): (std::string::String, std::string::String, bool)| -> &'static Workload {
        std::boxed::Box::leak(std::boxed::Box::new(Workload {
            name: name.leak(),
            summary: summary.leak(),
            is_default: true,
            on_host: true,
            timed: Timed::Allocation,
            holds_runs: false,
            run: if is_of_heaps { Body::Heap(|_| {}) } else { Body::Frames(|_| {}) },
            details: None,
        }))
    };
    LEARNED.get_or_init(|| names.into_iter().map(workload).collect());
}

impl Named for &'static Workload {
    fn all() -> &'static [&'static Workload] {
        ALL
    }

    #[cfg(target_os = "none")]
    fn registered() -> &'static [&'static Workload] {
        &WORKLOADS
    }

    // Miri has no linker, which makes the list.
    #[cfg(all(not(target_os = "none"), miri))]
    fn registered() -> &'static [&'static Workload] {
        &[]
    }

    #[cfg(all(not(target_os = "none"), not(miri)))]
    fn registered() -> &'static [&'static Workload] {
        LEARNED.get().map_or(&WORKLOADS, |learned| learned)
    }

    fn name(&self) -> &'static str {
        self.name
    }
}

/// The workloads that run when none is named.
pub fn defaults() -> impl Iterator<Item = &'static Workload> {
    let registered = by_name(<&Workload>::registered(), |workload| workload.name);
    ALL.iter().chain(registered).copied().filter(|workload| workload.is_default)
}
