//! Settings that all cargo processes of the launcher share.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use toml::Table;

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
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The configuration files that a cargo reads which is started in `folder`, that of the nearest folder first, and the user's last.
pub fn configuration_files(folder: &Path) -> Vec<PathBuf> {
    let home = env::var_os("CARGO_HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    configuration_files_in(folder, home.as_deref())
}

/// The same, where `home` is cargo's home.
pub fn configuration_files_in(folder: &Path, home: Option<&Path>) -> Vec<PathBuf> {
    let folders = folder.ancestors().map(|folder| folder.join(".cargo"));
    // Where the folder lies in the user's home, the user's own file is among the others. The home may be named by a link.
    let real = |folder: &Path| fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let home = home.filter(|home| {
        let home = real(home);
        !folder.ancestors().any(|folder| real(&folder.join(".cargo")) == home)
    });
    let folders = folders.chain(home.map(Path::to_owned));
    // Of both names in one folder, cargo reads the first.
    let file_in = |folder: PathBuf| {
        ["config", "config.toml"].map(|name| folder.join(name)).into_iter().find(|file| file.exists())
    };
    folders.filter_map(file_in).collect()
}

/// The content of a configuration file; `None` for what cargo cannot read either, which it reports itself.
pub fn configuration(file: &Path) -> Option<Table> {
    fs::read_to_string(file).ok()?.parse().ok()
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
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if NOT_FOR_THE_BUILD.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_files_are_those_that_cargo_reads() {
        let parent = tempfile::tempdir().unwrap();
        let (project, home) = (parent.path().join("a/project"), parent.path().join("home"));
        let [own, above, of_user] = [project.join(".cargo"), parent.path().join("a/.cargo"), home.clone()];
        for folder in [&own, &above, &of_user] {
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join("config.toml"), "").unwrap();
        }
        fs::write(own.join("config"), "").unwrap();
        let mut expected = vec![own.join("config"), above.join("config.toml"), of_user.join("config.toml")];
        let files = |home: &Path| {
            let mut files = configuration_files_in(&project, Some(home));
            // Those of this machine, above the temporary folder.
            files.retain(|file| file.starts_with(parent.path()));
            files
        };
        assert_eq!(files(&home), expected);
        // Cargo's home is one of the folders above the project: its file counts once, at that place.
        expected.pop();
        assert_eq!(files(&above), expected);
        // Also where it is named by a link.
        let linked = parent.path().join("linked");
        std::os::unix::fs::symlink(parent.path().join("a"), &linked).unwrap();
        assert_eq!(files(&linked.join(".cargo")), expected);
    }
}
