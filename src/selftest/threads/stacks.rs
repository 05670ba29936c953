//! Checks the stacks of threads: how much of them is used, and that they are freed. Called by the part `threads`.

use core::sync::atomic::{AtomicBool, Ordering};

use super::super::check::{CheckResult, ensure};
use super::blocking::{deadline, ended};
use crate::cpu::CpuId;
use crate::memory;
use crate::memory::frames::FRAME_BYTES;
use crate::sched;
use crate::thread::{self, Affinity, Builder, StackUse, ThreadInfo, ThreadState};
use crate::time::now_ns;

/// Runs all checks. Returns the number of threads.
pub(super) fn run() -> CheckResult<u64> {
    // First that they are freed: the list expects that a stack is used again.
    Ok(are_freed()? + list_has_threads()? + deep_stack()?)
}

/// Uses so much of the stack.
#[inline(never)]
fn use_stack<const BYTES: usize>() -> bool {
    let ballast = [1_u8; BYTES];
    core::hint::black_box(&ballast)[BYTES - 1] == 1
}

/// Returns what the list says of a thread.
fn listed(thread: &thread::Thread) -> Option<ThreadInfo> {
    thread::list().into_iter().find(|known| known.id == thread.id())
}

/// The list has a thread that waits, and how much of its stack was used: by itself, or at most so much, by an earlier thread of the stack.
fn list_has_threads() -> CheckResult<u64> {
    const LITTLE: usize = 8 * 1024;
    const MUCH: usize = 24 * 1024;
    static ENDS: AtomicBool = AtomicBool::new(false);
    let waits = |before: fn() -> bool| {
        ENDS.store(false, Ordering::SeqCst);
        let waiter = Builder::new().name("listed").pinned(CpuId::BSP).spawn(move || {
            before();
            while !ENDS.load(Ordering::Acquire) {
                thread::park();
            }
        })?;
        let until = deadline();
        while listed(waiter.thread()).is_none_or(|thread| thread.state != ThreadState::Parked) {
            ensure!(now_ns() < until, "threads: a thread that has parked is not listed so");
            thread::yield_now();
        }
        let found = listed(waiter.thread());
        #[cfg(feature = "shell")]
        are_detailed(waiter.thread())?;
        ENDS.store(true, Ordering::Release);
        waiter.thread().unpark();
        ended(waiter)?;
        let Some(found) = found else { return Ok(None) };
        let is_right = found.name() == "listed" && found.cpu == CpuId::BSP;
        ensure!(is_right && found.affinity == Affinity::Pinned(CpuId::BSP), "threads: listed as {found:?}");
        Ok(found.stack)
    };
    // New stacks: those that this CPU keeps were used.
    sched::release_stacks();
    // The second thread has the stack of the first.
    let (first, second) = (waits(use_stack::<MUCH>)?, waits(use_stack::<LITTLE>)?);
    let (Some(first), Some(second)) = (first, second) else {
        ensure!(false, "threads: no stack is listed of {first:?} and {second:?}");
        return Ok(2);
    };
    ensure!(
        first.is_own && (MUCH..first.bytes).contains(&first.used_bytes),
        "threads: a thread that has used {MUCH} bytes of its stack is listed with {first:?}"
    );
    let expected = StackUse { is_own: false, ..first };
    ensure!(second == expected, "threads: the second thread of a stack is listed with {second:?}");
    Ok(2)
}

/// A thread that waits has a backtrace, and the one that runs has none.
#[cfg(feature = "shell")]
fn are_detailed(waiter: &thread::Thread) -> CheckResult {
    let found = sched::details(waiter.id()).map(|its| (its.info.state, its.frames));
    // At least where the scheduler leaves a thread, and the first function of a thread, into which all others may be inlined.
    let is_right =
        found.as_ref().is_some_and(|(state, frames)| *state == ThreadState::Parked && frames.len() >= 2);
    ensure!(is_right, "threads: details of a thread that has parked are {found:x?}");
    let own = sched::details(thread::current().id()).map(|its| (its.info.state, its.frames));
    let is_right =
        own.as_ref().is_some_and(|(state, frames)| *state == ThreadState::Running && frames.is_empty());
    ensure!(is_right, "threads: details of the thread that runs are {own:x?}");
    Ok(())
}

/// The stacks of threads that have ended are used again or unmapped.
fn are_freed() -> CheckResult<u64> {
    const THREADS: u64 = 16;
    let mapped = || {
        sched::release_stacks();
        let memory::MappingStatistics { maps, unmaps, .. } = memory::mapping_statistics();
        maps - unmaps
    };
    let before = mapped();
    for _ in 0..THREADS {
        thread::spawn(|| {}).join();
    }
    let more = mapped().saturating_sub(before);
    ensure!(more == 0, "threads: {more} stacks of {THREADS} threads that have ended are mapped");
    Ok(THREADS)
}

/// A thread uses most of its stack, and is the one that the report names.
fn deep_stack() -> CheckResult<u64> {
    const STACK: usize = 128 * 1024;
    const USED: usize = 80 * 1024;
    let deep = Builder::new().name("deep").stack_size(STACK).spawn(use_stack::<USED>)?;
    ensure!(ended(deep)?, "threads: a stack of {STACK} bytes does not hold {USED}");
    let deepest = sched::deepest_thread();
    let stack = deepest.and_then(|thread| thread.stack);
    let is_right = stack
        .is_some_and(|stack| stack.is_own && (USED..STACK + 2 * FRAME_BYTES).contains(&stack.used_bytes));
    ensure!(
        is_right && deepest.is_some_and(|thread| thread.name() == "deep"),
        "threads: the deepest use of a stack is {stack:?} of {deepest:?}, where one of {USED} bytes was last"
    );
    Ok(1)
}
