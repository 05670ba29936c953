//! Models of CPUs that unmap, flush, idle and go offline. `cargo run -- soak loom` runs them.
//!
//! A page-table entry holds a frame, or 0. A TLB is a copy of the entry that its CPU keeps. The owner of the mapping replaces frame 1 by
//! frame 2 as the kernel does: it clears the entry, begins a generation, waits until all words cover it, then frees frame 1. A CPU
//! that reads through its TLB must never find a frame that is free.

extern crate std;

use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::sync::atomics::AtomicU32;
use crate::sync::model_atomics::{Accesses, explore};

/// The kernel's protocol, or one with an error that the model must find.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Variant {
    Kernel,
    /// The frame is free as soon as the entry is cleared.
    FlushTooEarly,
    /// The word is not awaited.
    SkipCpu,
    /// The generation begins before the entry is cleared.
    AdvanceFirst,
    /// The CPU reads the generation after its flush.
    ReadAfterFlush,
    /// The CPU reads the generation before it clears the lazy bit.
    ReadBeforeClear,
    /// A page table is freed as pages are: a lazy CPU need not flush.
    FreeTableAsPages,
    /// A CPU becomes absent before its flush.
    AbsentBeforeFlush,
    /// A thread that has flushed on one CPU and moved to another takes the other for flushed.
    SkipOwnAfterMove,
}

struct Machine {
    variant: Variant,
    generation: Generation,
    word: TlbWord,
    /// The page-table entry.
    entry: AtomicU32,
    /// Whether frame 1 is free.
    is_free: AtomicU32,
    /// Whether the owner requests a flush by interrupt.
    is_requested: AtomicU32,
}

impl Machine {
    fn new(variant: Variant) -> Arc<Machine> {
        let machine = Machine {
            variant,
            generation: Generation::new(),
            word: TlbWord::new(),
            entry: AtomicU32::new(1),
            is_free: AtomicU32::new(0),
            is_requested: AtomicU32::new(0),
        };
        machine.word.end_lazy(&machine.generation, || {});
        Arc::new(machine)
    }

    /// Unmaps frame 1, and frees it when all CPUs have flushed. Gives up if the other CPU does not answer: it may have ended.
    fn replace(&self) {
        if self.variant == Variant::AdvanceFirst {
            let generation = self.generation.advance();
            self.entry.store(0, Ordering::Relaxed);
            self.free_after(generation);
            return;
        }
        self.entry.store(0, Ordering::Relaxed);
        let generation = self.generation.advance();
        self.free_after(generation);
    }

    fn free_after(&self, generation: u64) {
        let is_awaited = !matches!(self.variant, Variant::FlushTooEarly | Variant::SkipCpu);
        if is_awaited && !self.word.covers(generation, Stale::Pages) {
            self.is_requested.store(1, Ordering::Release);
            // One more look after the request: a model must not spin.
            thread::yield_now();
            if !self.word.covers(generation, Stale::Pages) {
                return;
            }
        }
        self.is_free.store(1, Ordering::Release);
        order_sequentially();
    }
}

/// A CPU's TLB.
struct Tlb<'a> {
    machine: &'a Machine,
    copy: u32,
}

impl Tlb<'_> {
    /// Reads through the mapping.
    fn access(&mut self) {
        if self.copy == 0 {
            self.copy = self.machine.entry.load(Ordering::Relaxed);
        }
        let is_free = self.copy == 1 && self.machine.is_free.load(Ordering::Acquire) == 1;
        assert!(!is_free, "a CPU has read through a stale entry");
    }

    fn flush(&mut self) {
        let Machine { generation, word, variant, .. } = self.machine;
        if *variant == Variant::ReadAfterFlush {
            self.copy = 0;
            // The walk that the processor may begin at once.
            self.copy = self.machine.entry.load(Ordering::Relaxed);
            word.flush(generation, || {});
        } else {
            word.flush(generation, || self.copy = 0);
        }
    }

    /// The interrupt that requests a flush.
    fn interrupt(&mut self) {
        if self.machine.is_requested.load(Ordering::Acquire) == 1 {
            self.flush();
        }
    }

    fn begin_lazy(&mut self) {
        self.machine.word.begin_lazy();
    }

    fn end_lazy(&mut self) {
        let Machine { generation, word, variant, .. } = self.machine;
        if *variant == Variant::ReadBeforeClear {
            let is_old = generation.current() != word.0.load(Ordering::Relaxed) & !FLAGS;
            word.0.fetch_and(!FLAGS, Ordering::SeqCst);
            if is_old {
                self.flush();
            }
        } else {
            word.end_lazy(generation, || self.copy = 0);
        }
    }
}

