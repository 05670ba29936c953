//! `doctor`: checks the installed tools and reports what is missing.

use clap::Args;

use crate::base::Workspace;
use crate::commands::args::{BochsArgs, EmulatorArgs, QemuArgs};
use crate::machine::{AccelChoice, BootProtocol, MachineConfig};
use crate::present::terminal::{Console, TerminalConfig};
use crate::setup::doctor;

/// Options of `doctor`.
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub(crate) emulator: EmulatorArgs,

    /// The accelerator that is wanted.
    #[arg(long, value_enum, value_name = "ACCEL", default_value_t)]
    pub accel: AccelChoice,

    /// The boot protocol that is wanted.
    #[arg(long, value_enum, value_name = "PROTOCOL")]
    pub boot: Option<BootProtocol>,

    #[command(flatten)]
    pub(crate) qemu: QemuArgs,
}

impl DoctorArgs {
    /// Shows what is there. Returns the exit status.
    pub fn execute(&self) -> u8 {
        let EmulatorArgs { emulator, bochs: BochsArgs { bochs } } = &self.emulator;
        let config = MachineConfig {
            emulator: *emulator,
            accel: self.accel,
            boot: self.boot.unwrap_or(emulator.default_boot_protocol()),
            qemu: self.qemu.qemu.clone(),
            bochs: bochs.clone(),
            ..MachineConfig::default()
        };
        let mut parts = doctor::examine(&config);
        if let Some(project) = Workspace::find_or_here().ok().as_ref().and_then(Workspace::project) {
            parts.extend(doctor::examine_project(&project.folder));
        }
        Console::new(&TerminalConfig::default()).doctor(&parts);
        if doctor::healthy(&parts) { 0 } else { 2 }
    }
}
