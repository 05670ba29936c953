//! `completions`: writes the completion script of a shell.

use std::io::Write;

use clap::{Args, Command};
use clap_complete::Shell;

/// Options of `completions`.
#[derive(Clone, Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    pub shell: Shell,
}

impl CompletionsArgs {
    /// Writes the completions of `command` to standard output. Returns the exit status.
    pub fn execute(&self, mut command: Command) -> u8 {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut command, "octopod", &mut text);
        // A reader that wants no more is none of the launcher's errors.
        let _ = std::io::stdout().write_all(&text);
        0
    }
}
