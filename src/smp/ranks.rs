//! The set of online CPUs, and the place of each in it. All changes after boot are made here under one lock, which the owner
//! of work for all CPUs takes too.

use core::sync::atomic::Ordering;

use super::{Cpu, cpus, online};
use crate::cpu::CpuSet;
use crate::cpu::registers::halt_forever;
use crate::panic;
use crate::sync::IrqMutex;
use crate::sync::hotplug::Word;
use crate::sync::stop::join_online;
use crate::sync::work_slot::Phase;

static RANKS: IrqMutex<()> = IrqMutex::new(());
crate::name_lock!(RANKS);

/// Offers work to all online CPUs, and returns which they are.
pub fn offer_work() -> CpuSet {
    let _ranks = RANKS.lock();
    // One that is online and still runs earlier work would be a participant of that, whose owner has not returned.
    online().filter(|cpu| cpu.work.apply(Phase::offer)).map(Cpu::id).collect()
}

/// Takes this CPU out of the set and acknowledges the request to go offline; `false` if the request was withdrawn, or the CPU
/// is idle and has been offered work.
pub fn take_out(me: &Cpu, is_idle: bool) -> bool {
    let _ranks = RANKS.lock();
    if is_idle && me.work.phase() != Phase::Idle || me.hotplug.apply(Word::acknowledge).is_err() {
        return false;
    }
    me.online.store(0, Ordering::Release);
    count();
    true
}

/// Puts this CPU in again.
pub fn put_in(me: &Cpu) {
    let _ranks = RANKS.lock();
    if !join_online(&me.online, panic::is_dying) {
        halt_forever();
    }
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
