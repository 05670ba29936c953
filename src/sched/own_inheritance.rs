//! The inheritances of threads: each stack has one, for the thread that runs on it.
//!
//! A mutex names its owner by the address of the owner's inheritance, also when the guard was leaked and the owner has ended. So they are
//! never freed: those of stacks that were freed are on a list, for new stacks.
//!
//! The first ones are made at the start, side by side. One that is made later keeps a page of the heap from being freed.

use alloc::alloc::alloc;
use alloc::vec::Vec;
use core::alloc::Layout;

use super::inheritance::Inheritance;
use crate::cpu::IrqGuard;
use crate::sync::SpinLock;

/// The first one that no stack has. The others are linked behind it.
static UNUSED: SpinLock<Option<&'static Inheritance>> = SpinLock::new(None);
crate::name_lock!(UNUSED);

/// An inheritance that its owner alone gives to threads. Its drop leaves it to others.
#[derive(Debug)]
pub(super) struct OwnInheritance(&'static Inheritance);

impl OwnInheritance {
    /// Makes unused ones. `None` without memory.
    ///
    /// **Context:** as for an allocation from the heap.
    pub(super) fn prepare(count: usize) -> Option<()> {
        let mut made = Vec::new();
        made.try_reserve_exact(count).ok()?;
        made.resize_with(count, Inheritance::new);
        let made: &'static [Inheritance] = made.leak();
        made.as_ptr().expose_provenance();
        made.iter().map(OwnInheritance).for_each(drop);
        Some(())
    }

    /// Returns an unused one, or a new one. `None` without memory.
    ///
    /// **Context:** as for an allocation from the heap.
    pub(super) fn alloc() -> Option<OwnInheritance> {
        let guard = IrqGuard::new();
        let mut unused = UNUSED.lock(&guard);
        if let Some(first) = *unused {
            *unused = first.next_unused.take();
            return Some(OwnInheritance(first));
        }
        drop(unused);
        drop(guard);
        // SAFETY: the layout has a size.
        let place = unsafe { alloc(Layout::new::<Inheritance>()) }.cast::<Inheritance>();
        if place.is_null() {
            return None;
        }
        // SAFETY: the place was allocated for an inheritance above, is aligned for it, and nothing else uses it.
        unsafe { place.write(Inheritance::new()) };
        place.expose_provenance();
        // SAFETY: written above, and never freed.
        Some(OwnInheritance(unsafe { &*place }))
    }

    /// Returns it for a thread that never ends.
    pub(super) fn leak(self) -> &'static Inheritance {
        core::mem::ManuallyDrop::new(self).0
    }

    /// Returns it for the thread of its owner.
    pub(super) fn get(&self) -> &'static Inheritance {
        self.0
    }
}

impl Drop for OwnInheritance {
    fn drop(&mut self) {
        let guard = IrqGuard::new();
        let mut unused = UNUSED.lock(&guard);
        self.0.next_unused.set(unused.replace(self.0));
    }
}
