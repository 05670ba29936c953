//! The protocol of CPU hotplug: the state of each CPU, and how one CPU takes another offline and brings it back. The
//! lock-free part of `smp::hotplug`, without statics and assembly. It compiles on any host, where tests and models run
//! it.
//!
//! Three parties change a CPU's state. The *requester* is the CPU that runs [`take_offline`] or [`bring_online`], one at
//! a time under the [`HotplugLock`]. The *target* is the CPU itself. *NMI senders* are CPUs that send the target an NMI.
//!
//! | state | next | changed by |
//! |---|---|---|
//! | [`NotStarted`] | `Online` after bring-up | requester (bring-up) |
//! | [`Online`] | `OfflinePending` | requester |
//! | [`OfflinePending`] | `Online` if the request is withdrawn | requester |
//! | | `Teardown`, `Refused` | target |
//! | [`Teardown`], [`IrqsDrained`], [`IpiClosed`], [`Migrated`] | the next one, at last `Offline`; `Refused` before `Migrated` | target |
//! | [`Offline`] | `Restarting` if there is no NMI sender | requester |
//! | [`Restarting`] | `Offline` if no INIT or start-up IPI could be sent, `Failed` | requester |
//! | | `Resuming` | target |
//! | [`Resuming`] | `Online` | target |
//! | [`Refused`] | `Online`, `OfflinePending` | requester |
//! | [`Failed`] | none | |
//!
//! Every transition is a compare-and-exchange of one word. Of two parties that change the same state, one fails and
//! learns the new state. Three properties follow, which the models check:
//!
//! - After a time-out, the requester either withdraws its request, and the target stays online; or the withdrawal fails,
//!   since the target has acknowledged, and the requester returns [`OfflineOutcome::InProgress`].
//! - A CPU becomes `Failed` only after its bring-up slot was given up. The target checks the slot before it runs any
//!   other code of the kernel, so a `Failed` CPU never uses its stack again, nor what its work borrows. A CPU that has
//!   passed that check is waited for. If it is late, the requester returns [`OnlineOutcome::InProgress`], and the CPU
//!   still counts as running.
//! - An NMI is sent only under an [`NmiPermit`]. None is granted from `Offline` to `Resuming`, and `Restarting` waits
//!   until all are returned. So no NMI reaches a CPU between INIT and the load of its IDT, where it would be a triple
//!   fault.

mod lock;

use core::fmt;

use ap_trampoline::SlotState;

pub(crate) use lock::HotplugLock;

use super::atomics::{AtomicU32, Ordering};

/// The hotplug state of a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum HotplugState {
    /// It has not come online at boot.
    NotStarted,
    /// It is online, and there is no request to go offline.
    Online,
    /// It is requested to go offline and has not acknowledged.
    OfflinePending,
    /// It has acknowledged the request. It takes no new work, and device interrupts are routed to another CPU.
    Teardown,
    /// Its timer is stopped, and no interrupt is pending. It still runs calls.
    IrqsDrained,
    /// Its call queue is empty and closed. From here on it runs no code of other CPUs.
    IpiClosed,
    /// Its timers belong to another CPU, and its cached frames are free. It is about to halt.
    Migrated,
    /// It halts with interrupts off and uses no memory.
    Offline,
    /// It is being restarted by INIT and start-up IPIs.
    Restarting,
    /// It is on its own stack again, with its IDT loaded.
    Resuming,
    /// It could not go offline and continues its work.
    Refused,
    /// It was restarted and did not reach its bring-up slot in time. It never comes online again.
    Failed,
}

use HotplugState::*;

impl HotplugState {
    /// All states, in order.
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

    /// Returns its name in reports.
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

    /// Returns the state with that number.
    const fn from_number(number: u32) -> HotplugState {
        HotplugState::ALL[number as usize % HotplugState::ALL.len()]
    }

    /// Returns whether a CPU in this state may be sent an NMI: it has an IDT and is not restarted while the sender holds
    /// a permit.
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

/// A CPU's state and the number of NMI permits. Each transition returns the new value, or `None` if it is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StateWord {
    /// The state.
    pub state: HotplugState,
    /// The NMI permits that have not been returned.
    pub nmi_senders: u32,
}

/// The bit of a packed [`StateWord`] from which on it holds the number of NMI senders. Below is the state.
const SENDERS_SHIFT: u32 = 8;
const STATE_MASK: u32 = (1 << SENDERS_SHIFT) - 1;

