//! Child processes that end with the launcher, and whose every wait has a deadline.
//!
//! A [`Supervised`] child leads a process group of its own. So its own children end with it, and Ctrl-C at the terminal reaches
//! the launcher alone, which then ends the child. Threads read the two streams of the child and wait for its end. All of them
//! report through one bounded channel, so a child that writes without end does not fill the launcher's memory.

mod capture;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub use capture::{Captured, capture, capture_with};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::base::interrupt::{self, Listener};

/// Events that may wait in the channel before the readers have to. With [`Streams::max_line_bytes`] it bounds the memory
/// that a child can take, whatever it writes.
const CHANNEL_DEPTH: usize = 64;

/// The time that a dead child's streams may stay open. They do while a process that the child started holds them. Then its
/// group is killed.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// The most events that are read after a dead child's group was killed: more than a pipe and the channel behind it hold. A
/// process that has left the group may write without end.
const DRAIN_EVENTS: usize = 1 << 18;

/// The most time for which they are read.
const DRAIN_TOTAL: Duration = Duration::from_secs(60);

/// The time that a killed child may take to end.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// The maximum size of a stream's log file: a kernel that prints in a loop must not fill the disk.
const LOG_LIMIT_BYTES: u64 = 64 << 20;

/// A stream of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Its standard output.
    Stdout,
    /// Its standard error.
    Stderr,
}

/// The result of [`Supervised::next`].
#[derive(Debug)]
pub enum ProcessEvent {
    /// The child wrote a line; bytes that are not UTF-8 are replaced, and what exceeds the cap is cut.
    Line(Stream, String),
    /// The child wrote these bytes to its standard output, where they are wanted as they come.
    Bytes(Vec<u8>),
    /// It has ended, and all that it wrote has been returned.
    Ended(ExitStatus),
    /// The deadline passed first.
    Deadline,
    /// A signal asks the launcher to end. Said once.
    Interrupted,
}

enum Event {
    Line(Stream, Vec<u8>),
    Bytes(Vec<u8>),
    Closed,
    Ended,
    Wake,
}

/// The treatment of a child's output.
#[derive(Debug)]
pub struct Streams {
    /// Longer lines are cut.
    pub max_line_bytes: usize,
    /// Receives the standard output as it is.
    pub stdout_log: Option<File>,
    /// Receives the standard error as it is.
    pub stderr_log: Option<File>,
    /// A carriage return ends a line as well: so programs write that draw a bar.
    pub ends_at_returns: bool,
    /// The standard output comes as [`ProcessEvent::Bytes`], not in lines, and the standard input is
    /// [taken](Supervised::take_stdin) by the caller; otherwise it is empty.
    pub interactive: bool,
}

impl Default for Streams {
    fn default() -> Streams {
        Streams {
            max_line_bytes: 256 << 10,
            stdout_log: None,
            stderr_log: None,
            ends_at_returns: false,
            interactive: false,
        }
    }
}

/// The state of a child that has ended, until its streams are closed.
struct Draining {
    /// The deadline of the wait for another event. What has arrived by then is read, however late.
    until: Instant,
    /// Set once its group was killed: nothing is read after that. A process that has left the group may write for ever.
    give_up: Option<Instant>,
    /// The events since then.
    events: usize,
}

impl Draining {
    fn begin() -> Draining {
        Draining { until: Instant::now() + DRAIN_LIMIT, give_up: None, events: 0 }
    }

    /// Counts an event. Returns whether more may be read.
    fn count(&mut self) -> bool {
        if let Some(give_up) = self.give_up {
            self.until = give_up.min(Instant::now() + DRAIN_LIMIT);
            self.events += 1;
        }
        self.events <= DRAIN_EVENTS
    }
}

/// The process groups of all children under watch.
static GROUPS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// Kills all children under watch and what they have started. For the end of the process, by a thread that may not wait.
fn kill_all() {
    for group in GROUPS.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        let _ = kill_process_group(*group, Signal::KILL);
    }
}

/// A child process under watch. Dropped, it is killed.
pub struct Supervised {
    child: Child,
    group: Pid,
    events: Receiver<Event>,
    _wake: Listener,
    open_streams: u8,
    draining: Option<Draining>,
    reaped: Option<ExitStatus>,
    interrupt_told: bool,
}

