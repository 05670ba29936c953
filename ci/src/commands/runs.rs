//! The commands that boot one kernel, and their results.

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::base::{Error, Observer, Silent};
use crate::commands::bench::{self, BenchArgs};
use crate::commands::boot::BootArgs;
use crate::commands::defaults;
use crate::commands::gdb::GdbArgs;
use crate::commands::launch::{Launch, LaunchKind};
use crate::commands::launch_args::LaunchArgs;
use crate::commands::launch_boot::launch_on as boot_on;
use crate::commands::run::RunArgs;
use crate::commands::shell::ShellArgs;
use crate::commands::stress::{self, StressArgs};
use crate::machine::accelerator::Host;
use crate::present::page;
use crate::present::terminal::Console;
use crate::report::Outcome;

/// A command that boots one kernel.
#[derive(Clone, Debug, Subcommand)]
pub enum RunCommand {
    /// Bring all CPUs up, report how long each stage took, and end.
    Boot(BootArgs),
    /// Boot, then let all CPUs race for frames, and prove that none was lost or allocated twice.
    Stress(StressArgs),
    /// Count the instructions that things cost, and compare with the limits in config/bench.toml. Under TCG, on one CPU;
    /// the other answers calls.
    Bench(BenchArgs),
    /// Boot a program of your own: an example of the package, or an ELF file.
    Run(RunArgs),
    /// Boot, then do what is typed: `help` lists the commands, Ctrl-D ends the run, Ctrl-] does so at once. Reads lines where
    /// standard input is no terminal.
    Shell(ShellArgs),
    /// Start the machine, wait for gdb before its first instruction, and print the line to type.
    Gdb(GdbArgs),
}

/// These commands alone, as a row of the matrix has them.
#[derive(Debug, Parser)]
#[command(name = "octopod")]
struct Alone {
    #[command(subcommand)]
    command: RunCommand,
}

impl RunCommand {
    /// The run that is asked for.
    pub fn configure(&self) -> Launch {
        self.parts().0
    }

    /// The run, and the options that all commands have in common.
    fn parts(&self) -> (Launch, &LaunchArgs) {
        match self {
            RunCommand::Boot(args) => (args.configure(), &args.common),
            RunCommand::Stress(args) => (args.configure(), &args.common),
            RunCommand::Bench(args) => (args.configure(), &args.common),
            RunCommand::Run(args) => (args.configure(), &args.common),
            RunCommand::Shell(args) => (args.configure(), &args.common),
            RunCommand::Gdb(args) => (args.configure(), &args.common),
        }
    }

    /// Does what is asked for by these words, the command first, and shows it. Returns the exit status.
    pub fn execute(&self, words: &[OsString]) -> u8 {
        let (launch, common) = self.parts();
        let launch = Launch { words: words.to_vec(), ..launch };
        let mut console = Console::new(&common.terminal());
        let mut outcome = launch_with(&launch, &mut console);
        page::leave(&mut outcome, launch.output.pictures.as_deref(), &mut console);
        if let Err(error) = console.finish(&outcome).map_err(Error::unwritable("--json", "-")) {
            outcome.lacks(error);
        }
        for error in &outcome.unwritten {
            console.refuse(error);
        }
        outcome.status
    }
}

/// The grammar of a row: the commands that boot one kernel.
pub(crate) fn grammar() -> clap::Command {
    defaults::set(Alone::command())
}

/// The run that these words ask for, and whether they name an accelerator.
///
/// # Errors
/// They are no such command line.
pub fn parse<S: Into<OsString> + Clone>(words: &[S]) -> Result<(Launch, bool), clap::Error> {
    let words = [OsString::from("octopod")].into_iter().chain(words.iter().cloned().map(Into::into));
    let words = defaults::with_command(words);
    let matches = grammar().try_get_matches_from(&words)?;
    let names_accel = matches
        .subcommand()
        .is_some_and(|(_, own)| own.value_source("accel") == Some(ValueSource::CommandLine));
    let launch = Alone::from_arg_matches(&matches)?.command.configure();
    Ok((Launch { words: words[1..].to_vec(), ..launch }, names_accel))
}

/// Does what is asked for, in silence.
pub fn launch(launch: &Launch) -> Outcome {
    launch_with(launch, &mut Silent)
}

/// The same, with an observer. Whatever goes wrong is in the outcome's report.
pub fn launch_with(launch: &Launch, observer: &mut dyn Observer) -> Outcome {
    launch_on(launch, &Host::examine(), observer)
}

/// The same on a host that is described.
pub fn launch_on(launch: &Launch, host: &Host, observer: &mut dyn Observer) -> Outcome {
    match launch.kind {
        LaunchKind::StressOnHost => stress::launch_on_host(launch, observer),
        LaunchKind::Bench => bench::launch_on(launch, host, observer),
        _ => boot_on(launch, host, observer, &mut |_, _, _, _| {}),
    }
}

#[cfg(test)]
mod tests;
