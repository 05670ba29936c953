//! The archives of the crates, as they would be published: each builds from what it contains and from the others, without the checkout.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use octopod_ci::base::Workspace;

/// The crates, each behind those that it needs.
const IN_ORDER: [&str; 5] = ["ap_trampoline", "octopod-macros", "octopod", "octopod-unpacker", "octopod-ci"];

/// Runs cargo, which must succeed. Returns what it said.
fn cargo(folder: &Path, target: &Path, words: &[&str]) -> String {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    for name in ["CARGO_MANIFEST_DIR", "CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "OUT_DIR"] {
        command.env_remove(name);
    }
    let output = command.current_dir(folder).env("CARGO_TARGET_DIR", target).args(words).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "cargo {words:?}: {text}");
    text
}

#[test]
fn the_archives_build_in_the_order_in_which_they_are_published() {
    let checkout = Workspace::find().unwrap();
    // The checkout's own target folder: what clippy checks of the registry's crates need not be checked twice.
    let own = checkout.own();
    let target = own.parent().unwrap();
    let said = cargo(&checkout.root, target, &["package", "--workspace", "--no-verify", "--allow-dirty"]);
    let name =
        |line: &str| Some(line.trim().strip_prefix("Packaging ")?.split_whitespace().next()?.to_owned());
    assert_eq!(said.lines().filter_map(name).collect::<Vec<_>>(), IN_ORDER, "{said}");

    let folder = tempfile::tempdir().unwrap();
    let mut patch = String::new();
    let mut members = Vec::new();
    for name in IN_ORDER {
        let package = format!("{name}-{}", env!("CARGO_PKG_VERSION"));
        let archive = target.join(format!("package/{package}.crate"));
        let unpacked = Command::new("tar").arg("-xzf").arg(&archive).current_dir(folder.path()).status();
        assert!(unpacked.unwrap().success(), "{}", archive.display());
        patch.push_str(&format!("{name} = {{ path = \"{package}\" }}\n"));
        members.push(package);
    }
    let manifest =
        format!("[workspace]\nresolver = \"3\"\nmembers = {members:?}\n[patch.crates-io]\n{patch}");
    fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
    fs::copy(checkout.root.join("Cargo.lock"), folder.path().join("Cargo.lock")).unwrap();
    cargo(folder.path(), target, &["check", "--workspace", "--lib", "--bins"]);
    let flags = "[target.x86_64-unknown-none]\nrustflags = [\"-Cforce-frame-pointers=yes\"]\n";
    fs::create_dir(folder.path().join(".cargo")).unwrap();
    fs::write(folder.path().join(".cargo/config.toml"), flags).unwrap();
    let kernel =
        ["check", "--target", "x86_64-unknown-none", "-p", "octopod", "-p", "octopod-unpacker", "--bins"];
    cargo(folder.path(), target, &kernel);
}
