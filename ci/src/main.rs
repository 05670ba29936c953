//! The launcher's command line; the library does the work.

use std::process::ExitCode;

use clap::Parser;
use octopod_ci::ui::Console;
use octopod_ci::{Mode, Options, compare, interrupt, launch_with, matrix, page, setup, soak};

fn main() -> ExitCode {
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
        let done = options.check().and_then(|()| compare::command(&options, |line| console.say(line)));
        return done.map_or_else(|error| console.refuse(&error), |()| ExitCode::SUCCESS);
    }
    if options.mode == Mode::Soak {
        let done = soak::command(&options, &mut console);
        return done.map_or_else(|error| console.refuse(&error), ExitCode::from);
    }
    let outcome = launch_with(&options, &mut console);
    page::leave(&outcome, options.pictures.as_deref(), &mut console);
    console.finish(&outcome);
    ExitCode::from(outcome.status)
}

fn catch_interrupts() {
    if let Err(error) = interrupt::install() {
        eprintln!("octopod-ci: Ctrl-C cannot be caught: {error}");
    }
}
