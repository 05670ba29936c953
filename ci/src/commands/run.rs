//! `run`: boots a kernel's own program: that of the project, of an example, or of an ELF file. It is also the runner of cargo
//! for the kernel's target.

use std::path::PathBuf;

use clap::Args;

use crate::commands::args::{EmulatorArgs, ExampleArgs};
use crate::commands::launch::{Launch, LaunchKind};
use crate::commands::launch_args::LaunchArgs;
use crate::kernel::KernelSource;

/// Options of `run`.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// The ELF file to boot, as cargo passes it to a runner [default: the project's kernel, which is built].
    #[arg(value_name = "ELF", conflicts_with_all = ["example", "kernel", "debug", "compressed", "inject"])]
    pub elf: Option<PathBuf>,

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
        if let Some(elf) = &self.elf {
            launch.kernel.source = KernelSource::File(elf.clone());
        }
        launch
    }
}
