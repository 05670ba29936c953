//! A thread's control block: what the mechanism knows of a thread.
//!
//! It lies at the top of the thread's stack, so that a thread needs one allocation. References to it are counted: the thread
//! has one until its CPU has switched away from it for the last time, and each [`ThreadRef`] has one. The last one frees the
//! stack.

use core::cell::Cell;
use core::fmt;
use core::mem::offset_of;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::entity::{Affinity, Attributes, Entity, Runnable, ThreadId};
use super::inheritance::Inheritance;
use super::join::JoinWord;
use super::links::Links;
use super::locals::Locals;
use super::notes::Notes;
use super::references::References;
use super::stack::{EndedThread, Stack, StackUse};
use super::state::{Phase, ThreadState};
use super::switch;
use crate::cpu::thread::{self, Thread as Header};
use crate::cpu::{CpuId, CpuSet, IrqGuard, ThreadName};
use crate::panic::backtrace_in;
#[cfg(feature = "checked")]
use crate::sync::lock_order::HeldByThread;

/// The number of the next thread. The BSP's first one is 0.
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// A thread's control block.
#[repr(C, align(64))]
pub(crate) struct Tcb {
    /// What FS base addresses while the thread runs, unless it is the BSP's first thread, whose header rt0 made.
    header: Header,
    /// The header's address.
    fs_base: *const Header,
    /// The stack pointer of the saved context. Its CPU writes it with the switch; the next one reads it after it has taken the
    /// thread from a queue.
    saved_rsp: Cell<u64>,
    pub(crate) state: ThreadState,
    /// The caller that joins the thread waits until the thread's own one is given up.
    references: References,
    entity: Entity,
    pub(crate) joining: JoinWord,
    /// The thread that waits for the end of this one, by the address of a reference; 0 for none. Written by the thread at its end.
    pub(crate) waiter: Cell<usize>,
    /// What mutexes lend to the thread.
    inheritance: &'static Inheritance,
    /// `None` for the BSP's first thread.
    stack: Cell<Option<Stack>>,
    /// The affinity that the thread has, or is about to have: see [`want_affinity`](Self::want_affinity).
    affinity: AtomicU64,
    /// Its place on the list of threads.
    links: Links<Tcb>,
    /// How often in a row the watchdog has found it on a queue.
    looks: AtomicU32,
    /// What is noted of it, for reports.
    notes: Notes,
    /// How it was spawned to be scheduled, for the shell: what the entity has belongs to the token.
    #[cfg(feature = "shell")]
    attributes: Attributes,
    /// Whether it may run elsewhere while no CPU of its affinity is online, and returns by itself.
    may_leave: bool,
    /// The values of its thread-local variables. The thread alone uses them.
    locals: Locals,
    /// The locks that block which the thread holds.
    #[cfg(feature = "checked")]
    held: HeldByThread,
    name: ThreadName,
}

// SAFETY: `saved_rsp` is used by one CPU after the other, as its comment says, ordered by the lock of the queue that the thread
// was on; `stack` only by the last reference; `waiter` by the thread, then by its CPU; `locals` by the thread
// (`own_locals`); `links` with the list locked. All other fields that change are atomics, or owned by the `Runnable`.
unsafe impl Sync for Tcb {}

// SAFETY: the fields that change are atomics, or have one owner at a time, which the state word names; none depends on the CPU.
unsafe impl Send for Tcb {}

impl Tcb {
    /// Creates the block of a thread with its own reference and one for the creator. [`init_in_place`](Self::init_in_place) must follow.
    #[inline(always)]
    pub(crate) fn new(
        attributes: Attributes,
        affinity: Affinity,
        phase: Phase,
        name: &str,
        may_leave: bool,
        stack: Option<Stack>,
        inheritance: &'static Inheritance,
    ) -> Tcb {
        let id = ThreadId(NEXT_ID.fetch_add(1, Ordering::Relaxed));
        Tcb {
            header: Header::new(),
            fs_base: core::ptr::null(),
            saved_rsp: Cell::new(0),
            state: ThreadState::new(phase),
            references: References::new(),
            entity: Entity::new(id, attributes, affinity),
            joining: JoinWord::new(true),
            waiter: Cell::new(0),
            inheritance,
            stack: Cell::new(stack),
            affinity: AtomicU64::new(word_of(affinity)),
            links: Links::new(),
            looks: AtomicU32::new(0),
            notes: Notes::new(),
            #[cfg(feature = "shell")]
            attributes,
            may_leave,
            locals: Locals::new(),
            #[cfg(feature = "checked")]
            held: HeldByThread::new(),
            name: ThreadName::new(name),
        }
    }

