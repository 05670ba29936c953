//! Keeps cargo settings for the user's other programs out of the kernel's build: target flags, profiles and wrappers, from the
//! environment and from the configuration files of cargo above the checkout and in the user's home.
//!
//! Where the command line or the environment can override a setting, the launcher overrides it by the settings of the checkout.
//! [`foreign`] finds the settings that neither can override; they are named if the build fails.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use toml::{Table, Value};

use crate::base::Error;
use crate::base::cargo::{self, TARGET};

/// Variables by which settings reach a build, by how they begin.
const PREFIXES: [&str; 6] = [
    "CARGO_PROFILE_",
    "CARGO_TARGET_X86_64_UNKNOWN_NONE_",
    "CARGO_BUILD_",
    "CARGO_UNSTABLE_",
    "CARGO_HOST_",
    "__CARGO_",
];
/// The same, by their full names. Network, registries and the terminal stay the user's.
const NAMES: [&str; 7] = [
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_INCREMENTAL",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_BOOTSTRAP",
    "RUSTC_FORCE_INCREMENTAL",
];

/// The number of parallel compilers does not change their output.
const KEPT: &str = "CARGO_BUILD_JOBS";

/// Between flags in `CARGO_ENCODED_RUSTFLAGS`.
const SEPARATOR: &str = "\u{1f}";

/// The settings of cargo's own profiles, each key with its value in `release` and in `dev`.
const DEFAULTS: &str = "
[release]
opt-level = 3
debug = false
strip = \"none\"
debug-assertions = false
overflow-checks = false
lto = false
panic = \"unwind\"
incremental = false
codegen-units = 16
rpath = false
[dev]
opt-level = 0
debug = true
strip = \"none\"
debug-assertions = true
overflow-checks = true
lto = false
panic = \"unwind\"
incremental = true
codegen-units = 256
rpath = false
";

/// The settings of a build, as the checkout's own files have them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    profile: String,
    /// Each key of the profile.
    keys: Table,
    /// The compiler's flags for the kernel's target.
    rustflags: Vec<String>,
}

impl Settings {
    /// Reads those of `profile` from the checkout at `root`.
    ///
    /// # Errors
    /// The checkout's manifest or cargo configuration cannot be read.
    pub(crate) fn read(root: &Path, profile: &str) -> Result<Settings, Error> {
        let table = |path: PathBuf| -> Result<Table, Error> {
            let text = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
            text.parse().map_err(Error::format(path))
        };
        let manifest = table(root.join("Cargo.toml"))?;
        let configuration = table(root.join(".cargo/config.toml"))?;
        Ok(Settings {
            profile: profile.to_owned(),
            keys: keys(&manifest, profile),
            rustflags: rustflags(&configuration),
        })
    }

    /// Makes a build by cargo one with these settings, whatever the user's own are.
    pub(crate) fn apply(&self, command: &mut Command) {
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            let is_named =
                NAMES.contains(&text.as_ref()) || PREFIXES.iter().any(|name| text.starts_with(name));
            if is_named && text != KEPT {
                command.env_remove(&name);
            }
        }
        // Each overrules the configuration's, also where it is empty.
        command.env("CARGO_ENCODED_RUSTFLAGS", self.rustflags.join(SEPARATOR));
        command.env("RUSTC_WRAPPER", "").env("RUSTC_WORKSPACE_WRAPPER", "");
        let incremental = self.keys.get("incremental").and_then(Value::as_bool).unwrap_or_default();
        command.env("CARGO_INCREMENTAL", if incremental { "1" } else { "0" });
        for (key, value) in &self.keys {
            command.arg("--config").arg(format!("profile.{}.{key}={value}", self.profile));
        }
    }
}

/// All keys of a profile with their values: its own before those of the profiles that it inherits from, and cargo's last.
fn keys(manifest: &Table, profile: &str) -> Table {
    let own = manifest.get("profile").and_then(|profiles| profiles.get(profile)).and_then(Value::as_table);
    let own = own.cloned().unwrap_or_default();
    let mut keys = match own.get("inherits").and_then(Value::as_str) {
        Some(parent) => keys(manifest, parent),
        None => {
            let defaults: Table = DEFAULTS.parse().unwrap_or_default();
            defaults.get(profile).and_then(Value::as_table).cloned().unwrap_or_default()
        }
    };
    let is_plain = |(key, value): &(String, Value)| key != "inherits" && !value.is_table();
    keys.extend(own.into_iter().filter(is_plain));
    keys
}

/// The profile and those that it inherits from.
fn chain(root: &Path, profile: &str) -> Vec<String> {
    let manifest = fs::read_to_string(root.join("Cargo.toml")).ok();
    let manifest: Table = manifest.and_then(|text| text.parse().ok()).unwrap_or_default();
    let parent = |name: &String| -> Option<String> {
        let profile = manifest.get("profile")?.get(name)?;
        Some(profile.get("inherits")?.as_str()?.to_owned())
    };
    std::iter::successors(Some(profile.to_owned()), parent).collect()
}

