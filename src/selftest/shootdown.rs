//! Temporary mappings: all CPUs map frames, all read through every mapping, all unmap theirs and map others, in the same
//! places and with other frames. Whoever then still sees what was there before reads through a stale entry.
//!
//! The new frames are taken before the old ones go back, so no frame is shown in the same place twice in a row, and an
//! entry that was not dropped cannot be right by chance.

use core::cell::Cell;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use super::Meeting;
use crate::config::{SHOOTDOWN_PAGES, STRESS_GRACE_MS};
use crate::cpu::CpuId;
use crate::cpu::per_cpu::PerCpu;
use crate::memory::frames::FrameNumber;
use crate::memory::{self, FrameBatch, Mapping, OwnedFrame, REGION_PAGES, VmapError};
use crate::smp::{self, Cpu, ShootdownError};
use crate::sync::SpinLockIrq;
use crate::{per_cpu, smp::CallError};

/// The most pages of one mapping here: enough for both ways to forget them.
const MOST: usize = 2 * SHOOTDOWN_PAGES + 1;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No frame was left.
    OutOfMemory,
    /// A mapping could not be made.
    Map(VmapError),
    /// A mapping could not be undone.
    Shootdown(ShootdownError),
    /// The CPUs could not be asked for their frames.
    Call(CallError),
    /// A CPU read what is not there.
    Stale {
        /// The CPU.
        cpu: CpuId,
        /// Whose mapping it was.
        owner: CpuId,
        /// Which page of it.
        page: usize,
        /// What the CPU read.
        read: u64,
        /// What was written there.
        written: u64,
    },
    /// Frames did not come back.
    Lost {
        /// How many were free before.
        before: u64,
        /// How many are now.
        after: u64,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::OutOfMemory => f.write_str("too little memory for temporary mappings"),
            Failure::Map(error) => error.fmt(f),
            Failure::Shootdown(error) => error.fmt(f),
            Failure::Call(error) => error.fmt(f),
            Failure::Stale { cpu, owner, page, read, written } => write!(
                f,
                "cpu {cpu} read {read:#x} through a stale entry, page {page} of cpu {owner}'s mapping, not {written:#x}"
            ),
            Failure::Lost { before, after } => {
                write!(f, "{before} frames were free before the temporary mappings, and {after} after them")
            }
        }
    }
}

per_cpu! {
    /// Where this CPU's mapping begins, or 0.
    static ADDRESS: AtomicU64 = AtomicU64::new(0);
    /// How many pages it has.
    static PAGES: AtomicU64 = AtomicU64::new(0);
    /// What its pages hold, but for the page's number.
    static TAG: AtomicU64 = AtomicU64::new(0);
    /// Mappings that this CPU has made.
    static MADE: Cell<u64> = Cell::new(0);
}

static FIRST: SpinLockIrq<Option<Failure>> = SpinLockIrq::new(None);
crate::name_lock!(FIRST);

/// Runs the part with `rounds` mappings in all. Only the boot processor calls this, with interrupts on, when all CPUs
/// wait for work.
///
/// # Errors
/// The first failure.
pub fn run(rounds: u32) -> Result<(), Failure> {
    let online = smp::online().count();
    // Each CPU has its mapping and no more, but the free pages may lie scattered.
    let most = (REGION_PAGES / 2 / online).min(MOST);
    let mappers = online.min(REGION_PAGES / 2);
    let each = rounds.div_ceil(mappers as u32);
    let meeting = Meeting::new(online as u32);
    // The region's own page table is there from then on.
    smp::shootdown(map(1, 0)?.unmap()).map_err(Failure::Shootdown)?;
    let before = free_frames()?;
    super::on_each_cpu(STRESS_GRACE_MS, &|cpu| {
        let most = if cpu.rank().is_some_and(|rank| rank < mappers) { most.max(1) } else { 0 };
        if let Err(failure) = take_part(cpu, &meeting, each, most) {
            FIRST.lock().get_or_insert(failure);
            meeting.call_off();
        }
    });
    let first = *FIRST.lock();
    if let Some(failure) = first {
        return Err(failure);
    }
    let after = free_frames()?;
    if before != after {
        return Err(Failure::Lost { before, after });
    }
    log::info!("{} temporary mappings made, read and unmapped by {online} CPUs", each as usize * mappers);
    Ok(())
}

/// The free frames, when no CPU keeps any.
fn free_frames() -> Result<u64, Failure> {
    let drain = || memory::drain_this_cpu(&crate::cpu::IrqGuard::new());
    smp::call(&smp::all_online(), &drain).map_err(Failure::Call)?;
    let _guard = crate::cpu::IrqGuard::new();
    Ok(memory::frames().free_frames() as u64)
}

