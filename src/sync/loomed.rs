//! Atomics for models, and every interleaving of these.
//!
//! To know which orders are worth trying, loom remembers of a word who touched it last, be it by a load. So where a thread
//! loads a word before it changes it, that load hides another thread's earlier one, and the change is never tried before
//! that: a thread that only looks sees nothing change. Loads that are exchanges of a value with itself are not overlooked,
//! nor stores that are exchanges. But they never see an old value, as on a processor with weaker memory they may. Hence
//! a model is run [both ways](Accesses).

extern crate std;

use core::cell::Cell;
use core::ops::Deref;

pub use loom::sync::atomic::Ordering;

/// What loads and stores are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accesses {
    /// Exchanges: every interleaving is tried.
    Exchanges,
    /// Themselves: old values are seen as well.
    Plain,
}

std::thread_local! {
    /// Of the model that this thread runs.
    static ACCESSES: Cell<Accesses> = const { Cell::new(Accesses::Plain) };
}

macro_rules! atomics {
    ($($Name:ident of $T:ty),*) => {$(
        /// As the real one.
        #[derive(Debug)]
        pub struct $Name(loom::sync::atomic::$Name);

        impl $Name {
            /// As the real one.
            pub fn new(value: $T) -> Self {
                Self(loom::sync::atomic::$Name::new(value))
            }

            /// As the real one.
            pub fn load(&self, ordering: Ordering) -> $T {
                match ACCESSES.get() {
                    Accesses::Exchanges => self.0.fetch_or(0, ordering),
                    Accesses::Plain => self.0.load(ordering),
                }
            }

            /// As the real one.
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

/// Runs a model in every interleaving with so many preemptions at most, once for each kind of accesses;
/// `LOOM_MAX_PREEMPTIONS` sets another bound. For the launcher, it says how many there were.
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
