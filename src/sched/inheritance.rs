//! Priority inheritance: the owner of a mutex runs with the urgency of the most urgent thread that waits for it.
//!
//! What is lent is the class and priority of a real-time thread. A fair thread lends nothing: it waits no longer than its owner's share of the
//! CPU takes, and two shares do not add up without changes of the virtual times of both.
//!
//! Each mutex for which a real-time thread waits has a [`Donation`] to its owner. An [`Inheritance`], one of each thread, has the donations of
//! all mutexes of the thread: the thread's urgency is the greatest of its own and of those that are lent to it. So what a thread has
//! inherited ends with the release of that mutex, in whatever order mutexes are released, or when the waiter's time is over.
//!
//! **Chains.** No thread walks along a chain. A thread whose urgency changes while it waits for a mutex is woken, puts itself into
//! the place among the waiters that belongs to its new urgency, and lends that to the owner. So each step takes two locks of one mutex and
//! one thread, is made by a thread that runs with the urgency that it passes on, and ends where no urgency changes: also in a circle of
//! threads that wait for each other for ever.
//!
//! **Locks.** The order is: the lock of a mutex's queue, the lock of an inheritance, the lock of a run queue. A mutex's owner stays the same while
//! its queue is locked and its bit for waiters is set.
//!
//! **Lifetime.** A mutex whose guard was leaked names an owner that may have ended. So an inheritance is never freed: another thread
//! uses it again, which then inherits what is lent to the first.

use core::cell::Cell;
use core::fmt;
use core::ptr;

use super::class::Urgency;
#[cfg(target_os = "none")]
use super::entity::Entity as Target;
#[cfg(not(target_os = "none"))]
use super::host::{Guard, SpinLock, Target};
#[cfg(target_os = "none")]
use crate::cpu::IrqGuard as Guard;
#[cfg(target_os = "none")]
use crate::sync::SpinLock;
use crate::sync::{AtomicU32, AtomicUsize, Ordering};

/// What a mutex lends to its owner.
pub(crate) struct Donation {
    /// The owner. Used with the mutex's queue locked.
    to: Cell<*const Inheritance>,
    /// The urgency of the first waiter. Written with the mutex's queue locked and `to` as well; read with one of them locked.
    urgency: Cell<Urgency>,
    /// The next donation to the same thread. Used with `to` locked.
    next: Cell<*const Donation>,
}

// SAFETY: two threads must not use a field at the same time: each is used under the lock that its comment names.
unsafe impl Sync for Donation {}

// SAFETY: a donation must not be linked when it moves: only a mutex for which a thread waits has a linked one, and that thread borrows the mutex.
unsafe impl Send for Donation {}

impl Donation {
    pub(crate) const fn new() -> Donation {
        Donation {
            to: Cell::new(ptr::null()),
            urgency: Cell::new(Urgency::FAIR),
            next: Cell::new(ptr::null()),
        }
    }

    /// Returns whether there is one. **Context:** the mutex's queue is locked.
    #[inline(always)]
    pub(crate) fn is_given(&self) -> bool {
        !self.to.get().is_null()
    }

    /// Lends an urgency to a thread, instead of what was lent before to the same one. If the thread's urgency changes, returns what `take` makes
    /// of the thread. The caller gives it the class that belongs to that after the queue was unlocked.
    ///
    /// **Context:** the mutex's queue is locked.
    ///
    /// # Safety
    /// The donation stays where it is until its urgency is [`Urgency::FAIR`] again.
    pub(crate) unsafe fn give<H>(
        &self,
        guard: &Guard,
        owner: &'static Inheritance,
        urgency: Urgency,
        take: impl FnOnce(&Inheritance, &Target) -> H,
    ) -> Option<H> {
        if self.urgency.get() == urgency {
            return None;
        }
        debug_assert!(self.to.get().is_null() || ptr::eq(self.to.get(), owner));
        self.to.set(if urgency == Urgency::FAIR { ptr::null() } else { owner });
        // SAFETY: the donation must stay while its urgency is not that of a fair thread: guaranteed by the caller (see # Safety).
        unsafe { owner.note(guard, self, urgency, take) }
    }

    /// Ends the donation: the owner releases the mutex. Returns as [`give`](Self::give).
    ///
    /// **Context:** the mutex's queue is locked.
    #[cold]
    #[inline(never)]
    pub(crate) fn end<H>(&self, guard: &Guard, take: impl FnOnce(&Inheritance, &Target) -> H) -> Option<H> {
        // SAFETY: the address must be null or that of an inheritance: `give` has stored it, and inheritances are never freed.
        let owner = unsafe { self.to.get().as_ref() }?;
        self.to.set(ptr::null());
        // SAFETY: the donation must stay while its urgency is another: it has none afterwards.
        unsafe { owner.note(guard, self, Urgency::FAIR, take) }
    }
}

