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
pub type DrainOthers = fn(Order, Whom) -> bool;

static DRAIN_OTHERS: Once<DrainOthers> = Once::new();

/// Who is asked for what they keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Those who have something of a run that may come together.
    Few,
    /// All who keep anything.
    All,
}

/// Sets what makes the other CPUs give back their frames. It is called with interrupts on.
pub fn set_drain_others(drain: DrainOthers) {
    DRAIN_OTHERS.call_once(|| drain);
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
pub(super) fn search_and_ask(
    order: Order,
    may_come: bool,
    mut attempt: impl FnMut() -> Attempt,
) -> Option<FrameNumber> {
    let deadline = Deadline::after_ms(REQUEST_MS);
    let first = may_come.then_some(None);
    for whom in first.into_iter().chain([Some(Whom::Few), Some(Whom::All)]) {
        // Also if nobody was asked: what others were asked for by a third may have come since the first look.
        let is_last = whom.is_some_and(|whom| !ask_others(order, whom));
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
fn ask_others(order: Order, whom: Whom) -> bool {
    trace!(DrainOthers, order.get().into());
    DRAIN_OTHERS.get().is_some_and(|drain_others| drain_others(order, whom))
}
