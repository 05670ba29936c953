//! CPU hotplug: the state of each CPU, and the protocol by which one CPU takes another offline and brings it back. This is
//! the lock-free half of `smp::hotplug`. It has no statics and no assembly, compiles on any host, and its models run there.
//!
//! Three parties change a CPU's state. The *requester* is the CPU that runs [`take_offline`] or [`bring_online`]; a
//! [`HotplugLock`] lets only one of them run at a time. The *target* is the CPU itself. *NMI senders* are CPUs that want to
//! know where the target is, or to stop it.
//!
//! | state | next | changed by |
//! |---|---|---|
//! | [`NotStarted`](HotplugState::NotStarted) | `Online` when bring-up has succeeded | requester (bring-up) |
//! | [`Online`](HotplugState::Online) | `OfflinePending` | requester |
//! | [`OfflinePending`](HotplugState::OfflinePending) | `Online` when the request is withdrawn | requester |
//! | | `Teardown`, `Refused` | target |
//! | [`Teardown`](HotplugState::Teardown), [`IrqsDrained`](HotplugState::IrqsDrained), [`IpiClosed`](HotplugState::IpiClosed), [`Migrated`](HotplugState::Migrated) | the next one, at last `Offline`; `Refused` | target |
//! | [`Offline`](HotplugState::Offline) | `Restarting` when no NMI sender is left | requester |
//! | [`Restarting`](HotplugState::Restarting) | `Offline` when no interrupt could be sent, `Failed` | requester |
//! | | `Resuming` | target |
//! | [`Resuming`](HotplugState::Resuming) | `Online` | target |
//! | [`Refused`](HotplugState::Refused) | `Online`, `OfflinePending` | requester |
//! | [`Failed`](HotplugState::Failed) | none | |
//!
//! Every transition is a compare-and-exchange of one word, so of two parties that want to change the same state one fails
//! and learns the new state. Three properties follow, which the models check:
//!
//! - A requester whose time has passed either withdraws its request, and then the target stays online, or fails to withdraw
//!   it, and then the target is on its way and is reported so. [`Outcome::Withdrawn`] means *as online as before*.
//! - `Failed` is entered only after the target's bring-up slot was given up, which the target checks last before it runs
//!   anything of the kernel's again. So a CPU that is `Failed` never touches the stack that it left, nor what its work borrows.
//!   A CPU that is past that check is waited for; if it does not come in time, it is reported as
//!   [`Returned::InProgress`], and still counts as running.
//! - An NMI is sent only under an [`NmiPermit`], of which there is none from `Offline` to `Resuming`, and `Restarting` waits
//!   until all are returned. So none reaches a CPU between INIT and the load of its IDT, where it would be a triple fault.

use core::fmt;

use ap_trampoline::SlotState;

use super::atomics::{AtomicU32, Ordering};
use crate::cpu::CpuId;

/// How far a CPU is on its way offline or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum HotplugState {
    /// It has not come up at boot.
    NotStarted,
    /// No other CPU has asked it to go offline.
    Online,
    /// It has been asked.
    OfflinePending,
    /// It has acknowledged the request: it takes no new work, and device interrupts go to another CPU.
    Teardown,
    /// Its timer is stopped, and the interrupts that were pending have been taken. It still answers calls.
    IrqsDrained,
    /// It takes no calls, and all that came before have been run: from here on it runs nothing but its own way to the halt.
    IpiClosed,
    /// Its timers are served elsewhere, and its cached frames are freed. It is about to halt.
    Migrated,
    /// It halts with interrupts off and touches no memory.
    Offline,
    /// It is being restarted by INIT and start-up interrupts.
    Restarting,
    /// It is back on the stack that it left, with its IDT loaded.
    Resuming,
    /// It could not go offline and is back at work.
    Refused,
    /// It was restarted and did not come in time. It never will.
    Failed,
}

use HotplugState::*;

impl HotplugState {
    /// All of them, in their order.
    pub const ALL: [HotplugState; 12] = [
        NotStarted,
        Online,
        OfflinePending,
        Teardown,
        IrqsDrained,
        IpiClosed,
        Migrated,
        Offline,
        Restarting,
        Resuming,
        Refused,
        Failed,
    ];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            NotStarted => "not-started",
            Online => "online",
            OfflinePending => "offline-pending",
            Teardown => "teardown",
            IpiClosed => "ipi-closed",
            IrqsDrained => "irqs-drained",
            Migrated => "migrated",
            Offline => "offline",
            Restarting => "restarting",
            Resuming => "resuming",
            Refused => "refused",
            Failed => "failed",
        }
    }

    /// The state of that number.
    const fn from_number(number: u32) -> HotplugState {
        HotplugState::ALL[number as usize % HotplugState::ALL.len()]
    }

    /// Whether an NMI may be sent to a CPU in this state: it has an IDT and will not be restarted before the sender is done.
    const fn admits_nmi(self) -> bool {
        matches!(
            self,
            Online | OfflinePending | Teardown | IpiClosed | IrqsDrained | Migrated | Resuming | Refused
        )
    }
}

