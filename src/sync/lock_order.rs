//! The check of the order in which locks are taken, as Linux's lockdep: it finds threads that could wait for each other for ever, without
//! one that does. A kernel with the feature `checked` has it; `locks.checked=on` turns it on. In other kernels these functions do nothing.
//!
//! A lock that is waited for without a time-out is compared with each lock that its CPU or its thread holds ([`HeldLocks`]); an order that was
//! not seen before is added to a graph (`order_graph`). A lock that is taken by a `try_lock`, or with a time-out, does not wait for ever, so it
//! has an order only to those that are taken after it.
//!
//! Spin locks and locks that block have a list each, of the CPU and of the thread. No order between the two kinds can be inverted: a thread that
//! holds a spin lock must not block. Nor can an interrupt handler wait for a spin lock of the code that it has interrupted: interrupts are off
//! while a spin lock is held, which the types enforce.

#[cfg(feature = "checked")]
mod checks;
#[cfg(not(feature = "checked"))]
mod none;

#[cfg(feature = "checked")]
pub(crate) use checks::{
    HeldByThread, check_orders, expect, inversion, released, set_thread_namer, stop, took, totals,
};
#[cfg(feature = "checked")]
pub(super) use checks::{expect_spin, released_spin, took_spin};
#[cfg(not(feature = "checked"))]
pub(super) use none::{expect_spin, released_spin, took_spin};
