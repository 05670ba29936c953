use core::sync::atomic::{AtomicU32, Ordering};

use super::super::allocators::Borrower;
use super::super::replay;
use super::super::workloads::defaults;
use super::*;
use crate::boot::command_line::Named;
use crate::memory::frames::FreeError;
use crate::stress::failure::Failure;
use crate::stress::lost::LostFrames;
use crate::stress::snapshot::{AllocatorSnapshot, LostSearch};
use crate::stress::subject::SubjectKind;
use crate::stress::workloads::Platform;

/// A trace of the package in the folder where cargo runs the tests. The program may have been built in another folder.
fn sample_path() -> std::path::PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs the tests");
    std::path::Path::new(&package).join("ci/traces/sample.trace")
}

/// More threads than the host has cores, so that a thread may be stopped anywhere.
#[test]
fn every_workload_runs_on_every_allocator() {
    let sample = std::fs::read(sample_path()).unwrap();
    let tables = replay::TraceTables::new(&replay::measure(&sample).unwrap());
    let trace = tables.load(&sample).unwrap();
    for (allocator, check_every_frame) in
        <&Allocator>::all().iter().flat_map(|allocator| [(allocator, false), (allocator, true)])
    {
        let on_host = |workload: &&&Workload| workload.on_host && workload.kind() == SubjectKind::Frames;
        for workload in <&Workload>::all().iter().filter(on_host) {
            let run = HostRun {
                allocator,
                workload,
                threads: 4,
                blocks: 8,
                bound: Bound::Operations(4_000),
                seed: 7,
                trace: Some(&trace),
                check_every_frame,
                largest_order: Order::MAX,
            };
            let outcome = run.run();
            assert_eq!(outcome.verdict, Ok(()), "{workload} on {allocator}");
            // `replay` is bounded by its trace, and the workloads with a table of runs by their rounds.
            let is_bounded = *workload == &workloads::REPLAY || workload.holds_runs;
            let most = if is_bounded { 1 } else { 4_000 };
            assert!(
                outcome.figures.operations >= most,
                "{workload} on {allocator}: {}",
                outcome.figures.operations
            );
        }
    }
}

/// A run of the workload on one thread and octopod, until all rounds are done.
fn all_rounds(workload: &str, blocks: usize) -> HostRun<'static> {
    HostRun {
        allocator: &super::super::allocators::OCTOPOD,
        workload: <&Workload>::from_name(workload).unwrap(),
        threads: 1,
        blocks,
        bound: Bound::Operations(u64::MAX),
        seed: 7,
        trace: None,
        check_every_frame: false,
        largest_order: Order::MAX,
    }
}

/// Has no frame, and is never asked for more than eight.
struct AtMostOrder3;

impl FrameSource for AtMostOrder3 {
    fn alloc(&self, _: &mut AllocContext, order: Order) -> Option<FrameNumber> {
        assert!(order.get() <= 3, "{order}");
        None
    }

    unsafe fn free(&self, _: &mut AllocContext, frame: FrameNumber, _: Order) -> Result<(), FreeError> {
        Err(FreeError::DoubleFree { frame })
    }

    fn drain(&self, _: &mut AllocContext) {}

    fn free_frames(&self) -> usize {
        0
    }
}

#[test]
fn no_order_above_the_largest_is_allocated_and_such_requests_are_counted() {
    let limited = |workload| HostRun {
        bound: Bound::Operations(2_000),
        largest_order: Order::new(3).unwrap(),
        ..all_rounds(workload, 8)
    };
    // One round: what is refused or not supported is no operation.
    let run = HostRun { bound: Bound::Time(Duration::ZERO), ..limited("random") };
    let figures = run.run_on(LentFrames::NONE, &AtMostOrder3).figures;
    assert!(figures.refused > 0 && figures.unsupported > 0 && figures.operations == 0, "{figures:?}");
    for workload in ["random", "mixed_orders"] {
        let outcome = limited(workload).run();
        assert_eq!(outcome.verdict, Ok(()), "{workload}");
        assert!(outcome.figures.allocations > 0 && outcome.figures.unsupported > 0, "{workload}");
    }
}

