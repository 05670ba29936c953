//! Checks that the heap rejects frees of what is not an allocated object, and that they change nothing. A part of `heap`.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;

use super::check::{CheckResult, ensure, fail, failed};
use crate::heap::{self, KernelHeap, Misuse};
use crate::memory::FrameRange;
use crate::memory::frames::Order;

const OBJECT: Layout = Layout::new::<[u64; 8]>();
const LARGE: Layout = Layout::new::<[u64; 12_500]>();

fn alloc(layout: Layout) -> CheckResult<NonNull<u8>> {
    // SAFETY: the size must not be 0. No caller passes such a layout.
    NonNull::new(unsafe { KernelHeap.alloc(layout) })
        .ok_or_else(|| failed(format_args!("heap: out of memory")))
}

/// Frees an object that this part has allocated and not freed, or that the heap must reject.
fn free(object: NonNull<u8>, layout: Layout) -> Result<(), Misuse> {
    // SAFETY: the object must be the caller's, and unused. In the first case the part owns it and does not use it. In the second nothing is
    // freed; if something is, `expect` fails the part.
    unsafe { heap::try_dealloc(object, layout) }
}

fn expect(free: &str, outcome: Result<(), Misuse>, is_it: fn(&Misuse) -> bool) -> CheckResult {
    match outcome {
        Ok(()) => fail!("{free} was not rejected by the heap"),
        Err(misuse) => {
            ensure!(is_it(&misuse), "{free} had the result: {misuse}");
            Ok(())
        }
    }
}

/// Runs the checks. Returns how many frees were rejected.
///
/// **Context:** thread.
///
/// # Errors
/// The first failed check.
pub(super) fn run() -> CheckResult<u64> {
    let mut rejected = 0;
    for (name, layout) in [("an object", OBJECT), ("a large object", LARGE)] {
        let object = alloc(layout)?;
        let is_interior = |misuse: &Misuse| matches!(misuse, Misuse::Interior { .. });
        // SAFETY: the object has more than 8 bytes.
        let inside = unsafe { object.add(8) };
        expect("a free of an address inside an object", free(inside, layout), is_interior)?;
        let larger = Layout::from_size_align(layout.size() * 2, 8)?;
        let is_layout = |misuse: &Misuse| matches!(misuse, Misuse::WrongLayout { .. });
        expect("a free with another layout", free(object, larger), is_layout)?;
        ensure!(free(object, layout).is_ok(), "a free of {name} was rejected by the heap");
        expect("a double free", free(object, layout), |misuse| matches!(misuse, Misuse::DoubleFree { .. }))?;
        rejected += 3;
    }
    let mut word = [0u64; 8];
    // Not at its start, where a large object may have been.
    let frame = FrameRange::alloc(Order::FRAME).ok_or_else(|| failed(format_args!("heap: out of memory")))?;
    for foreign in [
        NonNull::from(&mut word).cast::<u8>(),
        NonNull::new(frame.as_ptr().wrapping_add(64)).unwrap_or(NonNull::dangling()),
    ] {
        let outcome = free(foreign, OBJECT);
        expect("a free of foreign memory", outcome, |misuse| matches!(misuse, Misuse::Foreign { .. }))?;
        rejected += 1;
    }
    Ok(rejected)
}
