//! The lock below every spin lock of the kernel: one word, and a queue of waiting CPUs. It compiles on any host, where
//! tests and models run it.
//!
//! The word holds the *holder* (one more than the CPU's number) and the last CPU of the queue. A free lock without a
//! queue is 0, so the uncontended case is one `cmpxchg`. A release clears the holder and leaves the queue.
//!
//! Order. A CPU that finds the lock held tries again for a number of pauses, with exponential back-off. Then it joins an
//! MCS queue (Mellor-Crummey and Scott, 1991): each waiting CPU spins on a node on its own stack, so only one CPU sees a
//! release. Only the first CPU of the queue reads the lock word. A CPU outside the queue may take a free lock before the
//! first. When the first has waited as long again, it sets [`HANDOFF`], and no CPU passes it from then on. So queued CPUs
//! acquire the lock in the order of their arrival, and each is passed for a bounded time only.
//!
//! Why not strictly first come, first served: a virtual CPU may lose its core while it waits. A ticket lock is then idle
//! until the host runs that CPU again, which with more virtual CPUs than cores is nearly always the case. Here a CPU that
//! does not run requests no hand-off, and running CPUs continue. A virtual CPU also spins longer before it joins the
//! queue ([`set_virtual`]): about as long as the host runs it at once. Linux uses its paravirtualised queued lock, or
//! else a plain test-and-set lock, for the same reason.

#[cfg(not(loom))]
use core::hint::spin_loop;
use core::sync::atomic::AtomicBool;
#[cfg(not(loom))]
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
#[cfg(loom)]
use loom::hint::spin_loop;

#[cfg(loom)]
use super::model_atomics::{AtomicU64, AtomicUsize, Ordering};

/// The holder: one more than the CPU's number, or 0.
const HOLDER: u64 = (1 << TAIL_SHIFT) - 1;

/// The first CPU of the queue has waited long enough: no other CPU may take the lock.
const HANDOFF: u64 = 1 << TAIL_SHIFT;

/// The last node of the queue: the low 48 bits of its address, which determine a canonical address under 4-level paging
/// (SDM Vol. 1, 3.3.7.1). Nodes are aligned, which leaves the lowest bit to [`HANDOFF`].
const TAIL: u64 = !(HOLDER | HANDOFF);
const TAIL_SHIFT: u32 = 16;

const _: () =
    assert!(crate::config::MAX_CPUS < HOLDER as u32, "a CPU's number does not fit into a lock word");
const _: () = assert!(align_of::<Node>() > 1);

/// The number of attempts of a CPU before it joins the queue, and of the first of the queue before it requests a
/// hand-off. With exponential back-off this is 127 pauses. In a model, one attempt.
const ROUNDS: u32 = if cfg!(loom) { 1 } else { 7 };

/// The number of attempts of a virtual CPU, with one pause between two. An emulator leaves translated code at each pause,
/// so with longer pauses a free lock would be idle while all CPUs pause. This takes about as long as the host runs a CPU
/// at once.
const VIRTUAL_ROUNDS: u32 = 100_000;

/// Whether [`VIRTUAL_ROUNDS`] apply.
static IS_VIRTUAL: AtomicBool = AtomicBool::new(false);

/// Sets whether the CPUs are virtual, so that they may lose their core at any instruction.
pub(crate) fn set_virtual(is_virtual: bool) {
    IS_VIRTUAL.store(is_virtual, core::sync::atomic::Ordering::Relaxed);
}

/// Observes a CPU's wait for a lock.
///
/// # Safety
/// `waiting` does not unwind: the stack holds a node that other CPUs write to.
pub(crate) unsafe trait Observer {
    /// Called between two pauses of the wait.
    fn waiting(&mut self);
}

/// A node of the queue, on the stack of the waiting CPU.
#[repr(align(16))]
struct Node {
    /// The address of the next node, or 0 if there is none.
    next: AtomicUsize,
    /// 1 if this is the first node of the queue, else 0.
    is_first: AtomicUsize,
}

impl Node {
    fn new() -> Node {
        Node { next: AtomicUsize::new(0), is_first: AtomicUsize::new(0) }
    }
}