#[test]
fn a_churn_has_a_score_before_its_rounds_and_after_each() {
    for workload in ["churn0_50", "churn9_90"] {
        let outcome = all_rounds(workload, 16).run();
        assert_eq!(outcome.verdict, Ok(()), "{workload}");
        assert_eq!(outcome.scores.len(), crate::wire::MAX_SCORES, "{workload}");
        assert!(outcome.scores.iter().all(|score| *score <= 1000), "{:?}", outcome.scores);
        assert!(outcome.figures.allocations > 0 && outcome.figures.unsupported == 0);
        let again = all_rounds(workload, 16).run();
        assert_eq!(outcome.scores, again.scores, "{workload}: a seed repeats a run on one thread");
    }
    // Half of all single frames are freed at random, so before the first round no block is free. Most frames of orders up to 9
    // lie in whole blocks, of which half are free.
    assert_eq!(all_rounds("churn0_50", 16).run().scores[0], 0);
    assert!(all_rounds("churn9_50", 64).run().scores[0] > 100);
}

#[test]
fn a_run_that_is_split_is_freed_in_parts() {
    // Parts are freed by both CPUs, split again, and left over.
    let text = b"+0 11 0\n=0 9 4 1\n-1 0\n=2 0 512 0\n-5 1\n-516 0\n-4 1\n+517 0 1\n";
    let tables = replay::TraceTables::new(&replay::measure(text).unwrap());
    let trace = tables.load(text).unwrap();
    for (allocator, check_every_frame) in
        <&Allocator>::all().iter().flat_map(|allocator| [(allocator, false), (allocator, true)])
    {
        let run = HostRun {
            allocator,
            workload: &workloads::REPLAY,
            threads: 2,
            bound: Bound::Operations(1_000),
            trace: Some(&trace),
            check_every_frame,
            largest_order: Order::MAX,
            ..all_rounds("pairs", 8)
        };
        let outcome = run.run();
        assert_eq!(outcome.verdict, Ok(()), "{allocator}");
        // The first round succeeds. Later ones may not, as a thread cannot obtain frames that the other caches.
        assert!(outcome.figures.failed_allocations < outcome.figures.rounds, "{:?}", outcome.figures);
    }
    // In less memory than the run has, it fails, and so do its parts.
    let run = HostRun {
        workload: &workloads::REPLAY,
        threads: 2,
        bound: Bound::Operations(100),
        trace: Some(&trace),
        ..all_rounds("pairs", 2)
    };
    let outcome = run.run();
    assert_eq!(outcome.verdict, Ok(()));
    assert_eq!(outcome.figures.failed_allocations, outcome.figures.rounds);
}

/// Allocates the same block of 2 MiB to every caller that asks for one.
struct SameBlock<'a>(Hosted<'a>, std::sync::OnceLock<Option<FrameNumber>>);

impl FrameSource for SameBlock<'_> {
    fn alloc(&self, context: &mut AllocContext, order: Order) -> Option<FrameNumber> {
        if order == Order::BLOCK {
            return *self.1.get_or_init(|| self.0.alloc(context, order));
        }
        self.0.alloc(context, order)
    }

    unsafe fn free(
        &self,
        context: &mut AllocContext,
        frame: FrameNumber,
        order: Order,
    ) -> Result<(), FreeError> {
        // SAFETY: the caller must own the frames. It frees a block only if all of its owner words allow it, so once.
        unsafe { self.0.free(context, frame, order) }
    }

    fn drain(&self, context: &mut AllocContext) {
        self.0.drain(context);
    }

    fn free_frames(&self) -> usize {
        self.0.free_frames()
    }
}

