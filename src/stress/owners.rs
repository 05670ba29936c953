//! The owner of each frame, as the workloads record it.
//!
//! Each frame has a word, which is swapped at each allocation and each free. If a frame is allocated while it has an owner, or
//! freed by a CPU that does not own it, the old value of the swap shows that at once. The word of a free frame keeps its last
//! owner: of a frame that the allocator loses, that is the CPU that freed it.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::config::MAX_CPUS;

/// The number of a frame.
pub(crate) type FrameIndex = usize;

/// The number of an owner: a CPU, a CPU's interrupt handler, or a thread.
pub(crate) type OwnerId = u32;

/// The difference between the numbers of a CPU's handler and of the CPU: more than any CPU's number.
pub(super) const HANDLER: OwnerId = 1 << 20;

const _: () = assert!(MAX_CPUS <= HANDLER && (3 * HANDLER as u64) < RELEASED >> NEXT_BITS);

/// The owner of frames that the timer interrupt handler of a CPU holds.
pub(crate) const fn handler_of(cpu: OwnerId) -> OwnerId {
    HANDLER + cpu
}

/// The owner of frames that a thread of a workload holds: fewer than [`HANDLER`] threads.
pub(crate) const fn thread_owner(number: usize) -> OwnerId {
    2 * HANDLER + number as u32
}

/// Displays an owner.
pub(crate) struct OwnerName(pub(crate) OwnerId);

impl fmt::Display for OwnerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.checked_sub(HANDLER) {
            Some(number) if number >= HANDLER => write!(f, "thread {}", number - HANDLER),
            Some(cpu) => write!(f, "the handler of cpu {cpu}"),
            None => write!(f, "cpu {}", self.0),
        }
    }
}

/// The owner words of frames from 0 to the slice's length. 0: the frame has never had an owner.
#[derive(Clone, Copy)]
pub struct Owners<'a> {
    words: &'a [AtomicU64],
    /// The number of the present run of a workload, in the words of the frames that it frees.
    run: u32,
}

/// The last event of a frame in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastOwner {
    /// It has this owner.
    Holds(OwnerId),
    /// This owner freed it.
    Freed(OwnerId),
}

impl fmt::Display for LastOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            LastOwner::Holds(owner) => write!(f, "held by {}", OwnerName(owner)),
            LastOwner::Freed(owner) => write!(f, "freed by {}", OwnerName(owner)),
        }
    }
}

/// A frame has another owner than expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnershipViolation {
    /// It was allocated while it had an owner.
    AllocatedTwice {
        /// The frame.
        frame: FrameIndex,
        /// The owner.
        holder: OwnerId,
        /// The CPU that allocated it as well.
        receiver: OwnerId,
    },
    /// It was freed by a CPU that did not own it.
    FreedByNonOwner {
        /// The frame.
        frame: FrameIndex,
        /// Its owner, if it has one.
        holder: Option<OwnerId>,
        /// The CPU that freed it.
        returner: OwnerId,
    },
    /// The machine has no such frame.
    NoSuchFrame {
        /// The frame.
        frame: FrameIndex,
        /// The CPU that allocated it.
        receiver: OwnerId,
    },
}

impl fmt::Display for OwnershipViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            OwnershipViolation::AllocatedTwice { frame, holder, receiver } => {
                let (receiver, holder) = (OwnerName(receiver), OwnerName(holder));
                write!(f, "frame {frame:#x} was allocated to {receiver} while {holder} had it")
            }
            OwnershipViolation::FreedByNonOwner { frame, holder: Some(holder), returner } => {
                let (returner, holder) = (OwnerName(returner), OwnerName(holder));
                write!(f, "frame {frame:#x} was freed by {returner} while {holder} had it")
            }
            OwnershipViolation::FreedByNonOwner { frame, holder: None, returner } => {
                write!(f, "frame {frame:#x} was freed by {} while no CPU had it", OwnerName(returner))
            }
            OwnershipViolation::NoSuchFrame { frame, receiver } => {
                write!(f, "frame {frame:#x}, allocated by {}, does not exist", OwnerName(receiver))
            }
        }
    }
}

