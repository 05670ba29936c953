//! The machine-check handler: it reports the error and panics.

use core::fmt;

use super::frame::TrapFrame;
use crate::config::MACHINE_CHECK_MS;
use crate::console::{self, LineBuffer};
use crate::cpu::machine_check::{self, BankError, GlobalStatus, worst};
use crate::panic::{self, PanicCause};
use crate::sync::Timeout;
use crate::wire::{self, Record};
use crate::{boot, cpu};

/// The time since which the errors in a CPU's banks may have been logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// Before boot, by firmware or an earlier kernel: the CPU comes up for the first time.
    BeforeBoot,
    /// Since the CPU came online before: it returns from offline. The errors were corrected, so they raised no machine
    /// check.
    Online,
}

impl Since {
    const fn description(self) -> &'static str {
        match self {
            Since::BeforeBoot => "logged before boot",
            Since::Online => "logged since the previous bring-up of this CPU",
        }
    }
}

/// Enables all error reporting of this CPU's machine-check banks. Logs and reports each error that they hold as a
/// warning, and clears it.
///
/// **Context:** each CPU each time that it comes up, interrupts off.
pub(crate) fn enable(since: Since) {
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

/// Handles #MC. It runs on an IST stack and may have interrupted any code, so it takes no lock.
///
/// Intel processors signal the error to all CPUs (SDM Vol. 3B, 16.10.4). Most of them hold no error in their banks; they
/// leave the report to the CPU that does. The banks are not cleared, so that firmware can read them.
///
/// **Context:** NMI-like; interrupts disabled. Does not return.
pub(super) fn handle(frame: &mut TrapFrame) {
    let global = machine_check::global_status();
    let found = worst(machine_check::errors());
    if found.is_none() {
        // On a timeout no CPU has an error in its banks, and this CPU reports that.
        let _ = Timeout::after_ms(MACHINE_CHECK_MS).wait_until(panic::is_panicking);
    }
    panic::panic_now(&PanicCause {
        message: format_args!("machine check: {}", Findings { found, global }),
        location: None,
        is_exception: true,
        registers: &frame.registers(),
    })
}

/// Panics with a machine check that arrived before this CPU could report it. Its banks and its global status are
/// unchanged.
///
/// **Context:** any.
pub(crate) fn report_deferred() -> ! {
    let global = machine_check::global_status();
    let found = worst(machine_check::errors());
    panic::panic_now(&PanicCause {
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
            None => f.write_str("no bank of any CPU holds an uncorrected error")?,
            Some((error, 0)) => write!(f, "{error}")?,
            Some((error, others)) => write!(f, "{error}, and {others} more errors in this CPU's banks")?,
        }
        let at_fault = if self.global.is_at_fault() { "at fault" } else { "not at fault" };
        let could = if self.global.is_restartable() { "could" } else { "could not" };
        write!(f, "; the interrupted code is {at_fault} and {could} be resumed (status {:#x})", self.global.0)
    }
}
