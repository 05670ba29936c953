//! Models of the whole hotplug protocol: a requester whose waits end at any time, a target that proceeds at any time, NMI
//! senders, and the owner of work inside which the target goes offline. loom tries every interleaving of the small
//! models, shuttle random schedules of these and of the [`storms`]. `cargo run -- soak loom` and `cargo run -- soak
//! shuttle` run them.
//!
//! [`as_found`] holds three errors of earlier versions. Each model for one of them is also run with it, and must fail.

#[cfg_attr(shuttle, allow(dead_code, reason = "some errors are looked for in every interleaving alone"))]
mod as_found;
mod races;
#[cfg(shuttle)]
mod storms;

extern crate std;

#[cfg(loom)]
use loom as checker;
#[cfg(shuttle)]
use shuttle as checker;

use checker::sync::{Arc, Condvar, Mutex};
use checker::thread;

use super::*;
use crate::sync::atomics::AtomicUsize;
use crate::sync::work_slot::{Phase, WorkSlot};

/// A machine of one target, and what the other CPUs share with it.
struct Machine {
    hotplug: CpuHotplug,
    work: WorkSlot,
    /// The target's bring-up slot: a [`SlotState`].
    slot: AtomicU32,
    /// The start-up IPIs that the offline target has not taken, and whether it stops waiting for one.
    start_up: Mutex<StartUp>,
    started: Condvar,
    /// Whether the target is between INIT and the load of its IDT.
    in_trampoline: AtomicUsize,
    /// Whether the work's owner has returned, so that what the work borrows is gone.
    is_freed: AtomicUsize,
    /// How often the target has halted.
    halts: AtomicUsize,
    /// Whether the target is in the set of online CPUs. The lock is `smp::online_set`'s.
    is_online: Mutex<bool>,
}

#[derive(Default)]
struct StartUp {
    pending: usize,
    is_over: bool,
}

impl Machine {
    /// Creates a machine whose target is online, and has taken work if `works`.
    fn new(works: bool) -> Arc<Machine> {
        let machine = Machine {
            hotplug: CpuHotplug::new(),
            work: WorkSlot::new(),
            slot: AtomicU32::new(SlotState::Online as u32),
            start_up: Mutex::new(StartUp::default()),
            started: Condvar::new(),
            in_trampoline: AtomicUsize::new(0),
            is_freed: AtomicUsize::new(0),
            halts: AtomicUsize::new(0),
            is_online: Mutex::new(true),
        };
        machine.hotplug.step(StateWord::start);
        if works {
            assert!(machine.work.apply(Phase::offer) && machine.work.apply(Phase::take));
        }
        Arc::new(machine)
    }

    // --- The target. ---

    /// An offline point in the target's work.
    fn offline_point(&self, target: &Target) -> OfflineResult {
        if self.hotplug.state() != OfflinePending {
            OfflineResult::Stayed
        } else {
            self.go_offline(false, target)
        }
    }

    /// The target goes offline and may come back.
    fn go_offline(&self, is_idle: bool, target: &Target) -> OfflineResult {
        {
            let mut is_online = self.is_online.lock().unwrap();
            if is_idle && self.work.phase() != Phase::Idle
                || self.hotplug.apply(StateWord::acknowledge).is_err()
            {
                return OfflineResult::Stayed;
            }
            *is_online = false;
        }
        for step in 0..3 {
            if target.refuses_at == Some(step) {
                *self.is_online.lock().unwrap() = true;
                self.hotplug.step(StateWord::refuse);
                return OfflineResult::Stayed;
            }
            self.hotplug.step(StateWord::advance);
        }
        self.halts.fetch_add(1, Ordering::Relaxed);
        self.hotplug.0.fetch_add(CpuHotplug::HALT, Ordering::AcqRel);
        if !self.wait_for_start_up() {
            return OfflineResult::Never;
        }
        // The trampoline, up to the slot, uses nothing of the kernel.
        let (waiting, claimed, online) =
            (SlotState::Waiting as u32, SlotState::Claimed as u32, SlotState::Online as u32);
        let change =
            |from, to| self.slot.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if !change(waiting, claimed) || !change(claimed, online) {
            return OfflineResult::Never;
        }
        self.in_trampoline.store(0, Ordering::Release);
        if target.is_blind {
            return as_found::resume(&self.hotplug);
        }
        self.hotplug.step(StateWord::resume);
        *self.is_online.lock().unwrap() = true;
        self.hotplug.step(StateWord::complete);
        OfflineResult::Returned
    }

