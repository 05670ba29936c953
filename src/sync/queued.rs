//! The lock under every spin lock of the kernel: one word, and a queue of waiting CPUs. Pure: it compiles on any host, where
//! tests and models run it.
//!
//! The word holds who has the lock (its *holder*, one more than the CPU's number), and the last CPU of the queue. A free
//! lock without a queue is 0, so the uncontended case is one `cmpxchg`. Releasing clears the holder and leaves the queue.
//!
//! Order. A CPU that finds the lock held tries again for a number of pauses, with exponential back-off, then joins an MCS
//! queue (Mellor-Crummey and Scott, 1991): each waiting CPU spins on a node of its own, on its own stack, so that a release
//! is seen by one CPU and not by all. Only the first of the queue watches the lock word. As long as the lock changes hands,
//! a CPU that is not in the queue may take it before the first; when the first has waited as long again, it sets
//! [`HANDOFF`], and from then on no CPU passes it. So queued CPUs get the lock in the order of their arrival, and each of
//! them is passed for a bounded time only.
//!
//! Why not strictly first come, first served: a virtual CPU may lose its core while it waits. A ticket lock then stands idle
//! until the host runs that one CPU again, and with more virtual CPUs than cores that is nearly always so. Here a CPU that
//! does not run asks for no hand-off, and those that run go on. A virtual CPU is also more patient ([`set_virtual`]): it
//! joins the queue when it has tried for about as long as the host lets it run at once. Linux has its paravirtualised queued
//! lock, and without that a plain test-and-set lock, for the same reason.

#[cfg(not(loom))]
use core::hint::spin_loop;
use core::sync::atomic::AtomicBool;
#[cfg(not(loom))]
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
#[cfg(loom)]
use loom::hint::spin_loop;

#[cfg(loom)]
use super::loomed::{AtomicU64, AtomicUsize, Ordering};

/// The holder: one more than the CPU's number, or 0.
const HOLDER: u64 = (1 << TAIL_SHIFT) - 1;

/// The first of the queue has waited long enough: nobody else may take the lock now.
const HANDOFF: u64 = 1 << TAIL_SHIFT;

/// The last node of the queue: the low 48 bits of its address, which are all of a canonical address under 4-level paging
/// (SDM Vol. 1, 3.3.7.1). An aligned node leaves the lowest of them to [`HANDOFF`].
const TAIL: u64 = !(HOLDER | HANDOFF);
const TAIL_SHIFT: u32 = 16;

const _: () =
    assert!(crate::config::MAX_CPUS < HOLDER as u32, "a CPU's number does not fit into a lock word");
const _: () = assert!(align_of::<Node>() > 1);

/// So many times a CPU tries before it joins the queue, and the first of the queue before it asks for a hand-off: with
/// exponential back-off that is 127 pauses. In a model, once.
const ROUNDS: u32 = if cfg!(loom) { 1 } else { 7 };

/// So many times a virtual CPU does, with a single pause between: to the emulator a pause is an exit from translated code, so
/// a free lock would stand idle while all CPUs pause. These take about as long as the host lets a CPU run at once.
const VIRTUAL_ROUNDS: u32 = 100_000;

/// Whether [`VIRTUAL_ROUNDS`] apply.
static IS_VIRTUAL: AtomicBool = AtomicBool::new(false);

/// Says whether the CPUs are virtual ones, which may lose their core at any instruction.
pub fn set_virtual(is_virtual: bool) {
    IS_VIRTUAL.store(is_virtual, core::sync::atomic::Ordering::Relaxed);
}

/// What a waiting CPU does between two looks at the lock.
///
/// # Safety
/// `waiting` does not unwind: the stack holds a node that other CPUs know of.
pub unsafe trait Observer {
    /// Called again and again while the CPU waits, between pauses.
    fn waiting(&mut self);
}

/// A place in the queue, on the stack of the CPU that waits.
#[repr(align(16))]
struct Node {
    /// The address of the next node, or 0 as long as there is none.
    next: AtomicUsize,
    /// Whether this is the first of the queue: 1, or 0.
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
    /// It was not; this was its last node.
    Behind(*const Node),
}

/// A lock without a value. See the [module](self).
#[repr(transparent)]
pub struct QueuedLock {
    word: AtomicU64,
}

impl QueuedLock {
    /// A free lock.
    #[cfg(not(loom))]
    pub const fn new() -> QueuedLock {
        QueuedLock { word: AtomicU64::new(0) }
    }

    /// A free lock.
    #[cfg(loom)]
    pub fn new() -> QueuedLock {
        QueuedLock { word: AtomicU64::new(0) }
    }

    /// The number of the CPU that holds the lock, if one does. Any context.
    pub fn holder(&self) -> Option<u32> {
        ((self.word.load(Ordering::Acquire) & HOLDER) as u32).checked_sub(1)
    }

