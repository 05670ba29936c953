//! What is left to do when neither this CPU's magazine nor the shared layers have what is wanted: to wait for what is on its
//! way, and to ask the other CPUs for what they keep.

use core::hint::spin_loop;

use spin::Once;

use super::frames::{FrameNumber, Order};
use crate::config::REQUEST_MS;
use crate::sync::Deadline;
use crate::trace;

/// Asks other CPUs for what they keep, as far as a run of that order may come of it, and waits for them. `false` if nobody
/// keeps what could make one.
pub type DrainOthers = fn(Order, DrainScope) -> bool;

static DRAIN_HOOK: Once<DrainOthers> = Once::new();

/// Who is asked for what they keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainScope {
    /// Those who have something of a run that may come together.
    Holders,
    /// All who keep anything.
    All,
}

/// Sets what makes the other CPUs give back their frames. It is called with interrupts on.
pub fn set_drain_hook(drain: DrainOthers) {
    DRAIN_HOOK.call_once(|| drain);
}

/// What a search for frames has found, after the cache of this CPU was drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// The frames.
    Found(FrameNumber),
    /// Nothing, but another CPU moves frames of this 2 MiB block at the moment.
    InFlight(FrameNumber),
    /// Nothing.
    Nothing,
    /// The allocator is disabled on this CPU.
    Disabled,
}

/// Goes on where a first search has found nothing: asks first those CPUs that have something of one run, and if that has gone
/// meanwhile, all. Interrupts are on, so that others are answered. Ends: others are asked twice at most, which ends by
/// itself, and nothing is waited for beyond [`REQUEST_MS`], in which a CPU would have answered that had stopped on the way.
pub(super) fn alloc_slow_path(
    order: Order,
    is_in_flight: bool,
    mut attempt: impl FnMut() -> Attempt,
) -> Option<FrameNumber> {
    let deadline = Deadline::after_ms(REQUEST_MS);
    let first = is_in_flight.then_some(None);
    for scope in first.into_iter().chain([Some(DrainScope::Holders), Some(DrainScope::All)]) {
        // Also if nobody was asked: what others were asked for by a third may have come since the first look.
        let is_last = scope.is_some_and(|scope| !drain_others(order, scope));
        loop {
            // Between two attempts interrupts get in.
            match attempt() {
                Attempt::Found(frame) => return Some(frame),
                Attempt::Disabled => return None,
                Attempt::Nothing => break,
                Attempt::InFlight(block) if deadline.has_passed() => {
                    log::warn!(
                        "nothing free but what has been on its way for {REQUEST_MS} ms: in the 2 MiB from {block} on"
                    );
                    return None;
                }
                Attempt::InFlight(_) => spin_loop(),
            }
        }
        if is_last {
            break;
        }
    }
    None
}

/// Asks other CPUs for what they keep; whether any of it may make such a run.
fn drain_others(order: Order, scope: DrainScope) -> bool {
    trace!(DrainOthers, order.get().into());
    DRAIN_HOOK.get().is_some_and(|drain_others| drain_others(order, scope))
}
