//! The launcher's output, written by a thread of its own.
//!
//! The reader may be slow, or stop for a while: a pager, a terminal after Ctrl-S, a pipe whose other end sleeps. The launcher
//! continues meanwhile, because its machine has a deadline. Pending output is kept in memory, and beyond some size in a file
//! without a name, which the system removes with the process.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::base::interrupt::{self, Listener};

/// The maximum of pending output in memory, in bytes.
const MAX_IN_MEMORY: usize = 256 << 10;

/// The maximum of pending output in the file, in bytes. Further output of the kernel is in serial.log.
const MAX_IN_FILE: u64 = 256 << 20;

/// A stream's byte, and the length.
const HEAD_BYTES: usize = 5;

/// A stream of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Its standard output.
    Stdout,
    /// Its standard error.
    Stderr,
}

/// Takes what is to be written, and never makes the caller wait for a reader. Dropped, it waits until all is written, or a
/// signal asks for the launcher's end.
pub(crate) struct Outlet {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    memory: VecDeque<(Stream, Vec<u8>)>,
    in_memory: usize,
    file: Option<Spill>,
    /// Bytes for which there was no room.
    left_out: u64,
    /// The reason why the standard output could not be written to, the first time.
    failure: Option<io::Error>,
    is_writing: bool,
    is_closed: bool,
}

/// Pending output in the file: from `read_at` to `written_to`.
struct Spill {
    file: File,
    read_at: u64,
    written_to: u64,
}

impl Outlet {
    /// To the process's own streams.
    pub(crate) fn new() -> Outlet {
        Outlet::to(|stream, bytes| match stream {
            Stream::Stdout => write_all(&mut io::stdout().lock(), bytes),
            Stream::Stderr => write_all(&mut io::stderr().lock(), bytes),
        })
    }

    fn to(mut write: impl FnMut(Stream, &[u8]) -> io::Result<()> + Send + 'static) -> Outlet {
        let shared = Arc::<Shared>::default();
        let queue = shared.clone();
        let writer = thread::spawn(move || {
            while let Some((stream, bytes)) = queue.next() {
                // A lost progress line is no error; a lost report is: see `flush`.
                if let (Stream::Stdout, Err(error)) = (stream, write(stream, &bytes)) {
                    queue.locked().failure.get_or_insert(error);
                }
            }
        });
        Outlet { shared, writer: Some(writer) }
    }

    /// Has these bytes written behind all others.
    pub(crate) fn write(&self, stream: Stream, bytes: &[u8]) {
        self.shared.locked().push(stream, bytes);
        self.shared.changed.notify_all();
    }

    /// Waits until all is written, or a signal asks for the launcher's end.
    ///
    /// # Errors
    /// Why a part of the standard output could not be written.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.wait().failure.take().map_or(Ok(()), Err)
    }

    /// Waits until all is written, or a signal asks for the launcher's end.
    pub(crate) fn settle(&self) {
        drop(self.wait());
    }

    fn wait(&self) -> MutexGuard<'_, Queue> {
        let wakes = self.shared.clone();
        let _listener = Listener::new(move || wakes.changed.notify_all());
        let signals = interrupt::count();
        let mut queue = self.shared.locked();
        while (queue.is_writing || queue.waits()) && interrupt::count() == signals {
            queue = self.shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue
    }

    /// A second handle on the same queue, for what draws by itself.
    pub(crate) fn handle(&self) -> Handle {
        Handle { shared: self.shared.clone() }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.shared.locked().is_closed = true;
        self.shared.changed.notify_all();
        let _ = self.flush();
        let queue = self.shared.locked();
        let is_done = !(queue.is_writing || queue.waits());
        drop(queue);
        if let Some(writer) = self.writer.take().filter(|_| is_done) {
            let _ = writer.join();
        }
    }
}

/// A handle on an [`Outlet`]'s queue.
#[derive(Clone)]
pub(crate) struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    /// As [`Outlet::write`].
    pub(crate) fn write(&self, stream: Stream, bytes: &[u8]) {
        self.shared.locked().push(stream, bytes);
        self.shared.changed.notify_all();
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handle")
    }
}

