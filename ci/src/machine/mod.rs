//! The machine that a kernel boots on: QEMU or Bochs, the accelerator, the boot protocol and the boot medium.

pub mod accelerator;
pub mod arguments;
pub mod bochs;
pub mod boot_protocol;
pub mod config;
pub mod emulator;
pub mod limits;
pub mod media;
pub mod qemu;
pub mod qmp;
pub mod shutdown;

pub use accelerator::AccelChoice;
pub use boot_protocol::{BootProtocol, Firmware};
pub use config::{EmulatorKind, MachineConfig};