    /// Takes the lock for the CPU `me`, one more than its number, if it is free and nobody waits in its queue.
    #[inline(always)]
    pub fn acquire_uncontended(&self, me: u64) -> bool {
        self.word.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Takes the lock for the CPU `me` if it is free, past the queue unless the first there has asked for a hand-off.
    #[inline(always)]
    pub fn try_acquire(&self, me: u64) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        word & (HOLDER | HANDOFF) == 0 && self.exchange(word, word | me)
    }

    /// Takes the lock for the CPU `me`, and waits as long as that takes. The CPU stays the same meanwhile, and does not wait
    /// for this lock a second time.
    #[cold]
    #[inline(never)]
    pub fn acquire_contended(&self, me: u64, observer: &mut impl Observer) {
        let mut patience = Patience::new();
        while !patience.is_over() {
            if self.try_acquire(me) {
                return;
            }
            observer.waiting();
            patience.pause();
        }
        let node = Node::new();
        // Exposed: other CPUs find the node by the address in the lock word, or in the node before.
        let address = (&raw const node).expose_provenance();
        let joined = self.join(me, address);
        self.acquire_queued(me, &node, address, joined, observer);
    }

    /// Waits with `node`, which has joined the queue or found the lock free.
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
                // SAFETY: a CPU leaves the queue, and with that its node, only if the lock word still names its node as the
                // last (`acquire_as_first`), or when the next node has been entered in it (`pass_on`). The word names this
                // CPU's node since `join`, so `previous` lives until this store.
                unsafe { (*previous).next.store(address, Ordering::Release) };
                while node.is_first.load(Ordering::Acquire) == 0 {
                    observer.waiting();
                    spin_loop();
                }
            }
        }
        self.acquire_as_first(me, node, address, observer);
    }

    /// The first of the queue takes the lock and leaves the queue.
    fn acquire_as_first(&self, me: u64, node: &Node, address: usize, observer: &mut impl Observer) {
        let mine = (address as u64) << TAIL_SHIFT;
        let mut patience = Patience::new();
        loop {
            let word = self.word.load(Ordering::Relaxed);
            if word & HOLDER != 0 {
                observer.waiting();
                if !patience.is_over() {
                    patience.pause();
                } else {
                    if word & HANDOFF == 0 {
                        self.word.fetch_or(HANDOFF, Ordering::Relaxed);
                    }
                    spin_loop();
                }
                continue;
            }
            // Without the hand-off: that was for this CPU.
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
            // Release: whoever reads the address from the word finds the node initialised. Acquire: this CPU reads another's.
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

    /// Frees the lock. Its holder calls this.
    #[inline(always)]
    pub fn release(&self) {
        #[cfg(all(target_os = "none", target_arch = "x86_64"))]
        // SAFETY: has the effect of `fetch_and(!HOLDER, Release)`: a store to the low half of an aligned word is one
        // access and leaves the rest of the word alone (SDM Vol. 3A, 9.1.1), no earlier access passes it (9.2.2), and no
        // other CPU changes these bits while they are not 0, but by `force_release`. Without the bus lock that a
        // read-modify-write operation would take. The memory counts as touched.
        unsafe {
            core::arch::asm!("mov word ptr [{}], 0", in(reg) self.word.as_ptr(),
                options(nostack, preserves_flags));
        }
        #[cfg(not(all(target_os = "none", target_arch = "x86_64")))]
        self.word.fetch_and(!HOLDER, Ordering::Release);
    }

    /// Frees the lock on behalf of a holder that will never do so, and takes back a hand-off that was asked for: the caller
    /// comes before the queue.
    pub fn force_release(&self) {
        self.word.fetch_and(TAIL, Ordering::AcqRel);
    }

    /// The address of the last node, and whether a hand-off has been asked for.
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

/// The CPU of this node has left the queue: the next one is the first now.
fn pass_on(node: &Node) {
    let next = loop {
        match node.next.load(Ordering::Acquire) {
            // The word says that there is one, so it is about to enter itself.
            0 => spin_loop(),
            next => break core::ptr::with_exposed_provenance::<Node>(next),
        }
    };
    // SAFETY: the CPU of that node waits until it is told so by this very store, after which nothing here touches the node.
    unsafe { (*next).is_first.store(1, Ordering::Release) };
}

/// How long a CPU still waits before it does something about it.
struct Patience {
    rounds_left: u32,
    /// `None` on a virtual CPU.
    #[cfg(not(loom))]
    backoff: Option<crossbeam_utils::Backoff>,
}

impl Patience {
    fn new() -> Patience {
        let is_virtual = IS_VIRTUAL.load(core::sync::atomic::Ordering::Relaxed);
        Patience {
            rounds_left: if is_virtual { VIRTUAL_ROUNDS } else { ROUNDS },
            #[cfg(not(loom))]
            backoff: (!is_virtual).then(crossbeam_utils::Backoff::new),
        }
    }

    fn is_over(&self) -> bool {
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