impl Shared {
    fn locked(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next bytes to be written, waited for; `None` at the end.
    fn next(&self) -> Option<(Stream, Vec<u8>)> {
        let mut queue = self.locked();
        queue.is_writing = false;
        loop {
            if let Some(next) = queue.pop() {
                queue.is_writing = true;
                return Some(next);
            }
            self.changed.notify_all();
            if queue.is_closed {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Queue {
    fn waits(&self) -> bool {
        !self.memory.is_empty() || self.file.as_ref().is_some_and(Spill::waits) || self.left_out > 0
    }

    fn push(&mut self, stream: Stream, bytes: &[u8]) {
        // Until the file is read, what comes goes behind what it holds.
        let fits = self.in_memory + bytes.len() <= MAX_IN_MEMORY || self.memory.is_empty();
        let is_behind_others = self.file.as_ref().is_some_and(Spill::waits) || self.left_out > 0;
        if fits && !is_behind_others {
            self.in_memory += bytes.len();
            self.memory.push_back((stream, bytes.to_vec()));
            return;
        }
        if self.left_out > 0 || self.spill(stream, bytes).is_err() {
            self.left_out += bytes.len() as u64;
        }
    }

    fn spill(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let spill = match &mut self.file {
            Some(spill) => spill,
            none => none.insert(Spill { file: tempfile::tempfile()?, read_at: 0, written_to: 0 }),
        };
        spill.push(stream, bytes)
    }

    fn pop(&mut self) -> Option<(Stream, Vec<u8>)> {
        if let Some((stream, bytes)) = self.memory.pop_front() {
            self.in_memory -= bytes.len();
            return Some((stream, bytes));
        }
        if let Some(spill) = self.file.as_mut().filter(|spill| spill.waits()) {
            match spill.pop() {
                Ok(next) => return Some(next),
                Err(_) => self.left_out += spill.give_up(),
            }
        }
        match std::mem::take(&mut self.left_out) {
            0 => None,
            bytes => {
                let words =
                    format!("\nlauncher: {bytes} bytes of output left out: they were not read in time\n");
                Some((Stream::Stdout, words.into_bytes()))
            }
        }
    }
}

impl Spill {
    fn waits(&self) -> bool {
        self.read_at < self.written_to
    }

    fn push(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        if self.written_to + HEAD_BYTES as u64 + u64::from(length) > MAX_IN_FILE {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut item = vec![u8::from(stream == Stream::Stderr)];
        item.extend(length.to_le_bytes());
        item.extend(bytes);
        self.file.seek(SeekFrom::Start(self.written_to))?;
        self.file.write_all(&item)?;
        self.written_to += item.len() as u64;
        Ok(())
    }

    fn pop(&mut self) -> io::Result<(Stream, Vec<u8>)> {
        self.file.seek(SeekFrom::Start(self.read_at))?;
        let mut head = [0; HEAD_BYTES];
        self.file.read_exact(&mut head)?;
        let [stream, length @ ..] = head;
        let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
        self.file.read_exact(&mut bytes)?;
        self.read_at += (HEAD_BYTES + bytes.len()) as u64;
        if !self.waits() {
            // All of it has been read: the next begins at the front.
            self.file.set_len(0)?;
            (self.read_at, self.written_to) = (0, 0);
        }
        Ok((if stream == 0 { Stream::Stdout } else { Stream::Stderr }, bytes))
    }

    /// Drops the bytes that wait. Returns their number.
    fn give_up(&mut self) -> u64 {
        let lost = self.written_to - self.read_at;
        self.read_at = self.written_to;
        lost
    }
}

fn write_all(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{channel, sync_channel};

    use super::*;

    #[test]
    fn all_comes_out_in_order_however_late_it_is_read() {
        let (sender, written) = channel();
        let (begin, may_begin) = sync_channel::<()>(0);
        let mut waits = true;
        let outlet = Outlet::to(move |stream, bytes| {
            if std::mem::take(&mut waits) {
                may_begin.recv().unwrap();
            }
            sender.send((stream, bytes.to_vec())).unwrap();
            Ok(())
        });
        let chunk = |number: usize| {
            let stream = if number.is_multiple_of(3) { Stream::Stderr } else { Stream::Stdout };
            (stream, format!("{number:>1000}").into_bytes())
        };
        let chunks = MAX_IN_MEMORY / 1000 * 4;
        for number in 0..chunks {
            let (stream, bytes) = chunk(number);
            outlet.write(stream, &bytes);
        }
        {
            let queue = outlet.shared.locked();
            assert!(queue.in_memory <= MAX_IN_MEMORY && queue.file.as_ref().is_some_and(Spill::waits));
        }
        begin.send(()).unwrap();
        drop(outlet);
        assert!(written.iter().eq((0..chunks).map(chunk)));
    }

    #[test]
    fn what_was_said_is_written_once_settled_and_its_failure_is_still_told() {
        let outlet = Outlet::to(|_, _| Err(io::ErrorKind::BrokenPipe.into()));
        outlet.write(Stream::Stdout, b"a");
        outlet.settle();
        let queue = outlet.shared.locked();
        assert!(!queue.is_writing && !queue.waits());
        drop(queue);
        assert!(outlet.flush().is_err() && outlet.flush().is_ok());
    }

    #[test]
    fn what_has_no_room_is_counted_and_what_fails_costs_nothing() {
        let mut queue = Queue::default();
        queue.push(Stream::Stdout, &[b'a'; MAX_IN_MEMORY]);
        queue.push(Stream::Stdout, b"b");
        let spill = queue.file.as_mut().unwrap();
        spill.written_to = MAX_IN_FILE;
        queue.push(Stream::Stdout, b"cc");
        queue.push(Stream::Stdout, b"ddd");
        assert_eq!(queue.left_out, 5);
        assert_eq!(queue.pop().unwrap().1.len(), MAX_IN_MEMORY);
        assert_eq!(queue.pop().unwrap().1, b"b");
        // The test has put nothing there.
        let words = String::from_utf8(queue.pop().unwrap().1).unwrap();
        assert!(words.contains("bytes of output left out"), "{words}");
        assert!(queue.pop().is_none() && !queue.waits());
        drop(Outlet::to(|_, _| Err(io::ErrorKind::BrokenPipe.into())));
    }
}
