//! The lock-free parts, step by step.

use std::boxed::Box;
use std::vec::Vec;

use super::super::entity::{
    Affinity, Attributes, Class, Entity, MAX_PRIORITY, MAX_WEIGHT, MIN_SLICE_NS, Runnable, ThreadId,
};
use super::super::inbox::Inbox;
use super::super::join::{End, JoinWord};
use super::super::notice::{Attention, Notice};
use super::super::references::References;
use super::super::state::{AfterSwitch, Phase, ThreadState, Wait, Wake};
use crate::cpu::{CpuId, CpuSet};

#[test]
fn leaked_references_neither_free_a_thread_nor_end_it() {
    let most = u64::from(u32::MAX);
    for leaked in [most >> 1, most, 1 << 62] {
        let references = References::with_leaked(leaked);
        references.add();
        assert!(references.has_own(), "{leaked} leaked");
        assert!(!references.remove() && !references.remove(), "{leaked} are left");
        assert!(!references.remove_own() && !references.has_own());
    }
}

#[test]
fn the_last_reference_is_that_of_the_thread_or_of_its_creator() {
    let creator_is_last = References::new();
    assert!(!creator_is_last.remove_own() && creator_is_last.remove());
    let thread_is_last = References::new();
    thread_is_last.add();
    assert!(!thread_is_last.remove() && !thread_is_last.remove() && thread_is_last.remove_own());
}

#[test]
fn a_wake_before_the_park_lets_it_return_at_once() {
    let state = ThreadState::new(Phase::Running);
    assert_eq!(state.wake(Wait::Unpark), Wake::Nothing);
    assert!(state.take_token());
    assert!(!state.take_token(), "one wake is one token");
    assert!(state.begin(Wait::Unpark));
}

#[test]
fn a_wake_on_the_way_off_the_cpu_lets_the_cpu_queue_the_thread() {
    let state = ThreadState::new(Phase::Running);
    assert!(state.begin(Wait::Unpark));
    assert_eq!(state.wake(Wait::Unpark), Wake::Nothing);
    assert_eq!(state.complete_switch(), AfterSwitch::Enqueue);
    assert_eq!(state.phase(), Phase::Queued);
    assert!(!state.set_running());
    assert!(!state.take_token(), "the wake is consumed");
}

#[test]
fn a_token_is_left_unless_the_thread_waits_for_it() {
    let state = ThreadState::new(Phase::Running);
    assert!(state.leave_token(Wait::Unpark) && state.take_token());
    assert!(state.begin(Wait::Event) && state.leave_token(Wait::Unpark), "it waits for another wake-up");
    assert_eq!(state.complete_switch(), AfterSwitch::Nothing);
    assert!(!state.leave_token(Wait::Event), "it waits");
    assert_eq!((state.wake(Wait::Event), state.phase()), (Wake::Enqueue, Phase::Queued));
    assert!(!state.set_running());
    assert!(state.take_token());
    state.set_exited();
    assert!(state.leave_token(Wait::Unpark) && state.phase() == Phase::Exited);
}

#[test]
fn a_wake_of_a_parked_thread_gives_it_to_one_waker() {
    let state = ThreadState::new(Phase::Running);
    assert!(state.begin(Wait::Unpark));
    assert_eq!(state.complete_switch(), AfterSwitch::Nothing);
    assert_eq!((state.wake(Wait::Unpark), state.wake(Wait::Unpark)), (Wake::Enqueue, Wake::Nothing));
    assert!(!state.set_running());
    assert!(state.take_token(), "the second wake is a token");
}

#[test]
fn a_token_stays_while_the_thread_is_preempted() {
    let state = ThreadState::new(Phase::Running);
    assert_eq!(state.wake(Wait::Unpark), Wake::Nothing);
    state.set_queued();
    assert_eq!(state.phase(), Phase::Queued);
    assert!(!state.set_running());
    assert!(state.take_token());
}

#[test]
fn each_kind_of_wait_has_its_own_wake_ups() {
    let state = ThreadState::new(Phase::Running);
    assert_eq!(state.wake(Wait::Unpark), Wake::Nothing);
    assert!(state.begin(Wait::Event), "an unpark does not end the wait for an event");
    assert_eq!((state.complete_switch(), state.phase()), (AfterSwitch::Nothing, Phase::Blocked));
    assert_eq!(state.wake(Wait::Unpark), Wake::Nothing);
    assert_eq!(state.wake(Wait::Event), Wake::Enqueue);
    assert!(!state.set_running());
    assert_eq!(state.wake(Wait::Event), Wake::Nothing);
    assert!(state.take_token() && state.begin(Wait::Unpark), "an event does not end a park");
    assert_eq!((state.complete_switch(), state.phase()), (AfterSwitch::Nothing, Phase::Parked));
    assert_eq!(state.wake(Wait::Unpark), Wake::Enqueue);
    assert!(!state.set_running());
    assert!(
        !state.begin(Wait::Event) && state.begin(Wait::Event),
        "the event that came meanwhile is consumed once"
    );
}

#[test]
fn a_thread_that_has_ended_is_released_and_not_woken() {
    let state = ThreadState::new(Phase::Running);
    state.set_exited();
    assert_eq!(state.wake(Wait::Unpark), Wake::Nothing);
    assert_eq!(state.complete_switch(), AfterSwitch::Release);
}

