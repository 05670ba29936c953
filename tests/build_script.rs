//! The tests of the build script of the kernel's package, which cargo does not run.

#[path = "../config/build.rs"]
#[allow(dead_code, reason = "cargo runs the script; here are its tests")]
mod build;
