//! What a scheduling policy knows of a thread, and the token that says who has the thread.
//!
//! The mechanism makes one [`Runnable`] for each thread. It moves: from the CPU that runs the thread to a run queue, to
//! another CPU, and back. A policy can neither copy nor make one. So a thread is in one place at a time: it runs on one CPU at most,
//! and is on one queue at most. That it is on the queue that took it is the duty of each [`RunQueue`](super::policy::RunQueue).

use core::cell::UnsafeCell;
use core::fmt;
use core::ptr::NonNull;

use super::class::Urgency;
pub use super::class::{Class, MAX_PRIORITY};
use crate::cpu::{CpuId, CpuSet};
use crate::sync::{AtomicU32, AtomicUsize, Ordering};

/// The number of a thread. Numbers are not used again during a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThreadId(pub u64);

impl fmt::Display for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a thread is scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// The class. While a real-time thread of a higher priority waits for a mutex of the thread, the thread has the class of the one that waits.
    pub class: Class,
    /// The share of a fair thread relative to other fair threads, from 1 to [`MAX_WEIGHT`].
    pub weight: u32,
    /// How long the thread runs at a time while others wait, in nanoseconds.
    pub slice_ns: u32,
}

/// The weight of a thread that names none.
pub const DEFAULT_WEIGHT: u32 = 1024;

/// The greatest weight.
pub const MAX_WEIGHT: u32 = 1 << 20;

/// The slice of a thread that names none: 3 ms.
pub const DEFAULT_SLICE_NS: u32 = 3_000_000;

/// The least slice: 10 us, so that a CPU does not only switch.
pub const MIN_SLICE_NS: u32 = 10_000;

impl Attributes {
    /// A fair thread of [`DEFAULT_WEIGHT`] and [`DEFAULT_SLICE_NS`].
    pub const DEFAULT: Attributes =
        Attributes { class: Class::Fair, weight: DEFAULT_WEIGHT, slice_ns: DEFAULT_SLICE_NS };

    /// Returns the attributes with each value in its range.
    pub(crate) fn clamped(self) -> Attributes {
        let class = match self.class {
            Class::RealTime { priority } => Class::RealTime { priority: priority.min(MAX_PRIORITY) },
            Class::Fair => Class::Fair,
        };
        Attributes {
            class,
            weight: self.weight.clamp(1, MAX_WEIGHT),
            slice_ns: self.slice_ns.max(MIN_SLICE_NS),
        }
    }
}

/// The CPUs on which a thread may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// Every CPU.
    Any,
    /// One CPU.
    Pinned(CpuId),
    /// The CPUs of a set. The reference keeps a thread small: a set has 520 bytes.
    Set(&'static CpuSet),
}

impl Affinity {
    /// Returns whether the thread may run on a CPU.
    pub fn allows(&self, cpu: CpuId) -> bool {
        match self {
            Affinity::Any => true,
            Affinity::Pinned(only) => *only == cpu,
            Affinity::Set(set) => set.contains(cpu),
        }
    }
}

impl fmt::Display for Affinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Affinity::Any => f.write_str("every CPU"),
            Affinity::Pinned(cpu) => write!(f, "cpu {cpu}"),
            Affinity::Set(set) => {
                f.write_str("cpus")?;
                let mut separator = "";
                for cpu in set.iter() {
                    write!(f, "{separator} {cpu}")?;
                    separator = ",";
                }
                Ok(())
            }
        }
    }
}

/// Why a thread is put on a run queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enqueue {
    /// It is new.
    New,
    /// It was woken.
    Woken,
    /// It ran, and another thread runs before it.
    Preempted,
    /// It ran, and gave up the CPU by `yield_now`.
    Yielded,
    /// It comes from another CPU's queue.
    Migrated,
    /// It waits, and its class has changed: see [`Attributes::class`].
    Reclassified,
}

