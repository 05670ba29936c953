//! Atomics for loom models, and the exhaustive search of their interleavings.
//!
//! To choose interleavings, loom records only the last access to a word, also if it is a load. If a thread loads a word
//! before it changes it, that load hides another thread's earlier one, and loom never tries the change before that: a
//! thread that only reads sees no change. Loads that are exchanges of a value with itself, and stores that are exchanges,
//! are not overlooked. But such loads never return an old value, as they may on a processor with weaker ordering. So a
//! model is run [both ways](Accesses).

extern crate std;

use core::cell::Cell;
use core::ops::Deref;

pub use loom::sync::atomic::Ordering;

/// How loads and stores are modelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accesses {
    /// As exchanges: every interleaving is tried.
    Exchanges,
    /// As loads and stores: old values are seen as well.
    Plain,
}

std::thread_local! {
    /// The accesses of the model that this thread runs.
    static ACCESSES: Cell<Accesses> = const { Cell::new(Accesses::Plain) };
}

macro_rules! atomics {
    ($($Name:ident of $T:ty),*) => {$(
        /// As in `core`.
        #[derive(Debug)]
        pub struct $Name(loom::sync::atomic::$Name);

        impl $Name {
            /// As in `core`.
            pub fn new(value: $T) -> Self {
                Self(loom::sync::atomic::$Name::new(value))
            }

            /// As in `core`.
            pub fn load(&self, ordering: Ordering) -> $T {
                match ACCESSES.get() {
                    Accesses::Exchanges => self.0.fetch_or(0, ordering),
                    Accesses::Plain => self.0.load(ordering),
                }
            }

            /// As in `core`.
            pub fn store(&self, value: $T, ordering: Ordering) {
                match ACCESSES.get() {
                    Accesses::Exchanges => drop(self.0.swap(value, ordering)),
                    Accesses::Plain => self.0.store(value, ordering),
                }
            }
        }

        impl Deref for $Name {
            type Target = loom::sync::atomic::$Name;

            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }
    )*};
}

atomics!(AtomicU32 of u32, AtomicU64 of u64, AtomicUsize of usize);

/// Runs a model in every interleaving with at most `preemptions` preemptions, once for each kind of accesses.
/// `LOOM_MAX_PREEMPTIONS` overrides the bound. Prints the number of interleavings for the launcher.
#[cfg(test)]
pub fn explore(preemptions: Option<usize>, ways: &[Accesses], model: impl Fn() + Sync + Send + 'static) {
    use core::sync::atomic::AtomicU64;
    use std::sync::Arc;

    let (counted, model) = (Arc::new(AtomicU64::new(0)), Arc::new(model));
    for way in ways {
        ACCESSES.set(*way);
        let mut builder = loom::model::Builder::new();
        // loom reads the variable itself.
        builder.preemption_bound = builder.preemption_bound.or(preemptions);
        builder.max_branches = 20_000;
        let (counted, model) = (counted.clone(), model.clone());
        builder.check(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            model();
        });
    }
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a model");
    std::println!("counted {} interleavings: {test}", counted.load(Ordering::Relaxed));
}
