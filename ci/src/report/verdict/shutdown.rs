//! The meaning of QEMU's reason for ending a machine, for a run without a verdict.

use crate::base::VerdictKind;
use crate::machine::shutdown::Shutdown;

/// The result of a run that ended this way without a verdict.
pub(super) fn judge(shutdown: &Shutdown) -> (VerdictKind, String) {
    let said = |kind, what: &str| (kind, what.to_owned());
    match shutdown.reason.as_str() {
        "guest-reset" => said(VerdictKind::Panic, "the machine was reset (a triple fault?)"),
        "guest-panic" => said(VerdictKind::Panic, "the guest told QEMU of a panic"),
        "guest-shutdown" | "guest" => said(VerdictKind::Fail, "the kernel powered the machine off"),
        "host-signal" => said(VerdictKind::Error, "a signal ended QEMU"),
        "host-qmp-quit" => said(VerdictKind::Error, "QEMU received quit over QMP"),
        "host-qmp-system-reset" => said(VerdictKind::Error, "the machine was reset from outside, over QMP"),
        "host-ui" => said(VerdictKind::Error, "QEMU's window was closed"),
        "host-error" => said(VerdictKind::Error, "QEMU gave the machine up after an error of the host"),
        other => (VerdictKind::Error, format!("QEMU ended the machine ({other})")),
    }
}

/// The signal that ended QEMU, by what it writes then: `terminating on signal 15 from pid 1 (x)`.
pub(super) fn signal_in(complaint: &str) -> Option<i32> {
    let (_, rest) = complaint.split_once("terminating on signal ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Returns whether a debugger ended QEMU, by what it writes then.
pub(super) fn is_by_gdb(complaint: &str) -> bool {
    complaint.contains("QEMU: Terminated via GDBstub")
}

/// The remedy for a machine that did not start.
pub(super) fn hint(complaint: &str) -> Option<&'static str> {
    complaint
        .contains("PVH")
        .then_some("this machine type loads no PVH kernel: --boot multiboot1 goes without")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_found_in_qemus_words() {
        let words = "qemu-system-x86_64: terminating on signal 15 from pid 4711 (kill)\n";
        assert_eq!(signal_in(words), Some(15));
        assert_eq!(signal_in("terminating"), None);
    }
}
