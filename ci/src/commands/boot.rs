//! `boot`: brings all CPUs up, and ends.

use clap::Args;

use crate::commands::args::EmulatorArgs;
use crate::commands::launch::{Launch, LaunchKind};
use crate::commands::launch_args::LaunchArgs;

/// Options of `boot`.
#[derive(Clone, Debug, Args)]
pub struct BootArgs {
    #[command(flatten)]
    pub(crate) emulator: EmulatorArgs,
    #[command(flatten)]
    pub(crate) common: LaunchArgs,
}

impl BootArgs {
    /// The run that is asked for.
    pub fn configure(&self) -> Launch {
        self.common.configure(LaunchKind::Boot, &self.emulator)
    }
}
