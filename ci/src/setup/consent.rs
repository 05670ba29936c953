//! The user's consent to an installation. At a terminal the launcher shows the command and asks; elsewhere, as in CI, it goes ahead
//! and says so.

use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{OFlags, fcntl_getfl};

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
/// The reason against it: the environment forbids it, the user declines, or the question cannot be asked.
pub(crate) fn obtain(line: &str) -> Result<(), String> {
    let goes_ahead = YES.load(Ordering::Relaxed) || !io::stdin().is_terminal();
    decide(may_install(), goes_ahead, || ask(line, &mut *question_output()?))
}

/// The output at which the user sees a question: the outputs of the launcher may be pipes or files, and then it is the terminal of its
/// input.
fn question_output() -> io::Result<Box<dyn Write>> {
    Ok(match (io::stderr().is_terminal(), io::stdout().is_terminal()) {
        (true, _) => Box::new(io::stderr()),
        (false, true) => Box::new(io::stdout()),
        (false, false) => Box::new(terminal_of_input()?),
    })
}

/// The terminal of the standard input, for writing. It may be open for reading alone, as by `< /dev/tty`.
fn terminal_of_input() -> io::Result<File> {
    let input = io::stdin();
    if fcntl_getfl(&input)?.contains(OFlags::RDWR) {
        return Ok(input.as_fd().try_clone_to_owned()?.into());
    }
    // Not by the terminal's name, which need not exist in the mount namespace of this process. The terminal must not become the
    // controlling one.
    let flags = OFlags::NOCTTY.bits().cast_signed();
    File::options().write(true).custom_flags(flags).open("/proc/self/fd/0")
}

fn decide(
    may_install: bool,
    goes_ahead: bool,
    ask: impl FnOnce() -> io::Result<String>,
) -> Result<(), String> {
    if !may_install {
        return Err(format!("{NO_INSTALL} is set"));
    }
    if goes_ahead {
        return Ok(());
    }
    let answer = ask().map_err(|error| {
        format!("the question whether to go ahead cannot be asked at the terminal ({error}); --yes skips it")
    })?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err("you declined".to_owned()),
    }
}

/// Asks at the terminal. The answer is empty at the end of the input.
fn ask(line: &str, output: &mut dyn Write) -> io::Result<String> {
    write!(output, "octopod needs to run: {line}\nGo ahead? [y/N] (--yes skips the question) ")?;
    output.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_installs_at_a_terminal_and_nothing_where_it_is_forbidden() {
        let decided = |may, ahead, answer: &str| decide(may, ahead, || Ok(answer.to_owned()));
        for yes in ["y", "Y\n", "yes\n"] {
            assert_eq!(decided(true, false, yes), Ok(()));
        }
        for no in ["", "\n", "n\n", "yess"] {
            assert_eq!(decided(true, false, no), Err("you declined".to_owned()));
        }
        let unable = decide(true, false, || Err(io::Error::other("gone"))).unwrap_err();
        assert!(unable.contains("cannot be asked at the terminal (gone); --yes"), "{unable}");
        let unasked = |may| decide(may, true, || panic!("it asks"));
        assert_eq!(unasked(true), Ok(()));
        assert!(unasked(false).unwrap_err().contains(NO_INSTALL));
    }
}
