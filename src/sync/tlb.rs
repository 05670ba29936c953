//! The protocol by which stale TLB entries become harmless: the lock-free part of `smp::shootdown`. It compiles on any host, where
//! tests and models run it.
//!
//! There is one *generation* for all CPUs. A CPU that has unmapped pages begins the next generation ([`Generation::advance`]). Each CPU
//! has a word ([`TlbWord`]): the generation that it read before its last flush, a *lazy* bit and an *absent* bit. The addresses and
//! frames of pages that were unmapped before generation `g` began may be used again when the word of each CPU *covers* `g`
//! ([`TlbWord::covers`]): it has reached `g`, or is lazy.
//!
//! A lazy CPU uses no mapping: it halts, or is offline. It needs no interrupt, and flushes before it uses a mapping again
//! ([`TlbWord::end_lazy`]).
//!
//! A processor may walk page tables ahead of the program, through what its paging-structure caches hold, and then sets accessed bits
//! in them (SDM Vol. 3A, 4.10.3). A CPU that halts does so when an interrupt wakes it, before it flushes. So the frame of a page
//! *table* may be used again only when each CPU has reached `g`, or is absent: it is offline, and has flushed before it became so.
//!
//! # Why it is correct
//!
//! A CPU reads the generation, flushes, then stores what it has read. If it has read `g` or more, the pages were unmapped before the
//! flush, and no entry for them is left. The store releases what the CPU did before, so a CPU that finds `g` reached acquires it.
//!
//! A CPU that ends being lazy clears the bit, then reads the generation. A CPU that unmaps advances the generation, then reads the word.
//! All four are sequentially consistent: if the second CPU still finds the bit set, the first finds the new generation, and flushes.

use super::atomics::{AtomicU64, Ordering, order_sequentially};

/// In a [`TlbWord`]: the CPU flushes before it uses a mapping. The other bits are the generation.
const LAZY: u64 = 1;

/// In a [`TlbWord`]: the CPU has flushed, and accesses nothing until it ends being lazy, not even ahead of the program.
const ABSENT: u64 = 2;

/// The bits of a [`TlbWord`] that are not the generation.
const FLAGS: u64 = LAZY | ABSENT;

/// From one generation to the next, so that a word without flags is a generation.
const STEP: u64 = 4;

/// What becomes free when all CPUs have flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stale {
    /// Pages: their frames and addresses. Lazy CPUs need not flush.
    Pages,
    /// Page tables too. CPUs that are lazy, but not absent, have to flush.
    Tables,
}

/// The number of times that pages were unmapped and the CPUs had to flush, for all CPUs.
#[derive(Debug)]
pub(crate) struct Generation(AtomicU64);

/// A CPU's last flush.
#[derive(Debug)]
pub(crate) struct TlbWord(AtomicU64);

#[cfg(not(any(loom, shuttle)))]
impl Generation {
    /// Creates generation 0.
    pub(crate) const fn new() -> Generation {
        Generation(AtomicU64::new(0))
    }
}

#[cfg(any(loom, shuttle))]
impl Generation {
    /// Creates generation 0.
    pub fn new() -> Generation {
        Generation(AtomicU64::new(0))
    }
}

impl Generation {
    /// Begins the next generation and returns it. Pages that this CPU has unmapped before, or that another CPU has unmapped and told
    /// this one about under a lock, are stale on each CPU until its word covers this generation.
    ///
    /// **Context:** any.
    pub(crate) fn advance(&self) -> u64 {
        // SeqCst: after the pages were unmapped, and before the words are read.
        let generation = self.0.fetch_add(STEP, Ordering::SeqCst) + STEP;
        order_sequentially();
        generation
    }

    /// Returns the current generation. **Context:** any.
    pub(crate) fn current(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

#[cfg(not(any(loom, shuttle)))]
impl TlbWord {
    /// Creates the word of a CPU that does not run yet.
    pub(crate) const fn new() -> TlbWord {
        TlbWord(AtomicU64::new(FLAGS))
    }
}

#[cfg(any(loom, shuttle))]
impl TlbWord {
    /// Creates the word of a CPU that does not run yet.
    pub fn new() -> TlbWord {
        TlbWord(AtomicU64::new(FLAGS))
    }
}

impl TlbWord {
    // --- On the word's own CPU only, interrupts off. ---

    /// Flushes by `flush`, then records it.
    pub(crate) fn flush(&self, generation: &Generation, flush: impl FnOnce()) {
        let seen = generation.current();
        flush();
        // Release: what this CPU read through old entries comes before the new use of their frames.
        self.0.store(seen, Ordering::Release);
    }

    /// Promises that this CPU uses no mapping until [`end_lazy`](Self::end_lazy).
    pub(crate) fn begin_lazy(&self) {
        self.0.fetch_or(LAZY, Ordering::SeqCst);
    }

    /// As [`begin_lazy`](Self::begin_lazy), and flushes by `flush`. Promises that this CPU executes nothing that accesses a mapping until
    /// [`end_lazy`](Self::end_lazy), so that its processor walks no page table of a mapping.
    pub(crate) fn begin_absent(&self, flush: impl FnOnce()) {
        self.begin_lazy();
        flush();
        // Not before the flush: another CPU that finds the bit frees page tables.
        self.0.fetch_or(ABSENT, Ordering::SeqCst);
    }

    /// Ends being lazy: flushes by `flush` if a generation has begun since the last flush. Does nothing if the CPU is not lazy.
    /// The interrupt entry does the same by single instructions (`interrupts/stubs.S`), and calls this function only for a flush.
    pub(crate) fn end_lazy(&self, generation: &Generation, flush: impl FnOnce()) {
        // The CPU itself sets the bit, so that this load finds it.
        if self.0.load(Ordering::Relaxed) & LAZY == 0 {
            return;
        }
        let word = self.0.fetch_and(!FLAGS, Ordering::SeqCst);
        order_sequentially();
        if generation.current() != word & !FLAGS {
            self.flush(generation, flush);
        }
    }

    /// Returns whether the CPU is lazy.
    #[cfg(all(target_os = "none", feature = "selftest"))]
    pub(crate) fn is_lazy(&self) -> bool {
        self.0.load(Ordering::Relaxed) & LAZY != 0
    }

    // --- On any CPU. ---

    /// Returns whether the CPU has no entry any more for what was unmapped before `generation` began, or flushes it before it uses a
    /// mapping; for page tables also before its processor can walk them.
    pub(crate) fn covers(&self, generation: u64, stale: Stale) -> bool {
        let word = self.0.load(Ordering::SeqCst);
        let exempt = match stale {
            Stale::Pages => LAZY,
            Stale::Tables => ABSENT,
        };
        word & exempt != 0 || word & !FLAGS >= generation
    }
}

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
