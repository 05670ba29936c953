//! A client of QEMU's gdb stub (GDB manual, appendix E) for the tests: breakpoints, and the address at which a CPU stopped.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use octopod_ci::machine::qmp::connect;

/// Number of RIP among the stub's registers.
const RIP: u8 = 16;

/// A connection; the machine stands still while the client talks.
pub(crate) struct Stub {
    stream: BufReader<UnixStream>,
}

/// Where the machine stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stop {
    /// The CPU, from 0.
    pub(crate) cpu: usize,
    /// The instruction that it would execute next.
    pub(crate) rip: u64,
}

impl Stub {
    /// Connects as soon as QEMU listens.
    pub(crate) fn connect(socket: &Path, limit: Duration) -> Stub {
        let stream = connect(socket, Instant::now() + limit).unwrap();
        stream.set_read_timeout(Some(limit)).unwrap();
        Stub { stream: BufReader::new(stream) }
    }

    /// Stops the machine where a CPU is about to execute the instruction at an address.
    pub(crate) fn set_breakpoint(&mut self, address: u64) {
        assert_eq!(self.ask(&format!("Z1,{address:x},1")), "OK", "{address:#x}");
    }

    /// Takes a breakpoint back.
    pub(crate) fn clear_breakpoint(&mut self, address: u64) {
        assert_eq!(self.ask(&format!("z1,{address:x},1")), "OK", "{address:#x}");
    }

    /// Lets all CPUs run until one stops; `None` when QEMU has ended.
    pub(crate) fn go(&mut self) -> Option<Stop> {
        self.send("vCont;c");
        let answer = self.receive()?;
        self.stopped(&answer)
    }

    /// Lets the only CPU execute one instruction.
    pub(crate) fn step(&mut self) -> Option<Stop> {
        self.send("vCont;s:1");
        let answer = self.receive()?;
        self.stopped(&answer)
    }

    /// Lets the machine go on without breakpoints, if it has not ended.
    pub(crate) fn detach(mut self) {
        self.send("D");
        self.receive();
    }

    fn stopped(&mut self, answer: &str) -> Option<Stop> {
        // W and X: the process has ended.
        if answer.starts_with(['W', 'X']) {
            return None;
        }
        // `T05thread:01;`
        let thread = answer.split_once("thread:").and_then(|(_, rest)| rest.split(';').next());
        let number = thread.and_then(|thread| usize::from_str_radix(thread, 16).ok());
        let number = number.unwrap_or_else(|| panic!("not stopped: {answer}"));
        assert_eq!(self.ask(&format!("Hg{number:x}")), "OK");
        let value = self.ask(&format!("p{RIP:x}"));
        let bytes = (0..8).map(|byte| u8::from_str_radix(&value[2 * byte..2 * byte + 2], 16).unwrap());
        let rip = bytes.rev().fold(0, |rip, byte| rip << 8 | u64::from(byte));
        Some(Stop { cpu: number - 1, rip })
    }

    fn ask(&mut self, packet: &str) -> String {
        self.send(packet);
        self.receive().unwrap_or_else(|| panic!("QEMU ended at {packet}"))
    }

    fn send(&mut self, packet: &str) {
        let sum = packet.bytes().fold(0u8, u8::wrapping_add);
        // A QEMU that has ended is seen by the missing answer.
        let _ = write!(self.stream.get_mut(), "${packet}#{sum:02x}");
    }

    fn receive(&mut self) -> Option<String> {
        let mut packet = Vec::new();
        self.stream.read_until(b'$', &mut packet).ok().filter(|read| *read > 0)?;
        packet.clear();
        self.stream.read_until(b'#', &mut packet).ok().filter(|read| *read > 0)?;
        packet.pop();
        self.stream.read_exact(&mut [0; 2]).ok()?;
        // Each packet is acknowledged; those of the other side are among what `read_until` passes over.
        let _ = self.stream.get_mut().write_all(b"+");
        Some(String::from_utf8(packet).unwrap())
    }
}