/// A transition of [`StateWord`].
pub(crate) type Transition = fn(StateWord) -> Option<StateWord>;

impl StateWord {
    const fn from_bits(bits: u32) -> StateWord {
        StateWord { state: HotplugState::from_number(bits & STATE_MASK), nmi_senders: bits >> SENDERS_SHIFT }
    }

    const fn bits(self) -> u32 {
        self.state as u32 | self.nmi_senders << SENDERS_SHIFT
    }

    const fn to(self, state: HotplugState) -> Option<StateWord> {
        Some(StateWord { state, ..self })
    }

    // --- Transitions by the requester. ---

    /// The CPU has come online at boot.
    pub(crate) const fn start(self) -> Option<StateWord> {
        if matches!(self.state, NotStarted) { self.to(Online) } else { None }
    }

    /// The CPU is requested to go offline. Discards an earlier refusal.
    pub(crate) const fn request_offline(self) -> Option<StateWord> {
        if matches!(self.state, Online | Refused) { self.to(OfflinePending) } else { None }
    }

    /// The request is withdrawn, unless the target has acknowledged it.
    pub(crate) const fn withdraw_offline(self) -> Option<StateWord> {
        if matches!(self.state, OfflinePending) { self.to(Online) } else { None }
    }

    /// The requester has read that the target refused.
    pub(crate) const fn accept_refusal(self) -> Option<StateWord> {
        if matches!(self.state, Refused) { self.to(Online) } else { None }
    }

    /// The CPU is about to be sent INIT. Not allowed while there is an NMI sender.
    pub(crate) const fn restart(self) -> Option<StateWord> {
        if matches!(self.state, Offline) && self.nmi_senders == 0 { self.to(Restarting) } else { None }
    }

    /// The INIT, or each start-up IPI, could not be sent.
    pub(crate) const fn cancel_restart(self) -> Option<StateWord> {
        if matches!(self.state, Restarting) { self.to(Offline) } else { None }
    }

    /// Its bring-up slot was given up.
    pub(crate) const fn fail(self) -> Option<StateWord> {
        if matches!(self.state, Restarting) { self.to(Failed) } else { None }
    }

    // --- Transitions by the target. ---

    /// The target acknowledges: the request can no longer be withdrawn.
    pub(crate) const fn acknowledge(self) -> Option<StateWord> {
        if matches!(self.state, OfflinePending) { self.to(Teardown) } else { None }
    }

    /// The target proceeds to the next state, up to [`HotplugState::Migrated`]. [`CpuHotplug::HALT`] is the last step.
    pub(crate) const fn advance(self) -> Option<StateWord> {
        match self.state {
            Teardown => self.to(IrqsDrained),
            IrqsDrained => self.to(IpiClosed),
            IpiClosed => self.to(Migrated),
            _ => None,
        }
    }

    /// The target halts.
    pub(crate) const fn halt(self) -> Option<StateWord> {
        if matches!(self.state, Migrated) { self.to(Offline) } else { None }
    }

    /// The target cannot go offline and continues its work.
    pub(crate) const fn refuse(self) -> Option<StateWord> {
        if matches!(self.state, OfflinePending | Teardown | IpiClosed | IrqsDrained) {
            self.to(Refused)
        } else {
            None
        }
    }

    /// The target has passed its bring-up slot and loaded its IDT.
    pub(crate) const fn resume(self) -> Option<StateWord> {
        if matches!(self.state, Restarting) { self.to(Resuming) } else { None }
    }

    /// The target takes work again.
    pub(crate) const fn complete(self) -> Option<StateWord> {
        if matches!(self.state, Resuming) { self.to(Online) } else { None }
    }

    // --- Transitions by NMI senders. ---

    /// Grants a permit, if the state allows it.
    pub(crate) const fn admit_nmi(self) -> Option<StateWord> {
        if !self.state.admits_nmi() || self.nmi_senders == u32::MAX >> SENDERS_SHIFT {
            return None;
        }
        Some(StateWord { nmi_senders: self.nmi_senders + 1, ..self })
    }

    /// Returns a permit.
    pub(crate) const fn return_nmi(self) -> Option<StateWord> {
        match self.nmi_senders.checked_sub(1) {
            Some(nmi_senders) => Some(StateWord { nmi_senders, ..self }),
            None => None,
        }
    }
}

