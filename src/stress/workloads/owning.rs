//! How a worker owns frames: the checks of each run that it allocates and frees.

use super::worker::Worker;
use crate::memory::frames::{FrameNumber, Order};
use crate::stress::failure::Failure;
use crate::stress::owners::FrameIndex;
use crate::stress::samples::CheckedFrames;

impl Worker<'_> {
    /// The frames of a run whose owner words are checked.
    pub(in crate::stress) fn checked(&self, frame: FrameNumber, order: Order) -> CheckedFrames {
        CheckedFrames::of(frame, order, self.shared.check_every_frame, self.shared.seed)
    }

    /// Whether an allocated run is aligned, and lies in the allocator's memory. One that does not must not be freed.
    fn is_placed_right(&self, frame: FrameNumber, order: Order) -> bool {
        if !frame.is_aligned_to(order) {
            self.note(Failure::Misaligned { frame, order });
        }
        let is_lent = self.shared.lent.has(frame, order);
        if !is_lent {
            self.note(Failure::OutsideMemory { frame, order, lent: self.shared.lent.named() });
        }
        is_lent
    }

    /// Records this CPU as the owner of an allocated run. Returns whether it lies in the allocator's memory and none of its checked
    /// frames had an owner before.
    pub(in crate::stress) fn acquired(&self, frame: FrameNumber, order: Order) -> bool {
        if !self.is_placed_right(frame, order) {
            return false;
        }
        let mut all = true;
        for index in self.checked(frame, order).indexes() {
            if let Err(violation) = self.shared.owners.acquire((frame + index).get(), self.id) {
                self.note(Failure::OwnershipViolation(violation));
                all = false;
            }
        }
        all
    }

    /// As [`acquired`](Self::acquired) for a single frame, which becomes the head of a list whose next frame is `next`.
    pub(in crate::stress) fn acquired_linked(&self, frame: FrameNumber, next: Option<FrameIndex>) -> bool {
        if !self.is_placed_right(frame, Order::FRAME) {
            return false;
        }
        let linked = self.shared.owners.acquire_linked(frame.get(), self.id, next);
        linked.map_err(|violation| self.note(Failure::OwnershipViolation(violation))).is_ok()
    }

    /// Removes `holder` as the owner of a run. Returns whether it owned all checked frames.
    pub(in crate::stress) fn disown(&self, frame: FrameNumber, order: Order, holder: u32) -> bool {
        let mut all = true;
        for index in self.checked(frame, order).indexes() {
            if let Err(violation) = self.shared.owners.release((frame + index).get(), holder) {
                self.note(Failure::OwnershipViolation(violation));
                all = false;
            }
        }
        all
    }

    /// Frees a run of this CPU.
    pub(in crate::stress) fn release(&mut self, frame: FrameNumber, order: Order) {
        if self.disown(frame, order, self.id) {
            self.free(frame, order);
        }
    }
}