impl Supervised {
    /// Starts `command`.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn spawn(command: &mut Command, streams: Streams) -> io::Result<Supervised> {
        let stdin = if streams.interactive { Stdio::piped() } else { Stdio::null() };
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        end_with_parent(command);
        interrupt::before_ending_at_once(kill_all);
        let mut child = command.spawn()?;
        let group = Pid::from_child(&child);
        GROUPS.lock().unwrap_or_else(PoisonError::into_inner).push(group);
        let (sender, events) = sync_channel(CHANNEL_DEPTH);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let lines = Lines { max_bytes: streams.max_line_bytes, end_at_returns: streams.ends_at_returns };
        if let Some(stdout) = stdout {
            let lines = if streams.interactive { None } else { Some(lines) };
            read_in_thread(Stream::Stdout, stdout, streams.stdout_log, lines, sender.clone());
        }
        if let Some(stderr) = stderr {
            read_in_thread(Stream::Stderr, stderr, streams.stderr_log, Some(lines), sender.clone());
        }
        let end = sender.clone();
        thread::spawn(move || {
            // NOWAIT leaves the child a zombie, so that its number stays its own until `reap`.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while matches!(waitid(WaitId::Pid(group), options), Err(rustix::io::Errno::INTR)) {}
            let _ = end.send(Event::Ended);
        });
        // A full channel needs no waking: its receiver is awake.
        let wake = Listener::new(move || drop(sender.try_send(Event::Wake)));
        Ok(Supervised {
            child,
            group,
            events,
            _wake: wake,
            open_streams: 2,
            draining: None,
            reaped: None,
            interrupt_told: false,
        })
    }

    /// Its standard input, once, where it has one.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Its process number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next thing that happens, at the latest at `deadline`.
    pub fn next(&mut self, deadline: Instant) -> ProcessEvent {
        loop {
            if let Some(status) = self.reaped {
                return ProcessEvent::Ended(status);
            }
            if interrupt::requested() && !self.interrupt_told {
                self.interrupt_told = true;
                return ProcessEvent::Interrupted;
            }
            if self.draining.is_some() && self.open_streams == 0 {
                return ProcessEvent::Ended(self.reap());
            }
            let now = Instant::now();
            if now >= deadline && self.draining.is_none() {
                return ProcessEvent::Deadline;
            }
            let until = self.draining.as_ref().map_or(deadline, |draining| draining.until);
            let event = match self.next_event(until.saturating_duration_since(now)) {
                Ok(event) => event,
                Err(RecvTimeoutError::Disconnected) => return ProcessEvent::Ended(self.reap()),
                Err(RecvTimeoutError::Timeout) => match &mut self.draining {
                    Some(draining) if draining.give_up.is_some() => return ProcessEvent::Ended(self.reap()),
                    Some(draining) => {
                        // Its processes hold the streams no longer, and all that was written is read up to their end.
                        let _ = kill_process_group(self.group, Signal::KILL);
                        let now = Instant::now();
                        draining.give_up = Some(now + DRAIN_TOTAL);
                        draining.until = now + DRAIN_LIMIT;
                        continue;
                    }
                    None => continue,
                },
            };
            if self.draining.as_mut().is_some_and(|draining| !draining.count()) {
                return ProcessEvent::Ended(self.reap());
            }
            match event {
                Event::Line(stream, bytes) => {
                    return ProcessEvent::Line(stream, String::from_utf8_lossy(&bytes).into_owned());
                }
                Event::Bytes(bytes) => return ProcessEvent::Bytes(bytes),
                Event::Closed => self.open_streams -= 1,
                Event::Ended => self.draining = Some(Draining::begin()),
                Event::Wake => {}
            }
        }
    }

    /// The next event, which may have arrived already, or nothing after `limit`. A child that writes without a pause is
    /// killed in time nevertheless.
    fn next_event(&mut self, limit: Duration) -> Result<Event, RecvTimeoutError> {
        match &self.draining {
            Some(draining) if limit.is_zero() && draining.give_up.is_none() => Err(RecvTimeoutError::Timeout),
            _ => self.events.recv_timeout(limit),
        }
    }

    /// Sends the child's group what Ctrl-C would.
    pub fn interrupt(&mut self) {
        if self.reaped.is_none() {
            let _ = kill_process_group(self.group, Signal::INT);
        }
    }

    /// Asks the child's group to end, and kills what has not after `grace`.
    pub fn end(&mut self, grace: Duration) {
        self.end_with(grace, |_| {});
    }

    /// As [`end`](Self::end), but passes what the child still writes to `on_output`, and what has not been read yet.
    pub fn end_with(&mut self, grace: Duration, mut on_output: impl FnMut(ProcessEvent)) {
        for (signal, limit) in [(Signal::TERM, grace), (Signal::KILL, KILL_LIMIT)] {
            if self.reaped.is_some() {
                return;
            }
            let _ = kill_process_group(self.group, signal);
            let deadline = Instant::now() + limit;
            loop {
                match self.next(deadline) {
                    ProcessEvent::Ended(_) => return,
                    ProcessEvent::Deadline => break,
                    output @ (ProcessEvent::Line(..) | ProcessEvent::Bytes(_)) => on_output(output),
                    ProcessEvent::Interrupted => {}
                }
            }
        }
    }

    /// Kills what the child left behind in its group, then the child's own entry.
    fn reap(&mut self) -> ExitStatus {
        let _ = kill_process_group(self.group, Signal::KILL);
        // Once it is reaped its number may become another's.
        GROUPS.lock().unwrap_or_else(PoisonError::into_inner).retain(|group| *group != self.group);
        let status = self.child.wait().unwrap_or_default();
        self.reaped = Some(status);
        status
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        if self.reaped.is_none() {
            self.reap();
        }
    }
}

