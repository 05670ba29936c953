//! Who has which frame, on the word of those who have them.
//!
//! One word for each frame, swapped at each hand-out and return. A frame that is handed out while somebody has it, or
//! returned by somebody who has not, shows at once in the value that the swap brings back.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::config::MAX_CPUS;

/// A frame's number.
pub type Frame = usize;

/// An owner's number: that of a CPU, or of a CPU's interrupt handler.
pub type OwnerId = u32;

/// What is added to a CPU's number for that of its handler: more than any CPU's.
const HANDLER: OwnerId = 1 << 20;

const _: () = assert!(MAX_CPUS <= HANDLER && (2 * HANDLER as u64) < 1 << (u64::BITS - NEXT_BITS));

/// Who owns what the timer interrupt handler of that CPU holds.
pub const fn handler_of(cpu: OwnerId) -> OwnerId {
    HANDLER + cpu
}

/// An owner in words.
struct Named(OwnerId);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.checked_sub(HANDLER) {
            Some(cpu) => write!(f, "the handler of cpu {cpu}"),
            None => write!(f, "cpu {}", self.0),
        }
    }
}

/// The owner words of frames 0 up to the slice's length; 0 means nobody's.
#[derive(Clone, Copy)]
pub struct Owners<'a>(&'a [AtomicU64]);

/// A frame that is not whose it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnershipViolation {
    /// It was handed out while somebody had it.
    AllocatedTwice {
        /// The frame.
        frame: Frame,
        /// Who had it.
        holder: OwnerId,
        /// Who acquired it as well.
        receiver: OwnerId,
    },
    /// It was freed by somebody who did not have it.
    FreedByNonOwner {
        /// The frame.
        frame: Frame,
        /// Who had it, if anybody.
        holder: Option<OwnerId>,
        /// Who returned it.
        returner: OwnerId,
    },
    /// It is none of the frames that there are.
    NoSuchFrame {
        /// The frame.
        frame: Frame,
        /// Who acquired it.
        receiver: OwnerId,
    },
}

impl fmt::Display for OwnershipViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            OwnershipViolation::AllocatedTwice { frame, holder, receiver } => {
                let (receiver, holder) = (Named(receiver), Named(holder));
                write!(f, "frame {frame:#x} was allocated to {receiver} while {holder} had it")
            }
            OwnershipViolation::FreedByNonOwner { frame, holder: Some(holder), returner } => {
                let (returner, holder) = (Named(returner), Named(holder));
                write!(f, "frame {frame:#x} was freed by {returner} while {holder} had it")
            }
            OwnershipViolation::FreedByNonOwner { frame, holder: None, returner } => {
                write!(f, "frame {frame:#x} was freed by {} while no CPU had it", Named(returner))
            }
            OwnershipViolation::NoSuchFrame { frame, receiver } => {
                write!(f, "frame {frame:#x}, which {} got, does not exist", Named(receiver))
            }
        }
    }
}

/// A word holds its owner's number plus one above this, and below it a frame's number plus one: the next of a list.
const NEXT_BITS: u32 = 40;
const NEXT_MASK: u64 = (1 << NEXT_BITS) - 1;

fn word(owner: OwnerId, next: Option<Frame>) -> u64 {
    (u64::from(owner) + 1) << NEXT_BITS | next.map_or(0, |frame| frame as u64 + 1)
}

fn owner_of(word: u64) -> Option<OwnerId> {
    (word >> NEXT_BITS).checked_sub(1).map(|owner| owner as OwnerId)
}

impl<'a> Owners<'a> {
    /// Owner words in that memory, all of which are 0.
    pub fn new(words: &'a [AtomicU64]) -> Owners<'a> {
        Owners(words)
    }

    /// `receiver` has allocated the frame. On an error it does not own it and must not return it to the allocator either:
    /// whoever had it before still has it.
    pub fn acquire(&self, frame: Frame, receiver: OwnerId) -> Result<(), OwnershipViolation> {
        self.acquire_linked(frame, receiver, None)
    }

    /// As [`acquire`](Owners::acquire); the frame becomes the head of a list whose rest begins with `next`. Somebody
    /// who takes more frames than fit into any table of its own keeps them that way.
    pub fn acquire_linked(
        &self,
        frame: Frame,
        receiver: OwnerId,
        next: Option<Frame>,
    ) -> Result<(), OwnershipViolation> {
        let slot = self.0.get(frame).ok_or(OwnershipViolation::NoSuchFrame { frame, receiver })?;
        let old = slot.swap(word(receiver, next), Ordering::AcqRel);
        match owner_of(old) {
            None => Ok(()),
            Some(holder) => {
                slot.store(old, Ordering::Release);
                Err(OwnershipViolation::AllocatedTwice { frame, holder, receiver })
            }
        }
    }

    /// `holder` is about to return the frame. Gives the next of its list.
    pub fn give_back(&self, frame: Frame, holder: OwnerId) -> Result<Option<Frame>, OwnershipViolation> {
        let stranger =
            |word| OwnershipViolation::FreedByNonOwner { frame, holder: owner_of(word), returner: holder };
        let slot = self.0.get(frame).ok_or(stranger(0))?;
        let old = slot.swap(0, Ordering::AcqRel);
        if owner_of(old) == Some(holder) {
            Ok((old & NEXT_MASK).checked_sub(1).map(|frame| frame as Frame))
        } else {
            Err(stranger(old))
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
    fn a_frame_goes_out_and_comes_back() {
        let words = words(4);
        let owners = Owners::new(&words);
        for owner in [0, 7, 4095] {
            assert_eq!(owners.acquire(3, owner), Ok(()));
            assert_eq!(owners.give_back(3, owner), Ok(None));
        }
    }

    #[test]
    fn a_second_hand_out_names_both_owners_and_changes_nothing() {
        let words = words(4);
        let owners = Owners::new(&words);
        assert_eq!(owners.acquire(0, 1), Ok(()));
        assert_eq!(
            owners.acquire(0, 2),
            Err(OwnershipViolation::AllocatedTwice { frame: 0, holder: 1, receiver: 2 })
        );
        assert_eq!(owners.give_back(0, 1), Ok(None));
    }

    #[test]
    fn a_stranger_cannot_return_a_frame() {
        let words = words(4);
        let owners = Owners::new(&words);
        let stranger = |holder| Err(OwnershipViolation::FreedByNonOwner { frame: 2, holder, returner: 5 });
        assert_eq!(owners.give_back(2, 5), stranger(None));
        assert_eq!(owners.acquire(2, 0), Ok(()));
        assert_eq!(owners.give_back(2, 5), stranger(Some(0)));
    }

    #[test]
    fn a_handler_is_not_its_cpu() {
        let words = words(4);
        let owners = Owners::new(&words);
        assert_eq!(owners.acquire(1, handler_of(MAX_CPUS - 1)), Ok(()));
        let error = owners.give_back(1, MAX_CPUS - 1).unwrap_err();
        assert_eq!(error.to_string(), "frame 0x1 was freed by cpu 4095 while the handler of cpu 4095 had it");
    }

    #[test]
    fn a_frame_that_does_not_exist_is_reported() {
        let words = words(4);
        let owners = Owners::new(&words);
        assert_eq!(owners.acquire(4, 1), Err(OwnershipViolation::NoSuchFrame { frame: 4, receiver: 1 }));
        assert!(owners.give_back(4, 1).is_err());
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
            head = owners.give_back(frame, 3).unwrap();
        }
        assert!(walked.into_iter().eq((0..100).rev()));
    }
}