/// The low bits of a word hold the number of the next frame of a list, plus one. The bits above hold the owner's number, plus
/// one.
const NEXT_BITS: u32 = 40;
const NEXT_MASK: u64 = (1 << NEXT_BITS) - 1;

/// In the word of a free frame: the owner is the last one, and the low bits hold the number of the run in which it freed the frame.
const RELEASED: u64 = 1 << 63;

fn word(owner: OwnerId, next: Option<FrameIndex>) -> u64 {
    (u64::from(owner) + 1) << NEXT_BITS | next.map_or(0, |frame| frame as u64 + 1)
}

fn released_word(owner: OwnerId, run: u32) -> u64 {
    RELEASED | word(owner, None) | u64::from(run)
}

fn owner_of(word: u64) -> Option<OwnerId> {
    if word & RELEASED == 0 { named_owner(word) } else { None }
}

/// The owner of a frame that has one, or the last owner.
fn named_owner(word: u64) -> Option<OwnerId> {
    ((word & !RELEASED) >> NEXT_BITS).checked_sub(1).map(|owner| owner as OwnerId)
}

impl<'a> Owners<'a> {
    /// Owner words in this memory, which must be 0.
    pub fn new(words: &'a [AtomicU64]) -> Owners<'a> {
        Owners { words, run: 0 }
    }

    /// The same words in another run of a workload.
    pub(crate) fn in_run(self, run: u32) -> Owners<'a> {
        Owners { run, ..self }
    }

    /// The number of frames.
    pub(crate) fn frames(&self) -> usize {
        self.words.len()
    }

    /// The last event of a frame in this run; `None` if it has had no owner in this run.
    pub(crate) fn last_owner(&self, frame: FrameIndex) -> Option<LastOwner> {
        let word = self.words.get(frame)?.load(Ordering::Acquire);
        match owner_of(word) {
            Some(owner) => Some(LastOwner::Holds(owner)),
            None if word & NEXT_MASK == u64::from(self.run) => named_owner(word).map(LastOwner::Freed),
            None => None,
        }
    }

    /// Records that `receiver` has allocated the frame.
    ///
    /// # Errors
    /// The frame has an owner, which is unchanged. `receiver` must not free the frame.
    pub fn acquire(&self, frame: FrameIndex, receiver: OwnerId) -> Result<(), OwnershipViolation> {
        self.acquire_linked(frame, receiver, None)
    }

    /// As [`acquire`](Owners::acquire); the frame becomes the head of a list whose next frame is `next`. A workload links more
    /// frames than fit into a table this way.
    ///
    /// # Errors
    /// As for [`acquire`](Owners::acquire).
    pub fn acquire_linked(
        &self,
        frame: FrameIndex,
        receiver: OwnerId,
        next: Option<FrameIndex>,
    ) -> Result<(), OwnershipViolation> {
        let slot = self.words.get(frame).ok_or(OwnershipViolation::NoSuchFrame { frame, receiver })?;
        let old = slot.swap(word(receiver, next), Ordering::AcqRel);
        match owner_of(old) {
            None => Ok(()),
            Some(holder) => {
                slot.store(old, Ordering::Release);
                Err(OwnershipViolation::AllocatedTwice { frame, holder, receiver })
            }
        }
    }

