//! The outcome of a command that boots a kernel.

use std::path::PathBuf;

use crate::base::files::RunFolder;
use crate::base::{Error, VerdictKind};
use crate::kernel::StackFrame;
use crate::report::Report;

/// The outcome of a launch.
#[derive(Debug)]
pub struct Outcome {
    /// The launcher's exit status.
    pub status: u8,
    /// The report.
    pub report: Report,
    /// The log of the kernel, line by line.
    pub serial: Vec<String>,
    /// The messages of the emulator.
    pub complaint: String,
    /// The CPUs' registers, if the run was given up.
    pub registers: Option<String>,
    /// The places of the CPUs at that time, in names.
    pub cpus_at: Vec<CpuPlace>,
    /// The run's folder, once it has one.
    pub run_dir: Option<PathBuf>,
    /// The error that prevented the boot or ended the run.
    pub error: Option<Error>,
    /// A requested file that could not be written. A pass then has the status of an error.
    pub unwritten: Vec<Error>,
    /// The run's folder, which is in use for as long as this is.
    #[expect(dead_code, reason = "held for as long as the page is being written")]
    pub(crate) in_use: Option<RunFolder>,
}

impl Outcome {
    /// Something that was asked for could not be written.
    pub fn lacks(&mut self, error: Error) {
        if self.status == VerdictKind::Pass.status() {
            self.status = error.verdict().status();
        }
        self.unwritten.push(error);
    }

    /// Of a command that booted no machine.
    pub fn without_a_run(report: Report) -> Outcome {
        let (serial, complaint, cpus_at) = Default::default();
        Outcome {
            status: report.status(),
            report,
            serial,
            complaint,
            registers: None,
            cpus_at,
            run_dir: None,
            error: None,
            unwritten: Vec::new(),
            in_use: None,
        }
    }
}

/// The place of a CPU when the run was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuPlace {
    /// The emulator's number for it.
    pub cpu: String,
    /// True if it waited for an interrupt.
    pub halted: bool,
    /// The instruction, with the functions that it belongs to.
    pub frames: Vec<StackFrame>,
}