impl fmt::Display for HotplugState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A CPU's state, and how many NMI senders hold a permit. Each transition gives the new value, or `None` where it is not
/// allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// The state.
    pub state: HotplugState,
    /// Permits that have not been returned.
    pub nmi_senders: u32,
}

/// Below this bit of a packed [`Word`] is the state, from it on the number of NMI senders.
const SENDERS_SHIFT: u32 = 8;
const STATE_MASK: u32 = (1 << SENDERS_SHIFT) - 1;

/// A transition of [`Word`].
pub type Transition = fn(Word) -> Option<Word>;

impl Word {
    const fn from_bits(bits: u32) -> Word {
        Word { state: HotplugState::from_number(bits & STATE_MASK), nmi_senders: bits >> SENDERS_SHIFT }
    }

    const fn bits(self) -> u32 {
        self.state as u32 | self.nmi_senders << SENDERS_SHIFT
    }

    const fn to(self, state: HotplugState) -> Option<Word> {
        Some(Word { state, ..self })
    }

    // --- The requester's. ---

    /// The CPU has come up at boot.
    pub const fn start(self) -> Option<Word> {
        if matches!(self.state, NotStarted) { self.to(Online) } else { None }
    }

    /// The CPU is asked to go offline. A refusal that nobody has read is forgotten.
    pub const fn request_offline(self) -> Option<Word> {
        if matches!(self.state, Online | Refused) { self.to(OfflinePending) } else { None }
    }

    /// The request is withdrawn, unless the target has acknowledged it.
    pub const fn withdraw_offline(self) -> Option<Word> {
        if matches!(self.state, OfflinePending) { self.to(Online) } else { None }
    }

    /// The requester has read that the target refused.
    pub const fn accept_refusal(self) -> Option<Word> {
        if matches!(self.state, Refused) { self.to(Online) } else { None }
    }

    /// The CPU will be sent INIT. No NMI may be on its way then.
    pub const fn restart(self) -> Option<Word> {
        if matches!(self.state, Offline) && self.nmi_senders == 0 { self.to(Restarting) } else { None }
    }

    /// It was not sent INIT, or no start-up interrupt after that.
    pub const fn cancel_restart(self) -> Option<Word> {
        if matches!(self.state, Restarting) { self.to(Offline) } else { None }
    }

    /// Its bring-up slot has been given up.
    pub const fn fail(self) -> Option<Word> {
        if matches!(self.state, Restarting) { self.to(Failed) } else { None }
    }

    // --- The target's. ---

    /// The target goes offline, and the request can no longer be withdrawn.
    pub const fn acknowledge(self) -> Option<Word> {
        if matches!(self.state, OfflinePending) { self.to(Teardown) } else { None }
    }

    /// The next step on its way, the last but one of which is [`HotplugState::Migrated`]; the last is
    /// [`CpuHotplug::HALT`].
    pub const fn advance(self) -> Option<Word> {
        match self.state {
            Teardown => self.to(IrqsDrained),
            IrqsDrained => self.to(IpiClosed),
            IpiClosed => self.to(Migrated),
            _ => None,
        }
    }

    /// It halts now.
    pub const fn halt(self) -> Option<Word> {
        if matches!(self.state, Migrated) { self.to(Offline) } else { None }
    }

    /// It cannot go offline, and goes on with its work.
    pub const fn refuse(self) -> Option<Word> {
        if matches!(self.state, OfflinePending | Teardown | IpiClosed | IrqsDrained) {
            self.to(Refused)
        } else {
            None
        }
    }

    /// It is past its bring-up slot, and has its IDT.
    pub const fn resume(self) -> Option<Word> {
        if matches!(self.state, Restarting) { self.to(Resuming) } else { None }
    }

    /// It takes work again.
    pub const fn complete(self) -> Option<Word> {
        if matches!(self.state, Resuming) { self.to(Online) } else { None }
    }

    // --- NMI senders'. ---

    /// One more sender, where the state allows it.
    pub const fn admit_nmi(self) -> Option<Word> {
        if !self.state.admits_nmi() || self.nmi_senders == u32::MAX >> SENDERS_SHIFT {
            return None;
        }
        Some(Word { nmi_senders: self.nmi_senders + 1, ..self })
    }

