//! The launcher's command line; the library does the work.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use octopod_ci::commands::cli::Cli;

fn main() -> ExitCode {
    survive_file_size_limit();
    let cli = Cli::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    ExitCode::from(cli.execute())
}

/// Has a write beyond the limit of a file's size fail as one to a full disk does, rather than end the launcher. Programs that
/// it starts have the system's own way.
fn survive_file_size_limit() {
    let exceeded = Arc::new(AtomicBool::new(false));
    if let Err(error) = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, exceeded) {
        eprintln!("octopod-ci: SIGXFSZ cannot be caught: {error}");
    }
}
