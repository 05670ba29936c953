//! Why QEMU ended a machine, as its `SHUTDOWN` event says (QEMU's qapi/run-state.json, `ShutdownCause`).

use serde_json::Value;

use crate::base::verdict::VerdictKind;

/// The event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// Its cause, as `guest-reset`.
    pub reason: String,
}

impl Shutdown {
    /// From an event of QMP's; `None` if it is another.
    pub fn of(event: &Value) -> Option<Shutdown> {
        if event.get("event")?.as_str()? != "SHUTDOWN" {
            return None;
        }
        let data = event.get("data")?;
        // Older ones say only whose wish it was.
        let unsaid = if data.get("guest").and_then(Value::as_bool) == Some(true) { "guest" } else { "host" };
        let reason = data.get("reason").and_then(Value::as_str).unwrap_or(unsaid);
        Some(Shutdown { reason: crate::base::text::line(reason) })
    }

    /// What came of a run that ended so without a verdict.
    pub(super) fn judge(&self) -> (VerdictKind, String) {
        let said = |kind, what: &str| (kind, what.to_owned());
        match self.reason.as_str() {
            "guest-reset" => said(VerdictKind::Panic, "the machine was reset (a triple fault?)"),
            "guest-panic" => said(VerdictKind::Panic, "the guest told QEMU of a panic"),
            "guest-shutdown" | "guest" => said(VerdictKind::Fail, "the kernel powered the machine off"),
            "host-signal" => said(VerdictKind::Error, "a signal ended QEMU"),
            "host-qmp-quit" => said(VerdictKind::Error, "QEMU was told to quit over QMP"),
            "host-qmp-system-reset" => {
                said(VerdictKind::Error, "the machine was reset from outside, over QMP")
            }
            "host-ui" => said(VerdictKind::Error, "QEMU's window was closed"),
            "host-error" => said(VerdictKind::Error, "QEMU gave the machine up after an error of the host"),
            other => (VerdictKind::Error, format!("QEMU ended the machine ({other})")),
        }
    }
}

/// The signal that ended QEMU, by what it writes then: `terminating on signal 15 from pid 1 (x)`.
pub(super) fn signal_in(complaint: &str) -> Option<i32> {
    let (_, rest) = complaint.split_once("terminating on signal ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Whether a debugger ended QEMU, by what it writes then.
pub(super) fn is_by_gdb(complaint: &str) -> bool {
    complaint.contains("QEMU: Terminated via GDBstub")
}

/// What to do about a machine that did not start.
pub(super) fn hint(complaint: &str) -> Option<&'static str> {
    complaint
        .contains("PVH")
        .then_some("this machine type loads no PVH kernel: --boot multiboot1 goes without")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_cause_is_read_from_the_event_and_from_no_other() {
        let of = |event: Value| Shutdown::of(&event).map(|shutdown| shutdown.reason);
        let signal = json!({ "event": "SHUTDOWN", "data": { "guest": false, "reason": "host-signal" } });
        assert_eq!(of(signal).as_deref(), Some("host-signal"));
        let old = json!({ "event": "SHUTDOWN", "data": { "guest": true } });
        assert_eq!(of(old).as_deref(), Some("guest"));
        assert_eq!(of(json!({ "event": "RESET", "data": { "guest": true } })), None);
        assert_eq!(of(json!({ "return": {} })), None);
    }

    #[test]
    fn a_signal_is_found_in_qemus_words() {
        let words = "qemu-system-x86_64: terminating on signal 15 from pid 4711 (kill)\n";
        assert_eq!(signal_in(words), Some(15));
        assert_eq!(signal_in("terminating"), None);
    }
}
