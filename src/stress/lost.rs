//! Finds the frames that an allocator has lost.

#[cfg(not(target_os = "none"))]
extern crate std;

use core::fmt;

use super::owners::{FrameIndex, LastOwner, OwnerId, Owners, handler_of};
use super::source::{AllocContext, FrameSource};
use super::workloads::ROUNDS;
use crate::config::MAX_CPUS;
use crate::memory::frames::{FrameNumber, Order};

/// The most ranges that are logged.
const MAX_LOGGED: u32 = 16;

/// The owner of the frames that the search allocates: no CPU, and no CPU's handler.
const SEARCH: OwnerId = handler_of(MAX_CPUS);

/// Frames that an allocator has lost: the first range, and the number of others. It is a part of results that lie on the stack in
/// several copies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LostFrames {
    /// The first range; `None` if the workload had none of the lost frames.
    pub first: Option<LostRange>,
    /// The number of further ranges.
    pub more: u32,
}

/// Lost frames with one last owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostRange {
    /// The first frame.
    pub first: FrameIndex,
    /// The last frame.
    pub last: FrameIndex,
    /// The last owner of the frames whose owner words the workload has checked.
    pub owner: LastOwner,
}

/// The search for lost frames.
pub(crate) struct Search<'a> {
    /// The owner words that the workload has left.
    pub owners: Owners<'a>,
    /// The context in which it allocates.
    pub context: &'a mut AllocContext,
    /// Whether the search ends before it is complete. An allocator whose allocations take longer the less is free would never complete
    /// it.
    pub is_overdue: &'a dyn Fn() -> bool,
}

impl Search<'_> {
    /// Allocates every free frame, and returns the frames that had an owner in this run and are not among them; then frees all again.
    /// Frames that had no owner are left out, except those between two lost frames of one owner: the owner words of a large run are
    /// checked in part. Logs the first ranges. Returns `None` if the search was overdue.
    ///
    /// **Context:** thread. No workload runs, and every context is drained.
    pub(crate) fn run(self, source: &dyn FrameSource) -> Option<LostFrames> {
        let Search { owners, context, is_overdue } = self;
        let (mut head, mut is_complete) = (None, true);
        // A frame that is allocated twice ends the search, so it has an end.
        for count in 1_usize.. {
            if count.is_multiple_of(ROUNDS) && is_overdue() {
                is_complete = false;
                break;
            }
            let Some(frame) = source.alloc(context, Order::FRAME) else { break };
            if owners.acquire_linked(frame.get(), SEARCH, head).is_err() {
                break;
            }
            head = Some(frame.get());
        }
        let lost = is_complete.then(|| LostFrames::not_owned_by_search(owners));
        while let Some(frame) = head {
            let Ok(next) = owners.release(frame, SEARCH) else { break };
            // SAFETY: the frame must be allocated from this source, and unused. The loop above has allocated it, and its owner word,
            // which `release` has cleared, had the search as its owner, so it is freed once. No code uses its memory.
            let freed = unsafe { source.free(context, FrameNumber::new(frame), Order::FRAME) };
            if freed.is_err() {
                // The allocator has failed already.
                break;
            }
            head = next;
        }
        // Every context was drained before, so it is now.
        source.drain(context);
        lost
    }
}

impl LostFrames {
    /// The frames that had an owner and which the search, which has allocated all free frames, does not own.
    fn not_owned_by_search(owners: Owners<'_>) -> LostFrames {
        let mut lost = LostFrames::default();
        let mut range: Option<LostRange> = None;
        for frame in 0..owners.frames() {
            let owner = match owners.last_owner(frame) {
                Some(LastOwner::Holds(SEARCH)) => {
                    lost.extend(range.take());
                    continue;
                }
                Some(owner) => owner,
                None => continue,
            };
            match &mut range {
                Some(range) if range.owner == owner => range.last = frame,
                _ => {
                    let next = LostRange { first: frame, last: frame, owner };
                    lost.extend(range.replace(next));
                }
            }
        }
        lost.extend(range);
        lost
    }

    fn extend(&mut self, range: Option<LostRange>) {
        let Some(range) = range else { return };
        let before = match self.first {
            None => {
                self.first = Some(range);
                0
            }
            Some(_) => {
                self.more += 1;
                self.more
            }
        };
        if before < MAX_LOGGED {
            #[cfg(target_os = "none")]
            log::error!("lost: {range}");
            #[cfg(not(target_os = "none"))]
            std::eprintln!("lost: {range}");
        }
    }
}

impl fmt::Display for LostRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LostRange { first, last, owner } = self;
        match first == last {
            true => write!(f, "frame {first:#x} ({owner})"),
            false => write!(f, "frames {first:#x} to {last:#x} ({owner})"),
        }
    }
}

impl fmt::Display for LostFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.more) {
            (None, _) => {
                f.write_str("no workload had one of them, so the allocator has lost or miscounted them")
            }
            (Some(first), 0) => first.fmt(f),
            (Some(first), more) => write!(f, "{first} and {more} more ranges"),
        }
    }
}
