//! A small client of QEMU's machine protocol: one command at a time, each with a deadline.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use crate::machine::qmp::error::{QmpError, left};

/// Connects to a socket of QEMU's as soon as QEMU listens. A QEMU that has only begun has not made the socket yet, or has bound
/// it and does not listen yet.
///
/// # Errors
/// The last attempt's error, when the deadline has passed; any other error at once.
pub fn connect(socket: &Path, deadline: Instant) -> std::io::Result<UnixStream> {
    loop {
        match UnixStream::connect(socket) {
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
                    && Instant::now() < deadline =>
            {
                std::thread::yield_now();
            }
            result => return result,
        }
    }
}

/// A connection that is ready for commands.
pub struct Qmp {
    reader: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects as soon as QEMU listens, reads the greeting and negotiates.
    ///
    /// # Errors
    /// The socket cannot be opened, the answer is not QMP, or the deadline has passed.
    pub fn connect(socket: &Path, deadline: Instant) -> Result<Qmp, QmpError> {
        let mut qmp = Qmp { reader: BufReader::new(connect(socket, deadline)?) };
        while qmp.receive(deadline)?.get("QMP").is_none() {}
        qmp.execute("qmp_capabilities", json!({}), deadline)?;
        Ok(qmp)
    }

    /// Sends a command, and waits for the answer. Events before the answer are dropped.
    ///
    /// # Errors
    /// QEMU reports an error, the connection ends, or the deadline has passed.
    pub fn execute(&mut self, command: &str, arguments: Value, deadline: Instant) -> Result<Value, QmpError> {
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string();
        line.push('\n');
        let stream = self.reader.get_mut();
        stream.set_write_timeout(Some(left(deadline)?))?;
        stream.write_all(line.as_bytes())?;
        loop {
            let mut answer = self.receive(deadline)?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get_mut("error") {
                return Err(QmpError::Refused { command: command.to_owned(), answer: error.take() });
            }
        }
    }

    /// Runs a line of QEMU's human monitor, and returns its output.
    ///
    /// # Errors
    /// QEMU reports an error, the connection ends, or the deadline has passed.
    pub fn monitor(&mut self, line: &str, deadline: Instant) -> Result<String, QmpError> {
        let answer = self.execute("human-monitor-command", json!({ "command-line": line }), deadline)?;
        Ok(answer.as_str().unwrap_or_default().replace('\r', ""))
    }

    fn receive(&mut self, deadline: Instant) -> Result<Value, QmpError> {
        self.reader.get_ref().set_read_timeout(Some(left(deadline)?))?;
        let mut line = String::new();
        match self.reader.read_line(&mut line)? {
            0 => Err(QmpError::Closed),
            _ => Ok(serde_json::from_str(&line)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// A QEMU that greets, sends an event before each answer, and knows only what `answer` knows.
    fn fake(answer: fn(&Value) -> Option<Value>) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("qmp");
        let listener = UnixListener::bind(&socket).unwrap();
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut writer = stream.try_clone().unwrap();
            writeln!(writer, "{}", json!({ "QMP": { "capabilities": [] } })).unwrap();
            for line in BufReader::new(stream).lines() {
                let asked: Value = serde_json::from_str(&line.unwrap()).unwrap();
                writeln!(writer, "{}", json!({ "event": "RESUME" })).unwrap();
                if let Some(answer) = answer(&asked) {
                    writeln!(writer, "{answer}").unwrap();
                }
            }
        });
        (folder, socket)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(600)
    }

    #[test]
    fn a_connection_waits_until_qemu_listens() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("qmp");
        // Past its deadline, nothing is awaited.
        assert_eq!(connect(&socket, Instant::now()).unwrap_err().kind(), ErrorKind::NotFound);
        // A socket that was bound and is no longer listened to refuses, as one that is not listened to yet.
        drop(UnixListener::bind(&socket).unwrap());
        assert_eq!(connect(&socket, Instant::now()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::fs::remove_file(&socket).unwrap();
                UnixListener::bind(&socket).unwrap().accept().unwrap();
            });
            connect(&socket, soon()).unwrap();
        });
    }

    #[test]
    fn answers_come_through_past_events() {
        let (_folder, socket) = fake(|asked| match asked["arguments"]["command-line"].as_str() {
            Some(line) => Some(json!({ "return": format!("{line}\r\n") })),
            None => Some(json!({ "return": {} })),
        });
        let mut qmp = Qmp::connect(&socket, soon()).unwrap();
        assert_eq!(qmp.monitor("info registers -a", soon()).unwrap(), "info registers -a\n");
    }

    #[test]
    fn a_refusal_says_what_was_refused() {
        let (_folder, socket) = fake(|asked| match asked["execute"].as_str() {
            Some("qmp_capabilities") => Some(json!({ "return": {} })),
            _ => Some(json!({ "error": { "desc": "unknown" } })),
        });
        let mut qmp = Qmp::connect(&socket, soon()).unwrap();
        let error = qmp.execute("swim", json!({}), soon()).unwrap_err();
        assert!(error.to_string().contains("swim") && error.to_string().contains("unknown"), "{error}");
    }

    #[test]
    fn silence_ends_at_the_deadline() {
        let (_folder, socket) = fake(|_| None);
        let error = Qmp::connect(&socket, Instant::now() + Duration::from_millis(100)).map(drop).unwrap_err();
        assert!(matches!(error, QmpError::Io(_)), "{error}");
    }
}
