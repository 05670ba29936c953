//! A CPU's inbox: threads that other CPUs have woken for it. Pure atomics, which models check.
//!
//! A linked list whose head every CPU may exchange. Pushes are lock-free. All threads are taken at once, by the holder of
//! the CPU's queue lock: the CPU itself, or one that steals. The inbox of an offline CPU is closed, and refuses threads.

use core::ptr::NonNull;

use super::entity::{Entity, Runnable};
use crate::sync::{AtomicUsize, Ordering};

/// The head of an inbox without threads.
const EMPTY: usize = 0;

/// The head of a closed inbox. No entity has this address, since it is not aligned.
const CLOSED: usize = 1;

/// The threads that were woken for a CPU.
pub(crate) struct Inbox {
    /// [`EMPTY`], [`CLOSED`], or the address of the entity that was pushed last, which links to the one before it.
    head: AtomicUsize,
}

/// Returns the token of an entity that was in an inbox.
///
/// # Safety
/// `address` is that of an entity that [`Inbox::push`] has taken the token of, and the caller has taken it from the list.
unsafe fn token(address: usize) -> Option<Runnable> {
    let entity = NonNull::new(core::ptr::with_exposed_provenance_mut::<Entity>(address))?;
    // SAFETY: the push has consumed the only token of this entity, and the caller has taken the entity from the list (see #
    // Safety), so this is the only one again. The entity stayed valid: the token guarantees it.
    Some(unsafe { Runnable::new(entity) })
}

impl Inbox {
    /// Creates a closed inbox.
    #[cfg(not(any(loom, shuttle)))]
    pub(crate) const fn new() -> Inbox {
        Inbox { head: AtomicUsize::new(CLOSED) }
    }

    /// Creates a closed inbox.
    #[cfg(any(loom, shuttle))]
    pub(crate) fn new() -> Inbox {
        Inbox { head: AtomicUsize::new(CLOSED) }
    }

    /// Adds a thread. Returns it if the inbox is closed. **Context:** any but NMI.
    #[inline]
    pub(crate) fn push(&self, thread: Runnable) -> Result<(), Runnable> {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if head == CLOSED {
                return Err(thread);
            }
            thread.set_inbox_link(head);
            let address = thread.entity().as_ptr().expose_provenance();
            match self.head.compare_exchange(head, address, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => {
                    thread.into_entity();
                    return Ok(());
                }
                Err(now) => head = now,
            }
        }
    }

    /// Returns whether a thread is in the inbox. **Context:** any; the result may be old.
    #[inline(always)]
    pub(crate) fn has_threads(&self) -> bool {
        self.head.load(Ordering::SeqCst) > CLOSED
    }

    /// Returns whether the inbox is open: whether the CPU is online. **Context:** any; the result may be old.
    #[inline(always)]
    pub(crate) fn is_open(&self) -> bool {
        self.head.load(Ordering::Relaxed) != CLOSED
    }

    /// Takes all threads, in the order of their arrival. **Context:** the CPU's queue is locked.
    pub(crate) fn take_all(&self) -> Taken {
        let mut head = self.head.load(Ordering::Relaxed);
        while head > CLOSED {
            match self.head.compare_exchange(head, EMPTY, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return Taken::of(head),
                Err(now) => head = now,
            }
        }
        Taken { first: EMPTY }
    }

    /// Opens the inbox. **Context:** the CPU, when it comes online.
    pub(crate) fn open(&self) {
        let _ = self.head.compare_exchange(CLOSED, EMPTY, Ordering::SeqCst, Ordering::Relaxed);
    }

    /// Closes the inbox and takes all threads. **Context:** the CPU, when it goes offline.
    pub(crate) fn close(&self) -> Taken {
        match self.head.swap(CLOSED, Ordering::SeqCst) {
            CLOSED => Taken { first: EMPTY },
            head => Taken::of(head),
        }
    }
}

/// Threads that were taken from an inbox, oldest first. Those that are not taken out of it are lost.
#[must_use]
pub(crate) struct Taken {
    first: usize,
}

impl Taken {
    /// Reverses a list, which begins with the thread that was pushed last.
    fn of(mut last: usize) -> Taken {
        let mut first = EMPTY;
        // SAFETY: the caller has exchanged the list away, so its entities are its own; each was linked by `push`.
        while let Some(thread) = unsafe { token(last) } {
            last = thread.inbox_link();
            thread.set_inbox_link(first);
            first = thread.into_entity().as_ptr().expose_provenance();
        }
        Taken { first }
    }
}

impl Iterator for Taken {
    type Item = Runnable;

    fn next(&mut self) -> Option<Runnable> {
        // SAFETY: the list belongs to this iterator (`of`), and the entity leaves it here.
        let thread = unsafe { token(self.first) }?;
        self.first = thread.inbox_link();
        Some(thread)
    }
}
