//! Checks that the tools of a run are there: the Rust target, QEMU or Bochs, and what a boot protocol needs beside it,
//! installed where the launcher may.

pub mod apt;
pub mod bochs;
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