    /// One sender less.
    pub const fn return_nmi(self) -> Option<Word> {
        match self.nmi_senders.checked_sub(1) {
            Some(nmi_senders) => Some(Word { nmi_senders, ..self }),
            None => None,
        }
    }
}

/// One CPU's hotplug state, which all CPUs share.
#[derive(Debug)]
pub struct CpuHotplug(AtomicU32);

/// The right to send an NMI to a CPU, until it is dropped. As long as one exists the CPU is not restarted.
#[derive(Debug)]
pub struct NmiPermit<'a>(&'a CpuHotplug);

impl CpuHotplug {
    /// What a CPU adds to its word when it halts: [`Word::halt`], by one instruction that needs no stack.
    pub const HALT: u32 = {
        let migrated = Word { state: Migrated, nmi_senders: 0 };
        match migrated.halt() {
            Some(offline) => offline.bits() - migrated.bits(),
            None => panic!("a CPU cannot halt"),
        }
    };

    /// A CPU that has not come up yet.
    #[allow(clippy::new_without_default, reason = "atomics under loom have no const default")]
    pub fn new() -> CpuHotplug {
        CpuHotplug(AtomicU32::new(Word { state: NotStarted, nmi_senders: 0 }.bits()))
    }

    /// The whole word, as it is now.
    pub fn word(&self) -> Word {
        Word::from_bits(self.0.load(Ordering::Acquire))
    }

    /// The state, as it is now.
    #[inline]
    pub fn state(&self) -> HotplugState {
        self.word().state
    }

    /// Makes a transition.
    ///
    /// # Errors
    /// The state that does not allow it.
    pub fn apply(&self, transition: Transition) -> Result<(), HotplugState> {
        // Not `fetch_update`: loom does not try all that may come between its load and its exchange.
        let mut bits = self.0.load(Ordering::Acquire);
        while let Some(next) = transition(Word::from_bits(bits)) {
            match self.0.compare_exchange(bits, next.bits(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(()),
                Err(now) => bits = now,
            }
        }
        Err(Word::from_bits(bits).state)
    }

    /// Makes a transition that nothing but an error in the protocol could prevent.
    ///
    /// # Panics
    /// If the state does not allow it.
    pub fn step(&self, transition: Transition) {
        if let Err(state) = self.apply(transition) {
            panic!("a hotplug step is not possible in state {state}");
        }
    }

    /// Asks for the right to send an NMI; `None` for a CPU that is offline, or has not come up. **Context:** any.
    pub fn admit_nmi(&self) -> Option<NmiPermit<'_>> {
        self.apply(Word::admit_nmi).is_ok().then(|| NmiPermit(self))
    }

    /// The word itself, for the instruction that ends the last step; see [`CpuHotplug::HALT`].
    #[cfg(target_os = "none")]
    pub fn as_ptr(&self) -> *mut u32 {
        self.0.as_ptr()
    }
}

impl Drop for NmiPermit<'_> {
    fn drop(&mut self) {
        self.0.step(Word::return_nmi);
    }
}

/// What a restarted CPU's bring-up slot is when its time has passed: given up, unless the CPU is past it.
pub const fn give_up_slot(state: u32) -> Option<u32> {
    if state == SlotState::Online as u32 { None } else { Some(SlotState::GivenUp as u32) }
}

/// What a requester needs from its surroundings.
pub trait Requester {
    /// Waits until `is_over`, at most for the operation's time-out; whether it is. The target wakes the requester when it
    /// has reached one of the states that are waited for.
    fn wait(&self, is_over: impl Fn() -> bool) -> bool;

    /// As [`wait`](Self::wait), for a step that takes the target a few instructions and after which it wakes nobody.
    fn spin(&self, is_over: impl Fn() -> bool) -> bool;
}

/// How an offline operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The CPU is offline.
    Offline,
    /// It was not online, and nothing was changed.
    NotOnline(HotplugState),
    /// It did not acknowledge the request in time, which was withdrawn: it is as online as before.
    Withdrawn,
    /// It has gone back to work and left the reason. It is online.
    Refused,
    /// It has acknowledged, but has not arrived in time. It is still on its way, and will be offline or refuse.
    InProgress(HotplugState),
}

/// Takes a CPU offline. `wake` ends the target's halt; if it could not, the target notices the request when it next wakes.
/// The caller holds the [`HotplugLock`].
pub fn take_offline(cpu: &CpuHotplug, requester: &impl Requester, wake: impl Fn()) -> Outcome {
    if let Err(state) = cpu.apply(Word::request_offline) {
        return Outcome::NotOnline(state);
    }
    wake();
    let is_answered = || matches!(cpu.state(), Migrated | Offline | Refused);
    // The second time for a target that has acknowledged when the first time-out was over.
    for _ in 0..2 {
        if requester.wait(is_answered) {
            break;
        }
        if cpu.apply(Word::withdraw_offline).is_ok() {
            return Outcome::Withdrawn;
        }
    }
    requester.spin(|| cpu.state() != Migrated);
    match cpu.state() {
        Offline => Outcome::Offline,
        Refused => {
            cpu.step(Word::accept_refusal);
            Outcome::Refused
        }
        state => Outcome::InProgress(state),
    }
}

