//! Defaults that differ between commands, and the command of a line that names none.

use std::ffi::OsString;

use clap::Command;

/// The command of a line that names none.
const DEFAULT_COMMAND: &str = "stress";

/// Flags that belong to no command.
const TOP_LEVEL: [&str; 4] = ["-h", "--help", "-V", "--version"];

/// Sets the defaults in which a command differs from others with the same group of options.
pub(crate) fn set(command: Command) -> Command {
    command.mut_subcommands(|command| match command.get_name() {
        "bench" => command
            .mut_arg("smp", |smp| smp.default_value("2"))
            .mut_arg("accel", |accel| accel.default_value("tcg")),
        "test" => command.mut_arg("qemu_arguments", |arguments| {
            arguments
                .value_name("LIBTEST ARGUMENTS")
                .help("Arguments of libtest: a filter, --list, --exact, --skip NAME, --ignored, --include-ignored and others")
        }),
        _ => command,
    })
}

/// The words of a command line, the program first, with the command of those that begin with an option.
pub(crate) fn with_command(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.into_iter().collect();
    let names_none = words.get(1).is_none_or(|word| {
        word.as_encoded_bytes().starts_with(b"-") && !TOP_LEVEL.iter().any(|flag| word == flag)
    });
    if names_none {
        words.insert(1.min(words.len()), DEFAULT_COMMAND.into());
    }
    words
}