fn run(variant: Variant, cpu: impl Fn(&mut Tlb<'_>) + Sync + Send + Copy + 'static) {
    explore(None, &[Accesses::Exchanges, Accesses::Plain], move || {
        let machine = Machine::new(variant);
        let other = thread::spawn({
            let machine = machine.clone();
            move || machine.replace()
        });
        cpu(&mut Tlb { machine: &machine, copy: 0 });
        other.join().unwrap();
    });
}

/// A busy CPU reads, takes the interrupt, and reads again.
fn busy(tlb: &mut Tlb<'_>) {
    tlb.access();
    tlb.interrupt();
    tlb.access();
}

/// A CPU reads, idles, and reads again when it wakes. A CPU that goes offline and comes back does the same.
fn idle(tlb: &mut Tlb<'_>) {
    tlb.access();
    tlb.begin_lazy();
    tlb.end_lazy();
    tlb.access();
}

/// A CPU that starts: it has been lazy, and has read nothing.
fn starting(tlb: &mut Tlb<'_>) {
    tlb.begin_lazy();
    tlb.end_lazy();
    tlb.access();
    tlb.access();
}

#[test]
fn a_busy_cpu_reads_through_no_stale_entry() {
    run(Variant::Kernel, busy);
}

#[test]
fn a_cpu_that_idles_reads_through_no_stale_entry() {
    run(Variant::Kernel, idle);
}

#[test]
fn a_cpu_that_starts_reads_through_no_stale_entry() {
    run(Variant::Kernel, starting);
}

#[test]
#[should_panic(expected = "a CPU has read through a stale entry")]
fn the_model_sees_a_flush_too_early() {
    run(Variant::FlushTooEarly, busy);
}

#[test]
#[should_panic(expected = "a CPU has read through a stale entry")]
fn the_model_sees_a_skipped_cpu() {
    run(Variant::SkipCpu, busy);
}

#[test]
#[should_panic(expected = "a CPU has read through a stale entry")]
fn the_model_sees_a_generation_that_begins_too_early() {
    run(Variant::AdvanceFirst, |tlb| {
        tlb.flush();
        tlb.access();
        tlb.access();
    });
}

#[test]
#[should_panic(expected = "a CPU has read through a stale entry")]
fn the_model_sees_a_generation_that_is_read_after_the_flush() {
    run(Variant::ReadAfterFlush, |tlb| {
        tlb.flush();
        tlb.access();
    });
}

#[test]
#[should_panic(expected = "a CPU has read through a stale entry")]
fn the_model_sees_a_generation_that_is_read_before_the_lazy_bit_is_cleared() {
    run(Variant::ReadBeforeClear, idle);
}

/// A CPU reads. A thread that has unmapped and flushed on another CPU moves here, and finishes: it flushes each CPU that does not cover
/// the generation, and frees the frame.
fn moving(variant: Variant) {
    explore(None, &[Accesses::Exchanges, Accesses::Plain], move || {
        let machine = Machine::new(variant);
        let from = Arc::new(TlbWord::new());
        let moved = Arc::new(AtomicU32::new(0));
        let other = thread::spawn({
            let (machine, from, moved) = (machine.clone(), from.clone(), moved.clone());
            move || {
                from.end_lazy(&machine.generation, || {});
                machine.entry.store(0, Ordering::Relaxed);
                let generation = machine.generation.advance();
                from.flush(&machine.generation, || {});
                moved.store(generation as u32, Ordering::Release);
            }
        });
        let mut tlb = Tlb { machine: &machine, copy: 0 };
        tlb.access();
        let generation = u64::from(moved.load(Ordering::Acquire));
        if generation != 0 {
            if variant != Variant::SkipOwnAfterMove && !machine.word.covers(generation, Stale::Pages) {
                tlb.flush();
            }
            assert!(from.covers(generation, Stale::Pages), "the CPU has flushed before the thread left it");
            machine.is_free.store(1, Ordering::Release);
        }
        tlb.access();
        other.join().unwrap();
    });
}

#[test]
fn a_thread_that_moves_between_its_flush_and_the_others_loses_none() {
    moving(Variant::Kernel);
}

#[test]
#[should_panic(expected = "a CPU has read through a stale entry")]
fn the_model_sees_a_cpu_that_is_skipped_after_a_move() {
    moving(Variant::SkipOwnAfterMove);
}

/// A page table is freed. The machine's entry is the one that leads to it, and a TLB's copy that of the paging-structure caches:
/// `access` is a walk that sets an accessed bit in the table.
fn table(variant: Variant, cpu: impl Fn(&mut Tlb<'_>) + Sync + Send + Copy + 'static) {
    explore(None, &[Accesses::Exchanges, Accesses::Plain], move || {
        let machine = Machine::new(variant);
        let other = thread::spawn({
            let machine = machine.clone();
            move || {
                machine.entry.store(0, Ordering::Relaxed);
                let generation = machine.generation.advance();
                let stale = if variant == Variant::FreeTableAsPages { Stale::Pages } else { Stale::Tables };
                if machine.word.covers(generation, stale) {
                    machine.is_free.store(1, Ordering::Release);
                    order_sequentially();
                }
            }
        });
        cpu(&mut Tlb { machine: &machine, copy: 0 });
        other.join().unwrap();
    });
}

/// A CPU idles. Its processor walks while the CPU wakes, before the flush.
fn walks_while_lazy(tlb: &mut Tlb<'_>) {
    tlb.access();
    tlb.begin_lazy();
    tlb.access();
    tlb.end_lazy();
    tlb.access();
}

/// A CPU goes offline and comes back.
fn absent(tlb: &mut Tlb<'_>) {
    tlb.access();
    let Machine { generation, word, variant, .. } = tlb.machine;
    if *variant == Variant::AbsentBeforeFlush {
        word.begin_absent(|| {});
        tlb.access();
        tlb.copy = 0;
    } else {
        word.begin_absent(|| tlb.copy = 0);
    }
    word.end_lazy(generation, || tlb.copy = 0);
    tlb.access();
}

#[test]
fn a_lazy_cpu_walks_through_no_freed_table() {
    table(Variant::Kernel, walks_while_lazy);
}

#[test]
fn a_cpu_that_goes_offline_walks_through_no_freed_table() {
    table(Variant::Kernel, absent);
}

#[test]
#[should_panic(expected = "a CPU has read through a stale entry")]
fn the_model_sees_a_table_that_is_freed_while_a_lazy_cpu_has_not_flushed() {
    table(Variant::FreeTableAsPages, walks_while_lazy);
}

#[test]
#[should_panic(expected = "a CPU has read through a stale entry")]
fn the_model_sees_a_cpu_that_is_absent_before_its_flush() {
    table(Variant::AbsentBeforeFlush, absent);
}