    /// Halts until there is a start-up IPI. Returns `false` if there is none before the end of the model.
    fn wait_for_start_up(&self) -> bool {
        let mut start_up = self.start_up.lock().unwrap();
        while start_up.pending == 0 && !start_up.is_over {
            start_up = self.started.wait(start_up).unwrap();
        }
        if start_up.pending == 0 {
            return false;
        }
        start_up.pending -= 1;
        true
    }

    /// Uses what the work borrows.
    fn touch_work(&self) {
        assert_eq!(self.is_freed.load(Ordering::Acquire), 0, "the work's owner has returned");
    }

    // --- The other CPUs. ---

    /// Ends the wait of an offline target that no requester restarts.
    fn end(&self) {
        self.start_up.lock().unwrap().is_over = true;
        self.started.notify_all();
    }

    /// One check by the work's owner: it returns if all have finished.
    fn owner_returns_if_over(&self) -> bool {
        let is_over = self.work.is_over(&self.hotplug);
        if is_over {
            self.is_freed.store(1, Ordering::Release);
        }
        is_over
    }

    /// Delivers an NMI that was just sent.
    fn take_nmi(&self) {
        assert_eq!(self.in_trampoline.load(Ordering::Acquire), 0, "an NMI to a CPU without an IDT");
    }

    fn send_nmi(&self) {
        if let Some(permit) = self.hotplug.admit_nmi() {
            self.take_nmi();
            drop(permit);
        }
    }

    /// Starts an online operation by INIT and start-up IPIs, which arrive at any later time.
    fn send_start_up(&self) {
        self.slot.store(SlotState::Waiting as u32, Ordering::Release);
        self.in_trampoline.store(1, Ordering::Release);
        self.start_up.lock().unwrap().pending += 1;
        self.started.notify_all();
    }

    fn settle_slot(&self) -> bool {
        let mut state = self.slot.load(Ordering::Acquire);
        while let Some(next) = give_up_slot(state) {
            match self.slot.compare_exchange(state, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return false,
                Err(now) => state = now,
            }
        }
        true
    }
}

/// The outcome of an offline point for the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OfflineResult {
    /// It has stayed online.
    Stayed,
    /// It was offline and is back.
    Returned,
    /// It is in the trampoline, or halts, at the end of the model.
    Never,
}

/// The target's behaviour.
#[derive(Clone, Copy, Default)]
struct Target {
    /// The step at which it refuses.
    refuses_at: Option<usize>,
    /// It resumes by [`as_found::resume`].
    is_blind: bool,
}

/// A requester whose waits may end at any time, and whose IPIs may fail.
struct Impatient<'a> {
    machine: &'a Machine,
    can_interrupt: bool,
}

impl Requester for Impatient<'_> {
    /// In an exhaustive search one check is enough: some interleaving makes it at each time.
    #[cfg(loom)]
    fn wait(&self, is_over: impl Fn() -> bool) -> bool {
        is_over()
    }

    #[cfg(shuttle)]
    fn wait(&self, is_over: impl Fn() -> bool) -> bool {
        use shuttle::rand::{Rng, thread_rng};
        while !is_over() {
            if thread_rng().gen_range(0..6) == 0 {
                return is_over();
            }
            thread::yield_now();
        }
        true
    }

    fn spin(&self, is_over: impl Fn() -> bool) -> bool {
        self.wait(is_over)
    }
}

impl Starter for Impatient<'_> {
    type Error = ();

    fn start(&self) -> Result<(), ()> {
        if self.can_interrupt {
            self.machine.send_start_up();
        }
        self.can_interrupt.then_some(()).ok_or(())
    }

    /// Without effect, since each wait may end at any time.
    fn stages(&self) -> u32 {
        0
    }

    fn finalize_slot(&self) -> bool {
        self.machine.settle_slot()
    }
}
