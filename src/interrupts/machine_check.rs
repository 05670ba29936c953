//! Machine checks: one readable report, then the machine stops.

use core::fmt;

use super::Frame;
use crate::config::MACHINE_CHECK_MS;
use crate::cpu::machine_check::{self, BankError, GlobalStatus, worst};
use crate::panic::{self, Death};
use crate::sync::Deadline;

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
