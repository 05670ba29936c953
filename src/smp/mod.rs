//! Layer 8: all CPUs as one machine: bringing them up, giving them work, calling them, watching them, stopping them.
//!
//! [`start`] wakes every CPU that the firmware lists, all at once, and waits for each with one deadline; a CPU that does
//! not come is named with the stage in which it was last seen, and the rest goes on without it. [`call`] runs a function
//! on any of them, by an interrupt; [`run_on_all`] gives all of them a piece of work, to be done with interrupts on. What
//! takes no interrupts any more is reached by NMI. [`hotplug`] takes CPUs offline and brings them back.

mod bring_up;
mod call;
mod call_error;
mod call_self;
mod drain;
pub mod hotplug;
mod lock_stall;
mod nmi;
mod ranks;
mod shootdown;
mod watchdog;
mod work;

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use spin::Once;

pub use ap_trampoline::Stage;
pub use bring_up::BringUp;
#[cfg(feature = "faults")]
pub(crate) use bring_up::{fill_pages, hold, let_go, reached, returns, settled, wait_while_held};
pub(crate) use bring_up::{sent_away, start};
pub use call::{Function, MAX_DEPTH as CALL_DEPTH, all_online, call, call_without_waiting, other_online};
pub(crate) use call::{answered, open as open_calls, unanswered};
pub use call_error::CallError;
pub use call_self::{ROOM as CALLS_TO_SELF, call_self};
pub use hotplug::call_those_online;
pub use lock_stall::lock_stalls;
#[cfg(feature = "faults")]
pub(crate) use nmi::stop_others;
pub(crate) use nmi::{NoPlace, nmis, place_of, send_nmi};
pub use shootdown::{ShootdownError, purge_mappings, shootdown};
pub(crate) use watchdog::alarms as watchdog_alarms;
pub use work::{WakeError, WorkError, run_on_all, wake_others, wake_others_or_warn};

use crate::acpi::CpuEntry;
use crate::apic;
use crate::cpu::{ApicId, CpuId, per_cpu};
use crate::sync::hotplug::CpuHotplug;
use crate::sync::work_slot::WorkSlot;

/// One CPU that the firmware lists.
pub struct Cpu {
    /// What the firmware says of it.
    pub entry: CpuEntry,
    /// Its GS base; 0 until it has an area.
    gs_base: AtomicU64,
    /// One more than its place among the online CPUs; 0 while it is not online.
    online: AtomicU64,
    /// Where it was last seen, as a [`Stage`].
    stage: AtomicU64,
    /// The TSC at each stage, or 0.
    stamps: [AtomicU64; Stage::COUNT],
    /// Its part in work for all CPUs.
    work: WorkSlot,
    /// Whether it has stopped for good.
    stopped: AtomicBool,
    /// How far it is on its way offline or back.
    hotplug: CpuHotplug,
    /// Where it left its stack when it last went offline, or 0.
    context: AtomicU64,
}

static CPUS: Once<&'static [Cpu]> = Once::new();

/// All CPUs that the firmware lists, by [`CpuId`]; none before [`start`].
pub fn cpus() -> &'static [Cpu] {
    CPUS.get().copied().unwrap_or_default()
}

/// The CPUs that are online.
pub fn online() -> impl Iterator<Item = &'static Cpu> + Clone {
    cpus().iter().filter(|cpu| cpu.is_online())
}

impl Cpu {
    fn new(entry: CpuEntry) -> Cpu {
        Cpu {
            entry,
            gs_base: AtomicU64::new(0),
            online: AtomicU64::new(0),
            stage: AtomicU64::new(0),
            stamps: [const { AtomicU64::new(0) }; Stage::COUNT],
            work: WorkSlot::new(),
            stopped: AtomicBool::new(false),
            hotplug: CpuHotplug::new(),
            context: AtomicU64::new(0),
        }
    }

    /// Its number.
    pub fn id(&self) -> CpuId {
        self.entry.cpu
    }

    /// Whether it takes work.
    pub fn is_online(&self) -> bool {
        self.rank().is_some()
    }

    /// Whether an interrupt can be sent to it: under xAPIC only where its ID has eight bits and is not the one that
    /// means all CPUs.
    pub fn is_reachable(&self) -> bool {
        apic::mode() == apic::Mode::X2Apic || self.entry.apic_id < ApicId::XAPIC_BROADCAST
    }

    /// Whether it was called, or is the boot processor: it has an area, and an APIC ID that can be reached.
    pub fn was_called(&self) -> bool {
        self.gs_base().is_some()
    }

    /// Its place among the online CPUs, from 0. It changes when others go offline or come back.
    pub fn rank(&self) -> Option<usize> {
        (self.online.load(Ordering::Acquire) as usize).checked_sub(1)
    }

    /// Where it was last seen.
    pub fn stage(&self) -> Stage {
        Stage::ALL[self.stage.load(Ordering::Relaxed) as usize % Stage::COUNT]
    }

    /// The TSC when it reached a stage, if it did.
    pub fn stamp(&self, stage: Stage) -> Option<u64> {
        Some(self.stamps[stage as usize].load(Ordering::Relaxed)).filter(|tsc| *tsc != 0)
    }

    /// Its GS base, if it has an area.
    pub fn gs_base(&self) -> Option<usize> {
        Some(self.gs_base.load(Ordering::Relaxed) as usize).filter(|base| *base != 0)
    }

    /// Its copy of a per-CPU variable, if it has an area.
    pub fn get<P: per_cpu::PerCpu>(&self, variable: P) -> Option<&'static P::Value>
    where
        P::Value: Sync,
    {
        // SAFETY: only `start` sets `gs_base`, to that of an area that lives for good.
        self.gs_base().map(|gs_base| unsafe { variable.of(gs_base) })
    }
}
