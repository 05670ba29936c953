//! What is wrong with an object of a heap.

use core::fmt;

use crate::stress::owners::{OwnerId, OwnerName};

/// A heap returned an object that it must not return, or an object has not kept its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectViolation {
    /// It was allocated while it had an owner.
    AllocatedTwice {
        /// Its address.
        address: usize,
        /// The owner.
        holder: OwnerId,
        /// The CPU that allocated it as well.
        receiver: OwnerId,
    },
    /// It shares memory with an object that has an owner.
    Overlap {
        /// Its address.
        address: usize,
        /// Its size in bytes.
        size: usize,
        /// The first offset that is shared.
        offset: usize,
        /// The owner of the other object.
        holder: OwnerId,
        /// The CPU that allocated this one.
        receiver: OwnerId,
    },
    /// Its content has changed.
    Changed {
        /// Its address.
        address: usize,
        /// Its size in bytes.
        size: usize,
        /// The offset of the first changed word or byte.
        offset: usize,
        /// Its owner.
        holder: OwnerId,
    },
    /// A resize has not kept its content.
    LostContent {
        /// Its address after the resize.
        address: usize,
        /// Its size before, in bytes.
        from: usize,
        /// Its size after.
        to: usize,
        /// The offset of the first changed byte.
        offset: usize,
        /// Its owner.
        holder: OwnerId,
    },
    /// It is not aligned to its layout's alignment.
    Misaligned {
        /// Its address.
        address: usize,
        /// The alignment.
        align: usize,
    },
    /// It is not in the heap's arena.
    OutsideArena {
        /// Its address.
        address: usize,
        /// Its size in bytes.
        size: usize,
    },
}

impl ObjectViolation {
    /// Whether memory had two owners.
    pub(crate) fn is_about_owners(&self) -> bool {
        matches!(self, ObjectViolation::AllocatedTwice { .. } | ObjectViolation::Overlap { .. })
    }
}

impl fmt::Display for ObjectViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ObjectViolation::AllocatedTwice { address, holder, receiver } => {
                let (receiver, holder) = (OwnerName(receiver), OwnerName(holder));
                write!(f, "object {address:#x} was allocated to {receiver} while {holder} had it")
            }
            ObjectViolation::Overlap { address, size, offset, holder, receiver } => {
                let (receiver, holder) = (OwnerName(receiver), OwnerName(holder));
                write!(
                    f,
                    "object {address:#x} of {size} bytes, allocated to {receiver}, overlaps an object of {holder} at offset {offset}"
                )
            }
            ObjectViolation::Changed { address, size, offset, holder } => {
                let holder = OwnerName(holder);
                write!(
                    f,
                    "object {address:#x} of {size} bytes was changed at offset {offset} while {holder} had it"
                )
            }
            ObjectViolation::LostContent { address, from, to, offset, holder } => {
                let holder = OwnerName(holder);
                write!(
                    f,
                    "object {address:#x} of {holder} lost its content at offset {offset}, resized from {from} to {to} bytes"
                )
            }
            ObjectViolation::Misaligned { address, align } => {
                write!(f, "object {address:#x} was allocated with alignment {align}")
            }
            ObjectViolation::OutsideArena { address, size } => {
                write!(f, "object {address:#x} of {size} bytes is not in the heap's arena")
            }
        }
    }
}
