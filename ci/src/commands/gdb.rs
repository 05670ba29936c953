//! `gdb`: a run that waits for a debugger before its first instruction.

use std::time::Duration;

use clap::Args;

use crate::base::Workspace;
use crate::commands::args::{EmulatorArgs, ExampleArgs};
use crate::commands::launch::{Launch, LaunchKind, UNLIMITED};
use crate::commands::launch_args::LaunchArgs;
use crate::kernel::KernelSource;

/// Options of `gdb`.
#[derive(Clone, Debug, Args)]
pub struct GdbArgs {
    #[command(flatten)]
    pub(crate) example: ExampleArgs,
    #[command(flatten)]
    pub(crate) common: LaunchArgs,
}

impl GdbArgs {
    /// The run that is asked for.
    pub fn configure(&self) -> Launch {
        let mut launch = self.common.configure(LaunchKind::Gdb, &EmulatorArgs::default());
        launch.kernel.source = self.common.kernel.configure(self.example.example.as_ref()).source;
        // The kernel of octopod itself has no other program than the stress.
        let is_project = || Workspace::find_or_here().is_ok_and(|found| found.project().is_some());
        if !matches!(launch.kernel.source, KernelSource::Workspace) || is_project() {
            launch.command_line.own.push(format!("work={}", LaunchKind::Run.work()));
        }
        // A debugging session has no time limit.
        launch.run.limit = self.common.time.timeout.map_or(UNLIMITED, Duration::from_secs);
        launch
    }
}
