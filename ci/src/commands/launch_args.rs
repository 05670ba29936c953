//! The options of all commands that boot one kernel.

use std::time::Duration;

use clap::Args;
use octopod::options::Work;

use crate::base::values::Line;
use crate::commands::args::{
    EmulatorArgs, KernelArgs, MachineArgs, OutputArgs, ProgressArgs, TerminalArgs, TimeArgs,
};
use crate::commands::launch::{Launch, LaunchKind, time_limit};
use crate::present::terminal::TerminalConfig;
use crate::run::{CommandLine, RunConfig};

/// Options of a run.
#[derive(Clone, Debug, Args)]
pub struct LaunchArgs {
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    #[command(flatten)]
    pub(crate) kernel: KernelArgs,
    #[command(flatten)]
    pub(crate) time: TimeArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) terminal: TerminalArgs,
    #[command(flatten)]
    pub(crate) progress: ProgressArgs,
}

impl LaunchArgs {
    /// The run that these options ask for.
    pub fn configure(&self, kind: LaunchKind, emulator: &EmulatorArgs) -> Launch {
        self.configure_work(kind, emulator, Vec::new(), Duration::ZERO)
    }

    /// The same, whose work has these parameters and takes so long.
    pub fn configure_work(
        &self,
        kind: LaunchKind,
        emulator: &EmulatorArgs,
        parameters: Vec<String>,
        work: Duration,
    ) -> Launch {
        let own = [vec![format!("work={}", kind.work())], parameters, self.kernel.parameters()].concat();
        let appended = self.kernel.append.iter().map(Line::to_string).collect();
        let command_line = CommandLine { own, appended };
        let machine = self.machine.configure(emulator, self.kernel.trace);
        let mut kernel = self.kernel.configure(None);
        let asked = command_line.work();
        (kernel.selftest, kernel.shell) = (asked == Some(Work::SelfTest), asked == Some(Work::Shell));
        kernel.checked = command_line.checks_locks();
        let limit = self.time.timeout.map_or_else(|| time_limit(&machine, work), Duration::from_secs);
        Launch {
            kind,
            machine,
            kernel,
            command_line,
            adds_workloads: false,
            cpus: Vec::new(),
            bench_filters: None,
            modules: self.kernel.module.clone(),
            replay: None,
            run: RunConfig { limit, is_of_each_step: self.time.timeout.is_none(), console: None },
            output: self.output.configure(),
            words: Vec::new(),
            is_in_project: false,
        }
    }

    /// The output on the terminal.
    pub fn terminal(&self) -> TerminalConfig {
        self.terminal.configure(&self.progress, self.output.json.as_ref())
    }
}