    /// Completes the block where it stays until [`release`](Self::release): with its own header for `stack`, or with the header of the
    /// running thread.
    pub(crate) fn init_in_place(&mut self, stack: Option<core::ops::Range<u64>>) {
        let address = core::ptr::from_ref(self).expose_provenance();
        let owner = core::ptr::from_ref(self.inheritance).addr();
        match stack {
            Some(stack) => {
                self.header.init(stack, address, owner);
                self.fs_base = &raw const self.header;
            }
            None => {
                thread::current().set_scheduled(address, owner);
                self.fs_base = thread::current();
            }
        }
        self.inheritance.begin(self.entity.urgency(), &self.entity);
    }

    /// Gives up the thread's own reference.
    ///
    /// # Safety
    /// The thread has ended, and its CPU does not use its stack any more. Called once.
    pub(crate) unsafe fn release(guard: &IrqGuard, this: NonNull<Tcb>) {
        // SAFETY: the reference that is given up keeps the block valid until then (see # Safety).
        let block = unsafe { this.as_ref() };
        block.inheritance.end(guard);
        if block.references.remove_own() {
            // SAFETY: that was the last one.
            unsafe { free(this) };
        }
    }

    /// Returns whether the CPU has left the stack of the thread, which has ended, for ever. **Context:** any.
    pub(crate) fn has_left(&self) -> bool {
        !self.references.has_own()
    }

