//! The user's consent to an installation. At a terminal the launcher shows the command and asks; elsewhere, as in CI, it goes ahead
//! and says so.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::setup::limits::{NO_INSTALL, may_install};

/// True if the user has consented on the command line.
static YES: AtomicBool = AtomicBool::new(false);

/// Consents to all installations of this process: `--yes`.
pub fn give() {
    YES.store(true, Ordering::Relaxed);
}

/// Obtains the consent to run a command.
///
/// # Errors
/// The reason against it: the environment forbids it, or the user declines.
pub(crate) fn obtain(line: &str) -> Result<(), String> {
    let question = Some(question_output()).filter(|_| io::stdin().is_terminal()).flatten();
    let goes_ahead = YES.load(Ordering::Relaxed) || question.is_none();
    decide(may_install(), goes_ahead, || ask(line, &mut *question?))
}

/// The output at which the user sees a question: either may be a pipe or a file.
fn question_output() -> Option<Box<dyn Write>> {
    match (io::stderr().is_terminal(), io::stdout().is_terminal()) {
        (true, _) => Some(Box::new(io::stderr())),
        (false, true) => Some(Box::new(io::stdout())),
        (false, false) => None,
    }
}

fn decide(may_install: bool, goes_ahead: bool, ask: impl FnOnce() -> Option<String>) -> Result<(), String> {
    if !may_install {
        return Err(format!("{NO_INSTALL} is set"));
    }
    if goes_ahead {
        return Ok(());
    }
    let answer = ask().unwrap_or_default();
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err("you declined".to_owned()),
    }
}

/// Asks at the terminal. `None` at its end.
fn ask(line: &str, output: &mut dyn Write) -> Option<String> {
    write!(output, "octopod needs to run: {line}\nGo ahead? [y/N] (--yes skips the question) ").ok()?;
    output.flush().ok()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).ok()?;
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_installs_at_a_terminal_and_nothing_where_it_is_forbidden() {
        let decided = |may, ahead, answer: Option<&str>| decide(may, ahead, || answer.map(str::to_owned));
        for yes in ["y", "Y\n", "yes\n"] {
            assert_eq!(decided(true, false, Some(yes)), Ok(()));
        }
        for no in [None, Some(""), Some("\n"), Some("n\n"), Some("yess")] {
            assert_eq!(decided(true, false, no), Err("you declined".to_owned()));
        }
        let unasked = |may| decide(may, true, || panic!("it asks"));
        assert_eq!(unasked(true), Ok(()));
        assert!(unasked(false).unwrap_err().contains(NO_INSTALL));
    }
}
