//! Errors of earlier versions of the protocol, which the models must find.

use super::*;

/// Reads the state, reports it, then tries to withdraw the request and ignores whether that succeeds.
pub fn take_offline(cpu: &CpuHotplug, requester: &Impatient) -> OfflineOutcome {
    cpu.step(StateWord::request_offline);
    if requester.wait(|| matches!(cpu.state(), Migrated | Offline | Refused)) {
        requester.spin(|| cpu.state() != Migrated);
    }
    if cpu.apply(StateWord::accept_refusal).is_ok() {
        return OfflineOutcome::Refused;
    }
    let state = cpu.state();
    if state == Offline {
        return OfflineOutcome::Offline;
    }
    let _ = cpu.apply(StateWord::withdraw_offline);
    if state == OfflinePending { OfflineOutcome::Withdrawn } else { OfflineOutcome::InProgress(state) }
}

/// Reports a CPU as failed that has passed its slot.
pub fn bring_online(cpu: &CpuHotplug, starter: &Impatient) -> OnlineOutcome<()> {
    cpu.step(StateWord::restart);
    if starter.start().is_err() {
        cpu.step(StateWord::cancel_restart);
        return OnlineOutcome::NotSent(());
    }
    let is_online = || cpu.state() == Online;
    if starter.wait(is_online) || starter.finalize_slot() && starter.wait(is_online) {
        return OnlineOutcome::Online;
    }
    cpu.0.store(StateWord { state: Failed, nmi_senders: 0 }.bits(), Ordering::Release);
    OnlineOutcome::Failed
}

/// Sets the CPU online, whatever its state is.
pub fn resume(cpu: &CpuHotplug) -> OfflineResult {
    cpu.0.store(StateWord { state: Online, nmi_senders: 0 }.bits(), Ordering::Release);
    OfflineResult::Returned
}

/// Checks the state, then sends.
pub fn send_nmi(machine: &Machine) {
    if !matches!(machine.hotplug.state(), Offline | Restarting | Failed) {
        machine.take_nmi();
    }
}