    /// Returns the thread that runs on this CPU, or `None` if that is the CPU's own.
    #[inline(always)]
    pub(crate) fn current(_: &IrqGuard) -> Option<&'static Tcb> {
        let address = thread::current_scheduled();
        // SAFETY: the address is 0 or that of a block that `init_in_place` has stored, which lives while its thread runs. The
        // guard keeps that thread on this CPU, so the reference ends before the thread does: `mechanism::switching` alone keeps
        // it across a switch, and then the thread runs again.
        unsafe { core::ptr::with_exposed_provenance::<Tcb>(address).as_ref() }
    }

    /// Returns the block that an entity is in.
    pub(crate) fn of(entity: NonNull<Entity>) -> NonNull<Tcb> {
        // SAFETY: every entity of the kernel is the field of a block, so the result lies in the same allocation.
        unsafe { entity.byte_sub(offset_of!(Tcb, entity)) }.cast()
    }

    /// Returns the token.
    ///
    /// # Safety
    /// The thread belongs to the caller, as the module [`state`](super::state) says, and no other token exists. One that a CPU runs belongs to
    /// the holder of that CPU's queue lock.
    pub(crate) unsafe fn token(&self) -> Runnable {
        // SAFETY: this is the only token, guaranteed by the caller (see # Safety). The block stays while its thread has not
        // ended, and a thread that has ended has no owner.
        unsafe { Runnable::new(NonNull::from(&self.entity)) }
    }

    /// Returns what the queues know of the thread.
    pub(crate) fn entity(&self) -> &Entity {
        &self.entity
    }

    /// Returns what mutexes lend to the thread.
    #[inline(always)]
    pub(crate) fn inheritance(&self) -> &'static Inheritance {
        self.inheritance
    }

    /// Returns where the switch away from this thread stores its stack pointer.
    pub(crate) fn saved_rsp(&self) -> &Cell<u64> {
        &self.saved_rsp
    }

    /// Stores an affinity, which [`affinity`](Self::affinity) returns. The CPU that runs the thread next takes it over from there.
    ///
    /// **Context:** the thread's list is locked.
    pub(crate) fn want_affinity(&self, affinity: Affinity) {
        self.affinity.store(word_of(affinity), Ordering::Release);
    }

    /// Returns the affinity that was stored last. **Context:** any.
    pub(crate) fn affinity(&self) -> Affinity {
        match self.affinity.load(Ordering::Acquire) {
            0 => Affinity::Any,
            pinned if pinned & 1 != 0 => Affinity::Pinned(CpuId((pinned >> 1) as u32)),
            // SAFETY: the address must be that of a set that lives for ever. It is neither 0 nor odd, so `word_of` has made it of a
            // `'static` one.
            set => Affinity::Set(unsafe { &*core::ptr::with_exposed_provenance::<CpuSet>(set as usize) }),
        }
    }

    /// Returns how it was spawned to be scheduled.
    #[cfg(feature = "shell")]
    pub(super) fn attributes(&self) -> Attributes {
        self.attributes
    }

    /// Returns what is noted of it.
    #[inline(always)]
    pub(super) fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Returns its place on the list of threads.
    pub(super) fn links(&self) -> &Links<Tcb> {
        &self.links
    }

    /// Returns whether it may run elsewhere while no CPU of its affinity is online.
    pub(super) fn may_leave(&self) -> bool {
        self.may_leave
    }

    /// Returns the GS base of the CPU that runs the thread, or has run it last. **Context:** any; the result may be old.
    pub(crate) fn gs_base(&self) -> usize {
        // SAFETY: the address must be that of a header that lives: it is the block's own, or the static one of the first thread.
        unsafe { (*self.fs_base).gs_base() }
    }

    /// Returns how often in a row this was called while the thread was on a queue, since a CPU has run it. **Context:** the watchdog; the thread
    /// is on the list of threads, which is locked.
    pub(super) fn watch(&self) -> u32 {
        let looks = if self.state.watch() { self.looks.load(Ordering::Relaxed).saturating_add(1) } else { 0 };
        self.looks.store(looks, Ordering::Relaxed);
        looks
    }

    /// Returns the return addresses on the stack of the thread, innermost first, as far as it does not run. **Context:** any; the thread is on the
    /// list of threads, which is locked.
    pub(super) fn backtrace(&self) -> impl Iterator<Item = u64> {
        let is_saved = !matches!(self.state.phase(), Phase::Running | Phase::Exited);
        // SAFETY: the address must be that of an aligned word that lives; other CPUs write it at a switch, in one instruction.
        let saved_rsp = unsafe { AtomicU64::from_ptr(self.saved_rsp.as_ptr()) }.load(Ordering::Relaxed);
        // SAFETY: the address must be that of a header that lives: it is the block's own, or the static one of the first thread.
        let stack = unsafe { (*self.fs_base).stack() };
        let frame = if is_saved { switch::frame_of(saved_rsp) } else { 0 };
        // SAFETY: the stack must be mapped: it is that of a thread on the list, which has not ended. No stack has the address 0.
        unsafe { backtrace_in(stack, frame) }
    }

    /// Returns the thread's values of thread-local variables. **Context:** the thread.
    #[inline(always)]
    pub(super) fn locals(&self) -> &Locals {
        &self.locals
    }

    /// Returns how much of its stack was used; `None` for the BSP's first thread, whose stack is the boot's. **Context:** the thread is on the
    /// list of threads, which is locked, or the caller has a reference.
    pub(super) fn stack_use(&self) -> Option<StackUse> {
        // SAFETY: the cell must not change while this borrows its content. The last reference alone takes the stack (`free`), and the
        // thread has its own one while it is on the list.
        unsafe { &*self.stack.as_ptr() }.as_ref().map(Stack::usage)
    }

    /// Notes how much of its stack was used. **Context:** the CPU that has left the thread, which has ended, before its own reference is given
    /// up.
    pub(super) fn note_stack_use(&self, guard: &IrqGuard) {
        // SAFETY: the cell must not change while this borrows its content. The last reference alone takes the stack (`free`), and the
        // thread has its own one still.
        if let Some(stack) = unsafe { &*self.stack.as_ptr() } {
            let (id, name, affinity) = (self.id(), self.name, self.affinity());
            let cpu = crate::cpu::current();
            let notes = &self.notes;
            stack.note_end(guard, |stack| EndedThread {
                id,
                name,
                cpu,
                affinity,
                stack,
                ran_ns: notes.ran_ns(),
            });
        }
    }

    /// Returns what FS base has to address while the thread runs.
    pub(crate) fn fs_base(&self) -> *const Header {
        self.fs_base
    }

    /// Returns the locks that block which the thread holds. **Context:** the thread.
    #[cfg(feature = "checked")]
    pub(crate) fn held(&self) -> &HeldByThread {
        &self.held
    }

    pub(crate) fn id(&self) -> ThreadId {
        self.entity.id()
    }

    pub(crate) fn name(&self) -> &str {
        self.name.as_str()
    }

    pub(crate) fn thread_name(&self) -> ThreadName {
        self.name
    }
}

