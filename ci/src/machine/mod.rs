//! The machine that a kernel boots on: QEMU or Bochs, the accelerator, the boot protocol and the boot medium.

pub mod accelerator;
pub mod bochs;
pub mod emulator;
pub mod limits;
pub mod media;
pub mod qemu;
pub mod qmp;
