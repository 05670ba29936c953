//! Errors that the protocol once had, for the models to find.

use super::*;

/// Reads the state, reports it, and only then tries to withdraw the request; whether that succeeds is not looked at.
pub fn take_offline(cpu: &CpuHotplug, requester: &Impatient) -> Outcome {
    cpu.step(Word::request_offline);
    if requester.wait(|| matches!(cpu.state(), Migrated | Offline | Refused)) {
        requester.spin(|| cpu.state() != Migrated);
    }
    if cpu.apply(Word::accept_refusal).is_ok() {
        return Outcome::Refused;
    }
    let state = cpu.state();
    if state == Offline {
        return Outcome::Offline;
    }
    let _ = cpu.apply(Word::withdraw_offline);
    if state == OfflinePending { Outcome::Withdrawn } else { Outcome::InProgress(state) }
}

/// Calls a CPU failed that is past its slot.
pub fn bring_online(cpu: &CpuHotplug, starter: &Impatient) -> Returned<()> {
    cpu.step(Word::restart);
    if starter.start().is_err() {
        cpu.step(Word::cancel_restart);
        return Returned::NotSent(());
    }
    let is_online = || cpu.state() == Online;
    if starter.wait(is_online) || starter.settle() && starter.wait(is_online) {
        return Returned::Online;
    }
    cpu.0.store(Word { state: Failed, nmi_senders: 0 }.bits(), Ordering::Release);
    Returned::Failed
}

/// Says that the CPU is online, whatever its state was.
pub fn resume(cpu: &CpuHotplug) -> Left {
    cpu.0.store(Word { state: Online, nmi_senders: 0 }.bits(), Ordering::Release);
    Left::Returned
}

/// Checks the state, then sends.
pub fn send_nmi(machine: &Machine) {
    if !matches!(machine.hotplug.state(), Offline | Restarting | Failed) {
        machine.take_nmi();
    }
}
