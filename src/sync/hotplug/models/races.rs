//! Small models: one or two operations of the requester, and a target.

#[cfg(loom)]
use super::as_found;
use super::*;

/// Runs a model. `preemptions` bounds the exhaustive search.
#[cfg(loom)]
fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    use crate::sync::model_atomics::{Accesses, explore};
    explore(Some(preemptions), &[Accesses::Exchanges, Accesses::Plain], model);
}

#[cfg(shuttle)]
fn check(_: usize, model: impl Fn() + Sync + Send + 'static) {
    use crate::sync::model_schedules::{run_schedules, schedules};
    run_schedules(schedules().div_ceil(10), model);
}

type TakeOffline = fn(&CpuHotplug, &Impatient) -> OfflineOutcome;
type BringOnline = fn(&CpuHotplug, &Impatient) -> OnlineOutcome<()>;

fn take(cpu: &CpuHotplug, requester: &Impatient) -> OfflineOutcome {
    take_offline(cpu, requester, || {})
}

fn bring(cpu: &CpuHotplug, starter: &Impatient) -> OnlineOutcome<()> {
    bring_online(cpu, starter)
}

/// A target that goes offline inside its work, and continues it if it is restarted.
fn spawn_worker(machine: &Arc<Machine>, target: Target) -> thread::JoinHandle<OfflineResult> {
    let machine = machine.clone();
    thread::spawn(move || {
        let left = machine.offline_point(&target);
        if left != OfflineResult::Never {
            machine.touch_work();
            assert!(machine.work.apply(Phase::finish));
        }
        left
    })
}

/// A request, and the target's state afterwards.
fn a_request(take: TakeOffline, target: Target) {
    let machine = Machine::new(false);
    let worker = thread::spawn({
        let machine = machine.clone();
        move || machine.offline_point(&target)
    });
    let requester = Impatient { machine: &machine, can_interrupt: true };
    let outcome = take(&machine.hotplug, &requester);
    machine.end();
    let left = worker.join().unwrap();
    let (state, halts) = (machine.hotplug.state(), machine.halts.load(Ordering::Acquire));
    match outcome {
        OfflineOutcome::Offline => assert_eq!((state, halts), (Offline, 1)),
        // As online as before, whatever the target does later.
        OfflineOutcome::Withdrawn => {
            assert_eq!((state, halts, left), (Online, 0, OfflineResult::Stayed), "it was called online");
        }
        OfflineOutcome::Refused => assert_eq!((state, halts), (Online, 0)),
        OfflineOutcome::InProgress(_) => {
            assert!(matches!(state, Offline | Refused), "it was called leaving: {state}")
        }
        OfflineOutcome::NotOnline(state) => panic!("it was online, not {state}"),
    }
}

#[test]
fn a_withdrawn_request_leaves_the_cpu_online() {
    check(5, || a_request(take, Target::default()));
}

#[test]
fn a_refusal_at_any_step_leaves_the_cpu_online() {
    for step in 0..3 {
        check(4, move || a_request(take, Target { refuses_at: Some(step), ..Target::default() }));
    }
}

// Random schedules need not meet the error.
#[cfg(loom)]
#[test]
#[should_panic(expected = "it was called online")]
fn the_model_sees_a_request_that_is_not_withdrawn_and_reported_so() {
    check(5, || a_request(as_found::take_offline, Target::default()));
}