#[test]
fn a_large_run_that_is_allocated_twice_is_found_by_its_checked_frames() {
    use crate::stress::owners::OwnershipViolation;
    for check_every_frame in [false, true] {
        let world = World::new(2);
        let source = SameBlock(Hosted::new(&world, 2), std::sync::OnceLock::new());
        let run = HostRun {
            allocator: &super::super::allocators::OCTOPOD,
            workload: <&Workload>::from_name("mixed_orders").unwrap(),
            threads: 1,
            blocks: 2,
            bound: Bound::Operations(1),
            seed: 7,
            trace: None,
            check_every_frame,
            largest_order: Order::MAX,
        };
        let outcome = run.run_on(LentFrames::new(&lent_of(&world)), &source);
        let found = outcome.verdict;
        let is_found = matches!(
            found,
            Err(Discrepancy::Failure(Failure::OwnershipViolation(OwnershipViolation::AllocatedTwice { .. })))
        );
        assert!(is_found, "{check_every_frame}: {found:?}");
        let most = if check_every_frame { Order::BLOCK.frames() } else { 4 };
        assert!(outcome.figures.double_allocated >= most as u64, "{:?}", outcome.figures);
    }
}

/// Records the requests to an allocator and its results, one number each. Frames are counted from `first`, as the host's memory
/// has another address in each run.
struct Recorder<'a>(Hosted<'a>, usize, std::sync::Mutex<Vec<u64>>);

impl FrameSource for Recorder<'_> {
    fn alloc(&self, context: &mut AllocContext, order: Order) -> Option<FrameNumber> {
        let frame = self.0.alloc(context, order);
        let number = frame.map_or(u64::MAX >> 8, |frame| (frame.get() - self.1) as u64);
        self.2.lock().unwrap().push(number << 8 | u64::from(order.get()));
        frame
    }

    unsafe fn free(
        &self,
        context: &mut AllocContext,
        frame: FrameNumber,
        order: Order,
    ) -> Result<(), FreeError> {
        self.2.lock().unwrap().push(((frame.get() - self.1) as u64) << 8 | 0x80 | u64::from(order.get()));
        // SAFETY: the caller owns the frames, which `alloc` acquired from the same allocator.
        unsafe { self.0.free(context, frame, order) }
    }

    fn drain(&self, context: &mut AllocContext) {
        self.0.drain(context);
    }

    fn free_frames(&self) -> usize {
        self.0.free_frames()
    }
}

/// One core, whose time ends after a number of checks.
struct OneCore {
    checks: AtomicU32,
    most: u32,
}

impl Platform for OneCore {
    fn cycles(&self) -> u64 {
        0
    }

    fn has_ended(&self) -> bool {
        self.checks.fetch_add(1, Ordering::Relaxed) >= self.most
    }

    fn is_overdue(&self) -> bool {
        self.most == 0
    }

    fn barrier(&self) {}

    fn wait_until(&self, condition: &dyn Fn() -> bool) {
        assert!(condition(), "no other CPU can make it true");
    }

    fn count(&self, _: usize, _: u64) {}

    fn offline_cpu(&self, _: u32) -> Result<(), Failure> {
        unreachable!("the only core stays")
    }

    fn online_cpu(&self, _: u32) -> Result<(), Failure> {
        unreachable!("the only core stays")
    }

    fn is_offline_requested(&self, _: u32) -> bool {
        false
    }

    fn go_offline(&self, _: u32) {}

    fn with_interrupts(&self, handler: &mut dyn FnMut(), work: &mut dyn FnMut(&mut dyn FnMut())) {
        work(handler);
    }

    fn report(&self, failure: &Failure) {
        panic!("{failure}");
    }
}

/// The locks, conditions and channels of the kernel, with threads of the host.
#[test]
fn workloads_of_the_scheduler_pass_with_threads_of_the_host() {
    let of_scheduler = |workload: &&&Workload| workload.on_host && workload.kind() == SubjectKind::Scheduler;
    for workload in <&Workload>::all().iter().filter(of_scheduler) {
        let policy = <&Policy>::all()[0];
        let bound = Bound::Operations(if cfg!(miri) { 50 } else { 2_000 });
        let outcome = HostThreadRun { policy, workload, threads: 2, bound, seed: 7 }.run();
        assert_eq!(outcome.verdict, Ok(()), "{workload}");
        assert!(outcome.figures.operations > 0 && outcome.figures.allocations >= 4, "{workload}");
    }
}

