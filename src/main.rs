//! The kernel of this package. Its program is the stress; the command line can select another work.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
octopod::program!(octopod::stages::stress);

/// On a host there is nothing to run: `cargo run` at the root starts the launcher, which boots the kernel in QEMU.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("octopod-kernel runs on bare metal; `cargo run` boots it under QEMU");
    std::process::exit(2);
}
