//! The workloads on every heap, and on heaps that are broken on purpose: the named check must find each.

use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Mutex;

use super::tests::run_overdue;
use super::{ARENA_PAGE, ArenaPage, Bound, HostHeapRun, Outcome, Tested, TestedHeap};
use crate::boot::command_line::Named;
use crate::heap::source::{HeapError, HeapSource, HeapStatistics, become_cpu};
use crate::stress::failure::Failure;
use crate::stress::heap::{Heap, HeapArena, HeapBacking};
use crate::stress::marks::ObjectViolation;
use crate::stress::snapshot::Discrepancy;
use crate::stress::workloads::Workload;

fn talc() -> &'static Heap {
    <&Heap>::from_name("talc").unwrap()
}

fn workloads() -> impl Iterator<Item = &'static Workload> {
    <&Workload>::all().iter().copied().filter(|workload| workload.is_of_heaps())
}

fn run(workload: &str) -> HostHeapRun {
    HostHeapRun {
        heap: talc(),
        workload: <&Workload>::from_name(workload).unwrap(),
        threads: 4,
        bytes: 16 << 20,
        bound: Bound::Operations(10_000),
        seed: 7,
        check_every_word: false,
    }
}

/// More threads than the host has cores, so that a thread may be stopped anywhere.
#[test]
fn every_workload_runs_on_every_heap() {
    for heap in <&Heap>::all() {
        for workload in workloads() {
            for check_every_word in [false, true] {
                // Every word of many large objects takes long.
                let least = if check_every_word { 500 } else { 3_000 };
                let bound = Bound::Operations(least);
                let run = HostHeapRun { heap, workload, check_every_word, bound, ..run("heap_pairs") };
                let outcome = run.run();
                assert_eq!(outcome.verdict, Ok(()), "{workload} on {heap}");
                assert!(
                    outcome.figures.operations >= least,
                    "{workload} on {heap}: {}",
                    outcome.figures.operations
                );
                assert!(outcome.figures.allocations > 0);
                assert_eq!((outcome.figures.lost, outcome.figures.double_allocated), (0, 0));
                assert_eq!(outcome.figures.allocator, heap.name);
            }
        }
    }
}

#[test]
fn a_workload_that_exhausts_memory_is_refused_some() {
    for workload in ["heap_storm", "heap_fragmentation", "heap_interrupts"] {
        let outcome = run(workload).run();
        assert_eq!(outcome.verdict, Ok(()), "{workload}");
        assert!(outcome.figures.refused > 0, "{workload}");
    }
}

#[test]
fn a_heap_without_large_objects_has_them_counted_as_unsupported() {
    let outcome = broken("heap_sizes", Fault::NoLargeObjects);
    assert_eq!(outcome.verdict, Ok(()));
    assert!(outcome.figures.unsupported > 0);
}

/// A way in which a heap is broken, or limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It returns an object again that is in use.
    HandOutTwice,
    /// It returns an object that begins in the middle of another.
    Overlap,
    /// It returns an address that is 8 bytes beyond an aligned one.
    Misalign,
    /// It does not free an object.
    LoseObject,
    /// It does not free an object, and does not count it either.
    LoseBytes,
    /// It does not free objects, and counts nothing.
    LoseMany,
    /// It writes to objects that are in use.
    Scribble,
    /// Its resize does not copy the last bytes.
    ForgetContent,
    /// It returns memory that is not its own.
    LeaveArena,
    /// It refuses to free an object that is in use.
    RefuseFree,
    /// It finds its state invalid.
    Invalid,
    /// It has no objects of more than 1000 bytes. That is no fault.
    NoLargeObjects,
}

/// One call in this many is wrong.
const RARE: u64 = 256;

/// The heap `talc` with a fault.
struct Broken<'a> {
    heap: &'a dyn HeapSource,
    fault: Fault,
    calls: AtomicU64,
    /// An object of 64 bytes that is in use, or 0.
    last: Mutex<usize>,
    /// Whether objects were returned that are in use: then nothing is freed any more, as the heap below is sound.
    has_struck: AtomicBool,
    /// Bytes and objects that it conceals.
    concealed: AtomicU64,
}

