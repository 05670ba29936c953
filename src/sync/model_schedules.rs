//! Random schedules of larger models by shuttle. [`model_atomics`](super::model_atomics) has every interleaving of small
//! models by loom.

extern crate std;

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// Returns the number of schedules of a large model: `SHUTTLE_SCHEDULES`, or a default for each run of the tests.
pub fn schedules() -> usize {
    std::env::var("SHUTTLE_SCHEDULES").ok().and_then(|count| count.parse().ok()).unwrap_or(1_000)
}

/// Runs a model in `schedules` random schedules. Prints their number for the launcher.
pub fn run_schedules(schedules: usize, model: impl Fn() + Sync + Send + 'static) {
    let counted = Arc::new(AtomicU64::new(0));
    let count = counted.clone();
    let model = Arc::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    });
    // In a random walk one thread seldom runs far ahead of the others; in probabilistic concurrency testing it does.
    let walk = model.clone();
    shuttle::check_random(move || walk(), schedules - schedules / 2);
    shuttle::check_pct(move || model(), schedules / 2, 3);
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a model");
    std::println!("counted {} schedules: {test}", counted.load(Ordering::Relaxed));
}
