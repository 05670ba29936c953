//! Frees that the heap refuses: [`Misuse`].

use core::alloc::Layout;
use core::fmt;

/// Why a free was refused. The heap has not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misuse {
    /// The object was freed before.
    DoubleFree {
        /// Its address.
        address: usize,
    },
    /// No object of the heap is at this address.
    Foreign {
        /// The address.
        address: usize,
    },
    /// The address lies inside an object, or behind the last one of a slab.
    Interior {
        /// The address.
        address: usize,
        /// The size of the objects there, in bytes. 0 in a large object.
        size: usize,
    },
    /// The object has another size than its layout says.
    WrongLayout {
        /// Its address.
        address: usize,
        /// Its size in bytes, including what the heap has added.
        size: usize,
        /// The layout that the caller passed.
        layout: Layout,
    },
    /// A checked heap: memory behind the object was written to.
    Overrun {
        /// Its address.
        address: usize,
        /// Its size in bytes.
        size: usize,
        /// The offset of the first byte that was found, from the object's start.
        offset: usize,
    },
    /// A checked heap: memory before the object was written to.
    Underrun {
        /// Its address.
        address: usize,
        /// Its size in bytes.
        size: usize,
        /// How far before the object the first byte is that was found.
        before: usize,
    },
    /// A checked heap: the object was written to after its free.
    UseAfterFree {
        /// Its address.
        address: usize,
        /// Its size in bytes.
        size: usize,
        /// The offset of the first byte that was found.
        offset: usize,
    },
    /// A checked heap: its record of an object was written to.
    RecordOverwritten {
        /// The address that was freed, or that of the record.
        address: usize,
    },
    /// The heap is disabled on this CPU: the caller is a handler that may have interrupted it.
    Disabled {
        /// The object's address.
        address: usize,
    },
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Misuse::DoubleFree { address } => write!(f, "double free of the heap object at {address:#x}"),
            Misuse::Foreign { address } => {
                write!(f, "free of {address:#x}, where the heap has no object")
            }
            Misuse::Interior { address, size: 0 } => {
                write!(f, "free of {address:#x}, which lies inside a large heap object")
            }
            Misuse::Interior { address, size } => {
                write!(f, "free of {address:#x}, which is not the start of a heap object of {size} bytes")
            }
            Misuse::WrongLayout { address, size, layout } => write!(
                f,
                "free of the heap object at {address:#x}, which has {size} bytes, with the layout of {} bytes aligned to {}",
                layout.size(),
                layout.align()
            ),
            Misuse::Overrun { address, size, offset } => write!(
                f,
                "the heap object at {address:#x}, which has {size} bytes, was overrun: the byte at offset {offset} was written to"
            ),
            Misuse::Underrun { address, size, before } => write!(
                f,
                "the heap object at {address:#x}, which has {size} bytes, was underrun: the byte at offset -{before} was written to"
            ),
            Misuse::UseAfterFree { address, size, offset } => write!(
                f,
                "use after free: the heap object at {address:#x}, which had {size} bytes, was written to at offset {offset} after its free"
            ),
            Misuse::RecordOverwritten { address } => write!(
                f,
                "the heap's record of the object at {address:#x} was overwritten, by an underrun of it or an overrun of the object before it"
            ),
            Misuse::Disabled { address } => {
                write!(
                    f,
                    "free of the heap object at {address:#x} in a handler that may have interrupted the heap"
                )
            }
        }
    }
}

impl core::error::Error for Misuse {}
