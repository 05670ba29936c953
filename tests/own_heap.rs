//! The example of a heap in `docs/kernels.md`: it compiles, and runs under the workloads and their checks.

use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};

use octopod::boot::command_line::Named;
use octopod::stress::heap::*;
use octopod::stress::host::{Bound, HostHeapRun, Outcome};
use octopod::stress::workloads::Workload;

// The documented example begins here.
octopod::heap! {
    /// Cells of 64 bytes from one bitmap.
    pub static CELLS = "cells",
    run: |arena, run| run(&Cells::on(arena)),
}

const CELL: usize = 64;

/// A bit is set where the cell is free. The words lie at the begin of the arena.
struct Cells<'a> {
    words: &'a [AtomicU64],
    first: usize,
}

impl<'a> Cells<'a> {
    fn on(arena: &HeapArena<'a>) -> Cells<'a> {
        let count = (arena.bytes() - CELL) / (64 * CELL + size_of::<u64>());
        // SAFETY: the arena is valid and this heap's alone, begins with a page, and has room for so many words.
        let words = unsafe { core::slice::from_raw_parts(arena.start().as_ptr().cast::<AtomicU64>(), count) };
        words.iter().for_each(|word| word.store(u64::MAX, Relaxed));
        let end = arena.start().as_ptr().expose_provenance() + size_of_val(words);
        Cells { words, first: end.next_multiple_of(CELL) }
    }
}

// SAFETY: a cell lies in the arena, is aligned to its size, and has one owner, which has cleared its bit.
unsafe impl HeapSource for Cells<'_> {
    fn largest_size(&self) -> usize {
        CELL
    }

    fn alloc(&self, layout: Layout) -> Result<NonNull<u8>, HeapError> {
        let take = |(index, word): (usize, &AtomicU64)| {
            let bits =
                word.fetch_update(AcqRel, Relaxed, |bits| (bits != 0).then(|| bits & (bits - 1))).ok()?;
            let cell = index * 64 + bits.trailing_zeros() as usize;
            NonNull::new(core::ptr::with_exposed_provenance_mut(self.first + cell * CELL))
        };
        let fits = layout.size() <= CELL && layout.align() <= CELL;
        fits.then(|| self.words.iter().enumerate().find_map(take)).flatten().ok_or(HeapError::OutOfMemory)
    }

    unsafe fn dealloc(&self, object: NonNull<u8>, _: Layout) -> Result<(), HeapError> {
        let cell = (object.as_ptr().addr() - self.first) / CELL;
        match self.words[cell / 64].fetch_or(1 << (cell % 64), AcqRel) >> (cell % 64) & 1 {
            0 => Ok(()),
            _ => Err(HeapError::DoubleFree),
        }
    }

    fn statistics(&self) -> HeapStatistics {
        let live = self.words.iter().map(|word| u64::from(word.load(Relaxed).count_zeros())).sum();
        HeapStatistics { live_objects: Some(live), ..HeapStatistics::default() }
    }
}
// It ends here.

#[test]
fn the_example_is_the_documented_one_and_short() {
    let own = include_str!("own_heap.rs");
    let (_, example) = own.split_once("// The documented example begins here.\n").unwrap();
    let (example, _) = example.split_once("// It ends here.").unwrap();
    let page = include_str!("../docs/kernels.md");
    assert!(
        page.contains(&format!("```rust\n{example}```\n")),
        "docs/kernels.md has another example:\n{example}"
    );
    assert!(example.lines().count() < 70);
}

/// A run of a workload on a registered heap.
fn run(heap: &str, workload: &str) -> Outcome {
    let heap = <&Heap>::from_name(heap).expect("the heap is registered");
    let workload = <&Workload>::from_name(workload).unwrap();
    let (threads, bytes, seed) = (3, 1 << 20, 7);
    let bound = Bound::Operations(5_000);
    HostHeapRun { heap, workload, threads, bytes, bound, seed, check_every_word: false }.run()
}

#[test]
fn the_example_runs_under_the_checks() {
    for workload in ["box64", "threadtest", "heap_random", "heap_remote", "own_objects"] {
        let outcome = run("cells", workload);
        assert_eq!(outcome.verdict, Ok(()), "{workload}");
        assert!(outcome.figures.allocations > 0, "{workload}");
    }
    assert!(run("cells", "heap_random").figures.unsupported > 0);
}

octopod::workload! {
    /// Each CPU allocates an object and frees it.
    pub static OWN_OBJECTS = "own_objects",
    heap: |worker| {
        while worker.has_next_round() {
            if let Some(object) = worker.allocate_object(Layout::new::<[u64; 3]>()) {
                worker.free_held_object(object);
            }
        }
    },
}

octopod::heap! {
    /// The example, which allocates each cell to two callers.
    pub static TWICE = "twice",
    run: |arena, run| run(&Twice(Cells::on(arena), AtomicU64::new(0))),
}

struct Twice<'a>(Cells<'a>, AtomicU64);

// SAFETY: none: it is broken on purpose. The memory that it returns is valid.
unsafe impl HeapSource for Twice<'_> {
    fn largest_size(&self) -> usize {
        CELL
    }

    fn alloc(&self, layout: Layout) -> Result<NonNull<u8>, HeapError> {
        let before = self.1.swap(0, AcqRel);
        if let Some(object) = NonNull::new(core::ptr::with_exposed_provenance_mut(before as usize)) {
            return Ok(object);
        }
        let object = self.0.alloc(layout)?;
        self.1.store(object.as_ptr().expose_provenance() as u64, Relaxed);
        Ok(object)
    }

    unsafe fn dealloc(&self, object: NonNull<u8>, layout: Layout) -> Result<(), HeapError> {
        // SAFETY: the object comes from this heap, guaranteed by the caller.
        unsafe { self.0.dealloc(object, layout) }
    }
}

/// A broken heap fails, with the right words.
#[test]
fn a_broken_one_is_caught() {
    let outcome = run("twice", "box64");
    let found = outcome.verdict.unwrap_err().to_string();
    // Another check finds it first if the host stops a thread while the thread enters the object.
    assert!(found.contains("object 0x"), "{found}");
}
