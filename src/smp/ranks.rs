//! Who is online, and in which place. All changes after boot go through here, under one lock, which whoever begins a piece
//! of work for all CPUs takes too.

use core::sync::atomic::{AtomicU64, Ordering};

use super::{Cpu, cpus, online};
use crate::cpu::CpuSet;
use crate::cpu::registers::halt_forever;
use crate::panic;
use crate::sync::IrqMutex;

/// The piece of work at hand, numbered from 1; written under the lock.
pub static EPOCH: AtomicU64 = AtomicU64::new(0);

static RANKS: IrqMutex<()> = IrqMutex::new(());
crate::name_lock!(RANKS);

/// Begins the next piece of work, after `announce`: its number, and who takes part in it.
pub fn begin_work(announce: impl FnOnce()) -> (u64, CpuSet) {
    let _ranks = RANKS.lock();
    announce();
    let epoch = EPOCH.fetch_add(1, Ordering::AcqRel) + 1;
    (epoch, online().map(Cpu::id).collect())
}

/// Takes this CPU out; an idle one only if no work waits for it.
pub fn take_out(me: &Cpu, is_idle: bool) -> bool {
    let _ranks = RANKS.lock();
    if is_idle && me.finished.load(Ordering::Relaxed) < EPOCH.load(Ordering::Relaxed) {
        return false;
    }
    me.online.store(0, Ordering::Release);
    count();
    true
}

/// Puts this CPU in again. An idle one has no part in work that began without it.
pub fn put_in(me: &Cpu, is_idle: bool) {
    let _ranks = RANKS.lock();
    if panic::is_dying() {
        // Who stops the others has not seen this one.
        halt_forever();
    }
    if is_idle {
        me.finished.store(EPOCH.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    me.online.store(1, Ordering::Release);
    count();
}

/// A rank for each, in the order of their numbers. No CPU that is online is without one meanwhile.
fn count() {
    for (rank, cpu) in online().enumerate() {
        cpu.online.store(rank as u64 + 1, Ordering::Release);
    }
}

/// Ranks at boot, by the boot processor alone.
pub fn count_first() {
    debug_assert!(!cpus().is_empty());
    let _ranks = RANKS.lock();
    count();
}
