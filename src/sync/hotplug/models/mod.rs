//! The whole hotplug protocol under a model checker: a requester whose waits end at any time, a target that goes on at any
//! time, NMI senders, and the owner of work that the target has left. loom tries every interleaving of the small models,
//! shuttle random ones of these and of the [`storms`]. `cargo run -- soak loom` and `cargo run -- soak shuttle` run them.
//!
//! [`as_found`] holds three errors that the protocol once had. Each model that is there for one of them is run with it, and
//! must fail.

#[cfg_attr(shuttle, allow(dead_code, reason = "some errors are looked for in every interleaving alone"))]
mod as_found;
mod encounters;
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
    /// Start-up interrupts that the parked target has not taken, and whether it need not wait for one any more.
    start_up: Mutex<StartUp>,
    started: Condvar,
    /// Whether the target is between INIT and the load of its IDT.
    in_trampoline: AtomicUsize,
    /// Whether the work's owner has returned, so that what the work borrows is gone.
    is_freed: AtomicUsize,
    /// How often the target has halted.
    halts: AtomicUsize,
    /// Whether the target is in the set of online CPUs. The lock is `smp::ranks`'.
    is_online: Mutex<bool>,
}

#[derive(Default)]
struct StartUp {
    pending: usize,
    is_over: bool,
}

impl Machine {
    /// With the target online, in the middle of work that it has taken if `works`.
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
        machine.hotplug.step(Word::start);
        if works {
            assert!(machine.work.apply(Phase::offer) && machine.work.apply(Phase::take));
        }
        Arc::new(machine)
    }

    // --- The target. ---

    /// What work does where it lets its CPU go offline.
    fn offline_point(&self, target: &Target) -> Left {
        if self.hotplug.state() != OfflinePending { Left::Stayed } else { self.leave(false, target) }
    }

    /// The target's side: whether it is back, or never will be.
    fn leave(&self, is_idle: bool, target: &Target) -> Left {
        {
            let mut is_online = self.is_online.lock().unwrap();
            if is_idle && self.work.phase() != Phase::Idle || self.hotplug.apply(Word::acknowledge).is_err() {
                return Left::Stayed;
            }
            *is_online = false;
        }
        for step in 0..3 {
            if target.refuses_at == Some(step) {
                *self.is_online.lock().unwrap() = true;
                self.hotplug.step(Word::refuse);
                return Left::Stayed;
            }
            self.hotplug.step(Word::advance);
        }
        self.halts.fetch_add(1, Ordering::Relaxed);
        self.hotplug.0.fetch_add(CpuHotplug::HALT, Ordering::AcqRel);
        if !self.wait_for_start_up() {
            return Left::Never;
        }
        // The trampoline, and the way to the slot. Nothing of the kernel's is touched.
        let (waiting, claimed, online) =
            (SlotState::Waiting as u32, SlotState::Claimed as u32, SlotState::Online as u32);
        let change =
            |from, to| self.slot.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if !change(waiting, claimed) || !change(claimed, online) {
            return Left::Never;
        }
        self.in_trampoline.store(0, Ordering::Release);
        if target.is_blind {
            return as_found::resume(&self.hotplug);
        }
        self.hotplug.step(Word::resume);
        *self.is_online.lock().unwrap() = true;
        self.hotplug.step(Word::complete);
        Left::Returned
    }

    /// Halts until there is a start-up interrupt; whether there was one before the model's end.
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

    // --- The others. ---

    /// A parked target that no requester restarts ends.
    fn end(&self) {
        self.start_up.lock().unwrap().is_over = true;
        self.started.notify_all();
    }

    /// One look of the work's owner: if all have finished, it returns.
    fn owner_returns_if_over(&self) -> bool {
        let is_over = self.work.is_over(&self.hotplug);
        if is_over {
            self.is_freed.store(1, Ordering::Release);
        }
        is_over
    }

    /// An NMI that was just sent arrives.
    fn take_nmi(&self) {
        assert_eq!(self.in_trampoline.load(Ordering::Acquire), 0, "an NMI to a CPU without an IDT");
    }

    fn send_nmi(&self) {
        if let Some(permit) = self.hotplug.admit_nmi() {
            self.take_nmi();
            drop(permit);
        }
    }

    /// The start of an online operation: INIT and start-up interrupts, which arrive at any later time.
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

/// What became of the target at an offline point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// It has not been offline.
    Stayed,
    /// It has, and is back.
    Returned,
    /// It is in the trampoline, or halts, at the end of the model.
    Never,
}

/// How the target behaves.
#[derive(Clone, Copy, Default)]
struct Target {
    /// At which of its steps it finds that it cannot go.
    refuses_at: Option<usize>,
    /// It returns as [`as_found::resume`].
    is_blind: bool,
}

/// A requester whose waits may end at any time, and whose interrupts may fail.
struct Impatient<'a> {
    machine: &'a Machine,
    can_interrupt: bool,
}

impl Requester for Impatient<'_> {
    /// In every interleaving one look is enough: there is one in which it comes at each time.
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

    /// Of no effect: each wait may end at any time.
    fn stages(&self) -> u32 {
        0
    }

    fn settle(&self) -> bool {
        self.machine.settle_slot()
    }
}