    /// Records that `holder` is about to free the frame. Returns the next frame of its list.
    ///
    /// # Errors
    /// `holder` does not own the frame. The frame has no owner afterwards.
    pub fn release(
        &self,
        frame: FrameIndex,
        holder: OwnerId,
    ) -> Result<Option<FrameIndex>, OwnershipViolation> {
        let violation =
            |word| OwnershipViolation::FreedByNonOwner { frame, holder: owner_of(word), returner: holder };
        let slot = self.words.get(frame).ok_or(violation(0))?;
        let old = slot.swap(released_word(holder, self.run), Ordering::AcqRel);
        if owner_of(old) == Some(holder) {
            Ok((old & NEXT_MASK).checked_sub(1).map(|frame| frame as FrameIndex))
        } else {
            Err(violation(old))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(count: usize) -> Vec<AtomicU64> {
        (0..count).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn a_frame_is_acquired_and_released() {
        let words = words(4);
        let owners = Owners::new(&words);
        for owner in [0, 7, 4095] {
            assert_eq!(owners.acquire(3, owner), Ok(()));
            assert_eq!(owners.release(3, owner), Ok(None));
        }
    }

    #[test]
    fn a_second_allocation_names_both_owners_and_changes_nothing() {
        let words = words(4);
        let owners = Owners::new(&words);
        assert_eq!(owners.acquire(0, 1), Ok(()));
        assert_eq!(
            owners.acquire(0, 2),
            Err(OwnershipViolation::AllocatedTwice { frame: 0, holder: 1, receiver: 2 })
        );
        assert_eq!(owners.release(0, 1), Ok(None));
    }

    #[test]
    fn a_frame_is_released_by_its_owner_only() {
        let words = words(4);
        let owners = Owners::new(&words);
        let violation = |holder| Err(OwnershipViolation::FreedByNonOwner { frame: 2, holder, returner: 5 });
        assert_eq!(owners.release(2, 5), violation(None));
        assert_eq!(owners.acquire(2, 0), Ok(()));
        assert_eq!(owners.release(2, 5), violation(Some(0)));
    }

    #[test]
    fn a_handler_is_not_its_cpu() {
        let words = words(4);
        let owners = Owners::new(&words);
        assert_eq!(owners.acquire(1, handler_of(MAX_CPUS - 1)), Ok(()));
        let error = owners.release(1, MAX_CPUS - 1).unwrap_err();
        assert_eq!(error.to_string(), "frame 0x1 was freed by cpu 4095 while the handler of cpu 4095 had it");
    }

    #[test]
    fn a_frame_that_does_not_exist_is_reported() {
        let words = words(4);
        let owners = Owners::new(&words);
        assert_eq!(owners.acquire(4, 1), Err(OwnershipViolation::NoSuchFrame { frame: 4, receiver: 1 }));
        assert!(owners.release(4, 1).is_err());
    }

    #[test]
    fn the_last_owner_of_a_run_is_known() {
        let words = words(4);
        let owners = Owners::new(&words);
        assert_eq!(owners.last_owner(1), None);
        assert_eq!(owners.acquire(1, 7), Ok(()));
        assert_eq!(owners.last_owner(1), Some(LastOwner::Holds(7)));
        assert_eq!(owners.release(1, 7), Ok(None));
        assert_eq!(owners.last_owner(1), Some(LastOwner::Freed(7)));
        assert!(owners.release(1, 7).is_err(), "it has no owner");
        let next = owners.in_run(1);
        assert_eq!(next.last_owner(1), None, "freed in another run");
        assert_eq!(next.acquire(1, handler_of(MAX_CPUS - 1)), Ok(()));
        assert_eq!(next.release(1, handler_of(MAX_CPUS - 1)), Ok(None));
        let freed = next.last_owner(1).unwrap();
        assert_eq!(freed.to_string(), "freed by the handler of cpu 4095");
        assert_eq!(next.last_owner(4), None);
    }

    #[test]
    fn a_list_of_frames_is_walked_to_its_end() {
        let words = words(100);
        let owners = Owners::new(&words);
        let mut head = None;
        for frame in 0..100 {
            owners.acquire_linked(frame, 3, head).unwrap();
            head = Some(frame);
        }
        let mut walked = Vec::new();
        while let Some(frame) = head {
            walked.push(frame);
            head = owners.release(frame, 3).unwrap();
        }
        assert!(walked.into_iter().eq((0..100).rev()));
    }
}
