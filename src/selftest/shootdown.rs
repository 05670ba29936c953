//! Checks TLB shootdowns. Each CPU maps frames, all CPUs read through every mapping, each unmaps its own and maps other frames
//! at the same addresses. A CPU that then reads the old content has used a stale TLB entry.
//!
//! New frames are allocated before the old ones are freed. So an address never maps the same frame twice in a row, and a stale
//! entry cannot be correct by chance.

use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};

use super::check::{CheckResult, ensure, expect_free_frames, failed, free_frames, on_all_cpus, send_facts};
use crate::config::STRESS_GRACE_MS;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{self, CpuId, IrqGuard};
use crate::memory::frames::FrameNumber;
use crate::memory::{self, FrameBatch, Mapping, OwnedFrame};
use crate::per_cpu;
use crate::smp::{self, Cpu};
use crate::stress::barrier::Barrier;
use crate::sync::tlb::Stale;

/// The most pages of one mapping.
const MOST: usize = 33;

per_cpu! {
    /// The address of this CPU's mapping, or 0.
    static ADDRESS: AtomicU64 = AtomicU64::new(0);
    /// Its number of pages.
    static PAGES: AtomicU64 = AtomicU64::new(0);
    /// The content of its pages, except for the page's index.
    static TAG: AtomicU64 = AtomicU64::new(0);
    /// The number of mappings that this CPU has made.
    static MADE: Cell<u64> = Cell::new(0);
}

/// Runs the part with `rounds` mappings in all.
///
/// **Context:** the thread of the BSP, interrupts on, while all APs wait for work.
///
/// # Errors
/// The first failed check.
pub(crate) fn run(rounds: u32) -> CheckResult {
    let online = smp::online().count();
    let each = rounds.div_ceil(online as u32);
    let barrier = Barrier::new(smp::all_online());
    let before = free_frames()?;
    names_this_cpu()?;
    on_all_cpus(STRESS_GRACE_MS, &|cpu| take_part(cpu, &barrier, each).inspect_err(|_| barrier.abort()))?;
    expect_free_frames(before, "mappings")?;
    let mappings = each as usize * online;
    log::info!("{mappings} mappings made, read and unmapped by {online} CPUs");
    send_facts("selftest.shootdown", &[("cpus", online as u64), ("mappings", mappings as u64)]);
    Ok(())
}

/// A flush is complete only when this CPU has flushed as well. A thread that has flushed on one CPU and moved to another is in the same
/// position as this one, which has not flushed.
fn names_this_cpu() -> CheckResult {
    let guard = IrqGuard::new();
    let generation = memory::begin_flush();
    let (me, unflushed) = (cpu::current(), smp::to_flush(generation, Stale::Pages));
    ensure!(unflushed.contains(me), "cpu {me} has not flushed, and is not among the CPUs that have to");
    memory::flush_this_cpu(&guard);
    ensure!(
        !smp::to_flush(generation, Stale::Pages).contains(me),
        "cpu {me} has flushed, and is to flush again"
    );
    Ok(())
}

/// One CPU's share.
fn take_part(cpu: &Cpu, barrier: &Barrier, rounds: u32) -> CheckResult {
    let mut mapping: Option<Mapping> = None;
    for round in 0..rounds {
        // All sizes in turn, and different ones on neighbouring CPUs.
        let pages = (round as usize + 5 * cpu.id().index()) % MOST + 1;
        if let Err(failure) = replace(cpu, &mut mapping, pages) {
            core::mem::forget(mapping);
            return Err(failure);
        }
        barrier.wait();
        if let Err(failure) = smp::online().try_for_each(|owner| check(cpu.id(), owner)) {
            // Other CPUs may still read this CPU's pages, so they stay mapped.
            core::mem::forget(mapping);
            return Err(failure);
        }
        barrier.wait();
        if barrier.is_aborted() {
            break;
        }
    }
    note(cpu, None, 0);
    mapping.map_or(Ok(()), |mapping| Ok(smp::shootdown(mapping.unmap())?))
}

/// Unmaps the old mapping and maps other frames, usually at the same address. After a failure the other CPUs, which may still
/// read, find the old mapping or none.
fn replace(cpu: &Cpu, mapping: &mut Option<Mapping>, pages: usize) -> CheckResult {
    MADE.set(MADE.get() + 1);
    let tag = (cpu.id().0 as u64 + 1) << 48 | MADE.get() << 16;
    let mut buffer = [FrameNumber::new(0); MOST];
    let frames = fill(&mut buffer[..pages], tag)?;
    if let Some(old) = mapping.take() {
        note(cpu, None, 0);
        smp::shootdown(old.unmap())?;
    }
    let new = memory::vmap(frames).map_err(|(error, _)| error)?;
    note(cpu, Some(mapping.insert(new)), tag);
    Ok(())
}

/// Allocates frames, and writes the tag and the page's index into each through the direct map.
fn fill(buffer: &mut [FrameNumber], tag: u64) -> CheckResult<FrameBatch<'_>> {
    let pages = buffer.len();
    let mut frames = FrameBatch::new(buffer);
    for page in 0..pages {
        let frame = OwnedFrame::alloc()
            .ok_or_else(|| failed(format_args!("shootdown: out of memory for mappings")))?;
        // SAFETY: the memory must be mapped, aligned, and accessed atomically by all CPUs. `frame` owns a page of the direct map;
        // other CPUs read it by `check`, which loads atomically.
        unsafe { AtomicU64::from_ptr(frame.as_ptr().cast()) }.store(tag | page as u64, Ordering::Relaxed);
        // The batch has room for `pages` frames.
        let _ = frames.push(frame);
    }
    Ok(frames)
}

/// Publishes this CPU's mapping to the other CPUs.
fn note(cpu: &Cpu, mapping: Option<&Mapping>, tag: u64) {
    let (Some(at), Some(pages), Some(tags)) = (cpu.get(ADDRESS), cpu.get(PAGES), cpu.get(TAG)) else {
        return;
    };
    tags.store(tag, Ordering::Relaxed);
    pages.store(mapping.map_or(0, |mapping| mapping.pages() as u64), Ordering::Relaxed);
    at.store(mapping.map_or(0, Mapping::address), Ordering::Release);
}

/// Reads every page of a CPU's mapping.
fn check(me: CpuId, owner: &Cpu) -> CheckResult {
    let (Some(at), Some(pages), Some(tag)) = (owner.get(ADDRESS), owner.get(PAGES), owner.get(TAG)) else {
        return Ok(());
    };
    let at = at.load(Ordering::Acquire);
    let (pages, tag) = (pages.load(Ordering::Relaxed) as usize, tag.load(Ordering::Relaxed));
    for page in (0..pages).filter(|_| at != 0) {
        let word = core::ptr::with_exposed_provenance_mut(at as usize + page * 4096);
        // SAFETY: the memory must be mapped and aligned, and accessed atomically. The mapping stays until all CPUs have passed
        // the second barrier of the round (`take_part`). A stale entry leads to another frame, which is memory as well and may
        // be written at the same time; the load is atomic.
        let read = unsafe { AtomicU64::from_ptr(word) }.load(Ordering::Relaxed);
        let written = tag | page as u64;
        ensure!(
            read == written,
            "cpu {me} read {read:#x} through a stale entry, page {page} of cpu {}'s mapping, not {written:#x}",
            owner.id()
        );
    }
    Ok(())
}
