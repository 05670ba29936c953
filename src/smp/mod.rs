//! Layer 8: SMP. Bring-up, work for all CPUs, calls between CPUs, TLB shootdown, hotplug, the watchdog, and stopping CPUs
//! by NMI.
//!
//! [`start`] starts all APs that the firmware lists at once. An AP that does not come online is logged with the last
//! stage that it reached, and the boot continues without it. [`call`] runs a function on any set of CPUs by an IPI, with
//! interrupts off. [`on_each_cpu`] runs a function on all online CPUs with interrupts on. A CPU that takes no other
//! interrupts is reached by NMI. [`hotplug`] takes CPUs offline and brings them back.

mod ap;
mod bring_up;
mod call;
mod call_error;
mod call_self;
mod drain;
pub mod hotplug;
#[cfg(feature = "checked")]
mod lock_order;
mod lock_stall;
mod nmi;
mod online_set;
mod pinned;
mod scheduler;
mod send;
mod shootdown;
mod wake;
mod watchdog;
mod work;

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use spin::Once;

pub(crate) use ap::start;
pub use ap_trampoline::Stage;
pub use bring_up::BringUp;
#[cfg(feature = "faults")]
pub(crate) use bring_up::{
    before_resume, bringup_complete, enter_stage, fill_pages, held_ap, protect_code, release_ap,
    wait_while_held,
};
pub(crate) use bring_up::{late_aps, nmis, trampoline_code};
pub use call::{Function, all_online, call, call_async, other_online};
pub(crate) use call::{answered, call_timeouts, open as open_calls};
pub use call_error::{CallError, MAX_DEPTH as CALL_DEPTH};
pub use call_self::{ROOM as CALLS_TO_SELF, call_self};
pub use hotplug::call_online;
pub use lock_stall::lock_stalls;
#[cfg(feature = "faults")]
pub(crate) use nmi::stop_others;
pub(crate) use nmi::{BacktraceError, backtrace_of, send_nmi};
pub(crate) use scheduler::{SchedulerOps, interrupt_own_thread, look_again, set_scheduler};
pub use send::{SendError, send_interrupt};
#[cfg(feature = "faults")]
pub(crate) use shootdown::covers;
pub(crate) use shootdown::flush_ipis;
pub use shootdown::{ShootdownError, make_executable, make_read_only, purge_mappings, shootdown};
pub(crate) use shootdown::{begin_shootdown, finish_shootdown, is_flushed, to_flush};
pub use wake::{WakeError, wake_others, wake_others_or_warn};
pub(crate) use watchdog::{alarms as watchdog_alarms, recoveries as watchdog_recoveries};
pub use work::{WorkError, on_each_cpu};
pub(crate) use work::{idle, is_own_thread_due, work_ns};

use crate::acpi::CpuEntry;
use crate::apic;
use crate::cpu::{ApicId, CpuId, per_cpu};
use crate::sync::hotplug::CpuHotplug;
use crate::sync::work_slot::WorkSlot;

/// A CPU that the firmware lists.
pub struct Cpu {
    /// Its entry in the firmware's list.
    pub entry: CpuEntry,
    /// Its GS base, or 0 if it has no per-CPU area.
    gs_base: AtomicU64,
    /// One more than its rank among the online CPUs, or 0 while it is not online.
    online: AtomicU64,
    /// The last bring-up stage that it has reached: a [`Stage`].
    stage: AtomicU64,
    /// The TSC at each stage, or 0.
    stamps: [AtomicU64; Stage::COUNT],
    /// Its part of the work for all CPUs.
    work: WorkSlot,
    /// Whether the CPU that panics has sent it an NMI to stop it.
    is_stop_sent: AtomicBool,
    /// Whether it has halted because of a panic.
    stopped: AtomicBool,
    /// Its hotplug state.
    hotplug: CpuHotplug,
    /// The stack pointer that it saved when it last went offline, or 0.
    context: AtomicU64,
}

static CPUS: Once<&'static [Cpu]> = Once::new();

/// Returns all CPUs that the firmware lists, indexed by [`CpuId`]; none before [`start`]. **Context:** any.
pub fn cpus() -> &'static [Cpu] {
    CPUS.get().copied().unwrap_or_default()
}

/// Returns the online CPUs. **Context:** any.
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
            is_stop_sent: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            hotplug: CpuHotplug::new(),
            context: AtomicU64::new(0),
        }
    }

    /// Returns its number.
    pub fn id(&self) -> CpuId {
        self.entry.cpu
    }

    /// Returns whether it is online: whether it takes work.
    pub fn is_online(&self) -> bool {
        self.rank().is_some()
    }

    /// Returns whether an IPI can be addressed to it. In xAPIC mode its APIC ID must have eight bits and differ from the
    /// broadcast ID (SDM Vol. 3A, 11.6.1).
    pub fn is_reachable(&self) -> bool {
        apic::mode() == apic::Mode::X2Apic || self.entry.apic_id < ApicId::XAPIC_BROADCAST
    }

    /// Returns whether it has a per-CPU area: whether it is the BSP or was sent INIT at boot.
    pub fn has_area(&self) -> bool {
        self.gs_base().is_some()
    }

    /// Returns its rank among the online CPUs, from 0. It changes when other CPUs go offline or come back.
    pub fn rank(&self) -> Option<usize> {
        (self.online.load(Ordering::Acquire) as usize).checked_sub(1)
    }

    /// Returns the last bring-up stage that it has reached.
    pub fn stage(&self) -> Stage {
        Stage::ALL[self.stage.load(Ordering::Relaxed) as usize % Stage::COUNT]
    }

    /// Returns the TSC at the time when it reached a stage, if it did.
    pub fn stamp(&self, stage: Stage) -> Option<u64> {
        Some(self.stamps[stage as usize].load(Ordering::Relaxed)).filter(|tsc| *tsc != 0)
    }

    /// Returns its GS base, if it has a per-CPU area.
    pub fn gs_base(&self) -> Option<usize> {
        Some(self.gs_base.load(Ordering::Relaxed) as usize).filter(|base| *base != 0)
    }

    /// Returns its copy of a per-CPU variable, if it has a per-CPU area. **Context:** any.
    pub fn get<P: per_cpu::PerCpu>(&self, variable: P) -> Option<&'static P::Value>
    where
        P::Value: Sync,
    {
        // SAFETY: the area is never freed: only `bring_up` sets `gs_base`, to that of an area of `CpuAreas` or of the
        // BSP.
        self.gs_base().map(|gs_base| unsafe { variable.of(gs_base) })
    }
}
