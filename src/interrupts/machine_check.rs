//! Machine checks: one readable report, then the machine stops.

use core::fmt;

use super::Frame;
use crate::config::MACHINE_CHECK_MS;
use crate::console::{self, LineBuffer};
use crate::cpu::machine_check::{self, BankError, GlobalStatus, worst};
use crate::panic::{self, Death};
use crate::sync::Deadline;
use crate::wire::{self, Record};
use crate::{boot, cpu};

/// Since when the errors that a CPU's banks hold may be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// The CPU comes up for the first time: from before the boot, as firmware or an earlier kernel left them.
    BeforeBoot,
    /// The CPU comes back from offline: since it came up before. They were corrected, so no machine check was raised.
    Online,
}

impl Since {
    const fn description(self) -> &'static str {
        match self {
            Since::BeforeBoot => "logged before boot",
            Since::Online => "logged since this CPU came online before",
        }
    }
}

/// Enables all error reporting of this CPU's machine-check banks. An error that they hold becomes a warning, in the report as
/// well, and is cleared.
///
/// **Context:** each CPU each time that it comes up, interrupts off.
pub fn enable(since: Since) {
    machine_check::enable(|error| {
        let message = LineBuffer::<160>::format(format_args!("MCE {}: {error}", since.description()));
        log::warn!("cpu {}: {}", cpu::current(), message.as_str());
        console::send(&Record::Warning(wire::Warning {
            cpu: cpu::current().0,
            kind: "machine_check",
            message: message.as_str(),
            rip: None,
            slide: boot::handoff().slide,
            wait: None,
        }));
    });
}

/// On its own stack, possibly in the middle of anything, so it takes no lock.
///
/// Intel's processors tell all CPUs of an error (SDM Vol. 3B, 16.10.4), and each comes here, most of them with nothing to
/// say: those leave the last words to the one that knows the bank. What the banks hold stays there, for firmware to find.
pub(super) fn handle(frame: &mut Frame) {
    let global = machine_check::global_status();
    let found = worst(machine_check::errors());
    if found.is_none() {
        // In vain: then nobody has a bank to tell of, and this CPU says so.
        let _ = Deadline::after_ms(MACHINE_CHECK_MS).wait_until(panic::is_dying);
    }
    panic::die(&Death {
        message: format_args!("machine check: {}", Findings { found, global }),
        location: None,
        is_exception: true,
        registers: &frame.registers(),
    })
}

/// Reports a machine check that arrived where nothing could report it, and ends the run: its banks and its global status are
/// as it left them. **Context:** any.
pub fn report_deferred() -> ! {
    let global = machine_check::global_status();
    let found = worst(machine_check::errors());
    panic::die(&Death {
        message: format_args!("machine check before this CPU was set up: {}", Findings { found, global }),
        location: None,
        is_exception: false,
        registers: &panic::registers_here(),
    })
}

struct Findings {
    found: Option<(BankError, usize)>,
    global: GlobalStatus,
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.found {
            None => f.write_str("no CPU's bank holds an uncorrected error")?,
            Some((error, 0)) => write!(f, "{error}")?,
            Some((error, others)) => write!(f, "{error}, and {others} more of this CPU's banks")?,
        }
        let at_fault = if self.global.is_at_fault() { "at fault" } else { "not at fault" };
        let could = if self.global.is_restartable() { "could" } else { "could not" };
        write!(f, "; the interrupted code is {at_fault} and {could} go on (status {:#x})", self.global.0)
    }
}
