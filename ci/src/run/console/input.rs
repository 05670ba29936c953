//! Input to the machine, from the terminal or a pipe.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::base::interrupt;

/// Ctrl-C and Ctrl-D, as the kernel's console takes them.
const DROP_LINE: u8 = 0x03;
const END_OF_INPUT: u8 = 0x04;

/// Ctrl-`]` ends the run, whatever the kernel does.
const ESCAPE: u8 = 0x1d;

/// Of a line of a pipe's so much is passed on: less than the kernel keeps unread, and more than it takes for a line, so
/// that it says itself that the line is too long.
const MAX_LINE_BYTES: usize = 200;

/// The thread that reads standard input. It ends with the machine, or with the process.
pub struct Input {
    prompts: Sender<()>,
}

impl Input {
    /// Begins to read, unless these lines are to be typed instead.
    pub fn start(typed: Option<String>, mut machine: impl Write + Send + 'static) -> Input {
        let (prompts, asked) = channel();
        thread::spawn(move || {
            // A machine that has ended takes no more; its end is reported elsewhere.
            let _ = match typed {
                Some(typed) => lines(typed.as_bytes(), &mut machine, &asked),
                None if io::stdin().is_terminal() => keys(io::stdin(), &mut machine, interrupt::request),
                None => lines(io::stdin().lock(), &mut machine, &asked),
            };
            // Until the kernel is gone: without an open writing end QEMU might take the port for unplugged.
            while asked.recv().is_ok() {}
        });
        Input { prompts }
    }

    /// The kernel asks for a line.
    pub fn prompted(&self) {
        let _ = self.prompts.send(());
    }
}

/// Passes on each key as it comes.
fn keys(mut from: impl Read, to: &mut impl Write, end_run: fn()) -> io::Result<()> {
    let mut bytes = [0; 256];
    loop {
        let count = match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let typed = &bytes[..count];
        let end = typed.iter().position(|byte| *byte == ESCAPE);
        to.write_all(&typed[..end.unwrap_or(count)])?;
        to.flush()?;
        if end.is_some() {
            end_run();
            return Ok(());
        }
    }
    // The terminal is gone, and with it the end of the line.
    to.write_all(&[DROP_LINE, END_OF_INPUT])?;
    to.flush()
}

/// Passes on a line each time that the kernel asks, and at last the end of input.
fn lines(mut from: impl BufRead, to: &mut impl Write, asked: &Receiver<()>) -> io::Result<()> {
    let mut line = Vec::new();
    while asked.recv().is_ok() {
        line.clear();
        let count = from.read_until(b'\n', &mut line).unwrap_or(0);
        if count == 0 {
            to.write_all(&[END_OF_INPUT])?;
            return to.flush();
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        line.truncate(MAX_LINE_BYTES);
        line.push(b'\n');
        to.write_all(&line)?;
        to.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(input: &[u8], prompts: usize) -> Vec<u8> {
        let (sender, asked) = channel();
        (0..prompts).for_each(|_| sender.send(()).unwrap());
        drop(sender);
        let mut out = Vec::new();
        lines(input, &mut out, &asked).unwrap();
        out
    }

    #[test]
    fn a_pipe_gives_a_line_for_each_prompt_and_then_its_end() {
        assert_eq!(fed(b"cpus\nirq\n", 1), b"cpus\n");
        assert_eq!(fed(b"cpus\nirq\n", 2), b"cpus\nirq\n");
        assert_eq!(fed(b"cpus\nirq", 5), b"cpus\nirq\n\x04");
        assert_eq!(fed(b"", 1), b"\x04");
        assert_eq!(fed(b"\n\n", 3), b"\n\n\x04");
    }

    #[test]
    fn a_line_is_cut_to_what_the_kernel_keeps_unread() {
        let long = [&[b'x'; 1000], b"\ncpus\n".as_slice()].concat();
        assert_eq!(fed(&long, 2), [&[b'x'; MAX_LINE_BYTES], b"\ncpus\n".as_slice()].concat());
        const { assert!(MAX_LINE_BYTES < 255) };
    }

    #[test]
    fn keys_go_as_they_are_until_the_one_that_ends_the_run() {
        let passed = |typed: &[u8]| {
            let mut out = Vec::new();
            keys(typed, &mut out, || {}).unwrap();
            out
        };
        assert_eq!(passed(b"a\x03\x1b[A"), b"a\x03\x1b[A\x03\x04");
        assert_eq!(passed(b"ab\x1dcd"), b"ab");
    }
}