#[test]
fn a_seed_repeats_a_run_on_one_core() {
    for workload in defaults().filter(|workload| workload.on_host && workload.kind() == SubjectKind::Frames) {
        let calls = |seed| {
            let world = World::new(2);
            let recorder = Recorder(Hosted::new(&world, 2), world.first.get(), std::sync::Mutex::default());
            run_on_one_core(workload, seed, &world, &recorder);
            recorder.2.into_inner().unwrap()
        };
        let first = calls(7);
        assert!(first.len() > 100, "{workload}: {} calls", first.len());
        assert!(first == calls(7), "{workload}");
        // A workload without random numbers is the same for every seed.
        let draws = !["mixed_orders", "fragmentation", "storm"].contains(&workload.name);
        assert_eq!(first != calls(8), draws, "{workload}");
    }
}

fn run_on_one_core(workload: &'static Workload, seed: u64, world: &World, source: &dyn FrameSource) {
    let core = OneCore { checks: AtomicU32::new(0), most: 60 };
    assert!(!run_on_core(&core, workload, seed, &of(source, &lent_of(world))), "{workload}");
}

/// An allocator under test that was lent these frames.
fn of<'a>(source: &'a dyn FrameSource, lent: &'a [Range<FrameNumber>]) -> Tested<'a> {
    Tested::Frames(TestedFrames { source, lent: LentFrames::new(lent), foreign: None })
}

/// Returns whether the clock has ended a round.
fn run_on_core(core: &OneCore, workload: &'static Workload, seed: u64, tested: &Tested<'_>) -> bool {
    let TestedFrames { source, lent, .. } = tested.frames();
    let end = lent.end().get();
    let words = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
    let (owners, slots) = (words(end), words(SLOTS));
    let (histograms, rings, failures) =
        ([Histogram::new(), Histogram::new()], [FrameRing::new()], FailureLog::new());
    let runs = RunTable::sizes(end, 1).map(words);
    let shared = Shared::new(Setup {
        workload,
        seed,
        source,
        lent,
        heap: tested.heap(&slots, false),
        owners: Owners::new(&owners),
        histograms: &histograms,
        ids: &[0],
        rings: &rings,
        failures: &failures,
        free_before: source.free_frames() as u64,
        trace: None,
        check_every_frame: false,
        largest_order: Order::MAX,
        runs: RunTable::new(runs.each_ref().map(Vec::as_slice)),
    });
    // SAFETY: a context must be unique. There is no other.
    workloads::run(core, &shared, unsafe { AllocContext::new(0) });
    for number in 0..2 {
        // SAFETY: a context must be unique. The run, which had it, has ended.
        source.drain(&mut unsafe { AllocContext::new(number) });
    }
    shared.is_cut()
}

/// Octopod's allocator, which breaks in one way.
struct Broken<'a>(Hosted<'a>, Defect);

#[derive(Clone, Copy)]
enum Defect {
    /// Frees of the frames with these last digits have no effect.
    Loses(usize),
    /// An allocation takes longer than a workload may.
    IsSlow(&'static AtomicU64),
}

impl FrameSource for Broken<'_> {
    fn alloc(&self, context: &mut AllocContext, order: Order) -> Option<FrameNumber> {
        if let Defect::IsSlow(calls) = self.1 {
            calls.fetch_add(1, Ordering::Relaxed);
        }
        self.0.alloc(context, order)
    }

    unsafe fn free(
        &self,
        context: &mut AllocContext,
        frame: FrameNumber,
        order: Order,
    ) -> Result<(), FreeError> {
        match self.1 {
            Defect::Loses(digits) if frame.get() % 0x100 == digits => Ok(()),
            // SAFETY: the caller's guarantee.
            _ => unsafe { self.0.free(context, frame, order) },
        }
    }

    fn can_obtain_all(&self) -> bool {
        false
    }

    fn drain(&self, context: &mut AllocContext) {
        self.0.drain(context);
    }

    fn free_frames(&self) -> usize {
        self.0.free_frames()
    }
}

