//! The slow path of an allocation whose search has found no frame: it waits for frames in flight, then asks the other CPUs to drain
//! their caches.
//!
//! The search itself is the caller's, as a closure: `cache::percpu` knows this CPU's magazine, this module does not.

use core::hint::spin_loop;
use core::sync::atomic::{Ordering, fence};

use super::frames::{FrameNumber, Order, Stolen};
use crate::config::IPI_CALL_TIMEOUT_MS;
use crate::sync::{Hook, Timeout};
use crate::trace;

/// Access to the frame caches of other CPUs.
#[derive(Clone, Copy)]
pub(crate) struct RemoteCaches {
    /// Takes whole blocks that a CPU caches, at least as many as of that order, without an interrupt. It is called with interrupts
    /// disabled.
    pub(crate) steal: fn(Order) -> Stolen,
    /// Makes other CPUs drain their frame caches, as far as that may free a run of that order, and waits for them. Returns `false` if no
    /// CPU caches such frames. It is called with interrupts enabled.
    pub(crate) drain: fn(Order, DrainScope) -> bool,
    /// Returns the sum of how often CPUs have filled their caches.
    pub(crate) fills: fn() -> usize,
}

static DRAIN_HOOK: Hook<RemoteCaches> = Hook::new();

/// Which CPUs drain their caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DrainScope {
    /// The CPUs that cache a part of one run that would become free. If frames are in flight, so that this is unknown, none.
    Holders,
    /// So many of the CPUs that cache any frame.
    Some(usize),
}

/// The requests of an allocation, one after the other until it succeeds. A CPU has drained its cache after its request, so the next
/// request is to others. Each makes more CPUs drain than the one before, so the last of few requests is to all.
const REQUESTS: [DrainScope; 6] = [
    DrainScope::Holders,
    DrainScope::Holders,
    DrainScope::Holders,
    DrainScope::Some(2),
    DrainScope::Some(8),
    DrainScope::Some(usize::MAX),
];

/// Sets the hook that reaches the caches of other CPUs. Once, before the APs run; later calls have no effect.
///
/// **Context:** boot, on the BSP.
pub(crate) fn set_drain_hook(caches: RemoteCaches) {
    DRAIN_HOOK.set(caches);
}

/// Takes whole blocks that a CPU caches, at least as many as of that order.
///
/// **Context:** any but NMI, interrupts disabled.
pub(super) fn steal_blocks(order: Order) -> Stolen {
    DRAIN_HOOK.get().map_or(Stolen::Nothing, |caches| (caches.steal)(order))
}

/// The result of one search, for which the cache of this CPU was drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// The first of the frames. The caller owns them.
    Found(FrameNumber),
    /// No frames, but frames of the 2 MiB block that starts at this one are in flight on another CPU.
    InFlight(FrameNumber),
    /// No frames, and none in flight.
    Nothing,
    /// The allocator is disabled on this CPU.
    Disabled,
}

/// Allocates after a first search has failed. `is_in_flight` says whether that search met frames in flight; `attempt` is the search.
///
/// It makes the CPUs drain their caches that hold parts of one run. If other CPUs have taken such a run several times meanwhile, it
/// makes more and more CPUs drain, and at last all: see [`REQUESTS`]. It waits for frames in flight for [`IPI_CALL_TIMEOUT_MS`] at most.
///
/// **Context:** thread context with interrupts enabled, so that this CPU serves the requests of others meanwhile.
pub(super) fn alloc_slow_path(
    order: Order,
    is_in_flight: bool,
    mut attempt: impl FnMut() -> Attempt,
) -> Option<FrameNumber> {
    let mut in_flight = Timeout::after_ms(IPI_CALL_TIMEOUT_MS);
    let first = is_in_flight.then_some(None);
    for scope in first.into_iter().chain(REQUESTS.map(Some)) {
        // The search follows also if no CPU was asked: a CPU may have drained its cache for a third one since the last search.
        let before = fills();
        let is_last = scope.is_some_and(|scope| !drain_others(order, scope));
        loop {
            // Interrupts are enabled between two attempts.
            match attempt() {
                Attempt::Found(frame) => return Some(frame),
                Attempt::Disabled => return None,
                Attempt::Nothing => break,
                Attempt::InFlight(block) if in_flight.has_passed() => {
                    log::warn!(
                        "out of memory: frames in flight for {IPI_CALL_TIMEOUT_MS} ms in the 2 MiB block at {block}"
                    );
                    return None;
                }
                Attempt::InFlight(_) => spin_loop(),
            }
        }
        // The search is over before the counts are read again. It may have missed frames with which a CPU has filled its cache.
        fence(Ordering::Acquire);
        if is_last && fills() == before {
            break;
        }
    }
    None
}

/// Calls the hook. Returns whether a run of that order may have become free.
fn drain_others(order: Order, scope: DrainScope) -> bool {
    trace!(DrainOthers, order.get().into());
    DRAIN_HOOK.get().is_some_and(|caches| (caches.drain)(order, scope))
}

/// Returns how often CPUs have filled their caches.
fn fills() -> usize {
    DRAIN_HOOK.get().map_or(0, |caches| (caches.fills)())
}
