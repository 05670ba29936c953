//! The command line: the commands, each with its own options.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::base::{interrupt, text};
use crate::commands::alloc_trace::AllocTraceArgs;
use crate::commands::completions::CompletionsArgs;
use crate::commands::doctor::DoctorArgs;
use crate::commands::list::ListArgs;
use crate::commands::matrix::MatrixArgs;
use crate::commands::new::NewArgs;
use crate::commands::report::ReportArgs;
use crate::commands::runs::RunCommand;
use crate::commands::soak::SoakArgs;
use crate::commands::test::TestArgs;
use crate::commands::{defaults, help, hints, settings};
use crate::setup::{consent, qemu};

/// octopod: builds the kernel, boots it in QEMU or Bochs, and returns its verdict.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "octopod",
    version,
    about,
    after_help = help::after_help(help::launcher()),
    override_usage = help::usage(help::launcher()),
    max_term_width = 110
)]
pub struct Cli {
    /// The command; without one, stress.
    #[command(subcommand)]
    pub command: Command,

    /// The words of the command line, the command first.
    #[arg(skip)]
    pub words: Vec<OsString>,
}

/// The command.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// A command that boots a kernel.
    #[command(flatten)]
    Run(RunCommand),
    /// Run the tests of an ELF file that `cargo test` has built, with the arguments of libtest behind --.
    Test(TestArgs),
    /// Run the rows of config/machines.toml, several at once, and report the failures.
    Matrix(MatrixArgs),
    /// Run the soaks, by name or all: boots, stress, loom, shuttle, model, miri, mutants, fuzz.
    Soak(SoakArgs),
    /// Make a project with a kernel of your own.
    New(NewArgs),
    /// List what the program registers: allocators, heaps, workloads, benchmarks, tests, faults, parameters and others. Boots nothing.
    List(ListArgs),
    /// Draw the pages of a run again, or compare two runs: folders of runs, or their report.json.
    Report(ReportArgs),
    /// Write a trace of allocations for `stress --replay`, with the orders of a Linux.
    AllocTrace(AllocTraceArgs),
    /// Check the installed tools and report what is missing; boot nothing, install nothing.
    Doctor(DoctorArgs),
    /// Write the completion script of a shell.
    Completions(CompletionsArgs),
}

/// Reads the command line of this process and executes it.
pub fn start() -> ExitCode {
    survive_file_size_limit();
    let cli = Cli::read(std::env::args_os()).unwrap_or_else(|error| refuse(&error));
    ExitCode::from(cli.execute())
}

/// Has a write beyond the limit of a file's size fail as one to a full disk does, rather than end the launcher. Programs that
/// it starts have the system's own way.
fn survive_file_size_limit() {
    let exceeded = Arc::new(AtomicBool::new(false));
    if let Err(error) = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, exceeded) {
        eprintln!("octopod: SIGXFSZ cannot be caught: {error}");
    }
}

/// The words without the one by which cargo names its subcommand: it calls `cargo-octopod octopod WORDS`.
fn without_cargo(mut words: Vec<OsString>) -> Vec<OsString> {
    let program = words.first().and_then(|program| Path::new(program).file_stem()?.to_str());
    if program == Some("cargo-octopod") && words.get(1).is_some_and(|word| word == "octopod") {
        words.remove(1);
    }
    words
}

/// Ends the process with the text of a help page, or of an error, which quotes what was typed.
fn refuse(error: &clap::Error) -> ! {
    if !error.use_stderr() {
        error.exit();
    }
    let text = error.render().ansi().to_string();
    text.trim_end().split('\n').for_each(|line| anstream::eprintln!("{}", text::styled(line)));
    std::process::exit(error.exit_code())
}

/// The argument by which `cargo bench` asks for benchmarks.
const BENCH: &str = "--bench";

/// The words of a runner whose file is no program but tests or benches, in which cargo's own arguments follow the file: `cargo
/// test` and `cargo bench` build these into a folder `deps`.
fn as_tests(mut words: Vec<OsString>) -> Vec<OsString> {
    let is_in_deps = |file: &OsString| {
        let path = Path::new(file);
        path.parent().and_then(Path::file_name).is_some_and(|folder| folder == "deps") && path.is_file()
    };
    if words.get(1).is_none_or(|word| word != "run") || !words.get(2).is_some_and(is_in_deps) {
        return words;
    }
    if words[3..].iter().any(|word| word == BENCH) {
        words[1] = "bench".into();
        words.retain(|word| word != BENCH);
        return words;
    }
    words[1] = "test".into();
    words.insert(3, "--".into());
    words
}

/// The grammar.
pub fn command() -> clap::Command {
    defaults::set(Cli::command())
}

/// Returns whether the command has an option `--quiet` and is given it.
fn is_quiet(matches: &clap::ArgMatches) -> bool {
    let options = matches.subcommand().map(|(_, options)| options);
    options.is_some_and(|options| matches!(options.try_get_one("quiet"), Ok(Some(true))))
}

impl Cli {
    /// Reads a command line, the program first.
    ///
    /// # Errors
    /// The command line is invalid (the error has a hint), or it asks for help.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
        let words = as_tests(without_cargo(words.into_iter().collect()));
        let typed = defaults::with_command(words);
        let (mut words, mut notes) = (typed.clone(), Vec::new());
        if !words.iter().any(|word| word == "--help" || word == "-h") {
            (words, notes) = settings::add(words, &command()).map_err(|error| {
                let kind = clap::error::ErrorKind::Io;
                clap::Error::raw(kind, format!("{error}\n")).with_cmd(&command())
            })?;
        }
        let matches = command().try_get_matches_from(&words).map_err(|error| {
            // What is wrong in the typed words is shown without the settings, which are not typed.
            let error = command().try_get_matches_from(&typed).err().unwrap_or(error);
            hints::add(error, &command(), &typed)
        })?;
        if !is_quiet(&matches) {
            for note in notes {
                eprintln!("octopod: {}", text::line(&note));
            }
        }
        Ok(Cli { words: words[1..].to_vec(), ..Cli::from_arg_matches(&matches)? })
    }

    /// Executes the command. Returns the exit status.
    pub fn execute(&self) -> u8 {
        let is_given =
            |option: &str| self.words.iter().take_while(|word| *word != "--").any(|word| word == option);
        if is_given("--yes") {
            consent::give();
        }
        if is_given("--newest-qemu") {
            qemu::ask_for_newest();
        }
        let runs = |work: &dyn Fn() -> u8| {
            if let Err(error) = interrupt::install() {
                eprintln!("octopod-ci: cannot handle Ctrl-C: {error}");
            }
            work()
        };
        match &self.command {
            Command::Run(command) => runs(&|| command.execute(&self.words)),
            Command::Test(args) => runs(&|| args.execute()),
            Command::Matrix(args) => runs(&|| args.execute()),
            Command::Soak(args) => runs(&|| args.execute()),
            Command::Report(args) => runs(&|| args.execute()),
            // A signal must not leave a part of a project.
            Command::New(args) => runs(&|| args.execute()),
            Command::List(args) => runs(&|| args.execute()),
            // A signal ends these at once.
            Command::AllocTrace(args) => args.execute(),
            Command::Doctor(args) => args.execute(),
            Command::Completions(args) => args.execute(command()),
        }
    }
}

#[cfg(test)]
mod tests;