/// What [`bring_online`] needs besides.
pub trait Starter: Requester {
    /// Why no interrupt could be sent.
    type Error;

    /// Prepares the target's bring-up slot and sends INIT and start-up interrupts.
    ///
    /// # Errors
    /// Either could not be sent, so the target has not left the state it was in, or waits for a start-up interrupt. The
    /// slot is as before.
    fn start(&self) -> Result<(), Self::Error>;

    /// How many stages of bring-up the target has reached.
    fn stages(&self) -> u32;

    /// Decides about the target's slot by [`give_up_slot`]: whether the target is past it.
    fn settle(&self) -> bool;
}

/// Waits until the target is online; whether it is. Each further stage that it reaches renews the time-out, as at boot: a host
/// may give all CPUs together a fraction of one core, so no time for all stages would tell a late CPU from a dead one. The
/// wait ends all the same, because the number of stages is fixed.
fn wait_for_return(cpu: &CpuHotplug, starter: &impl Starter) -> bool {
    let is_online = || cpu.state() == Online;
    let mut seen = starter.stages();
    while starter.wait(|| is_online() || starter.stages() > seen) {
        if is_online() {
            return true;
        }
        seen = starter.stages();
    }
    is_online()
}

/// How an online operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returned<E> {
    /// The CPU is online.
    Online,
    /// It was not offline, and nothing was changed.
    NotOffline(HotplugState),
    /// Another CPU is about to send it an NMI and does not finish. Nothing was changed.
    NmiPending,
    /// No interrupt could be sent. It is offline as before.
    NotSent(E),
    /// It reached no further stage in time, and never will.
    Failed,
    /// It is past its slot and will be online, but is not yet.
    InProgress(HotplugState),
}

/// Brings a CPU back. The caller holds the [`HotplugLock`].
pub fn bring_online<S: Starter>(cpu: &CpuHotplug, starter: &S) -> Returned<S::Error> {
    // No new ones are admitted in the state that is needed.
    starter.spin(|| cpu.word().nmi_senders == 0);
    if cpu.apply(Word::restart).is_err() {
        return match cpu.state() {
            Offline => Returned::NmiPending,
            state => Returned::NotOffline(state),
        };
    }
    if let Err(error) = starter.start() {
        cpu.step(Word::cancel_restart);
        return Returned::NotSent(error);
    }
    if wait_for_return(cpu, starter) {
        return Returned::Online;
    }
    if !starter.settle() {
        cpu.step(Word::fail);
        return Returned::Failed;
    }
    // Nothing stops it any more: it is late, not lost.
    if wait_for_return(cpu, starter) { Returned::Online } else { Returned::InProgress(cpu.state()) }
}

/// The right to take a CPU offline or to bring one back, which one CPU has at a time.
#[derive(Debug)]
pub struct HotplugLock(AtomicU32);

/// The right, held.
#[derive(Debug)]
pub struct HotplugGuard<'a>(&'a HotplugLock);

impl HotplugLock {
    /// A free one.
    #[cfg(not(any(loom, shuttle)))]
    pub const fn new() -> HotplugLock {
        HotplugLock(AtomicU32::new(0))
    }

    /// A free one.
    #[cfg(any(loom, shuttle))]
    pub fn new() -> HotplugLock {
        HotplugLock(AtomicU32::new(0))
    }

    /// Takes it for the CPU `me`.
    ///
    /// # Errors
    /// The CPU that has it.
    pub fn try_lock(&self, me: CpuId) -> Result<HotplugGuard<'_>, CpuId> {
        match self.0.compare_exchange(0, me.0 + 1, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(HotplugGuard(self)),
            Err(holder) => Err(CpuId(holder - 1)),
        }
    }

    /// The CPU that has it, which waits for a target to change its state.
    pub fn holder(&self) -> Option<CpuId> {
        self.0.load(Ordering::Acquire).checked_sub(1).map(CpuId)
    }
}

impl Default for HotplugLock {
    fn default() -> Self {
        HotplugLock::new()
    }
}

impl Drop for HotplugGuard<'_> {
    fn drop(&mut self) {
        self.0.0.store(0, Ordering::Release);
    }
}

#[cfg(all(test, any(loom, shuttle)))]
mod models;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