/// Words for the policy: links between queued threads and numbers to order them by. The mechanism does not use them. They keep
/// their values while the thread runs and while it waits.
#[derive(Debug)]
pub struct PolicyWords {
    /// Links to other entities of the same queue.
    pub(crate) links: [Option<NonNull<Entity>>; 3],
    /// Time that the thread has run, divided by its weight, or whatever the policy counts.
    pub virtual_ns: u64,
    /// The deadline by which a queue is ordered, or whatever the policy counts.
    pub deadline: u64,
    /// The aggregate of a subtree, or whatever the policy counts.
    pub aggregate: u64,
    /// What is left of the slice in nanoseconds.
    pub slice_left_ns: u64,
}

impl PolicyWords {
    /// The words of a thread that no queue has had.
    pub(crate) const NEW: PolicyWords =
        PolicyWords { links: [None; 3], virtual_ns: 0, deadline: 0, aggregate: 0, slice_left_ns: 0 };
}

/// The part of a thread that its [`Runnable`] owns.
#[derive(Debug)]
pub(crate) struct Scheduled {
    pub(crate) attributes: Attributes,
    pub(crate) affinity: Affinity,
    /// The CPU on which the thread ran last.
    pub(crate) last_cpu: CpuId,
    /// Why the thread is in an inbox, if it is in one.
    pub(crate) reason: Enqueue,
    pub(crate) words: PolicyWords,
}

/// A thread as the scheduler's queues see it.
pub(crate) struct Entity {
    id: ThreadId,
    /// The address of the entity that was put into the same inbox before this one.
    inbox_link: AtomicUsize,
    /// The CPU that runs the thread, or on whose queue or in whose inbox it was put last.
    cpu: AtomicU32,
    /// The [`Urgency`] that the thread is to have, and [`CHANGED`] while `scheduled` has another.
    urgency: AtomicU32,
    scheduled: UnsafeCell<Scheduled>,
}

/// The thread does not have the class yet that it is to have.
const CHANGED: u32 = 1 << 31;

impl Entity {
    pub(crate) fn new(id: ThreadId, attributes: Attributes, affinity: Affinity) -> Entity {
        let words = PolicyWords::NEW;
        let scheduled = Scheduled { attributes, affinity, last_cpu: CpuId(0), reason: Enqueue::New, words };
        Entity {
            id,
            inbox_link: AtomicUsize::new(0),
            cpu: AtomicU32::new(0),
            urgency: AtomicU32::new(Urgency::of(attributes.class).number()),
            scheduled: UnsafeCell::new(scheduled),
        }
    }

    /// Returns the CPU that runs the thread, or on whose queue or in whose inbox it was put last. **Context:** any; it is exact while that
    /// CPU's queue is locked and has the thread or the CPU runs it.
    pub(crate) fn cpu(&self) -> CpuId {
        CpuId(self.cpu.load(Ordering::Acquire))
    }

    /// Notes the class that the thread is to have. The owner of its token gives it that class before it puts the thread on a queue; one
    /// that is on a queue or runs already is found by its CPU ([`cpu`](Self::cpu)).
    ///
    /// **Context:** any; one caller at a time.
    pub(crate) fn want_urgency(&self, urgency: Urgency) {
        self.urgency.store(urgency.number() | CHANGED, Ordering::Release);
    }

    /// Returns the urgency of the class that the thread is to have. **Context:** any; the result may be old.
    pub(crate) fn urgency(&self) -> Urgency {
        Urgency::from_number(self.urgency.load(Ordering::Relaxed) & !CHANGED)
    }

    /// Returns whether the thread does not have the class yet that it is to have. **Context:** any.
    #[inline(always)]
    pub(crate) fn has_change(&self) -> bool {
        self.urgency.load(Ordering::Acquire) & CHANGED != 0
    }

    /// Returns the thread's number. **Context:** any.
    pub(crate) fn id(&self) -> ThreadId {
        self.id
    }
}

/// A runnable thread that is neither running nor on another queue. The owner of this has the thread: one that drops it loses the
/// thread, which then never runs again.
#[derive(Debug)]
#[must_use = "a runnable thread that is dropped never runs again"]
pub struct Runnable(NonNull<Entity>);

