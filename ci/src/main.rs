//! The launcher's command line; the library does the work.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use octopod_ci::base::error::Error;
use octopod_ci::base::interrupt;
use octopod_ci::commands::{matrix, report, soak};
use octopod_ci::present::page;
use octopod_ci::present::terminal::Console;
use octopod_ci::{Mode, Options, launch_with, setup};

fn main() -> ExitCode {
    survive_file_size_limit();
    let options = Options::parse();
    if options.mode == Mode::Matrix {
        catch_interrupts();
        return ExitCode::from(matrix::command(&options));
    }
    let mut console = Console::new(&options);
    if options.mode == Mode::Doctor {
        let parts = setup::doctor::examine(&options);
        console.doctor(&parts);
        return if setup::doctor::healthy(&parts) { ExitCode::SUCCESS } else { ExitCode::from(2) };
    }
    catch_interrupts();
    if options.mode == Mode::Report {
        let done = options.check().and_then(|()| report::command(&options, |line| console.say(line)));
        return done.map_or_else(|error| console.refuse(&error), |()| ExitCode::SUCCESS);
    }
    if options.mode == Mode::Soak {
        let done = soak::command(&options, &mut console);
        return done.map_or_else(|error| console.refuse(&error), ExitCode::from);
    }
    let mut outcome = launch_with(&options, &mut console);
    page::leave(&mut outcome, options.pictures.as_deref(), &mut console);
    if let Err(source) = console.finish(&outcome) {
        outcome.lacks(Error::Unwritable { what: "--json".to_owned(), path: "-".into(), source });
    }
    for error in &outcome.unwritten {
        console.refuse(error);
    }
    ExitCode::from(outcome.status)
}

/// Has a write beyond the limit of a file's size fail as one to a full disk does, rather than end the launcher. Programs that
/// it starts have the system's own way.
fn survive_file_size_limit() {
    let exceeded = Arc::new(AtomicBool::new(false));
    if let Err(error) = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, exceeded) {
        eprintln!("octopod-ci: SIGXFSZ cannot be caught: {error}");
    }
}

fn catch_interrupts() {
    if let Err(error) = interrupt::install() {
        eprintln!("octopod-ci: Ctrl-C cannot be caught: {error}");
    }
}