/// A thread's urgency: its own, and what is lent to it. By its address mutexes name their owner.
#[repr(align(64))]
pub(crate) struct Inheritance {
    /// The greatest of all, as a number.
    urgency: AtomicU32,
    /// The thread's own, as a number.
    own: AtomicU32,
    /// The address of the thread, or 0 where there is none.
    thread: AtomicUsize,
    donations: SpinLock<Donations>,
    /// The next one that no stack has. Used with the list of these locked.
    #[cfg(target_os = "none")]
    pub(super) next_unused: Cell<Option<&'static Inheritance>>,
}

// SAFETY: two threads must not use a field at the same time: `next_unused` is used under the lock that its comment names; the rest is `Sync`.
unsafe impl Sync for Inheritance {}

// SAFETY: another thread must be able to own it: the donations are `Send`, `next_unused` is a reference to what is `Sync`, the rest is atomics.
unsafe impl Send for Inheritance {}

/// The donations of the mutexes that a thread has.
struct Donations {
    first: *const Donation,
}

// SAFETY: another thread must be able to use the donations, which are `Sync`; they stay while they are linked, guaranteed by the caller of `give`.
unsafe impl Send for Donations {}

impl Inheritance {
    /// Creates one without a thread.
    pub(crate) fn new() -> Inheritance {
        let fair = Urgency::FAIR.number();
        Inheritance {
            urgency: AtomicU32::new(fair),
            own: AtomicU32::new(fair),
            thread: AtomicUsize::new(0),
            donations: SpinLock::new(Donations { first: ptr::null() }),
            #[cfg(target_os = "none")]
            next_unused: Cell::new(None),
        }
    }

    /// Gives it to a thread of this urgency, which stays where it is until [`end`](Self::end) was called.
    #[inline(always)]
    pub(crate) fn begin(&self, own: Urgency, thread: &Target) {
        self.own.store(own.number(), Ordering::Relaxed);
        self.urgency.store(own.number(), Ordering::Relaxed);
        self.thread.store(ptr::from_ref(thread).expose_provenance(), Ordering::Release);
    }

    /// The thread has ended. After this the caller may free it.
    #[cfg(target_os = "none")]
    #[inline(always)]
    pub(crate) fn end(&self, guard: &Guard) {
        // An exchange: a CPU that takes the lock after the look sees it.
        self.thread.swap(0, Ordering::SeqCst);
        if self.donations.owner().get().is_some() {
            drop(self.donations.lock(guard));
        }
    }

    /// Returns the urgency of the thread. **Context:** any; the result may be old for others than the thread.
    #[inline(always)]
    pub(crate) fn urgency(&self) -> Urgency {
        Urgency::from_number(self.urgency.load(Ordering::Acquire))
    }

    /// Notes what a mutex of the thread lends. Returns as [`Donation::give`].
    ///
    /// # Safety
    /// As for [`Donation::give`].
    unsafe fn note<H>(
        &self,
        guard: &Guard,
        donation: &Donation,
        urgency: Urgency,
        take: impl FnOnce(&Inheritance, &Target) -> H,
    ) -> Option<H> {
        let mut donations = self.donations.lock(guard);
        let was = donation.urgency.replace(urgency);
        if was == Urgency::FAIR {
            donation.next.set(donations.first);
            donations.first = donation;
        } else if urgency == Urgency::FAIR {
            donations.unlink(donation);
        }
        let own = Urgency::from_number(self.own.load(Ordering::Relaxed));
        let all = donations.iter().map(|donation| donation.urgency.get()).fold(own, Urgency::max);
        // SAFETY: the address must be 0 or that of a thread that stays: `begin` has stored it, and its caller keeps the thread until `end`,
        // which waits for the lock that is held here.
        let thread =
            unsafe { ptr::with_exposed_provenance::<Target>(self.thread.load(Ordering::SeqCst)).as_ref() }?;
        if self.urgency.load(Ordering::Relaxed) == all.number() {
            return None;
        }
        self.urgency.store(all.number(), Ordering::Release);
        thread.want_urgency(all);
        Some(take(self, thread))
    }
}

impl Donations {
    fn iter(&self) -> impl Iterator<Item = &Donation> {
        // SAFETY: the address must be null or that of a donation that stays: it is linked, and the caller of `give` guarantees that.
        let at = |address: *const Donation| unsafe { address.as_ref() };
        core::iter::successors(at(self.first), move |donation| at(donation.next.get()))
    }

    fn unlink(&mut self, donation: &Donation) {
        let next = donation.next.replace(ptr::null());
        let before = self.iter().find(|before| ptr::eq(before.next.get(), donation));
        match before {
            Some(before) => before.next.set(next),
            None => self.first = next,
        }
    }
}

impl fmt::Debug for Inheritance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Inheritance").field(&self.urgency()).finish()
    }
}