/// A CPU's share. `most` is 0 for one that only reads.
fn take_part(cpu: &Cpu, meeting: &Meeting, rounds: u32, most: usize) -> Result<(), Failure> {
    let mut mapping: Option<Mapping> = None;
    for round in 0..rounds {
        if most > 0 {
            // All sizes in turn, and of neighbours not the same.
            let pages = (round as usize + 5 * cpu.id().index()) % most + 1;
            if let Err(failure) = replace(cpu, &mut mapping, pages) {
                core::mem::forget(mapping);
                return Err(failure);
            }
        }
        meeting.wait();
        if let Err(failure) = smp::online().try_for_each(|owner| check(cpu.id(), owner)) {
            // Other CPUs may still read this CPU's pages: they are not unmapped any more, since the run has failed.
            core::mem::forget(mapping);
            return Err(failure);
        }
        meeting.wait();
        if meeting.is_off() {
            break;
        }
    }
    note(cpu, None, 0);
    match mapping {
        Some(mapping) => smp::shootdown(mapping.unmap()).map_err(Failure::Shootdown),
        None => Ok(()),
    }
}

/// Unmaps the old mapping and maps other frames, most likely in its place. After a failure the other CPUs, which the part's end
/// sends on to read, find the old mapping or none.
fn replace(cpu: &Cpu, mapping: &mut Option<Mapping>, pages: usize) -> Result<(), Failure> {
    MADE.set(MADE.get() + 1);
    let tag = (cpu.id().0 as u64 + 1) << 48 | MADE.get() << 16;
    let mut buffer = [FrameNumber::new(0); MOST];
    let frames = fill(&mut buffer[..pages], tag)?;
    if let Some(old) = mapping.take() {
        note(cpu, None, 0);
        smp::shootdown(old.unmap()).map_err(Failure::Shootdown)?;
    }
    let new = memory::vmap(frames).map_err(|(error, _)| Failure::Map(error))?;
    note(cpu, Some(mapping.insert(new)), tag);
    Ok(())
}

/// A mapping of new frames.
fn map(pages: usize, tag: u64) -> Result<Mapping, Failure> {
    let mut buffer = [FrameNumber::new(0); MOST];
    let frames = fill(&mut buffer[..pages], tag)?;
    memory::vmap(frames).map_err(|(error, _)| Failure::Map(error))
}

/// Allocates frames and writes the tag and the page's number into each, through the direct map.
fn fill(buffer: &mut [FrameNumber], tag: u64) -> Result<FrameBatch<'_>, Failure> {
    let pages = buffer.len();
    let mut frames = FrameBatch::new(buffer);
    for page in 0..pages {
        let frame = OwnedFrame::alloc().ok_or(Failure::OutOfMemory)?;
        // SAFETY: `frame` owns the memory, which is mapped and aligned; other CPUs read it through other addresses.
        unsafe { AtomicU64::from_ptr(frame.as_ptr().cast()) }.store(tag | page as u64, Ordering::Relaxed);
        // There is room for as many as there are pages.
        let _ = frames.push(frame);
    }
    Ok(frames)
}

fn note(cpu: &Cpu, mapping: Option<&Mapping>, tag: u64) {
    let (Some(at), Some(pages), Some(tags)) = (cpu.get(ADDRESS), cpu.get(PAGES), cpu.get(TAG)) else {
        return;
    };
    tags.store(tag, Ordering::Relaxed);
    pages.store(mapping.map_or(0, |mapping| mapping.pages() as u64), Ordering::Relaxed);
    at.store(mapping.map_or(0, Mapping::address), Ordering::Release);
}

/// Reads every page of a CPU's mapping.
fn check(me: CpuId, owner: &Cpu) -> Result<(), Failure> {
    let (Some(at), Some(pages), Some(tag)) = (owner.get(ADDRESS), owner.get(PAGES), owner.get(TAG)) else {
        return Ok(());
    };
    let at = at.load(Ordering::Acquire);
    let (pages, tag) = (pages.load(Ordering::Relaxed) as usize, tag.load(Ordering::Relaxed));
    for page in (0..pages).filter(|_| at != 0) {
        let word = core::ptr::with_exposed_provenance_mut(at as usize + page * 4096);
        // SAFETY: the mapping stays until all CPUs have met again. Through a stale entry this reads another frame, which is
        // memory too, and may be written at the same time: hence an atomic access.
        let read = unsafe { AtomicU64::from_ptr(word) }.load(Ordering::Relaxed);
        let written = tag | page as u64;
        if read != written {
            return Err(Failure::Stale { cpu: me, owner: owner.id(), page, read, written });
        }
    }
    Ok(())
}