impl Broken<'_> {
    /// Whether the fault occurs, for one of the first calls or for rare ones.
    fn occurs(&self, fault: Fault) -> bool {
        self.fault == fault && self.calls.fetch_add(1, Ordering::Relaxed) % RARE == RARE / 2
    }

    /// The layout that the heap below has for an object: an object that overlaps the half of one of 64 bytes must end in it, or it would
    /// damage that heap's own data.
    fn layout_below(&self, layout: Layout) -> Layout {
        match self.fault == Fault::Overlap && layout.size() == 64 {
            true => Layout::from_size_align(64 + OVERLAP, layout.align()).unwrap(),
            false => layout,
        }
    }
}

/// The place in an object where one begins that overlaps it.
const OVERLAP: usize = 32;

// SAFETY: none: it is broken on purpose. The memory that it returns is valid, so that the checks can access it.
unsafe impl HeapSource for Broken<'_> {
    fn largest_size(&self) -> usize {
        if self.fault == Fault::NoLargeObjects { 1000 } else { self.heap.largest_size() }
    }

    fn alloc(&self, layout: Layout) -> Result<NonNull<u8>, HeapError> {
        if layout.size() == 64 {
            let last = self.last.lock().unwrap();
            let offset = [(Fault::HandOutTwice, 0), (Fault::Overlap, OVERLAP)].into_iter();
            let offset = offset.filter(|_| *last != 0).find(|(fault, _)| self.occurs(*fault));
            if let Some((_, offset)) = offset {
                self.has_struck.store(true, Ordering::Relaxed);
                return Ok(NonNull::new(core::ptr::with_exposed_provenance_mut(*last + offset)).unwrap());
            }
        }
        if self.occurs(Fault::LeaveArena) {
            let far = Layout::from_size_align(layout.size(), 4096).unwrap();
            // SAFETY: the size is not 0. The memory is leaked.
            return Ok(NonNull::new(unsafe { std::alloc::alloc_zeroed(far) }).unwrap());
        }
        if layout.align() > 8 && self.occurs(Fault::Misalign) {
            let larger = Layout::from_size_align(layout.size() + 8, layout.align()).unwrap();
            // SAFETY: the object has 8 bytes more than the caller wants.
            return Ok(unsafe { self.heap.alloc(larger)?.add(8) });
        }
        let object = self.heap.alloc(self.layout_below(layout))?;
        if layout.size() == 64 {
            let mut last = self.last.lock().unwrap();
            let before = core::mem::replace(&mut *last, object.as_ptr().expose_provenance());
            if before != 0 && self.occurs(Fault::Scribble) {
                let address = core::ptr::with_exposed_provenance_mut::<u64>(before + 16);
                // SAFETY: the word lies in the arena. Its owner is disturbed, which is the fault.
                unsafe { core::sync::atomic::AtomicU64::from_ptr(address) }.store(77, Ordering::Relaxed);
            }
        }
        Ok(object)
    }

    unsafe fn dealloc(&self, object: NonNull<u8>, layout: Layout) -> Result<(), HeapError> {
        // From now on the object is not in use. The lock is held until the heap has freed it.
        let mut last = self.last.lock().unwrap();
        if *last == object.as_ptr().expose_provenance() {
            *last = 0;
        }
        if self.has_struck.load(Ordering::Relaxed) {
            return Ok(());
        }
        if self.occurs(Fault::LoseObject) || self.occurs(Fault::LoseMany) {
            return Ok(());
        }
        if self.occurs(Fault::LoseBytes) {
            self.concealed.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        if self.occurs(Fault::RefuseFree) {
            return Err(HeapError::NoObject);
        }
        // SAFETY: the object must come from `alloc` with this layout, guaranteed by the caller.
        unsafe { self.heap.dealloc(object, self.layout_below(layout)) }
    }

    unsafe fn realloc(
        &self,
        object: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<NonNull<u8>, HeapError> {
        let mut last = self.last.lock().unwrap();
        if self.has_struck.load(Ordering::Relaxed) {
            return Err(HeapError::OutOfMemory);
        }
        if *last == object.as_ptr().expose_provenance() {
            *last = 0;
        }
        let new = self.layout_below(Layout::from_size_align(new_size, layout.align()).unwrap());
        // SAFETY: the object must come from `alloc` with this layout, guaranteed by the caller.
        let resized = unsafe { self.heap.realloc(object, self.layout_below(layout), new.size()) }?;
        drop(last);
        if self.fault == Fault::ForgetContent {
            // SAFETY: the last byte that was kept lies in the object.
            let last = unsafe { resized.add(layout.size().min(new_size) - 1) };
            // SAFETY: the byte must be writable. It is the last one of the object that was kept.
            unsafe { last.write(0x5a) };
        }
        Ok(resized)
    }

    fn statistics(&self) -> HeapStatistics {
        let HeapStatistics { live_objects, held_bytes } = self.heap.statistics();
        let concealed = self.concealed.load(Ordering::Relaxed);
        if self.fault == Fault::LoseMany {
            return HeapStatistics::default();
        }
        HeapStatistics { live_objects: live_objects.map(|count| count - concealed), held_bytes }
    }

    fn validate(&self) -> Result<(), &'static str> {
        if self.fault == Fault::Invalid { Err("a list has a loop") } else { Ok(()) }
    }
}