/// The outcome of an attempt to join the queue.
enum Joined {
    /// The lock was free, and has been taken.
    Acquired,
    /// The queue was empty.
    First,
    /// The queue was not empty, and this was its last node.
    Behind(*const Node),
}

/// A lock without a value. See the [module](self).
#[repr(transparent)]
pub(crate) struct QueuedLock {
    word: AtomicU64,
}

impl QueuedLock {
    /// A free lock.
    #[cfg(not(loom))]
    pub(crate) const fn new() -> QueuedLock {
        QueuedLock { word: AtomicU64::new(0) }
    }

    /// A free lock.
    #[cfg(loom)]
    pub fn new() -> QueuedLock {
        QueuedLock { word: AtomicU64::new(0) }
    }

    /// Returns the number of the CPU that holds the lock, if one does. **Context:** any.
    pub(crate) fn holder(&self) -> Option<u32> {
        ((self.word.load(Ordering::Acquire) & HOLDER) as u32).checked_sub(1)
    }

    /// Takes the lock for the CPU `me` (one more than its number) if it is free and its queue is empty.
    #[inline(always)]
    pub(crate) fn acquire_uncontended(&self, me: u64) -> bool {
        self.word.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Takes the lock for the CPU `me` if it is free and the first of the queue has not requested a hand-off.
    #[inline(always)]
    pub(crate) fn try_acquire(&self, me: u64) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        word & (HOLDER | HANDOFF) == 0 && self.exchange(word, word | me)
    }

    /// Takes the lock for the CPU `me`, and waits until it is free.
    ///
    /// **Context:** interrupts off, so that the CPU neither changes nor waits for this lock a second time.
    #[cold]
    #[inline(never)]
    pub(crate) fn acquire_contended(&self, me: u64, observer: &mut impl Observer) {
        let mut budget = SpinBudget::new();
        while !budget.is_spent() {
            if self.try_acquire(me) {
                return;
            }
            observer.waiting();
            budget.pause();
        }
        let node = Node::new();
        // Exposed: other CPUs take the node's address from the lock word or from the previous node.
        let address = (&raw const node).expose_provenance();
        let joined = self.join(me, address);
        self.acquire_queued(me, &node, address, joined, observer);
    }

    /// Waits with `node`, which has joined the queue, unless the lock was free.
    fn acquire_queued(
        &self,
        me: u64,
        node: &Node,
        address: usize,
        joined: Joined,
        observer: &mut impl Observer,
    ) {
        match joined {
            Joined::Acquired => return,
            Joined::First => {}
            Joined::Behind(previous) => {
                // SAFETY: `previous` lives until this store. A CPU leaves the queue, and its node ends, only if the lock
                // word names its node as the last (`acquire_as_first`), or after the next node was stored in it
                // (`pass_on`). Since `join` the word names this CPU's node.
                unsafe { (*previous).next.store(address, Ordering::Release) };
                while node.is_first.load(Ordering::Acquire) == 0 {
                    observer.waiting();
                    spin_loop();
                }
            }
        }
        self.acquire_as_first(me, node, address, observer);
    }

    /// Waits as the first of the queue, takes the lock and leaves the queue.
    fn acquire_as_first(&self, me: u64, node: &Node, address: usize, observer: &mut impl Observer) {
        let mine = (address as u64) << TAIL_SHIFT;
        let mut budget = SpinBudget::new();
        loop {
            let word = self.word.load(Ordering::Relaxed);
            if word & HOLDER != 0 {
                observer.waiting();
                if !budget.is_spent() {
                    budget.pause();
                } else {
                    if word & HANDOFF == 0 {
                        self.word.fetch_or(HANDOFF, Ordering::Relaxed);
                    }
                    spin_loop();
                }
                continue;
            }
            // Clears `HANDOFF`, which this CPU has requested.
            let is_last = word & TAIL == mine;
            let rest = if is_last { 0 } else { word & TAIL };
            if self.exchange(word, rest | me) {
                if !is_last {
                    pass_on(node);
                }
                return;
            }
        }
    }