#[test]
fn lost_frames_are_named_with_their_last_owner() {
    // In the second round of `storm` frames cannot be allocated, because they are lost.
    for workload in ["bulk", "storm"] {
        let world = World::new(2);
        let source = Broken(Hosted::new(&world, 2), Defect::Loses(0x35));
        let run = HostRun { bound: Bound::Operations(3_000), ..all_rounds(workload, 2) };
        let Err(Discrepancy::Lost { frames, which: LostSearch::Found(which) }) =
            run.run_on(LentFrames::new(&lent_of(&world)), &source).verdict
        else {
            panic!("{workload} loses nothing")
        };
        assert_eq!(u64::from(which.more) + 1, frames, "{workload}: {which}");
        let first = which.first.unwrap();
        assert_eq!((first.first % 0x100, first.last), (0x35, first.first), "{workload}: {which}");
        assert!(which.to_string().contains("35 (freed by cpu 0) and "), "{which}");
        // The search frees what it allocates, of which this allocator loses frames that the workload did not have.
        let free = AllocatorSnapshot::of(&source).free();
        assert!(free + 4 >= world.len as u64, "{workload}: {free} of {}", world.len);
    }
}

/// Runs a workload whose time has been over for long. Returns whether the clock has ended a round.
pub(super) fn run_overdue(workload: &'static Workload, tested: &Tested<'_>) -> bool {
    run_on_core(&OneCore { checks: AtomicU32::new(0), most: 0 }, workload, 7, tested)
}

#[test]
fn a_search_for_lost_frames_ends_with_the_clock() {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let world = World::new(8);
    let source = Broken(Hosted::new(&world, 2), Defect::IsSlow(&CALLS));
    let owners: Vec<_> = (0..lent_of(&world)[0].end.get()).map(|_| AtomicU64::new(0)).collect();
    // SAFETY: a context must be unique. There is no other.
    let mut context = unsafe { AllocContext::new(0) };
    let mut search = |most: u64| {
        let is_overdue = &|| CALLS.load(Ordering::Relaxed) >= most;
        let (owners, context) = (Owners::new(&owners), &mut context);
        CALLS.store(0, Ordering::Relaxed);
        let found = Search { owners, context, is_overdue }.run(&source);
        assert_eq!(source.free_frames(), world.len, "the search frees what it has allocated");
        (found, CALLS.load(Ordering::Relaxed))
    };
    let (found, calls) = search(1_000);
    assert_eq!(found, None);
    assert!((1_000..1_100).contains(&calls), "{calls} of {} frames", world.len);
    // One that is not overdue allocates all.
    assert_eq!(search(u64::MAX), (Some(LostFrames::default()), world.len as u64 + 1));

    let ended = Discrepancy::Lost { frames: 3, which: LostSearch::Ended };
    assert_eq!(
        ended.to_string(),
        "3 frames that were free before are not free after: the search for them was ended after 20 s"
    );
}

#[test]
fn a_round_that_allocates_much_memory_ends_with_the_clock_and_is_noted() {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    for workload in ["storm", "fragmentation", "interrupts", "churn5_50", "half_full_pairs", "shuffled_free"]
    {
        CALLS.store(0, Ordering::Relaxed);
        let world = World::new(16);
        let source = Broken(Hosted::new(&world, 2), Defect::IsSlow(&CALLS));
        let workload = <&Workload>::from_name(workload).unwrap();
        assert!(run_overdue(workload, &of(&source, &lent_of(&world))), "{workload}");
        let calls = CALLS.load(Ordering::Relaxed);
        assert!(calls < 1_000, "{workload}: {calls} of {} frames", world.len);
        assert_eq!(source.free_frames(), world.len, "{workload}");
    }
}

#[test]
fn an_allocator_that_is_not_passed_on_is_found() {
    static NEVER: Allocator = Allocator {
        name: "never",
        summary: "It is not passed on.",
        backing: Backing::Borrowed(Borrower {
            metadata_bytes: |_| 0,
            shape: super::super::allocators::MemoryShape::Ranges,
            run: |_, _| {},
        }),
    };
    let outcome = HostRun { allocator: &NEVER, ..all_rounds("pairs", 2) }.run();
    assert_eq!(outcome.verdict, Err(Discrepancy::DidNotRun { reason: None }));
    assert_eq!((outcome.figures.operations, outcome.figures.allocator), (0, "never"));
}