/// Returns an affinity as a word, from which [`Tcb::affinity`] makes it again.
fn word_of(affinity: Affinity) -> u64 {
    match affinity {
        Affinity::Any => 0,
        Affinity::Pinned(cpu) => u64::from(cpu.0) << 1 | 1,
        // Aligned, so its lowest bit is 0.
        Affinity::Set(set) => core::ptr::from_ref(set).expose_provenance() as u64,
    }
}

/// Writes the name of the thread that runs on this CPU. **Context:** any.
pub(super) fn write_current_name(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let guard = IrqGuard::new();
    f.write_str(Tcb::current(&guard).map_or("idle", Tcb::name))
}

/// Returns the name of the thread that runs on this CPU. **Context:** any.
#[cfg(feature = "checked")]
pub(super) fn current_name() -> ThreadName {
    let guard = IrqGuard::new();
    Tcb::current(&guard).map_or_else(|| ThreadName::new("idle"), Tcb::thread_name)
}

/// Frees a block and its stack.
///
/// # Safety
/// There is no reference any more.
#[cold]
#[inline(never)]
unsafe fn free(block: NonNull<Tcb>) {
    // The block lies in the memory that the stack's drop frees, so the stack leaves it first.
    // SAFETY: the block is valid until its stack is dropped.
    if let Some(stack) = unsafe { block.as_ref() }.stack.take() {
        stack.release();
    }
}

/// A counted reference to a thread's control block.
pub(crate) struct ThreadRef(NonNull<Tcb>);

// SAFETY: a `Tcb` is `Send` and `Sync`, and the count is atomic.
unsafe impl Send for ThreadRef {}

// SAFETY: a `Tcb` is `Sync`, and the count is atomic.
unsafe impl Sync for ThreadRef {}

impl ThreadRef {
    /// Takes over one of the block's references.
    ///
    /// # Safety
    /// The caller has a reference that it gives up.
    pub(crate) unsafe fn from_raw(tcb: NonNull<Tcb>) -> ThreadRef {
        ThreadRef(tcb)
    }

    /// Gives the reference to the caller.
    pub(crate) fn into_raw(self) -> NonNull<Tcb> {
        let this = core::mem::ManuallyDrop::new(self);
        this.0
    }

    /// Makes another reference to a block that the caller has a borrow of.
    pub(crate) fn to(tcb: &Tcb) -> ThreadRef {
        tcb.references.add();
        ThreadRef(NonNull::from(tcb))
    }
}

impl core::ops::Deref for ThreadRef {
    type Target = Tcb;

    #[inline(always)]
    fn deref(&self) -> &Tcb {
        // SAFETY: the block is valid while it has references, of which this is one.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for ThreadRef {
    fn clone(&self) -> ThreadRef {
        ThreadRef::to(self)
    }
}

impl Drop for ThreadRef {
    fn drop(&mut self) {
        if self.references.remove() {
            // SAFETY: that was the last one.
            unsafe { free(self.0) };
        }
    }
}

// `word_of` uses the lowest bit of an address.
const _: () = assert!(align_of::<CpuSet>() > 1);

// What a thread costs besides its stack.
const _: () = assert!(size_of::<Tcb>() <= if cfg!(feature = "checked") { 640 } else { 448 });
