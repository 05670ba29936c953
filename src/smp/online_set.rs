//! The set of online CPUs, and the rank of each in it. All changes after boot are made here under one lock. The owner of
//! work for all CPUs takes the same lock.

use core::sync::atomic::Ordering;

use super::{Cpu, cpus, online};
use crate::cpu::CpuSet;
use crate::cpu::registers::halt_forever;
use crate::panic;
use crate::sync::SpinLockIrq;
use crate::sync::hotplug::StateWord;
use crate::sync::stop::join_online;
use crate::sync::work_slot::Phase;

static ONLINE_SET: SpinLockIrq<()> = SpinLockIrq::new(());
crate::name_lock!(ONLINE_SET);

/// Offers work to all online CPUs and returns their set. **Context:** thread.
pub(crate) fn offer_work() -> CpuSet {
    let _lock = ONLINE_SET.lock();
    // No CPU still runs earlier work: the owner of that work has not returned before.
    online().filter(|cpu| cpu.work.apply(Phase::offer)).map(Cpu::id).collect()
}

/// Removes this CPU from the set and acknowledges the request to go offline. Returns `false`, and changes nothing, if the
/// request was withdrawn, or if the CPU is idle and has been offered work.
pub(crate) fn remove(me: &Cpu, is_idle: bool) -> bool {
    let _lock = ONLINE_SET.lock();
    if is_idle && me.work.phase() != Phase::Idle || me.hotplug.apply(StateWord::acknowledge).is_err() {
        return false;
    }
    me.online.store(0, Ordering::Release);
    assign_ranks();
    true
}

/// Inserts this CPU into the set again. Halts it if another CPU panics.
pub(crate) fn insert(me: &Cpu) {
    let _lock = ONLINE_SET.lock();
    if !join_online(&me.online, panic::is_panicking) {
        halt_forever();
    }
    assign_ranks();
}

/// Assigns the ranks in the order of the CPUs' numbers. An online CPU has a rank at any time.
fn assign_ranks() {
    for (rank, cpu) in online().enumerate() {
        cpu.online.store(rank as u64 + 1, Ordering::Release);
    }
}

/// Assigns the ranks after bring-up. **Context:** thread on the BSP.
pub(crate) fn number_at_boot() {
    debug_assert!(!cpus().is_empty());
    let _lock = ONLINE_SET.lock();
    assign_ranks();
}
