//! Layer 10: exact costs of operations, in instructions.
//!
//! Under QEMU's TCG with `-icount shift=0` the TSC advances by one for each instruction, on every host alike. So costs can be
//! compared, and a test can enforce a limit. `work=bench` measures benchmarks and sends one record for each; the launcher compares
//! it with `config/bench.toml`. `meter` measures, and detects inexact figures.
//!
//! To add a benchmark, write a function that repeats the operation inside `Meter::count`, and add a line to `benchmarks!` and its
//! limit to `config/bench.toml`.

#[cfg(not(target_os = "none"))]
extern crate std;

use crate::boot::command_line::Named;
use crate::named_values;
use crate::registry::Header;

#[cfg(target_os = "none")]
mod box64;
#[cfg(target_os = "none")]
mod error;
#[cfg(target_os = "none")]
mod frames;
#[cfg(target_os = "none")]
mod heap;
#[cfg(target_os = "none")]
mod interrupts;
#[cfg(target_os = "none")]
mod many_frames;
#[cfg(target_os = "none")]
mod mappings;
#[cfg(target_os = "none")]
mod meter;
#[cfg(all(target_os = "none", feature = "shell"))]
mod on_demand;
#[doc(hidden)]
pub mod parameters;
#[cfg(target_os = "none")]
mod primitives;
#[cfg(target_os = "none")]
mod registered;
#[cfg(target_os = "none")]
mod remote_frames;
#[cfg(target_os = "none")]
mod runner;
#[cfg(target_os = "none")]
mod threads;

#[cfg(target_os = "none")]
pub(crate) use error::BenchError;
#[cfg(all(target_os = "none", feature = "faults"))]
pub(crate) use meter::faults::begin as become_unsteady;
#[cfg(target_os = "none")]
use meter::{empty_loop, empty_windows};
#[cfg(all(target_os = "none", feature = "shell"))]
pub(crate) use on_demand::{Cost, run_now};
#[cfg(target_os = "none")]
pub use registered::{BENCHES, Benchmark, Meter, count};
#[cfg(target_os = "none")]
pub(crate) use runner::run;

/// The name of a benchmark.
#[derive(Clone, Copy, Debug)]
pub struct BenchName(&'static Header);

impl PartialEq for BenchName {
    fn eq(&self, other: &BenchName) -> bool {
        self.name() == other.name()
    }
}

impl Eq for BenchName {}

/// The names of benchmarks that the program registers, as parameters take them.
#[cfg(target_os = "none")]
#[linkme::distributed_slice]
#[doc(hidden)]
pub static BENCH_NAMES: [BenchName];

/// The benchmarks of a kernel's file, whose names the launcher has read.
#[cfg(not(target_os = "none"))]
static LEARNED: std::sync::OnceLock<std::vec::Vec<BenchName>> = std::sync::OnceLock::new();

/// Makes the benchmarks of a kernel's file known by name, so that command lines can name them. Only the first call has an effect.
#[cfg(not(target_os = "none"))]
#[doc(hidden)]
pub fn learn(names: impl IntoIterator<Item = std::string::String>) {
    let name = |name: std::string::String| {
        BenchName(std::boxed::Box::leak(std::boxed::Box::new(Header::new(name.leak(), "", "", 0))))
    };
    LEARNED.get_or_init(|| names.into_iter().map(name).collect());
}

impl BenchName {
    /// The name of a benchmark that a program registers, for the expansion of `bench!`.
    #[doc(hidden)]
    pub const fn of_program(header: &'static Header) -> BenchName {
        BenchName(header)
    }

    /// Its name and place; one of octopod's own has none.
    pub(crate) fn header(&self) -> &'static Header {
        self.0
    }
}

impl Named for BenchName {
    fn all() -> &'static [BenchName] {
        LIST
    }

    #[cfg(target_os = "none")]
    fn registered() -> &'static [BenchName] {
        &BENCH_NAMES
    }

    #[cfg(not(target_os = "none"))]
    fn registered() -> &'static [BenchName] {
        LEARNED.get().map_or(&[], |learned| learned)
    }

    fn name(&self) -> &'static str {
        self.0.name.as_str()
    }
}

named_values!(BenchName);

/// Declares the benchmarks, in the order of the report: the names, which the launcher knows too, and the functions, which only the
/// kernel has.
macro_rules! benchmarks {
    ($($name:literal => $benchmark:expr,)*) => {
        /// The names of all benchmarks, as parameters take them.
        const LIST: &[BenchName] = &[$(BenchName(const { &Header::new($name, "", "", 0) }),)*];

        /// The names of all benchmarks.
        #[cfg(all(target_os = "none", feature = "shell"))]
        pub(crate) const NAMES: &[&str] = &[$($name,)*];

        /// All benchmarks.
        #[cfg(target_os = "none")]
        const ALL: &[Benchmark] = &[$(Benchmark { name: $name, ..$benchmark },)*];
    };
}

