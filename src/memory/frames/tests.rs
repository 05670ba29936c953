//! The allocator on the host: pure parts one by one, the whole against a naive model and against the crate's own
//! allocator, and threads against each other with an owner for each frame.

extern crate std;

mod arenas;
mod books;
#[cfg(not(any(loom, shuttle)))]
mod concurrent;
#[cfg(feature = "faults")]
mod fault;
mod inserting;
mod misuse;
mod model;
#[cfg(any(loom, shuttle))]
mod models;
mod parts;
mod policy;
#[cfg(not(any(loom, shuttle)))]
mod reserve;

use super::Order;
use super::host::World;

pub(super) fn order(order: u8) -> Order {
    Order::new(order).expect("an order")
}
