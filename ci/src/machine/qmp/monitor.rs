//! The launcher's connection to a running QEMU: it receives the events, and at the time limit it requests a report by NMI, or
//! the registers.
//!
//! The launcher listens and QEMU connects while it starts, so no wait for a socket is needed.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use octopod::wire::{REPORT_REQUEST, REPORT_REQUEST_PORT};
use serde_json::{Value, json};

use crate::machine::qmp::error::{QmpError, left};
use crate::machine::shutdown::Shutdown;

/// QEMU's longest answer, the registers of all CPUs, is some megabytes; what is longer comes from something else.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// The events and answers of QEMU so far.
#[derive(Debug, Default)]
struct Received {
    /// The way back, as soon as QEMU has greeted.
    writer: Option<UnixStream>,
    shutdown: Option<Shutdown>,
    /// True if there will be no more.
    is_over: bool,
}

/// A listener for one QEMU. Dropped, it listens no more.
pub struct Monitor {
    socket: PathBuf,
    received: Arc<Mutex<Received>>,
    answers: Receiver<Value>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
}

impl Monitor {
    /// Listens at `socket`, to which QEMU connects.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn listen(socket: &Path) -> io::Result<Monitor> {
        let listener = UnixListener::bind(socket)?;
        let received = Arc::<Mutex<Received>>::default();
        let (sender, answers) = channel();
        let (alive, ended) = channel();
        let shared = received.clone();
        thread::spawn(move || {
            if let Ok((stream, _)) = listener.accept() {
                // QEMU is gone, or no longer itself: either shows elsewhere.
                let _ = follow(stream, &shared, &sender);
            }
            locked(&shared).is_over = true;
            drop(alive);
        });
        Ok(Monitor { socket: socket.to_owned(), received, answers, ended })
    }

    /// Returns whether QEMU has greeted, which it does when it runs a machine.
    pub fn has_answered(&self) -> bool {
        locked(&self.received).writer.is_some()
    }

    /// Returns the reason why QEMU has ended the machine, after the end of QEMU's process. Waits until all that it wrote has
    /// been read, at the latest until `deadline`.
    pub fn shutdown(&self, deadline: Instant) -> Option<Shutdown> {
        self.hang_up();
        let left = deadline.saturating_duration_since(Instant::now());
        let _ = self.ended.recv_timeout(left);
        locked(&self.received).shutdown.clone()
    }

    /// Returns the registers of every CPU, as QEMU's monitor lists them, and asks QEMU to end.
    ///
    /// # Errors
    /// QEMU does not answer until `deadline`.
    pub fn registers(&self, deadline: Instant) -> Result<String, QmpError> {
        let arguments = json!({ "command-line": "info registers -a" });
        let answer = self.ask("human-monitor-command", arguments, deadline)?;
        // QEMU may close the connection before it answers; it is killed if it stays.
        let _ = self.send("quit", &json!({}), deadline);
        Ok(answer.as_str().unwrap_or_default().replace('\r', ""))
    }

    /// Requests a report of all CPUs from octopod: stores the request, and injects an NMI.
    ///
    /// # Errors
    /// QEMU refuses, or does not answer until `deadline`.
    pub fn request_report(&self, deadline: Instant) -> Result<(), QmpError> {
        let line = format!("o /b {REPORT_REQUEST_PORT:#x} {REPORT_REQUEST:#x}");
        self.ask("human-monitor-command", json!({ "command-line": line }), deadline)?;
        self.ask("inject-nmi", json!({}), deadline).map(drop)
    }

    fn ask(&self, command: &str, arguments: Value, deadline: Instant) -> Result<Value, QmpError> {
        while self.answers.try_recv().is_ok() {}
        self.send(command, &arguments, deadline)?;
        let left = deadline.saturating_duration_since(Instant::now());
        let mut answer = match self.answers.recv_timeout(left) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => return Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            Err(RecvTimeoutError::Disconnected) => return Err(QmpError::Closed),
        };
        match answer.get_mut("error") {
            Some(error) => Err(QmpError::Refused { command: command.to_owned(), answer: error.take() }),
            None => Ok(answer.get_mut("return").map(Value::take).unwrap_or_default()),
        }
    }

    fn send(&self, command: &str, arguments: &Value, deadline: Instant) -> Result<(), QmpError> {
        let received = locked(&self.received);
        let Some(writer) = &received.writer else { return Err(QmpError::NotConnected) };
        writer.set_write_timeout(Some(left(deadline)?))?;
        let line = json!({ "execute": command, "arguments": arguments }).to_string() + "\n";
        Ok((&mut &*writer).write_all(line.as_bytes())?)
    }

    /// Ends the wait for a QEMU that has never connected.
    fn hang_up(&self) {
        if !self.has_answered() && !locked(&self.received).is_over {
            let _ = UnixStream::connect(&self.socket);
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.hang_up();
        if let Some(writer) = &locked(&self.received).writer {
            let _ = writer.shutdown(std::net::Shutdown::Both);
        }
    }
}

