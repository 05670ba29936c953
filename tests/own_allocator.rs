//! The example of an allocator in `docs/kernels.md`, which is that of the template: it compiles, and runs under the workloads and their
//! checks.

use std::time::Duration;

use octopod::boot::command_line::Named;
use octopod::stress::allocators::*;
use octopod::stress::host::{Bound, HostRun};
use octopod::stress::workloads::Workload;

#[path = "../ci/templates/allocator/src/allocator.rs"]
mod allocator;

use allocator::Bitmap;

octopod::frame_allocator! {
    /// The documented example.
    static BITMAP = "bitmap",
    metadata: |needs| needs.frames.div_ceil(64) * size_of::<u64>(),
    shape: MemoryShape::Contiguous { alignment: Order::FRAME, most: None },
    run: |memory, run| run(&Bitmap::on(memory)),
}

octopod::frame_allocator! {
    /// The example, which adds each frame to the pool again when it is allocated.
    static GENEROUS = "generous",
    metadata: |needs| needs.frames.div_ceil(64) * size_of::<u64>(),
    shape: MemoryShape::Contiguous { alignment: Order::FRAME, most: None },
    run: |memory, run| run(&Generous(Bitmap::on(memory))),
}

struct Generous<'a>(Bitmap<'a>);

impl FrameSource for Generous<'_> {
    fn alloc(&self, context: &mut AllocContext, order: Order) -> Option<FrameNumber> {
        let frame = self.0.alloc(context, order)?;
        // SAFETY: nothing may use the frame's memory. The frame was just allocated.
        unsafe { self.0.free(context, frame, order) }.ok()?;
        Some(frame)
    }

    unsafe fn free(
        &self,
        context: &mut AllocContext,
        frame: FrameNumber,
        order: Order,
    ) -> Result<(), FreeError> {
        // SAFETY: nothing may use the frames' memory, guaranteed by the caller (see `FrameSource::free`).
        unsafe { self.0.free(context, frame, order) }
    }

    fn drain(&self, _: &mut AllocContext) {}

    fn free_frames(&self) -> usize {
        self.0.free_frames()
    }
}

#[test]
fn the_example_is_the_documented_one_and_short() {
    let template = include_str!("../ci/templates/allocator/src/allocator.rs");
    let (_, example) = template.split_once("use octopod::stress::allocators::*;\n\n").unwrap();
    let page = include_str!("../docs/kernels.md");
    assert!(
        page.contains(&format!("```rust\n{example}```\n")),
        "docs/kernels.md has another example:\n{example}"
    );
    assert!(example.lines().count() < 60, "{}", example.lines().count());
}

/// The workloads that allocate single frames. `storm` must obtain each of them.
#[test]
fn the_example_runs_under_the_checks() {
    for workload in ["pairs", "bulk", "remote", "storm"] {
        let outcome = run(&BITMAP, workload).run();
        assert_eq!(outcome.verdict, Ok(()), "{workload}");
        assert!(outcome.figures.operations > 0);
    }
}

/// What it does not support is not what it lacks memory for.
#[test]
fn larger_orders_are_counted_as_unsupported() {
    let figures = run(&BITMAP, "random").run().figures;
    assert!(figures.unsupported > 0 && figures.allocations > 0, "{figures:?}");
    assert_eq!(figures.refused, 0);
    let figures = run(&BITMAP, "storm").run().figures;
    assert!(figures.refused > 0, "{figures:?}");
    assert_eq!(figures.unsupported, 0);
}

#[test]
fn a_broken_one_is_caught() {
    // One round of each thread: an operation that fails is not counted.
    let bound = Bound::Time(Duration::ZERO);
    let outcome = HostRun { bound, ..run(&GENEROUS, "pairs") }.run();
    assert!(outcome.verdict.is_err());
}

fn run(allocator: &'static Allocator, workload: &str) -> HostRun<'static> {
    let workload = <&Workload>::from_name(workload).unwrap();
    let (threads, blocks, seed, trace) = (3, 8, 7, None);
    let bound = Bound::Operations(10_000);
    let (check_every_frame, largest_order) = (false, Order::MAX);
    HostRun { allocator, workload, threads, blocks, bound, seed, trace, check_every_frame, largest_order }
}
