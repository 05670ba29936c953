//! `run`: boots a custom kernel, an example of the package or an ELF file.

use clap::{ArgGroup, Args};

use crate::commands::args::{EmulatorArgs, ExampleArgs};
use crate::commands::launch::{Launch, LaunchKind};
use crate::commands::launch_args::LaunchArgs;

/// Options of `run`.
#[derive(Clone, Debug, Args)]
#[command(group(ArgGroup::new("program").args(["example", "kernel"]).required(true)))]
pub struct RunArgs {
    #[command(flatten)]
    pub(crate) example: ExampleArgs,
    #[command(flatten)]
    pub(crate) emulator: EmulatorArgs,
    #[command(flatten)]
    pub(crate) common: LaunchArgs,
}

impl RunArgs {
    /// The run that is asked for.
    pub fn configure(&self) -> Launch {
        let mut launch = self.common.configure(LaunchKind::Run, &self.emulator);
        launch.kernel.source = self.common.kernel.configure(self.example.example.as_ref()).source;
        launch
    }
}
