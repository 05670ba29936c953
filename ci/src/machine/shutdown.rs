//! The reasons for which QEMU ends a machine, from its `SHUTDOWN` event (QEMU's qapi/run-state.json, `ShutdownCause`).

use serde_json::Value;

use crate::base::text;

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
        Some(Shutdown { reason: text::line(reason) })
    }
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
}
