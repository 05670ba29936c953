//! Random schedules of larger models, by shuttle: as [`loomed`](super::loomed) is for every interleaving of small ones.

extern crate std;

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// How many schedules of a large model to try: `SHUTTLE_SCHEDULES`, or a number for every run of the tests.
pub fn schedules() -> usize {
    std::env::var("SHUTTLE_SCHEDULES").ok().and_then(|count| count.parse().ok()).unwrap_or(1_000)
}

/// Runs a model in so many random schedules. For the launcher, it says how many there were.
pub fn run_schedules(schedules: usize, model: impl Fn() + Sync + Send + 'static) {
    let counted = Arc::new(AtomicU64::new(0));
    let count = counted.clone();
    let model = Arc::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    });
    // A random walk seldom lets one thread run far ahead of the others; probabilistic concurrency testing does just that.
    let walk = model.clone();
    shuttle::check_random(move || walk(), schedules - schedules / 2);
    shuttle::check_pct(move || model(), schedules / 2, 3);
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a model");
    std::println!("counted {} schedules: {test}", counted.load(Ordering::Relaxed));
}