/// The hotplug state of one CPU, shared by all CPUs.
#[derive(Debug)]
pub(crate) struct CpuHotplug(AtomicU32);

/// A permit to send an NMI to a CPU. The CPU is not restarted before it is dropped.
#[derive(Debug)]
pub(crate) struct NmiPermit<'a>(&'a CpuHotplug);

impl CpuHotplug {
    /// The number that a CPU adds to its word when it halts: the transition [`StateWord::halt`] by one instruction
    /// without a stack.
    pub(crate) const HALT: u32 = {
        let migrated = StateWord { state: Migrated, nmi_senders: 0 };
        match migrated.halt() {
            Some(offline) => offline.bits() - migrated.bits(),
            None => panic!("a CPU cannot halt"),
        }
    };

    /// Creates the state of a CPU that has not come online.
    #[allow(clippy::new_without_default, reason = "atomics under loom have no const default")]
    pub(crate) fn new() -> CpuHotplug {
        CpuHotplug(AtomicU32::new(StateWord { state: NotStarted, nmi_senders: 0 }.bits()))
    }

    /// Returns the word.
    pub(crate) fn word(&self) -> StateWord {
        StateWord::from_bits(self.0.load(Ordering::Acquire))
    }

    /// Returns the state.
    #[inline]
    pub(crate) fn state(&self) -> HotplugState {
        self.word().state
    }

    /// Returns whether this is the state: a single comparison.
    #[inline]
    pub(crate) fn is(&self, state: HotplugState) -> bool {
        self.0.load(Ordering::Acquire) & STATE_MASK == state as u32
    }

    /// Returns whether the CPU has acknowledged the request to go offline, which cannot be withdrawn any more, and is not offline yet: a
    /// single comparison.
    #[inline]
    pub(crate) fn is_going_offline(&self) -> bool {
        let number = self.0.load(Ordering::Acquire) & STATE_MASK;
        (Teardown as u32..=Migrated as u32).contains(&number)
    }

    /// Makes a transition.
    ///
    /// # Errors
    /// The current state, if it does not allow the transition.
    pub(crate) fn apply(&self, transition: Transition) -> Result<(), HotplugState> {
        // Not `fetch_update`: loom does not explore all interleavings between its load and its exchange.
        let mut bits = self.0.load(Ordering::Acquire);
        while let Some(next) = transition(StateWord::from_bits(bits)) {
            match self.0.compare_exchange(bits, next.bits(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(()),
                Err(now) => bits = now,
            }
        }
        Err(StateWord::from_bits(bits).state)
    }

    /// Makes a transition that is always allowed unless the protocol is broken.
    ///
    /// # Panics
    /// If the state does not allow it.
    pub(crate) fn step(&self, transition: Transition) {
        if let Err(state) = self.apply(transition) {
            panic!("a hotplug step is not possible in state {state}");
        }
    }

    /// Grants a permit to send an NMI. `None` if the CPU is offline or has not come online. **Context:** any.
    pub(crate) fn admit_nmi(&self) -> Option<NmiPermit<'_>> {
        self.apply(StateWord::admit_nmi).is_ok().then(|| NmiPermit(self))
    }

    /// Returns a pointer to the word, for the instruction that adds [`CpuHotplug::HALT`].
    #[cfg(target_os = "none")]
    pub(crate) fn as_ptr(&self) -> *mut u32 {
        self.0.as_ptr()
    }
}

impl Drop for NmiPermit<'_> {
    fn drop(&mut self) {
        self.0.step(StateWord::return_nmi);
    }
}

/// Returns the new state of a bring-up slot after a time-out: `GivenUp`, or `None` if the CPU has passed it.
pub(crate) const fn give_up_slot(state: u32) -> Option<u32> {
    if state == SlotState::Online as u32 { None } else { Some(SlotState::GivenUp as u32) }
}

/// How a requester waits.
pub(crate) trait Requester {
    /// Waits until `is_over` returns true, or for the operation's time-out. Returns the last value of `is_over`. The
    /// target wakes the requester when it has reached a state that is waited for.
    fn wait(&self, is_over: impl Fn() -> bool) -> bool;

    /// As [`wait`](Self::wait), but spins: for a step of a few instructions, after which the target does not wake the
    /// requester.
    fn spin(&self, is_over: impl Fn() -> bool) -> bool;
}

