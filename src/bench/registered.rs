//! Benchmarks that a program registers: [`bench!`](crate::bench!).

use super::meter::repeat;
pub use super::meter::{Benchmark, Meter};

/// Benchmarks that the program registers.
#[linkme::distributed_slice]
#[doc(hidden)]
pub static BENCHES: [Benchmark];

/// Counts the instructions of `operation`, repeated so many times.
///
/// **Context:** thread.
#[inline(always)]
pub fn count(meter: &mut Meter, repetitions: u32, operation: impl FnMut()) {
    meter.count(|| repeat(repetitions, operation));
}

/// Registers a benchmark, in any crate of the program: `octopod bench` then counts the instructions of its operation, exactly, beside
/// those of octopod. `bench.toml` beside the package's `Cargo.toml` has its limit.
///
/// ```ignore
/// octopod::bench! {
///     "hash" => || {
///         core::hint::black_box(hash(core::hint::black_box(7)));
///     }
/// }
/// ```
///
/// The operation runs on the BSP with interrupts off, a few thousand times. Each measurement must give the same number.
#[macro_export]
macro_rules! bench {
    ($($name:literal => $operation:expr),+ $(,)?) => {$(
        const _: () = {
            #[$crate::registry::linkme::distributed_slice($crate::bench::BENCHES)]
            #[linkme(crate = $crate::registry::linkme)]
            static REGISTERED: $crate::bench::Benchmark = $crate::bench::Benchmark::registered(
                $name,
                |meter, repetitions| $crate::bench::count(meter, repetitions, $operation),
            );

            static HEADER: $crate::registry::Header =
                $crate::registry::Header::new($name, "", ::core::file!(), ::core::line!());

            #[$crate::registry::linkme::distributed_slice($crate::bench::BENCH_NAMES)]
            #[linkme(crate = $crate::registry::linkme)]
            static NAME: $crate::bench::BenchName = $crate::bench::BenchName::of_program(&HEADER);
        };
    )+};
}
