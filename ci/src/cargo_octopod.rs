//! The launcher as a subcommand of cargo: `cargo octopod …`. It becomes the program `octopod` beside it, so that the launcher is linked
//! once.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// The status for a missing tool.
const MISSING: u8 = 2;

fn main() -> ExitCode {
    let mut words = env::args_os();
    let program = words.next().unwrap_or_else(|| "cargo-octopod".into());
    let path = match env::current_exe() {
        Ok(own) => own.with_file_name("octopod"),
        Err(error) => {
            eprintln!("cargo-octopod: its own file is not known: {error}");
            return ExitCode::from(MISSING);
        }
    };
    // The launcher knows by its name that cargo has started it. `exec` returns only if it fails.
    let error = Command::new(&path).arg0(program).args(words).exec();
    eprintln!("cargo-octopod: cannot start {}: {error}", path.display());
    ExitCode::from(MISSING)
}
