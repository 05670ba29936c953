//! Settings that all cargo processes of the launcher share.

use std::process::Command;

/// The target that the kernel is built for.
pub const TARGET: &str = "x86_64-unknown-none";

/// Variables by which cargo and rustup describe the running package to child processes. A build script that reads one of them
/// would otherwise run again whenever the launcher is started in another way.
const NOT_FOR_THE_BUILD: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
/// The same, by their full names; and flags that are meant for the host's programs: in the environment they would
/// replace those that the workspace sets for the kernel's target.
const NOT_FOR_THE_KERNEL: [&str; 7] = [
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_TARGET_TMPDIR",
    "OUT_DIR",
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
];

/// The cargo that started the launcher, or the one in the path.
pub fn command() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Keeps from a cargo what the cargo that started the launcher has set, and what is meant for the host's programs alone.
pub fn forget_outer_cargo(command: &mut Command) {
    forget_outer_package(command);
    for name in NOT_FOR_THE_KERNEL {
        command.env_remove(name);
    }
}

/// Keeps from a cargo what the cargo that started the launcher has set about the running package.
pub fn forget_outer_package(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if NOT_FOR_THE_BUILD.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
}