// SAFETY: an `Entity` is used by one CPU after the other: its owned part only through the one `Runnable`, the rest is not
// changed.
unsafe impl Send for Runnable {}

impl Runnable {
    /// Makes the token of a thread.
    ///
    /// # Safety
    /// No other token of this entity exists. The entity stays valid and in its place while the token exists.
    pub(crate) unsafe fn new(entity: NonNull<Entity>) -> Runnable {
        Runnable(entity)
    }

    /// Returns the entity, to which the caller links, or of which it makes the token again by [`Runnable::new`]. It stays valid
    /// while a queue has it.
    pub(crate) fn into_entity(self) -> NonNull<Entity> {
        self.0
    }

    /// Returns the address of the entity.
    pub(crate) fn entity(&self) -> NonNull<Entity> {
        self.0
    }

    /// Returns the thread's number.
    pub fn id(&self) -> ThreadId {
        self.as_entity().id
    }

    fn as_entity(&self) -> &Entity {
        // SAFETY: the entity is valid while its token exists (`Runnable::new`). No exclusive reference to it exists, only to the
        // inside of its cell.
        unsafe { self.0.as_ref() }
    }

    /// Returns the link of the inbox that the entity was taken from.
    pub(crate) fn inbox_link(&self) -> usize {
        self.as_entity().inbox_link.load(Ordering::Relaxed)
    }

    /// Links the entity into an inbox.
    pub(crate) fn set_inbox_link(&self, address: usize) {
        self.as_entity().inbox_link.store(address, Ordering::Relaxed);
    }

    pub(crate) fn scheduled(&self) -> &Scheduled {
        // SAFETY: the entity is valid while its token exists, and no other token exists (`Runnable::new`), so a borrow of the
        // token borrows the cell.
        unsafe { &*self.as_entity().scheduled.get() }
    }

    pub(crate) fn scheduled_mut(&mut self) -> &mut Scheduled {
        // SAFETY: the entity is valid while its token exists, and no other token exists (`Runnable::new`), so the mutable borrow of the
        // token is one of the cell.
        unsafe { &mut *self.as_entity().scheduled.get() }
    }

    /// Notes the CPU on whose queue or in whose inbox the thread is put.
    #[inline(always)]
    pub(crate) fn note_place(&self, cpu: CpuId) {
        self.as_entity().cpu.store(cpu.0, Ordering::Release);
    }

    /// Gives the thread the class that it is to have, if that has changed. The owner of the token calls it before it puts the thread on a
    /// queue.
    #[inline(always)]
    pub(crate) fn update_class(&mut self) {
        if self.as_entity().has_change() {
            self.take_class();
        }
    }

    /// Gives the thread the class that it is to have.
    #[cold]
    #[inline(never)]
    pub(crate) fn take_class(&mut self) {
        let number = self.as_entity().urgency.fetch_and(!CHANGED, Ordering::AcqRel) & !CHANGED;
        self.scheduled_mut().attributes.class = Urgency::from_number(number).class();
    }

    /// Returns how the thread is scheduled.
    pub fn attributes(&self) -> Attributes {
        self.scheduled().attributes
    }

    /// Returns the CPU on which the thread ran last. A new thread has that of the thread that spawned it.
    pub fn last_cpu(&self) -> CpuId {
        self.scheduled().last_cpu
    }

    /// Returns the CPUs on which the thread may run.
    pub fn affinity(&self) -> Affinity {
        self.scheduled().affinity
    }

    /// Returns whether the thread may run on a CPU.
    pub fn may_run_on(&self, cpu: CpuId) -> bool {
        self.scheduled().affinity.allows(cpu)
    }

    /// Returns the policy's words.
    pub fn words(&self) -> &PolicyWords {
        &self.scheduled().words
    }

    /// Returns the policy's words, to change them.
    pub fn words_mut(&mut self) -> &mut PolicyWords {
        &mut self.scheduled_mut().words
    }
}
