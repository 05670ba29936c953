//! Costs of mappings.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::frames::NO_MEMORY;
use super::meter::{Meter, opaque, repeat};
use crate::config::STRESS_GRACE_MS;
use crate::cpu::IrqGuard;
use crate::cpu::registers::read_tsc;
use crate::memory::{self, Mapping};
use crate::smp;
use crate::sync::tlb::Stale;

/// Repetitions of [`pair`]: whole batches of unmapped mappings, so that each measurement has as many flushes.
pub(super) const PAIRS: u32 = 2048;

/// Shootdowns of [`sync`]. The cheapest counts: in the others a busy CPU had its turn.
const SHOOTDOWNS: usize = 200;

/// Unmaps of each CPU in [`ipis`].
const UNMAPS: u64 = 8000;

/// Maps new memory of so many pages and unmaps it. The flush and the free of a batch are shared by its mappings.
pub(super) fn pair<const PAGES: usize>(meter: &mut Meter, repetitions: u32) {
    meter.count(|| repeat(repetitions, || drop(Mapping::new(opaque(PAGES)).expect(NO_MEMORY))));
}

/// Runs `measured` on this CPU while all others are busy with `busy`, which is called until `measured` has ended.
fn beside_busy_cpus(measured: &(dyn Fn() + Sync), busy: &(dyn Fn() + Sync)) {
    let me = crate::cpu::current();
    let (has_ended, busy_cpus) = (AtomicBool::new(false), AtomicU64::new(0));
    let others = smp::online().count() as u64 - 1;
    smp::on_each_cpu(STRESS_GRACE_MS, &|cpu| {
        if cpu.id() == me {
            while busy_cpus.load(Ordering::Acquire) < others {
                core::hint::spin_loop();
            }
            measured();
            has_ended.store(true, Ordering::Release);
        } else {
            busy_cpus.fetch_add(1, Ordering::AcqRel);
            while !has_ended.load(Ordering::Acquire) {
                busy();
            }
        }
    })
    .expect("all CPUs take part in the bench");
    // Other benches find all frames free.
    smp::purge_mappings().expect("all CPUs answer");
    smp::call(&smp::all_online(), &|| memory::drain_this_cpu(&IrqGuard::new())).expect("all CPUs answer");
}

/// The caller's instructions of a shootdown of one page while all other CPUs are busy: all but the wait for their answers.
pub(super) fn sync(meter: &mut Meter, _: u32) {
    let lowest = AtomicU64::new(u64::MAX);
    beside_busy_cpus(
        &|| {
            for _ in 0..SHOOTDOWNS {
                let mapping = Mapping::new(1).expect(NO_MEMORY);
                let began = read_tsc();
                let stale = mapping.unmap();
                let generation = smp::begin_shootdown(&stale);
                let sent = read_tsc();
                while !smp::is_flushed(generation, Stale::Pages) {
                    core::hint::spin_loop();
                }
                let answered = read_tsc();
                smp::finish_shootdown(stale, generation).expect("all CPUs answer");
                let counted = (sent - began) + (read_tsc() - answered);
                lowest.fetch_min(counted, Ordering::Relaxed);
            }
        },
        &core::hint::spin_loop,
    );
    meter.add(lowest.load(Ordering::Relaxed));
    meter.set_operations(1);
}

fn map_and_unmap() {
    drop(Mapping::new(1).expect(NO_MEMORY));
}

/// The interrupts for 1,000 unmaps of this CPU, while the others are busy: they compute, or they map and unmap as well.
pub(super) fn ipis<const ALL_UNMAP: bool>(meter: &mut Meter, _: u32) {
    smp::purge_mappings().expect("all CPUs answer");
    let before = smp::flush_ipis();
    let unmaps = AtomicU64::new(0);
    let unmap = || {
        map_and_unmap();
        unmaps.fetch_add(1, Ordering::Relaxed);
    };
    let busy: &(dyn Fn() + Sync) = if ALL_UNMAP { &unmap } else { &core::hint::spin_loop };
    let ipis = AtomicU64::new(0);
    let measured = || {
        (0..UNMAPS).for_each(|_| unmap());
        ipis.store(smp::flush_ipis(), Ordering::Relaxed);
    };
    beside_busy_cpus(&measured, busy);
    meter.add(1000 * (ipis.load(Ordering::Relaxed) - before));
    meter.set_operations(unmaps.load(Ordering::Relaxed));
}
