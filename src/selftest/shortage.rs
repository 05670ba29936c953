//! Checks that memory that is short costs other CPUs nothing: once CPUs have drained their caches for one that has found nothing, all of them
//! fail, free and allocate without a call to another CPU, and find each frame that is free.

use core::sync::atomic::{AtomicUsize, Ordering};

use super::check::{
    CheckResult, ensure, expect_free_frames, free_frames, on_all_cpus, send_facts, validate_frames,
};
use super::contexts::calls_answered;
use super::exhausted::Exhausted;
use crate::config::STRESS_GRACE_MS;
use crate::memory::FrameRange;
use crate::memory::frames::Order;
use crate::smp;
use crate::sync::SpinLockIrq;

/// How often each CPU fails, frees and allocates. Fewer operations than those for which a CPU's cache is bypassed.
const ROUNDS: usize = 500;

/// Runs the part.
///
/// **Context:** the thread of the BSP, interrupts on, while all APs wait for work.
///
/// # Errors
/// The first failed check.
pub(crate) fn run(_: u32) -> CheckResult {
    let before = free_frames()?;
    let mut exhausted = Exhausted::new();
    let served = circulate(&mut exhausted);
    drop(exhausted);
    let served = served?;
    expect_free_frames(before, "memory that was short")?;
    validate_frames()?;
    send_facts("selftest.shortage", &[("frames_served", served as u64)]);
    Ok(())
}

/// Each CPU frees a frame and allocates one, again and again, and tries for one more. Returns how many it has got.
fn circulate(exhausted: &mut Exhausted) -> CheckResult<usize> {
    let before = calls_answered();
    let served = AtomicUsize::new(0);
    let pool = SpinLockIrq::new(exhausted);
    let cpus = smp::online().count();
    let circulated = on_all_cpus(STRESS_GRACE_MS, &|cpu| {
        // There is a frame for every second CPU.
        let mut mine = if cpu.id().index() < cpus.div_ceil(2) { pool.lock().pop() } else { None };
        for _ in 0..ROUNDS {
            drop(mine);
            // Meanwhile the frame is free for the other CPUs.
            ensure!(FrameRange::alloc(Order::BLOCK).is_none(), "a block is free after all were allocated");
            // Another CPU may be faster: then that one has two, and frees one.
            mine = FrameRange::alloc(Order::FRAME);
            served.fetch_add(usize::from(mine.is_some()), Ordering::Relaxed);
            mine = FrameRange::alloc(Order::FRAME).or(mine);
        }
        Ok(())
    });
    circulated?;
    let calls = calls_answered() - before;
    // At first, each CPU may ask each other one.
    let most = (cpus * cpus) as u64;
    ensure!(calls <= most, "{cpus} CPUs answered {calls} calls, not {most}, while memory was short");
    let served = served.into_inner();
    ensure!(served > 0, "no CPU has found a frame that was freed");
    Ok(served)
}
