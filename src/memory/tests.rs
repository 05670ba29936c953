//! The allocator on the host: pure parts alone, the whole against a naive model and against the crate's own allocator, and
//! concurrent threads with an owner for each frame.

extern crate std;

mod accounting;
#[cfg(not(any(loom, shuttle)))]
mod blocks;
#[cfg(not(any(loom, shuttle)))]
mod concurrent;
#[cfg(not(any(loom, shuttle)))]
mod fragmentation;
mod inserting;
mod invalid_use;
mod model;
#[cfg(any(loom, shuttle))]
mod models;
mod parts;
mod policy;
#[cfg(not(any(loom, shuttle)))]
mod remote;
#[cfg(not(any(loom, shuttle)))]
mod run_cache;
mod validate;
mod zones;

use super::frames::Order;
use super::host::World;

/// Ends the tests at the first failure, if the environment asks for that: where a failure is what is hoped for, and other
/// tests may never come to an end.
pub(super) fn end_at_first_failure() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        if std::env::var_os("OCTOPOD_END_AT_FIRST_FAILURE").is_some() {
            let tell = std::panic::take_hook();
            std::panic::set_hook(std::boxed::Box::new(move |panic| {
                tell(panic);
                std::process::exit(101);
            }));
        }
    });
}

pub(super) fn order(order: u8) -> Order {
    Order::new(order).expect("an order")
}
