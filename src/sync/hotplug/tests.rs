use std::cell::Cell;

use super::*;
use crate::cpu::CpuId;

/// A transition, with the states from which it is allowed and the state to which it leads.
type Case = (&'static str, Transition, &'static [(HotplugState, HotplugState)]);

/// All of them.
const TRANSITIONS: &[Case] = &[
    ("start", StateWord::start, &[(NotStarted, Online)]),
    ("request_offline", StateWord::request_offline, &[(Online, OfflinePending), (Refused, OfflinePending)]),
    ("withdraw_offline", StateWord::withdraw_offline, &[(OfflinePending, Online)]),
    ("accept_refusal", StateWord::accept_refusal, &[(Refused, Online)]),
    ("restart", StateWord::restart, &[(Offline, Restarting)]),
    ("cancel_restart", StateWord::cancel_restart, &[(Restarting, Offline)]),
    ("fail", StateWord::fail, &[(Restarting, Failed)]),
    ("acknowledge", StateWord::acknowledge, &[(OfflinePending, Teardown)]),
    (
        "advance",
        StateWord::advance,
        &[(Teardown, IrqsDrained), (IrqsDrained, IpiClosed), (IpiClosed, Migrated)],
    ),
    ("halt", StateWord::halt, &[(Migrated, Offline)]),
    (
        "refuse",
        StateWord::refuse,
        &[(OfflinePending, Refused), (Teardown, Refused), (IpiClosed, Refused), (IrqsDrained, Refused)],
    ),
    ("resume", StateWord::resume, &[(Restarting, Resuming)]),
    ("complete", StateWord::complete, &[(Resuming, Online)]),
];

#[test]
fn a_cpu_goes_offline_from_the_acknowledgement_to_the_halt() {
    for state in HotplugState::ALL {
        let cpu = CpuHotplug(AtomicU32::new(StateWord { state, nmi_senders: 3 }.bits()));
        let expected = matches!(state, Teardown | IrqsDrained | IpiClosed | Migrated);
        assert_eq!(cpu.is_going_offline(), expected, "{state}");
    }
}

#[test]
fn each_transition_is_possible_from_its_states_alone() {
    for (name, transition, pairs) in TRANSITIONS {
        for state in HotplugState::ALL {
            let expected = pairs.iter().find(|(from, _)| *from == state).map(|(_, to)| *to);
            let word = StateWord { state, nmi_senders: 0 };
            assert_eq!(transition(word).map(|next| next.state), expected, "{name} from {state}");
        }
    }
}

#[test]
fn a_failed_cpu_stays_failed() {
    for (name, transition, _) in TRANSITIONS {
        assert_eq!(transition(StateWord { state: Failed, nmi_senders: 0 }), None, "{name}");
    }
    assert_eq!(StateWord::admit_nmi(StateWord { state: Failed, nmi_senders: 0 }), None);
}

#[test]
fn words_are_packed_without_loss_and_the_halting_instruction_is_the_transition() {
    for state in HotplugState::ALL {
        for nmi_senders in [0, 1, 4_096, u32::MAX >> SENDERS_SHIFT] {
            let word = StateWord { state, nmi_senders };
            assert_eq!(StateWord::from_bits(word.bits()), word);
            if let Some(halted) = word.halt() {
                assert_eq!(word.bits() + CpuHotplug::HALT, halted.bits());
            }
        }
    }
}

#[test]
fn an_nmi_permit_keeps_the_cpu_from_being_restarted() {
    let cpu = CpuHotplug::new();
    assert!(cpu.admit_nmi().is_none(), "it has not come up");
    cpu.step(StateWord::start);
    let (first, second) = (cpu.admit_nmi().unwrap(), cpu.admit_nmi().unwrap());
    cpu.step(StateWord::request_offline);
    cpu.step(StateWord::acknowledge);
    for _ in 0..3 {
        assert!(cpu.admit_nmi().is_some());
        cpu.step(StateWord::advance);
    }
    cpu.step(StateWord::halt);
    assert!(cpu.admit_nmi().is_none());
    drop(first);
    assert_eq!(cpu.apply(StateWord::restart), Err(Offline));
    drop(second);
    cpu.step(StateWord::restart);
    assert!(cpu.admit_nmi().is_none());
    cpu.step(StateWord::resume);
    assert!(cpu.admit_nmi().is_some());
}

