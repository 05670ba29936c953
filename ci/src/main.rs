//! The launcher's command line; the library does the work.

use std::process::ExitCode;

use clap::Parser;
use octopod_ci::ui::Console;
use octopod_ci::{Mode, Options, interrupt, launch_with, matrix, setup};

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
    let outcome = launch_with(&options, &mut console);
    console.finish(&outcome);
    ExitCode::from(outcome.status)
}

fn catch_interrupts() {
    if let Err(error) = interrupt::install() {
        eprintln!("octopod-ci: Ctrl-C cannot be caught: {error}");
    }
}
