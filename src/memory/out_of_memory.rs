//! What is left to do when neither this CPU's magazine nor the shared layers have what is wanted: to wait for what is on its
//! way, and to ask the other CPUs for what they keep.

use core::hint::spin_loop;

use spin::Once;

use super::frames::{FrameNumber, Frames, Magazine, Order};
use super::own_magazine::{is_shut, open, with_magazine};
use super::per_cpu_frames::drain_this_cpu;
use crate::config::REQUEST_MS;
use crate::cpu::IrqGuard;
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

/// Goes on where a first search has found nothing: asks first those CPUs that have something of one run, and if that has gone
/// meanwhile, all. Interrupts are on, so that others are answered. Ends: others are asked twice at most, which ends by
/// itself, and nothing is waited for beyond [`REQUEST_MS`], in which a CPU would have answered that had stopped on the way.
pub(super) fn search_and_ask(
    order: Order,
    mut search: impl FnMut(&Frames, &Magazine) -> Option<FrameNumber>,
) -> Option<FrameNumber> {
    let deadline = Deadline::after_ms(REQUEST_MS);
    // What is on its way comes by itself.
    let may_come =
        |guard: IrqGuard| !is_shut() && with_magazine(&guard, |_, magazine| magazine.on_its_way().is_some());
    let first = may_come(IrqGuard::new()).then_some(None);
    for whom in first.into_iter().chain([Some(Whom::Few), Some(Whom::All)]) {
        // Also if nobody was asked: what others were asked for by a third may have come since the first look.
        let is_last = whom.is_some_and(|whom| !ask_others(order, whom));
        loop {
            let guard = IrqGuard::new();
            drain_this_cpu(&guard);
            if !open(&guard) {
                return None;
            }
            let (found, on_its_way) = with_magazine(&guard, |frames, magazine| {
                let found = search(frames, magazine);
                (found, magazine.on_its_way())
            });
            // Here interrupts get in.
            drop(guard);
            match on_its_way {
                _ if found.is_some() => return found,
                None => break,
                Some(block) if deadline.has_passed() => {
                    log::warn!(
                        "nothing free but what has been on its way for {REQUEST_MS} ms: in the 2 MiB from {block} on"
                    );
                    return None;
                }
                Some(_) => spin_loop(),
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