/// The target goes offline inside its work and is brought back. The work's owner returns as soon as it may.
fn a_return_to_work(bring_online: BringOnline, target: Target, can_interrupt: bool) {
    let machine = Machine::new(true);
    let worker = spawn_worker(&machine, target);
    let requester = Impatient { machine: &machine, can_interrupt };
    let mut returned = None;
    if take(&machine.hotplug, &requester) == OfflineOutcome::Offline {
        returned = Some(bring_online(&machine.hotplug, &requester));
    }
    machine.owner_returns_if_over();
    machine.end();
    let left = worker.join().unwrap();
    match returned {
        Some(OnlineOutcome::Online) => assert_eq!(left, OfflineResult::Returned),
        Some(OnlineOutcome::Failed) => {
            assert_eq!((left, machine.hotplug.state()), (OfflineResult::Never, Failed))
        }
        Some(OnlineOutcome::InProgress(_)) => {
            assert_eq!((left, machine.hotplug.state()), (OfflineResult::Returned, Online), "it was coming");
        }
        Some(OnlineOutcome::NotSent(())) => {
            assert!(!can_interrupt);
            assert_eq!((left, machine.hotplug.state()), (OfflineResult::Never, Offline));
        }
        Some(other) => panic!("a CPU that is offline cannot be restarted: {other:?}"),
        None => {}
    }
}

#[test]
fn the_owner_of_work_outlives_a_cpu_that_comes_back_late() {
    check(4, || a_return_to_work(bring, Target::default(), true));
}

#[test]
fn a_cpu_that_cannot_be_interrupted_stays_offline() {
    check(4, || a_return_to_work(bring, Target::default(), false));
}

// Random schedules need not meet the error.
#[cfg(loom)]
#[test]
#[should_panic(expected = "the work's owner has returned")]
fn the_model_sees_a_coming_cpu_called_failed() {
    let blind = Target { is_blind: true, ..Target::default() };
    check(4, move || a_return_to_work(as_found::bring_online, blind, true));
}

/// The target goes offline and is brought back, while another CPU sends it an NMI.
fn an_nmi(send: fn(&Machine)) {
    let machine = Machine::new(true);
    let worker = spawn_worker(&machine, Target::default());
    let sender = thread::spawn({
        let machine = machine.clone();
        move || send(&machine)
    });
    let requester = Impatient { machine: &machine, can_interrupt: true };
    if take(&machine.hotplug, &requester) == OfflineOutcome::Offline {
        bring_online(&machine.hotplug, &requester);
    }
    machine.end();
    worker.join().unwrap();
    sender.join().unwrap();
    assert_eq!(machine.hotplug.word().nmi_senders, 0);
}

#[test]
fn no_nmi_reaches_a_cpu_without_an_idt() {
    check(3, || an_nmi(Machine::send_nmi));
}

// Random schedules need not meet the error.
#[cfg(loom)]
#[test]
#[should_panic(expected = "an NMI to a CPU without an IDT")]
fn the_model_sees_an_nmi_that_is_sent_after_a_check() {
    check(3, || an_nmi(as_found::send_nmi));
}

/// The owner withdraws work that the target does not take in time.
#[test]
fn work_is_run_or_withdrawn_and_never_outlives_its_owner() {
    check(5, || {
        let machine = Machine::new(false);
        assert!(machine.work.apply(Phase::offer));
        let worker = thread::spawn({
            let machine = machine.clone();
            move || {
                let takes = machine.work.apply(Phase::take);
                if takes {
                    machine.touch_work();
                    assert!(machine.work.apply(Phase::finish));
                }
                takes
            }
        });
        let was_withdrawn = machine.work.apply(Phase::withdraw);
        let has_returned = machine.owner_returns_if_over();
        let ran = worker.join().unwrap();
        assert_ne!(was_withdrawn, ran);
        assert!(has_returned || ran);
    });
}

/// An idle CPU is requested to go offline while it is offered work: it does not go offline before the work is done.
#[test]
fn an_idle_cpu_takes_its_work_before_it_leaves() {
    check(4, || {
        let machine = Machine::new(false);
        machine.hotplug.step(StateWord::request_offline);
        let target = thread::spawn({
            let machine = machine.clone();
            move || machine.go_offline(true, &Target::default())
        });
        let offered = {
            let is_online = machine.is_online.lock().unwrap();
            *is_online && machine.work.apply(Phase::offer)
        };
        machine.end();
        let left = target.join().unwrap();
        assert_eq!(offered, left == OfflineResult::Stayed);
    });
}