/// A workload on a broken heap.
fn broken(workload: &str, fault: Fault) -> Outcome {
    let HeapBacking::Arena(make) = talc().backing else { panic!("talc works on an arena") };
    run(workload).in_arena(None, |arena, run| {
        make(arena, &mut |heap| {
            run(&Broken {
                heap,
                fault,
                calls: AtomicU64::new(0),
                last: Mutex::new(0),
                has_struck: AtomicBool::new(false),
                concealed: AtomicU64::new(0),
            });
        });
    })
}

fn failure(workload: &str, fault: Fault) -> Failure {
    match broken(workload, fault).verdict {
        Err(Discrepancy::Failure(failure)) => failure,
        other => panic!("{workload}, {fault:?}: {other:?}"),
    }
}

#[test]
fn an_object_that_is_allocated_twice_is_found() {
    for workload in ["box64", "heap_random", "heap_bulk"] {
        let outcome = broken(workload, Fault::HandOutTwice);
        let found = outcome.verdict.unwrap_err();
        match found {
            Discrepancy::Failure(Failure::Object(ObjectViolation::AllocatedTwice { .. })) => {
                assert!(outcome.figures.double_allocated > 0, "{workload}");
                assert!(found.to_string().contains(" was allocated to cpu "), "{found}");
            }
            // Another check finds it first if the host stops a thread while the thread enters the object.
            Discrepancy::Failure(Failure::Object(
                ObjectViolation::Overlap { .. } | ObjectViolation::Changed { .. },
            )) => {}
            _ => panic!("{workload}: {found}"),
        }
    }
}

#[test]
fn objects_that_overlap_are_found() {
    for workload in ["box64", "heap_random"] {
        let found = failure(workload, Fault::Overlap);
        assert!(matches!(found, Failure::Object(ObjectViolation::Overlap { .. })), "{workload}: {found}");
        assert!(found.to_string().contains(", overlaps an object of cpu "), "{found}");
    }
}

#[test]
fn a_misaligned_object_is_found() {
    let found = failure("heap_sizes", Fault::Misalign);
    assert!(matches!(found, Failure::Object(ObjectViolation::Misaligned { .. })), "{found}");
}

#[test]
fn an_object_outside_the_arena_is_found() {
    let found = failure("heap_pairs", Fault::LeaveArena);
    assert!(matches!(found, Failure::Object(ObjectViolation::OutsideArena { .. })), "{found}");
}

#[test]
fn lost_objects_are_found_by_the_counts() {
    let outcome = broken("heap_remote", Fault::LoseObject);
    assert!(
        matches!(outcome.verdict, Err(Discrepancy::ObjectsLeft { before: 0, .. })),
        "{:?}",
        outcome.verdict
    );
    assert!(outcome.figures.lost > 0);
}

#[test]
fn lost_bytes_are_found_by_the_counts() {
    let outcome = broken("heap_random", Fault::LoseBytes);
    let is_found = matches!(outcome.verdict, Err(Discrepancy::BytesLeft { before, after }) if after > before);
    assert!(is_found, "{:?}", outcome.verdict);
}