    fn join(&self, me: u64, address: usize) -> Joined {
        let mine = (address as u64) << TAIL_SHIFT;
        loop {
            let word = self.word.load(Ordering::Relaxed);
            if word & (HOLDER | HANDOFF) == 0 {
                if self.exchange(word, word | me) {
                    return Joined::Acquired;
                }
                continue;
            }
            // Release: publishes the initialised node. Acquire: this CPU uses the previous node.
            let joined = word & !TAIL | mine;
            if self.word.compare_exchange(word, joined, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                // Sign-extended, as a canonical address is.
                let last = ((word & TAIL) as i64 >> TAIL_SHIFT) as usize;
                return match last {
                    0 => Joined::First,
                    last => Joined::Behind(core::ptr::with_exposed_provenance(last)),
                };
            }
        }
    }

    #[inline(always)]
    fn exchange(&self, word: u64, new: u64) -> bool {
        self.word.compare_exchange(word, new, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Releases the lock. **Context:** the holder.
    #[inline(always)]
    pub(crate) fn release(&self) {
        #[cfg(all(target_os = "none", target_arch = "x86_64"))]
        // SAFETY: the store has the effect of `fetch_and(!HOLDER, Release)` without a locked operation. A store to the
        // low 16 bits of an aligned word is atomic and leaves the other bits unchanged (SDM Vol. 3A, 9.1.1). Earlier
        // accesses are not reordered with it (9.2.2). No other CPU changes these bits while they are not 0, except by
        // `force_release`. Without `nomem`, the compiler does not move accesses past it.
        unsafe {
            core::arch::asm!("mov word ptr [{}], 0", in(reg) self.word.as_ptr(),
                options(nostack, preserves_flags));
        }
        #[cfg(not(all(target_os = "none", target_arch = "x86_64")))]
        self.word.fetch_and(!HOLDER, Ordering::Release);
    }

    /// Releases the lock in place of a holder that never will, and clears [`HANDOFF`], so that the caller can take the
    /// lock before the queue.
    pub(crate) fn force_release(&self) {
        self.word.fetch_and(TAIL, Ordering::AcqRel);
    }

    /// Returns the last node's bits, and whether a hand-off is requested.
    #[cfg(test)]
    fn queue(&self) -> (u64, bool) {
        let word = self.word.load(Ordering::Acquire);
        (word & TAIL, word & HANDOFF != 0)
    }
}

impl Default for QueuedLock {
    fn default() -> Self {
        QueuedLock::new()
    }
}

/// Makes the next node the first of the queue. The CPU of `node` has left it.
fn pass_on(node: &Node) {
    let next = loop {
        match node.next.load(Ordering::Acquire) {
            // The lock word names another node as the last, so the next CPU is about to store its address here.
            0 => spin_loop(),
            next => break core::ptr::with_exposed_provenance::<Node>(next),
        }
    };
    // SAFETY: the node lives: its CPU waits in `acquire_queued` until this store. It is not used here afterwards.
    unsafe { (*next).is_first.store(1, Ordering::Release) };
}

/// The remaining attempts of a CPU before it joins the queue or requests a hand-off.
struct SpinBudget {
    rounds_left: u32,
    /// `None` on a virtual CPU.
    #[cfg(not(loom))]
    backoff: Option<crossbeam_utils::Backoff>,
}

impl SpinBudget {
    fn new() -> SpinBudget {
        let is_virtual = IS_VIRTUAL.load(core::sync::atomic::Ordering::Relaxed);
        SpinBudget {
            rounds_left: if is_virtual { VIRTUAL_ROUNDS } else { ROUNDS },
            #[cfg(not(loom))]
            backoff: (!is_virtual).then(crossbeam_utils::Backoff::new),
        }
    }

    fn is_spent(&self) -> bool {
        self.rounds_left == 0
    }

    fn pause(&mut self) {
        self.rounds_left = self.rounds_left.saturating_sub(1);
        #[cfg(not(loom))]
        if let Some(backoff) = &self.backoff {
            return backoff.spin();
        }
        spin_loop();
    }
}

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(loom)))]
mod tests;
