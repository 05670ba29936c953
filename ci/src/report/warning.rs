//! Problems that did not end the run.

use octopod::wire::{Defect, LockWait, Warning};
use serde::{Deserialize, Serialize};

use crate::kernel::StackFrame;
use crate::run::Seen;

/// A CPU that did not do what it should, or a description by firmware, the boot loader or the command line that is wrong.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WarningReport {
    /// The CPU; 0 for a description.
    pub cpu: u32,
    /// The detector: `call`, `watchdog`, `timer`, `lock`, `lock_holder` or `machine_check`, or `firmware` for a description.
    pub kind: String,
    /// The defect.
    pub message: String,
    /// The source of an invalid description: a table by its signature, or another name such as `memory map` or `command line`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// The physical address that it concerns, in hexadecimal; JSON's numbers would round it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The offset in the table, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The spin lock that the CPU waited for, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<LockWait<String>>,
    /// The calls of the CPU, innermost first; empty if not even an NMI reached it.
    pub backtrace: Vec<StackFrame>,
}

/// All of them: those of CPUs in the order in which they came, then the descriptions.
pub(super) fn reports(seen: &Seen) -> Vec<WarningReport> {
    let of_cpus = seen.warnings.iter().map(|(warning, _)| of_cpu(warning));
    of_cpus.chain(seen.defects.iter().map(of_description)).collect()
}

/// Without the backtrace, which takes symbols.
fn of_cpu(warning: &Warning<String>) -> WarningReport {
    let Warning { cpu, kind, message, wait, .. } = warning.clone();
    let backtrace = Vec::new();
    WarningReport { cpu, kind, message, table: None, address: None, offset: None, wait, backtrace }
}

fn of_description(defect: &Defect<String>) -> WarningReport {
    let Defect { table, address, offset, reason } = defect.clone();
    WarningReport {
        cpu: 0,
        kind: "firmware".to_owned(),
        message: reason,
        table: Some(table),
        address: address.map(|address| format!("{address:#x}")),
        offset,
        wait: None,
        backtrace: Vec::new(),
    }
}