/// Negotiates, then reads QEMU's messages until it closes the connection.
fn follow(stream: UnixStream, received: &Mutex<Received>, answers: &Sender<Value>) -> Result<(), QmpError> {
    let mut reader = BufReader::new(stream);
    while receive(&mut reader)?.get("QMP").is_none() {}
    let mut writer = reader.get_ref().try_clone()?;
    writer.write_all(b"{\"execute\":\"qmp_capabilities\"}\n")?;
    // Events that come before the answer count as well.
    loop {
        let message = receive(&mut reader)?;
        if message.get("return").is_some() {
            break;
        }
        take_event(&message, received);
    }
    locked(received).writer = Some(writer);
    loop {
        let message = receive(&mut reader)?;
        if message.get("event").is_some() {
            take_event(&message, received);
        } else {
            let _ = answers.send(message);
        }
    }
}

fn take_event(message: &Value, received: &Mutex<Received>) {
    if let Some(shutdown) = Shutdown::of(message) {
        locked(received).shutdown.get_or_insert(shutdown);
    }
}

fn receive(reader: &mut BufReader<UnixStream>) -> Result<Value, QmpError> {
    let mut line = Vec::new();
    match io::Read::take(&mut *reader, MAX_LINE_BYTES).read_until(b'\n', &mut line)? {
        0 => Err(QmpError::Closed),
        _ => Ok(serde_json::from_slice(&line)?),
    }
}

fn locked(received: &Mutex<Received>) -> MutexGuard<'_, Received> {
    received.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(600)
    }

    /// A QEMU that connects, greets, and hands the conversation over.
    fn qemu(
        talk: impl FnOnce(UnixStream) + Send + 'static,
    ) -> (tempfile::TempDir, Monitor, thread::JoinHandle<()>) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("qmp");
        let monitor = Monitor::listen(&socket).unwrap();
        let thread = thread::spawn(move || {
            let mut stream = UnixStream::connect(socket).unwrap();
            writeln!(stream, "{}", json!({ "QMP": {} })).unwrap();
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
            assert!(line.contains("qmp_capabilities"), "{line}");
            talk(stream);
        });
        (folder, monitor, thread)
    }

    fn shutdown(reason: &str) -> Value {
        json!({ "event": "SHUTDOWN", "data": { "guest": false, "reason": reason } })
    }

    #[test]
    fn the_first_cause_of_an_end_is_heard_whenever_it_comes() {
        for (before, after) in [(Some("host-signal"), None), (None, Some("host-signal"))] {
            let (_folder, monitor, thread) = qemu(move |mut stream| {
                let mut say = |event: Value| writeln!(stream, "{event}").unwrap();
                say(json!({ "event": "RESUME" }));
                before.iter().for_each(|reason| say(shutdown(reason)));
                say(json!({ "return": {} }));
                after.iter().for_each(|reason| say(shutdown(reason)));
                say(shutdown("guest-reset"));
            });
            thread.join().unwrap();
            assert_eq!(monitor.shutdown(soon()).unwrap().reason, "host-signal");
            assert!(monitor.has_answered());
        }
    }

    #[test]
    fn a_qemu_that_never_connects_delays_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let monitor = Monitor::listen(&folder.path().join("qmp")).unwrap();
        assert!(matches!(monitor.registers(soon()), Err(QmpError::NotConnected)));
        assert_eq!(monitor.shutdown(soon()), None);
        assert!(!monitor.has_answered());
    }

    #[test]
    fn a_report_is_requested_before_the_nmi() {
        let (_folder, monitor, thread) = qemu(|mut stream| {
            writeln!(stream, "{}", json!({ "return": {} })).unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            for command in ["o /b 0x3ff 0x4e", "inject-nmi"] {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                assert!(line.contains(command), "{line}");
                writeln!(stream, "{}", json!({ "return": {} })).unwrap();
            }
        });
        loop {
            match monitor.request_report(soon()) {
                Err(QmpError::NotConnected) => thread::yield_now(),
                other => break other.unwrap(),
            }
        }
        thread.join().unwrap();
    }

    #[test]
    fn registers_are_answered_past_events_and_then_it_is_to_quit() {
        let (_folder, monitor, thread) = qemu(|mut stream| {
            writeln!(stream, "{}", json!({ "return": {} })).unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            for answer in [json!("RIP=1\r\n"), json!({})] {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                assert!(
                    line.contains(if answer.is_string() { "info registers -a" } else { "quit" }),
                    "{line}"
                );
                writeln!(stream, "{}", json!({ "event": "STOP" })).unwrap();
                writeln!(stream, "{}", json!({ "return": answer })).unwrap();
            }
        });
        let registers = loop {
            match monitor.registers(soon()) {
                Err(QmpError::NotConnected) => thread::yield_now(),
                other => break other,
            }
        };
        assert_eq!(registers.unwrap(), "RIP=1\n");
        thread.join().unwrap();
    }
}
