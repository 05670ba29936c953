//! The example of an allocator in `docs/kernels.md`: it compiles, and runs under the workloads and their checks.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::time::Duration;

use octopod::boot::command_line::Named;
use octopod::memory::frames::{FrameNumber, FreeError, Order};
use octopod::memory::source::{AllocContext, FrameSource};
use octopod::stress::allocators::OCTOPOD;
use octopod::stress::host::{Bound, HostRun};
use octopod::stress::workloads::Workload;

// The documented example begins here.
/// Allocates single frames from one atomic bitmap.
struct Bitmap<'a>(&'a [AtomicU64]);

impl FrameSource for Bitmap<'_> {
    fn largest_order(&self) -> Order {
        Order::FRAME
    }

    fn alloc(&self, _: &mut AllocContext, _: Order) -> Option<FrameNumber> {
        self.0.iter().enumerate().find_map(|(index, word)| {
            let bits =
                word.fetch_update(AcqRel, Relaxed, |bits| (bits != 0).then(|| bits & (bits - 1))).ok()?;
            Some(FrameNumber::new(index * 64 + bits.trailing_zeros() as usize))
        })
    }

    unsafe fn free(&self, _: &mut AllocContext, frame: FrameNumber, _: Order) -> Result<(), FreeError> {
        let bit = 1 << (frame.get() % 64);
        match self.0[frame.get() / 64].fetch_or(bit, AcqRel) & bit {
            0 => Ok(()),
            _ => Err(FreeError::DoubleFree { frame }),
        }
    }

    fn drain(&self, _: &mut AllocContext) {}

    fn free_frames(&self) -> usize {
        self.0.iter().map(|word| word.load(Relaxed).count_ones() as usize).sum()
    }
}
// It ends here.

const WORDS: usize = 64;

#[test]
fn the_example_is_the_documented_one_and_short() {
    let own = include_str!("own_allocator.rs");
    let (_, example) = own.split_once("// The documented example begins here.\n").unwrap();
    let (example, _) = example.split_once("// It ends here.").unwrap();
    let page = include_str!("../docs/kernels.md");
    assert!(
        page.contains(&format!("```rust\n{example}```\n")),
        "docs/kernels.md has another example:\n{example}"
    );
    assert!(example.lines().count() < 50);
}

/// The workloads that allocate single frames. `storm` must obtain each of them.
#[test]
fn the_example_runs_under_the_checks() {
    for workload in ["pairs", "bulk", "remote", "storm"] {
        let words: Vec<_> = (0..WORDS).map(|_| AtomicU64::new(u64::MAX)).collect();
        let outcome = run(workload).run_on(WORDS * 64, &Bitmap(&words));
        assert_eq!(outcome.verdict, Ok(()), "{workload}");
        assert!(outcome.figures.operations > 0);
    }
}

/// What it does not support is not what it lacks memory for.
#[test]
fn larger_orders_are_counted_as_unsupported() {
    let words: Vec<_> = (0..WORDS).map(|_| AtomicU64::new(u64::MAX)).collect();
    let figures = run("random").run_on(WORDS * 64, &Bitmap(&words)).figures;
    assert!(figures.unsupported > 0 && figures.allocations > 0, "{figures:?}");
    assert_eq!(figures.refused, 0);
    let figures = run("storm").run_on(WORDS * 64, &Bitmap(&words)).figures;
    assert!(figures.refused > 0, "{figures:?}");
    assert_eq!(figures.unsupported, 0);
}

/// A broken allocator fails: this one adds each frame to the pool again when it is allocated.
#[test]
fn a_broken_one_is_caught() {
    struct Generous<'a>(Bitmap<'a>);
    impl FrameSource for Generous<'_> {
        fn alloc(&self, context: &mut AllocContext, order: Order) -> Option<FrameNumber> {
            let frame = self.0.alloc(context, order)?;
            // SAFETY: nothing may use the frame's memory. The frame was just allocated, and has no memory.
            unsafe { self.0.free(context, frame, order) }.ok()?;
            Some(frame)
        }
        unsafe fn free(
            &self,
            context: &mut AllocContext,
            frame: FrameNumber,
            order: Order,
        ) -> Result<(), FreeError> {
            // SAFETY: the bitmap takes any number; its frames have no memory that anything could use.
            unsafe { self.0.free(context, frame, order) }
        }
        fn drain(&self, _: &mut AllocContext) {}
        fn free_frames(&self) -> usize {
            self.0.free_frames()
        }
    }
    let words: Vec<_> = (0..WORDS).map(|_| AtomicU64::new(u64::MAX)).collect();
    // One round of each thread: an operation that fails is not counted.
    let bound = Bound::Time(Duration::ZERO);
    let run = HostRun { bound, ..run("pairs") };
    let outcome = run.run_on(WORDS * 64, &Generous(Bitmap(&words)));
    assert!(outcome.verdict.is_err());
}

fn run(workload: &str) -> HostRun<'static> {
    let workload = <&Workload>::from_name(workload).unwrap();
    let (allocator, threads, blocks, seed, trace) = (&OCTOPOD, 3, 1, 7, None);
    let bound = Bound::Operations(10_000);
    let (check_every_frame, largest_order) = (false, Order::MAX);
    HostRun { allocator, workload, threads, blocks, bound, seed, trace, check_every_frame, largest_order }
}