/// A requester whose target makes the next steps of a script at each wait.
struct Scripted<'a> {
    cpu: &'a CpuHotplug,
    /// The target's steps at each wait, and whether they are in time.
    waits: &'a [(&'a [Transition], bool)],
    next: Cell<usize>,
    is_past_slot: bool,
    start: Result<(), ()>,
}

impl Requester for Scripted<'_> {
    fn wait(&self, is_over: impl Fn() -> bool) -> bool {
        let (steps, in_time) = self.waits[self.next.replace(self.next.get() + 1)];
        let was_over = is_over();
        steps.iter().for_each(|step| self.cpu.step(*step));
        if in_time { is_over() } else { was_over }
    }

    fn spin(&self, is_over: impl Fn() -> bool) -> bool {
        if !is_over() {
            let _ = self.cpu.apply(StateWord::halt);
        }
        is_over()
    }
}

impl Starter for Scripted<'_> {
    type Error = ();

    fn start(&self) -> Result<(), ()> {
        self.start
    }

    fn stages(&self) -> u32 {
        0
    }

    fn finalize_slot(&self) -> bool {
        self.is_past_slot
    }
}

const GO_OFFLINE: &[Transition] =
    &[StateWord::acknowledge, StateWord::advance, StateWord::advance, StateWord::advance];

/// Takes an online CPU offline, whose steps are those of the script.
fn offline(waits: &[(&[Transition], bool)]) -> (OfflineOutcome, HotplugState) {
    let cpu = CpuHotplug::new();
    cpu.step(StateWord::start);
    let requester = Scripted { cpu: &cpu, waits, next: Cell::new(0), is_past_slot: false, start: Ok(()) };
    let outcome = take_offline(&cpu, &requester, || {});
    assert_eq!(requester.next.get(), waits.len(), "it waited another number of times");
    (outcome, cpu.state())
}

#[test]
fn a_request_ends_as_the_target_decides() {
    assert_eq!(offline(&[(GO_OFFLINE, true)]), (OfflineOutcome::Offline, Offline));
    assert_eq!(offline(&[(&[], false)]), (OfflineOutcome::Withdrawn, Online));
    assert_eq!(offline(&[(&[StateWord::refuse], true)]), (OfflineOutcome::Refused, Online));
    let refuses_late: &[Transition] = &[StateWord::acknowledge, StateWord::advance, StateWord::refuse];
    assert_eq!(offline(&[(refuses_late, true)]), (OfflineOutcome::Refused, Online));
}

/// The target acknowledges just after the requester's time-out.
#[test]
fn a_target_that_acknowledges_at_the_last_moment_is_not_called_online() {
    assert_eq!(offline(&[(GO_OFFLINE, false), (&[], true)]), (OfflineOutcome::Offline, Offline));
    let stuck: &[Transition] = &[StateWord::acknowledge, StateWord::advance];
    assert_eq!(
        offline(&[(stuck, false), (&[], false)]),
        (OfflineOutcome::InProgress(IrqsDrained), IrqsDrained)
    );
    let refuses: &[Transition] = &[StateWord::acknowledge];
    let then: &[Transition] = &[StateWord::refuse];
    assert_eq!(offline(&[(refuses, false), (then, true)]), (OfflineOutcome::Refused, Online));
}

/// Brings an offline CPU back, whose steps are those of the script.
fn online(
    waits: &[(&[Transition], bool)],
    is_past_slot: bool,
    start: Result<(), ()>,
) -> (OnlineOutcome<()>, HotplugState) {
    let cpu = CpuHotplug::new();
    cpu.step(StateWord::start);
    cpu.step(StateWord::request_offline);
    GO_OFFLINE.iter().for_each(|step| cpu.step(*step));
    cpu.step(StateWord::halt);
    let starter = Scripted { cpu: &cpu, waits, next: Cell::new(0), is_past_slot, start };
    let returned = bring_online(&cpu, &starter);
    assert_eq!(starter.next.get(), waits.len(), "it waited another number of times");
    (returned, cpu.state())
}

