//! The launcher as a subcommand of cargo: `cargo octopod …`.

use std::process::ExitCode;

fn main() -> ExitCode {
    octopod_ci::commands::cli::start()
}