/// The flags for the kernel's target that a configuration of cargo has: words, or one string of them.
fn rustflags(configuration: &Table) -> Vec<String> {
    let flags = configuration.get("target").and_then(|targets| targets.get(TARGET)?.get("rustflags"));
    match flags {
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(Value::String(text)) => text.split_whitespace().map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// Settings of the user's own that reach the kernel's build all the same, each with where it is from.
pub(crate) fn foreign(root: &Path, settings: &Settings) -> Vec<String> {
    let own = root.join(".cargo/config.toml");
    let profiles = chain(root, &settings.profile);
    let mut found: Vec<String> = Vec::new();
    for file in cargo::configuration_files(root).iter().filter(|file| **file != own) {
        let Some(table) = cargo::configuration(file) else { continue };
        for key in foreign_keys(&table, &profiles, &settings.keys) {
            let setting = format!("{}: {key}", file.display());
            if !found.contains(&setting) {
                found.push(setting);
            }
        }
    }
    found.extend(env::var_os("RUSTC").map(|_| "the environment: RUSTC".to_owned()));
    found
}

/// Keys of a configuration of cargo that no other setting overrules.
fn foreign_keys(configuration: &Table, profiles: &[String], overruled: &Table) -> Vec<String> {
    let mut found = Vec::new();
    let tables = |name: &str| configuration.get(name).and_then(Value::as_table).into_iter().flatten();
    for (target, settings) in tables("target").filter(|(target, _)| reaches_the_kernel(target)) {
        let settings = settings.as_table().into_iter().flatten();
        let keys =
            settings.filter(|(key, _)| !["rustflags", "runner", "rustdocflags"].contains(&key.as_str()));
        found.extend(keys.map(|(key, _)| format!("target.{target}.{key}")));
    }
    for (profile, settings) in tables("profile").filter(|(name, _)| profiles.contains(name)) {
        let settings = settings.as_table().into_iter().flatten();
        let keys = settings.filter(|(key, _)| *key != "inherits" && !overruled.contains_key(*key));
        found.extend(keys.map(|(key, _)| format!("profile.{profile}.{key}")));
    }
    found.extend(tables("build").filter(|(key, _)| *key == "rustc").map(|(key, _)| format!("build.{key}")));
    for whole in ["env", "unstable", "patch"] {
        found.extend(tables(whole).map(|(key, _)| format!("{whole}.{key}")));
    }
    let lists = ["paths", "include"].into_iter().filter(|key| configuration.contains_key(*key));
    found.extend(lists.map(str::to_owned));
    found
}

/// Returns whether a table of `target` may be for the kernel's target: its name, or a condition, which is not evaluated here.
fn reaches_the_kernel(target: &str) -> bool {
    target == TARGET || target.starts_with("cfg(")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Workspace;

    #[test]
    fn the_kernels_profile_is_the_manifests_with_what_cargo_adds() {
        let manifest = "[profile.release]\nstrip = true\n[profile.a]\ninherits = \"release\"\nlto = \"fat\"\n\
                        [profile.a.package.x]\nopt-level = 0\n";
        let keys = keys(&manifest.parse().unwrap(), "a");
        let value = |key: &str| keys[key].to_string();
        assert_eq!([value("lto"), value("strip"), value("opt-level")], ["\"fat\"", "true", "3"]);
        assert!(!keys.contains_key("package") && !keys.contains_key("inherits"));
    }

    #[test]
    fn this_checkouts_settings_are_read() {
        let root = Workspace::find().unwrap().root;
        let settings = Settings::read(&root, "kernel").unwrap();
        assert!(settings.rustflags.contains(&"force-frame-pointers=yes".to_owned()), "{settings:?}");
        assert_eq!(settings.keys["opt-level"].as_integer(), Some(3));
        assert_eq!(chain(&root, "kernel"), ["kernel", "release"]);
        let mut command = Command::new("cargo");
        settings.apply(&mut command);
        let arguments: Vec<_> = command.get_args().map(|word| word.to_str().unwrap().to_owned()).collect();
        for key in ["opt-level=3", "strip=\"none\"", "overflow-checks=false", "lto=\"fat\""] {
            assert!(arguments.contains(&format!("profile.kernel.{key}")), "{key}: {arguments:?}");
        }
        let set =
            |name: &str| command.get_envs().find(|(key, _)| *key == name).unwrap().1.unwrap().to_owned();
        assert_eq!(set("CARGO_ENCODED_RUSTFLAGS"), "-C\u{1f}force-frame-pointers=yes");
        assert_eq!([set("RUSTC_WRAPPER"), set("RUSTC_WORKSPACE_WRAPPER")], ["", ""]);
        assert_eq!(set("CARGO_INCREMENTAL"), "0");
    }

    #[test]
    fn what_cannot_be_overruled_is_named() {
        let configuration = r#"
            paths = ["/mine"]
            [build]
            rustflags = ["-Ctarget-cpu=native"]
            rustc = "my-rustc"
            [target.'cfg(all())']
            rustflags = ["-Cprefer-dynamic"]
            linker = "my-linker"
            [target.aarch64-apple-darwin]
            linker = "other"
            [profile.release]
            strip = true
            split-debuginfo = "packed"
            [profile.release.package."*"]
            opt-level = 0
            [profile.bench]
            rpath = true
            [env]
            MINE = "1"
            [net]
            offline = true
            [source.crates-io]
            replace-with = "mirror"
        "#;
        let profiles = ["kernel", "release"].map(str::to_owned);
        let overruled = keys(&Table::new(), "release");
        let mut found = foreign_keys(&configuration.parse().unwrap(), &profiles, &overruled);
        found.sort();
        let expected = [
            "build.rustc",
            "env.MINE",
            "paths",
            "profile.release.package",
            "profile.release.split-debuginfo",
            "target.cfg(all()).linker",
        ];
        assert_eq!(found, expected);
    }
}