#[test]
fn a_restart_ends_as_the_slot_decides() {
    let comes: &[Transition] = &[StateWord::resume, StateWord::complete];
    assert_eq!(online(&[(comes, true)], true, Ok(())), (OnlineOutcome::Online, Online));
    assert_eq!(online(&[(&[], false)], false, Ok(())), (OnlineOutcome::Failed, Failed));
    assert_eq!(online(&[(&[], false), (comes, true)], true, Ok(())), (OnlineOutcome::Online, Online));
    assert_eq!(online(&[], false, Err(())), (OnlineOutcome::NotSent(()), Offline));
}

/// The target has passed its slot and takes longer than the requester waits.
#[test]
fn a_cpu_past_its_slot_is_late_and_never_failed() {
    let late = online(&[(&[], false), (&[], false)], true, Ok(()));
    assert_eq!(late, (OnlineOutcome::InProgress(Restarting), Restarting));
    let resumed: &[Transition] = &[StateWord::resume];
    let late = online(&[(&[], false), (resumed, false)], true, Ok(()));
    assert_eq!(late, (OnlineOutcome::InProgress(Resuming), Resuming));
}

/// A target that reaches one more stage within each time-out, and then comes online, or does not.
struct Slow<'a> {
    cpu: &'a CpuHotplug,
    stages: u32,
    reached: Cell<u32>,
    comes: bool,
    waits: Cell<u32>,
}

impl Requester for Slow<'_> {
    fn wait(&self, is_over: impl Fn() -> bool) -> bool {
        self.waits.set(self.waits.get() + 1);
        if self.reached.get() < self.stages {
            self.reached.set(self.reached.get() + 1);
        } else if self.comes {
            self.cpu.step(StateWord::resume);
            self.cpu.step(StateWord::complete);
        }
        is_over()
    }

    fn spin(&self, is_over: impl Fn() -> bool) -> bool {
        is_over()
    }
}

impl Starter for Slow<'_> {
    type Error = ();

    fn start(&self) -> Result<(), ()> {
        Ok(())
    }

    fn stages(&self) -> u32 {
        self.reached.get()
    }

    fn finalize_slot(&self) -> bool {
        false
    }
}

#[test]
fn a_cpu_is_waited_for_as_long_as_it_reaches_further_stages() {
    for (stages, comes) in [(0, true), (8, true), (0, false), (3, false)] {
        let cpu = CpuHotplug::new();
        cpu.step(StateWord::start);
        cpu.step(StateWord::request_offline);
        GO_OFFLINE.iter().for_each(|step| cpu.step(*step));
        cpu.step(StateWord::halt);
        let starter = Slow { cpu: &cpu, stages, reached: Cell::new(0), comes, waits: Cell::new(0) };
        let expected = if comes { (OnlineOutcome::Online, Online) } else { (OnlineOutcome::Failed, Failed) };
        assert_eq!((bring_online(&cpu, &starter), cpu.state()), expected, "{stages} stages");
        assert_eq!(starter.waits.get(), stages + 1, "time-outs");
    }
}

#[test]
fn only_an_offline_cpu_is_restarted_and_not_under_an_nmi() {
    let cpu = CpuHotplug::new();
    cpu.step(StateWord::start);
    let starter = Scripted { cpu: &cpu, waits: &[], next: Cell::new(0), is_past_slot: true, start: Ok(()) };
    assert_eq!(bring_online(&cpu, &starter), OnlineOutcome::NotOffline(Online));
    let permit = cpu.admit_nmi().unwrap();
    cpu.step(StateWord::request_offline);
    GO_OFFLINE.iter().for_each(|step| cpu.step(*step));
    cpu.step(StateWord::halt);
    assert_eq!(bring_online(&cpu, &starter), OnlineOutcome::NmiPending);
    assert_eq!(cpu.state(), Offline);
    drop(permit);
}

#[test]
fn the_lock_names_its_holder() {
    let lock = HotplugLock::new();
    assert_eq!(lock.holder(), None);
    let held = lock.try_lock(CpuId(3)).unwrap();
    assert_eq!(lock.try_lock(CpuId(5)).map(drop), Err(CpuId(3)));
    assert_eq!(lock.holder(), Some(CpuId(3)));
    drop(held);
    assert!(lock.try_lock(CpuId(5)).is_ok());
}
