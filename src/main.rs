//! The kernel of this package: what the library boots ends in its own work, as the command line asks for it.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
octopod::program!(octopod::stages::work);

/// On a host there is nothing to run: `cargo run` at the root starts the launcher, which boots the kernel in QEMU.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("octopod-kernel runs on bare metal; `cargo run` boots it under QEMU");
    std::process::exit(2);
}