/// A heap that counts nothing is judged by what can be had from it.
#[test]
fn lost_memory_is_found_without_counts() {
    let mut storm = run("heap_storm");
    storm.bound = Bound::Operations(400_000);
    for workload in ["heap_storm", "heap_fragmentation"] {
        let HeapBacking::Arena(make) = talc().backing else { panic!("talc works on an arena") };
        let lossy = HostHeapRun { workload: <&Workload>::from_name(workload).unwrap(), ..storm };
        let outcome = lossy.in_arena(None, |arena, run| {
            make(arena, &mut |heap| {
                run(&Leaky { heap, frees: AtomicU64::new(0) });
            });
        });
        let found = outcome.verdict;
        let is_found = matches!(found, Err(Discrepancy::Failure(Failure::ObjectsStranded { .. })));
        assert!(is_found, "{workload}: {found:?}");
    }
}

/// A heap that does not free every fourth object, and counts nothing.
struct Leaky<'a> {
    heap: &'a dyn HeapSource,
    frees: AtomicU64,
}

// SAFETY: objects must be valid, aligned and disjoint. They are those of a heap.
unsafe impl HeapSource for Leaky<'_> {
    fn alloc(&self, layout: Layout) -> Result<NonNull<u8>, HeapError> {
        self.heap.alloc(layout)
    }

    unsafe fn dealloc(&self, object: NonNull<u8>, layout: Layout) -> Result<(), HeapError> {
        if self.frees.fetch_add(1, Ordering::Relaxed).is_multiple_of(4) {
            return Ok(());
        }
        // SAFETY: the object must come from `alloc` with this layout, guaranteed by the caller.
        unsafe { self.heap.dealloc(object, layout) }
    }
}

#[test]
fn a_write_to_an_object_in_use_is_found() {
    for workload in ["box64", "larson"] {
        let found = failure(workload, Fault::Scribble);
        let is_found = matches!(found, Failure::Object(ObjectViolation::Changed { offset: 16, .. }));
        assert!(is_found, "{workload}: {found}");
    }
}

#[test]
fn a_resize_that_loses_content_is_found() {
    let found = failure("heap_sizes", Fault::ForgetContent);
    assert!(matches!(found, Failure::Object(ObjectViolation::LostContent { .. })), "{found}");
}

#[test]
fn a_free_that_is_refused_is_found() {
    let found = failure("heap_remote", Fault::RefuseFree);
    assert_eq!(found, Failure::HeapRefused(HeapError::NoObject));
}

#[test]
fn an_invalid_state_is_found() {
    let found = broken("heap_pairs", Fault::Invalid).verdict;
    assert_eq!(found, Err(Discrepancy::InvalidHeap("a list has a loop")));
}

#[test]
fn a_heap_that_does_not_run_is_found() {
    let reasons: [(Option<&str>, _); 2] = [
        (Some("the processor has no such instruction"), "did not run: the processor has no such instruction"),
        (None, "did not run: the function that makes it returned without passing it on"),
    ];
    for (reason, text) in reasons {
        let outcome = run("heap_pairs").in_arena(None, |arena, _| {
            if let Some(reason) = reason {
                arena.decline(reason);
            }
        });
        let found = outcome.verdict.unwrap_err();
        assert_eq!(found, Discrepancy::DidNotRun { reason });
        assert_eq!(found.to_string(), text);
        assert_eq!((outcome.figures.operations, outcome.figures.workload), (0, "heap_pairs"));
    }
}

#[test]
fn a_round_that_allocates_much_memory_ends_with_the_clock_and_is_noted() {
    for workload in ["heap_storm", "heap_fragmentation", "heap_interrupts"] {
        let workload = <&Workload>::from_name(workload).unwrap();
        let run = HostHeapRun { workload, ..run("heap_pairs") };
        let HeapBacking::Arena(make) = talc().backing else { panic!("talc works on an arena") };
        let mut memory = vec![ArenaPage([0; ARENA_PAGE]); run.bytes / ARENA_PAGE];
        let start = NonNull::new(memory.as_mut_ptr().cast()).unwrap();
        // SAFETY: the memory must be valid and used for nothing else. The vector owns it and ends after the arena.
        let arena = unsafe { HeapArena::new(start, run.bytes, 1) };
        make(&arena, &mut |source| {
            become_cpu(0);
            let bounds = Some(arena.addresses());
            let tested = Tested::Heap(TestedHeap { source, bounds, free_frames: None });
            assert!(run_overdue(workload, &tested), "{workload}");
            assert_eq!(source.statistics().live_objects.unwrap_or(0), 0, "{workload}");
        });
    }
}
