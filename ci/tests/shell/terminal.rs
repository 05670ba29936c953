//! The launcher at a pseudo-terminal, and its typed input.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::openpty;
use nix::sys::termios::{LocalFlags, tcgetattr};
use octopod_ci::base::{Silent, Workspace};
use octopod_ci::kernel::build;
use octopod_ci::{parse, setup};

/// Only a hang uses it up, however busy the host is.
pub(crate) const LIMIT: Duration = Duration::from_secs(600);

/// The prompt of the kernel.
pub(crate) const PROMPT: &str = "\r\u{1b}[Koctopod> ";

/// What the test writes to the terminal after the launcher's end.
const END: &str = "\u{4}end of the test\u{4}";

pub(crate) struct Terminal {
    launcher: Child,
    master: File,
    /// The side that the launcher has, to look at its modes.
    slave: OwnedFd,
    output: Receiver<Vec<u8>>,
    /// The complete output so far.
    pub(crate) text: String,
    /// How much of it was looked at.
    seen: usize,
    _folder: tempfile::TempDir,
}

/// Builds the kernel beforehand, which may take longer than any test waits.
pub(crate) fn build(arguments: &[&str]) {
    let config = parse(arguments).unwrap().0.kernel;
    setup::target::provide(&mut Silent).unwrap();
    build::provide(&config, &Workspace::find().unwrap(), &mut Silent).unwrap();
}

/// The launcher's command line for a console, and the folder of its run.
pub(crate) fn launcher(arguments: &[&str]) -> (Command, tempfile::TempDir) {
    build(&[&["shell"], arguments].concat());
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_octopod"));
    command.args(["shell", "--accel", "tcg", "--out"]).arg(folder.path()).args(arguments);
    (command, folder)
}

impl Terminal {
    /// Starts the launcher there.
    pub(crate) fn start(arguments: &[&str]) -> Terminal {
        let (mut command, folder) = launcher(arguments);
        let pty = openpty(None, None).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let launcher = command.stdin(end()).stdout(end()).stderr(Stdio::null()).spawn().unwrap();
        let master = File::from(pty.master);
        let mut reader = master.try_clone().unwrap();
        let (sender, output) = channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Reading fails when the other side is closed.
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Terminal { launcher, master, slave: pty.slave, output, text: String::new(), seen: 0, _folder: folder }
    }

    /// Whether keys go through unseen and one by one.
    pub(crate) fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.slave).unwrap();
        !modes.local_flags.intersects(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
    }

    /// Types.
    pub(crate) fn type_in(&mut self, keys: impl AsRef<[u8]>) {
        self.master.write_all(keys.as_ref()).unwrap();
    }

    /// Waits until this is written, beyond what was looked at before; what was written up to its end.
    pub(crate) fn expect(&mut self, what: &str) -> String {
        self.wait_for(what, LIMIT).unwrap_or_else(|| panic!("no {what:?} in {LIMIT:?}:\n{}", self.text))
    }

    /// Whether this is written within that time.
    pub(crate) fn comes(&mut self, what: &str, limit: Duration) -> bool {
        self.wait_for(what, limit).is_some()
    }

    fn wait_for(&mut self, what: &str, limit: Duration) -> Option<String> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(at) = self.text[self.seen..].find(what) {
                let from = self.seen;
                self.seen += at + what.len();
                return Some(self.text[from..self.seen].to_owned());
            }
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.text.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => panic!("no {what:?} before the end:\n{}", self.text),
            }
        }
    }

    /// Waits until the kernel waits for a line; what was written before.
    pub(crate) fn prompt(&mut self) -> String {
        let written = self.expect(PROMPT);
        written[..written.len() - PROMPT.len()].to_owned()
    }

    /// Types a line, and waits for the next prompt; the answer.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.type_in(format!("{line}\r"));
        let echo = format!("{line}\r\n");
        self.expect(&echo);
        self.prompt()
    }

    /// Waits for the launcher's end, and reads all that it has written; its status.
    pub(crate) fn end(&mut self) -> i32 {
        let deadline = Instant::now() + LIMIT;
        let status = loop {
            self.read_for(Duration::from_millis(50));
            if let Some(status) = self.launcher.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the launcher does not end:\n{}", self.text);
        };
        // What it has written last may still be in the terminal or on the way from there. Behind it comes what the test writes now.
        let slave = File::from(self.slave.try_clone().unwrap());
        (&slave).write_all(END.as_bytes()).unwrap();
        while !self.text.ends_with(END) {
            assert!(Instant::now() < deadline, "the terminal does not show its end:\n{}", self.text);
            self.read_for(Duration::from_millis(50));
        }
        self.text.truncate(self.text.len() - END.len());
        status.code().unwrap()
    }

    /// Reads what is written until nothing was for that time.
    fn read_for(&mut self, silence: Duration) {
        while let Ok(bytes) = self.output.recv_timeout(silence) {
            self.text.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.launcher.kill();
        let _ = self.launcher.wait();
    }
}