fn runnable(id: u64) -> Runnable {
    let entity = Box::leak(Box::new(Entity::new(ThreadId(id), Attributes::DEFAULT, Affinity::Any)));
    // SAFETY: the entity is leaked, and this is its only token.
    unsafe { Runnable::new(entity.into()) }
}

#[test]
fn an_inbox_gives_out_threads_in_the_order_of_their_arrival() {
    let inbox = Inbox::new();
    assert!(inbox.push(runnable(0)).is_err(), "a new inbox is closed");
    inbox.open();
    (1..=3).for_each(|id| assert!(inbox.push(runnable(id)).is_ok()));
    assert!(inbox.has_threads());
    assert_eq!(inbox.take_all().map(|thread| thread.id().0).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(!inbox.has_threads() && inbox.is_open());
    assert!(inbox.push(runnable(4)).is_ok());
    assert_eq!(inbox.close().map(|thread| thread.id().0).collect::<Vec<_>>(), [4]);
    assert_eq!(inbox.push(runnable(5)).map_err(|thread| thread.id().0), Err(5));
}

#[test]
fn a_cpu_is_interrupted_once_and_not_at_all_while_its_slice_timer_runs() {
    let notice = Notice::new();
    assert_eq!(notice.notify(false), Some(Attention::Running));
    assert_eq!(notice.notify(true), None, "an interrupt is pending");
    notice.set_slicing();
    assert_eq!(notice.notify(false), None);
    assert_eq!(notice.notify(true), Some(Attention::Slicing), "an urgent thread does not wait for the slice");
    notice.withdraw(Attention::Slicing);
    assert_eq!(notice.get(), Attention::Slicing);
    notice.set(Attention::Idle);
    assert!(notice.claim_idle() && !notice.claim_idle() && !notice.notify_idle());
    assert_eq!(notice.notify(true), None, "the interrupt of the claim is pending");
    assert_eq!(notice.set(Attention::Idle), Attention::Claimed, "the CPU knows of the claim");
    assert!(notice.claim_idle());
    notice.withdraw_claim();
    assert!(notice.notify_idle() && !notice.claim_idle());
    assert_eq!(notice.set(Attention::Running), Attention::Notified);
    assert!(!notice.claim_idle() && !notice.notify_idle(), "only an idle CPU");
    notice.set(Attention::Idle);
    assert!(notice.claim_idle());
}

#[test]
fn the_end_of_a_thread_is_seen_by_its_handle() {
    let word = JoinWord::new(true);
    assert!(word.wait(64));
    assert_eq!(word.end(), End::Wake(64));
    assert!(word.has_ended() && !word.wait(64) && !word.detach());
    let word = JoinWord::new(true);
    assert!(word.wait(64) && word.stop_waiting(64) && word.detach());
    assert_eq!(word.end(), End::Drop);
    assert_eq!(JoinWord::new(false).end(), End::Drop);
}

#[test]
fn attributes_are_clamped_to_their_ranges() {
    let wild = Attributes { class: Class::RealTime { priority: 255 }, weight: u32::MAX, slice_ns: 0 };
    let clamped = wild.clamped();
    assert_eq!(clamped.class, Class::RealTime { priority: MAX_PRIORITY });
    assert_eq!((clamped.weight, clamped.slice_ns), (MAX_WEIGHT, MIN_SLICE_NS));
    assert_eq!(Attributes::DEFAULT.clamped(), Attributes::DEFAULT);
}

#[test]
fn an_affinity_allows_its_cpus_only() {
    let set: &'static CpuSet = Box::leak(Box::new([CpuId(1), CpuId(70)].into_iter().collect()));
    let allowed = |affinity: Affinity| (0..80).map(CpuId).filter(move |cpu| affinity.allows(*cpu)).count();
    assert_eq!([Affinity::Any, Affinity::Pinned(CpuId(3)), Affinity::Set(set)].map(allowed), [80, 1, 2]);
    assert!(Affinity::Set(set).allows(CpuId(70)));
}

#[test]
fn a_thread_that_no_cpu_runs_stays_marked() {
    let state = ThreadState::new(Phase::Running);
    assert!(!state.watch() && !state.watch(), "a CPU runs it");
    state.set_queued();
    assert!(!state.watch());
    assert!(state.watch() && state.watch());
    assert!(!state.set_running());
    state.set_queued();
    assert!(!state.watch(), "it has run");
    // The mark is no wake-up, and it stays through a wait that a CPU has begun before it could clear it.
    assert!(!state.set_running() && state.begin(Wait::Event));
    assert_eq!(state.complete_switch(), AfterSwitch::Nothing);
    assert!(!state.watch());
    assert_eq!(state.wake(Wait::Event), Wake::Enqueue);
    assert!(!state.watch() && state.watch());
    assert!(state.request_change() || state.set_running() && state.take_change());
    assert_eq!(state.phase(), Phase::Running);
}

#[test]
fn a_change_of_affinity_stays_until_a_cpu_runs_the_thread() {
    let state = ThreadState::new(Phase::Running);
    assert!(!state.take_change());
    assert!(state.request_change(), "a CPU runs it");
    assert!(state.begin(Wait::Unpark));
    assert_eq!(state.complete_switch(), AfterSwitch::Nothing);
    assert_eq!(state.phase(), Phase::Parked);
    assert!(!state.request_change(), "no CPU runs it");
    assert_eq!(state.wake(Wait::Unpark), Wake::Enqueue);
    assert!(state.set_running());
    assert!(state.take_change());
    assert!(!state.take_change());
}