/// The outcome of [`take_offline`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OfflineOutcome {
    /// The CPU is offline.
    Offline,
    /// The CPU was not online. Nothing has changed.
    NotOnline(HotplugState),
    /// The CPU did not acknowledge in time, and the request was withdrawn. It is online as before.
    Withdrawn,
    /// The CPU has refused and stored the reason. It is online.
    Refused,
    /// The CPU has acknowledged, but is not offline in time. It will be offline or refuse.
    InProgress(HotplugState),
}

/// Takes a CPU offline. `wake` ends the target's halt; if it fails, the target reads the request when it next wakes. The
/// caller holds the [`HotplugLock`].
pub(crate) fn take_offline(cpu: &CpuHotplug, requester: &impl Requester, wake: impl Fn()) -> OfflineOutcome {
    if let Err(state) = cpu.apply(StateWord::request_offline) {
        return OfflineOutcome::NotOnline(state);
    }
    wake();
    let is_answered = || matches!(cpu.state(), Migrated | Offline | Refused);
    // The second wait is for a target that has acknowledged before the first time-out.
    for _ in 0..2 {
        if requester.wait(is_answered) {
            break;
        }
        if cpu.apply(StateWord::withdraw_offline).is_ok() {
            return OfflineOutcome::Withdrawn;
        }
    }
    requester.spin(|| cpu.state() != Migrated);
    match cpu.state() {
        Offline => OfflineOutcome::Offline,
        Refused => {
            cpu.step(StateWord::accept_refusal);
            OfflineOutcome::Refused
        }
        state => OfflineOutcome::InProgress(state),
    }
}

/// How a requester restarts a target.
pub(crate) trait Starter: Requester {
    /// Why the INIT or the start-up IPIs could not be sent.
    type Error;

    /// Prepares the target's bring-up slot and sends INIT and start-up IPIs.
    ///
    /// # Errors
    /// The INIT, or each start-up IPI, could not be sent: the target still halts, or waits for a start-up IPI. The slot
    /// is unchanged.
    fn start(&self) -> Result<(), Self::Error>;

    /// Returns the number of bring-up stages that the target has reached.
    fn stages(&self) -> u32;

    /// Finalises the target's slot by [`give_up_slot`]. Returns whether the target has passed it.
    fn finalize_slot(&self) -> bool;
}

/// Waits until the target is online, and returns whether it is. Each further stage renews the time-out, as at boot: a
/// host may run all CPUs on a fraction of one core, so no fixed time distinguishes a late CPU from a dead one. The wait
/// ends because the number of stages is fixed.
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

/// The outcome of [`bring_online`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnlineOutcome<E> {
    /// The CPU is online.
    Online,
    /// The CPU was not offline. Nothing has changed.
    NotOffline(HotplugState),
    /// Another CPU did not return its NMI permit in time. Nothing has changed.
    NmiPending,
    /// The INIT, or each start-up IPI, could not be sent. The CPU is offline as before.
    NotSent(E),
    /// The CPU reached no further stage in time. It never comes online again.
    Failed,
    /// The CPU has passed its slot and will be online, but is not in time.
    InProgress(HotplugState),
}

/// Brings an offline CPU online. The caller holds the [`HotplugLock`].
pub(crate) fn bring_online<S: Starter>(cpu: &CpuHotplug, starter: &S) -> OnlineOutcome<S::Error> {
    // No permit is granted in state `Offline`.
    starter.spin(|| cpu.word().nmi_senders == 0);
    if cpu.apply(StateWord::restart).is_err() {
        return match cpu.state() {
            Offline => OnlineOutcome::NmiPending,
            state => OnlineOutcome::NotOffline(state),
        };
    }
    if let Err(error) = starter.start() {
        cpu.step(StateWord::cancel_restart);
        return OnlineOutcome::NotSent(error);
    }
    if wait_for_return(cpu, starter) {
        return OnlineOutcome::Online;
    }
    if !starter.finalize_slot() {
        cpu.step(StateWord::fail);
        return OnlineOutcome::Failed;
    }
    // The target has passed its slot: it is late, not lost.
    if wait_for_return(cpu, starter) { OnlineOutcome::Online } else { OnlineOutcome::InProgress(cpu.state()) }
}

#[cfg(all(test, any(loom, shuttle)))]
mod models;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