/// Makes the kernel end the child if the launcher is killed by a signal that it cannot handle, on systems that can do so.
fn end_with_parent(command: &mut Command) {
    #[cfg(target_os = "linux")]
    {
        let parent = rustix::process::getpid();
        let arm = move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have died before the line above.
            match rustix::process::getppid() == Some(parent) {
                true => Ok(()),
                false => Err(io::Error::from(rustix::io::Errno::SRCH)),
            }
        };
        // SAFETY: between fork and exec only async-signal-safe calls are allowed: `arm` makes two plain system
        // calls, and neither it nor its errors allocate.
        unsafe { command.pre_exec(arm) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = command;
}

/// Cuts a stream into lines.
#[derive(Clone, Copy)]
struct Lines {
    max_bytes: usize,
    end_at_returns: bool,
}

impl Lines {
    fn is_end(self, byte: u8) -> bool {
        byte == b'\n' || (byte == b'\r' && self.end_at_returns)
    }
}

/// Reads in lines, or as it comes.
fn read_in_thread(
    stream: Stream,
    source: impl Read + Send + 'static,
    mut log: Option<File>,
    lines: Option<Lines>,
    events: SyncSender<Event>,
) {
    thread::spawn(move || {
        let mut source = BufReader::new(source);
        let mut line = Vec::new();
        let mut logged = 0;
        loop {
            let bytes = match source.fill_buf() {
                Ok([]) => break,
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            if let Some(file) = &mut log
                && logged < LOG_LIMIT_BYTES
            {
                let _ = file.write_all(bytes);
                logged += bytes.len() as u64;
            }
            let Some(lines) = lines else {
                let _ = events.send(Event::Bytes(bytes.to_vec()));
                let used = bytes.len();
                source.consume(used);
                continue;
            };
            for piece in bytes.split_inclusive(|&byte| lines.is_end(byte)) {
                let (text, ends) = match piece.split_last() {
                    Some((last, text)) if lines.is_end(*last) => (text, true),
                    _ => (piece, false),
                };
                let room = lines.max_bytes.saturating_sub(line.len());
                line.extend_from_slice(&text[..text.len().min(room)]);
                if ends {
                    let _ = events.send(Event::Line(stream, std::mem::take(&mut line)));
                }
            }
            let used = bytes.len();
            source.consume(used);
        }
        if !line.is_empty() {
            let _ = events.send(Event::Line(stream, line));
        }
        let _ = events.send(Event::Closed);
    });
}

#[cfg(test)]
mod tests;