benchmarks! {
    "per_cpu_add" => Benchmark::each(primitives::per_cpu_add),
    "spin_irqsave_pair" => Benchmark::each(primitives::spin_irqsave_pair),
    "clock_now" => Benchmark::each(primitives::clock_now),
    "trace_off" => Benchmark::each(primitives::trace_off),
    "trace_on" => Benchmark::each(primitives::trace_on),
    "irq_entry_exit" => Benchmark::each(interrupts::entry_exit),
    "self_ipi" => Benchmark { empty: empty_windows, ..Benchmark::each(interrupts::self_ipi) },
    "timer_expiry" => Benchmark {
        empty: empty_windows,
        counted_only: true,
        ..Benchmark::each(interrupts::timer_expiry)
    },
    "call_round_trip" => Benchmark { cpus: 2, ..Benchmark::each(interrupts::call_round_trip) },
    "frame_pair_order0" => Benchmark::each(frames::pair::<0>),
    "owned_frame_pair" => Benchmark::each(frames::owned_pair),
    "frame_pair_order1" => Benchmark::each(frames::pair::<1>),
    "frame_pair_order2" => Benchmark::each(frames::pair::<2>),
    "frame_pair_order3" => Benchmark::each(frames::pair::<3>),
    "frame_pair_order4" => Benchmark::each(frames::pair::<4>),
    "frame_pair_order5" => Benchmark::each(frames::pair::<5>),
    "frame_pair_order6" => Benchmark::each(frames::pair::<6>),
    "frame_pair_order7" => Benchmark::each(frames::pair::<7>),
    "frame_pair_order8" => Benchmark::each(frames::pair::<8>),
    "frame_pair_order9" => Benchmark::each(frames::pair::<9>),
    "frame_pair_order10" => Benchmark::each(frames::pair::<10>),
    "frame_pair_order11" => Benchmark::each(frames::pair::<11>),
    "frame_pair_order12" => Benchmark::each(frames::pair::<12>),
    "frame_pair_order18" => Benchmark { is_default: false, ..Benchmark::each(frames::pair::<18>) },
    "frame_bulk512_per_page" => Benchmark::per_page(frames::BULK, frames::bulk, empty_loop),
    "frame_bulk512_free_per_page" => Benchmark::per_page(frames::BULK, frames::bulk_free, empty_windows),
    "frame_bulk_call_per_page" => Benchmark::per_page(frames::BULK, frames::bulk_call, empty_loop),
    "frame_free_random_order6" => Benchmark::of_memory(many_frames::free_random::<6>),
    "frame_free_random_order9" => Benchmark::of_memory(many_frames::free_random::<9>),
    "frame_alloc_mixed_90" => Benchmark::of_memory(many_frames::alloc_mixed),
    "frame_alloc_remote_steal" => Benchmark::of_two_cpus(remote_frames::steal_block),
    "frame_alloc_remote_split" => Benchmark::of_two_cpus(remote_frames::split_block),
    "yield_alone" => Benchmark::each(threads::yield_alone),
    "yield_switch" => Benchmark::each(threads::yield_switch),
    "park_unpark_ready" => Benchmark::each(threads::park_unpark_ready),
    "wake_switch_same_cpu" => Benchmark::of_threads(threads::wake_switch_same_cpu),
    "wake_remote_idle" => Benchmark { cpus: 2, ..Benchmark::each(threads::wake_remote_idle) },
    "spawn_join" => Benchmark::each(threads::spawn_join),
    "mutex_pair" => Benchmark::each(threads::mutex_pair),
    "mutex_handoff" => Benchmark::of_threads(threads::mutex_handoff),
    "channel_round_trip" => Benchmark::of_threads(threads::channel_round_trip),
    "frame_alloc_remote_drain" => Benchmark::of_two_cpus(remote_frames::drain_magazine),
    "box64_1" => Benchmark::of_memory(box64::box64),
    "box64_8" => Benchmark { cpus: 8, ..Benchmark::of_memory(box64::box64) },
    "heap_pair_64" => Benchmark::each(heap::pair::<64>),
    "heap_pair_any" => Benchmark::each(heap::pair_any),
    "heap_pair_4096" => Benchmark::each(heap::pair::<4096>),
    "heap_bulk512_64" => Benchmark::per_page(heap::BULK, heap::bulk::<64>, heap::empty_bulk),
    "heap_bulk512_1024" => Benchmark::per_page(heap::BULK, heap::bulk::<1024>, heap::empty_bulk),
    "heap_remote_pair" => Benchmark::of_two_cpus(heap::remote_pair),
    "heap_realloc_in_place" => Benchmark::each(heap::realloc_in_place),
    "cache_pair" => Benchmark::each(heap::cache_pair),
    "vmap_pair_4k" => Benchmark { repetitions: mappings::PAIRS, ..Benchmark::each(mappings::pair::<1>) },
    "vmap_pair_64k" => Benchmark { repetitions: mappings::PAIRS, ..Benchmark::each(mappings::pair::<16>) },
    "vmap_sync_8cpu" => Benchmark::of_eight_cpus(mappings::sync),
    "vmap_flush_ipis" => Benchmark { unit: "IPIs", ..Benchmark::of_eight_cpus(mappings::ipis::<false>) },
    "vmap_flush_ipis_all" => Benchmark { unit: "IPIs", ..Benchmark::of_eight_cpus(mappings::ipis::<true>) },
    // On a machine of their own: the stacks of workers and executors stay, and the cost of a mapping depends on how many there are.
    "work_defer_run" => Benchmark {
        prepare: threads::make_worker,
        empty: empty_windows,
        is_default: false,
        ..Benchmark::of_threads(threads::work_defer_run)
    },
    "task_wake_poll" => Benchmark {
        prepare: threads::make_executor,
        is_default: false,
        ..Benchmark::of_threads(threads::task_wake_poll)
    },
}
