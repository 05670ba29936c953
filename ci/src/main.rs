//! The launcher's command line; the library does the work.

use std::process::ExitCode;

fn main() -> ExitCode {
    octopod_ci::commands::cli::start()
}
