//! Frees that the heap refuses: [`Misuse`].

use core::alloc::Layout;
use core::fmt;

/// Why a free was refused. The heap has not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misuse {
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
    /// The heap is disabled on this CPU: the caller is a handler that may have interrupted it.
    Disabled {
        /// The object's address.
        address: usize,
    },
}

impl Misuse {
    /// The name, as in reports.
    pub const fn name(&self) -> &'static str {
        match self {
            Misuse::DoubleFree { .. } => "double_free",
            Misuse::Foreign { .. } => "foreign_pointer",
            Misuse::Interior { .. } => "interior_pointer",
            Misuse::WrongLayout { .. } => "wrong_layout",
            Misuse::Disabled { .. } => "disabled",
        }
    }
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
