//! The class of a lock: the place at which it is constructed. Only a kernel with the feature `checked` has it.

#[cfg(feature = "checked")]
use core::panic::Location;
#[cfg(feature = "checked")]
use core::sync::atomic::AtomicU32;

#[cfg(feature = "checked")]
use super::wait::Site;

/// The class of a lock, for the check of the order in which locks are taken.
pub(crate) struct LockClass {
    /// The place of construction. `None` for a lock that is constructed as a constant of a trait: such a lock is a class of its own.
    #[cfg(feature = "checked")]
    pub(super) place: Option<&'static Location<'static>>,
    /// One more than the number of the class, or a constant of `lock_order`.
    #[cfg(feature = "checked")]
    pub(super) id: AtomicU32,
}

impl LockClass {
    /// The class of the locks that the caller constructs.
    #[inline(always)]
    #[cfg_attr(feature = "checked", track_caller)]
    pub(crate) const fn here() -> LockClass {
        LockClass {
            #[cfg(feature = "checked")]
            place: Some(Location::caller()),
            #[cfg(feature = "checked")]
            id: AtomicU32::new(0),
        }
    }

    /// The class of one lock, whose place of construction says nothing. It is checked if it lies in a static.
    #[inline(always)]
    pub(crate) const fn of_one_lock() -> LockClass {
        LockClass {
            #[cfg(feature = "checked")]
            place: None,
            #[cfg(feature = "checked")]
            id: AtomicU32::new(0),
        }
    }
}

#[cfg(feature = "checked")]
impl LockClass {
    /// Returns the place at which its locks are constructed, if they have one.
    pub(crate) fn place(&self) -> Site {
        self.place.map(Site::of).unwrap_or_default()
    }
}
