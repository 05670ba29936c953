//! The text of `--help` after the options, and its first line: with the words by which this launcher was started.

use std::env;

use crate::base::verdict::STATUSES;

/// The words before the command: cargo's where it runs the launcher of a checkout, otherwise the launcher's name.
pub(crate) fn launcher() -> &'static str {
    let package = env::var_os("CARGO_PKG_NAME");
    // Of the runner of a project, cargo names the project's package.
    if package.is_some_and(|name| name == env!("CARGO_PKG_NAME")) { BY_CARGO } else { INSTALLED }
}

const BY_CARGO: &str = "cargo run --";
const INSTALLED: &str = "octopod";

/// The line of the usage.
pub(crate) fn usage(launcher: &str) -> String {
    format!("{launcher} [COMMAND] [OPTIONS] [-- QEMU ARGUMENTS]")
}

/// The text: statuses, environment, examples.
pub(crate) fn after_help(launcher: &str) -> String {
    let statuses: String =
        STATUSES.iter().map(|(status, meaning)| format!("  {status:>3}  {meaning}\n")).collect();
    let examples: Vec<String> = examples(launcher)
        .map(|(command, purpose)| {
            let command = if command.chars().count() > WIDTH { format!("{command} ") } else { command };
            format!("  {command:WIDTH$}{purpose}")
        })
        .collect();
    let variables: String =
        VARIABLES.iter().map(|(variable, meaning)| format!("  {variable:24}{meaning}\n")).collect();
    format!("Exit status:\n{statuses}\nEnvironment:\n{variables}\nExamples:\n{}", examples.join("\n"))
}

/// The variables of the environment that the launcher reads for itself, each with its value and its meaning. A test of the documentation
/// compares them with the code.
const VARIABLES: [(&str, &str); 14] = [
    ("OCTOPOD_QEMU=PATH", "as --qemu"),
    ("OCTOPOD_BOCHS=PATH", "as --bochs"),
    ("OCTOPOD_OVMF=DIR", "the folder of the UEFI firmware, for --boot uefi"),
    ("OCTOPOD_NEWEST_QEMU=1", "as --newest-qemu"),
    ("OCTOPOD_NO_INSTALL=1", "install nothing; print the command instead"),
    ("OCTOPOD_ROOT=DIR", "the checkout to work on, instead of the nearest one"),
    ("OCTOPOD_SMP=N", "as --smp, where neither the command line nor the project says it"),
    ("OCTOPOD_ACCEL=ACCEL", "as --accel, in the same way"),
    ("OCTOPOD_OUT=DIR", "as --out, in the same way"),
    ("OCTOPOD_TIMEOUT=SECONDS", "as --timeout, in the same way"),
    ("OCTOPOD_SHARD=K/N", "as --shard of `test`, for `cargo test`"),
    ("OCTOPOD_JUNIT=DIR", "the folder of the results of `cargo test` as JUnit XML"),
    ("NO_COLOR=1", "no colours"),
    ("CLICOLOR_FORCE=1", "colours also where there is no terminal"),
];

/// The width of an example's command.
const WIDTH: usize = 52;

/// The workspaces in which an example works.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In a checkout and in a project.
    Any,
    /// In a checkout alone.
    Checkout,
}

use Place::{Any, Checkout};

/// The examples: the arguments, the purpose, and the workspaces.
const EXAMPLES: [(&str, &str, Place); 22] = [
    ("", "stress on eight CPUs", Any),
    ("boot --smp 64 --machine pc", "64 CPUs on an older PC", Any),
    ("boot --smp 6,sockets=2,cores=3", "sparse APIC IDs", Any),
    ("boot --boot uefi", "by GRUB on UEFI firmware, from an ISO image", Any),
    ("stress --seconds 60 --json out.json", "a report for programs", Any),
    ("boot --log smp=debug,warn", "more log lines of one module, fewer of the others", Any),
    ("boot --emulator bochs", "in Bochs, which is slower and stricter", Any),
    ("boot -- -d int -D int.log", "QEMU's own options after --", Any),
    ("boot --trace", "a timeline of each CPU, for Perfetto", Any),
    ("bench", "the cost of operations, in instructions", Any),
    ("list", "what the program registers: allocators, parameters and others", Any),
    ("report OLD NEW", "compare two runs: folders, or their report.json", Any),
    ("run --example hello", "a custom kernel, from examples/", Checkout),
    ("run --kernel my-kernel.elf", "a custom kernel, from an ELF file", Any),
    ("shell", "the console of the running kernel", Any),
    ("shell -c cpus -c irq", "run these commands in it", Any),
    (PIPED, "commands from a pipe; its end ends the run", Any),
    ("gdb --append work=stress", "wait for gdb, then stress", Any),
    ("matrix --tier full --shard 1/4", "a quarter of all rows of config/machines.toml", Checkout),
    ("matrix memory", "the rows whose name contains `memory`", Any),
    ("soak boots --count 22", "a few boots of the soak", Checkout),
    ("soak loom shuttle", "the models of the lock-free parts", Checkout),
];

/// The example whose commands come from a pipe.
const PIPED: &str = "shell < pipe";

/// The examples that work with a launcher that is started so, each with its purpose.
fn examples(launcher: &str) -> impl Iterator<Item = (String, &'static str)> {
    let here = EXAMPLES.iter().filter(move |(.., place)| launcher == BY_CARGO || *place == Any);
    here.map(move |&(arguments, purpose, _)| {
        let command = match (arguments, launcher) {
            ("", BY_CARGO) => "cargo run".to_owned(),
            ("", _) => launcher.to_owned(),
            (PIPED, BY_CARGO) => "printf 'cpus\\nirq\\n' | cargo run -q -- shell".to_owned(),
            (PIPED, _) => format!("printf 'cpus\\nirq\\n' | {launcher} shell"),
            _ => format!("{launcher} {arguments}"),
        };
        (command, purpose)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::cli::Cli;

    #[test]
    fn the_examples_are_those_of_the_launcher_that_was_started() {
        let installed = after_help(INSTALLED);
        assert!(!installed.contains("cargo run") && !installed.contains("config/"), "{installed}");
        assert!(!usage(INSTALLED).contains("cargo"));
        assert!(after_help(BY_CARGO).contains("\n  cargo run -- boot --smp 64 --machine pc "));
        for (command, _) in examples(INSTALLED) {
            let command = command.split(" | ").last().unwrap();
            let words = shlex::split(command).unwrap();
            assert_eq!(words[0], "octopod", "{command}");
            assert!(Cli::read(words.into_iter().map(Into::into)).is_ok(), "{command}");
        }
        assert!(examples(INSTALLED).count() > 15);
    }

    #[test]
    fn the_purposes_stand_below_each_other() {
        for launcher in [INSTALLED, BY_CARGO] {
            let help = after_help(launcher);
            for (command, purpose) in examples(launcher) {
                let line = help.lines().find(|line| line.starts_with(&format!("  {command} "))).unwrap();
                assert!(line.ends_with(purpose), "{line}");
                assert!(line.find(purpose) == Some(WIDTH + 2), "{line}");
            }
        }
    }
}
