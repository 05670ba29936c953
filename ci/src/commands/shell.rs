//! `shell`: the kernel's console, at the terminal or on a pipe.

use std::time::Duration;

use clap::Args;

use crate::base::values::Line;
use crate::commands::args::EmulatorArgs;
use crate::commands::launch::{Launch, LaunchKind, UNLIMITED};
use crate::commands::launch_args::LaunchArgs;
use crate::run::console::ConsoleConfig;

/// Options of `shell`.
#[derive(Clone, Debug, Args)]
pub struct ShellArgs {
    /// Run this command on the console instead of reading standard input; may be given more than once.
    #[arg(short = 'c', long = "command", value_name = "LINE", help_heading = "Shell")]
    pub commands: Vec<Line>,

    #[command(flatten)]
    pub(crate) common: LaunchArgs,
}

impl ShellArgs {
    /// The run that is asked for.
    pub fn configure(&self) -> Launch {
        let mut launch = self.common.configure(LaunchKind::Shell, &EmulatorArgs::default());
        let console = ConsoleConfig { typed: self.commands.clone() };
        if console.is_interactive() {
            // A session at a terminal has no time limit.
            launch.run.limit = self.common.time.timeout.map_or(UNLIMITED, Duration::from_secs);
        }
        launch.run.console = Some(console);
        launch
    }
}
