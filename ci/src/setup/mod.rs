//! Checks the tools of a run and installs missing ones, if the launcher may: the Rust target, QEMU or Bochs, and the tools of a
//! boot protocol.

pub mod apt;
pub mod bochs;
pub mod cargo_lines;
pub mod consent;
pub mod doctor;
pub mod emulator;
pub mod gdb;
mod install;
mod limits;
pub mod media;
pub mod packages;
pub mod qemu;
pub mod rust;
pub mod target;
mod tool;
