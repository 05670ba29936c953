//! The build lock: one launcher at a time builds.

use std::fs::{self, File, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Seek, Write};
use std::path::Path;
use std::process;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::base::interrupt::{self, Listener};
use crate::base::{Error, Message, Observer};

/// No build takes longer than its limit, so a lock that one holder has for longer has lost its owner's attention.
const LOCK_LIMIT: Duration = Duration::from_secs(31 * 60);

/// The time between two looks of a waiter at the holder of the lock.
const LOOK: Duration = Duration::from_secs(10);

/// Takes the build lock; it ends with the file that is returned, or with this process. While one build follows another, a waiter waits
/// for each as long as for a single one.
pub(crate) fn take(path: &Path, observer: &mut dyn Observer) -> Result<File, Error> {
    let file = File::options().write(true).create(true).truncate(false).open(path);
    let mut file = file.map_err(Error::file("write", path))?;
    match file.try_lock() {
        Ok(()) => {
            name_holder(&mut file).map_err(Error::file("write", path))?;
            return Ok(file);
        }
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(source)) => {
            return Err(Error::File { action: "lock", path: path.to_owned(), source });
        }
    }
    observer.receive(Message::Step("waiting for another octopod's build"));
    let (sender, answers) = mpsc::channel();
    let wake = sender.clone();
    let _listener = Listener::new(move || drop(wake.send(None)));
    // Given up, the thread stays behind until the lock is free; the process is about to end by then.
    thread::spawn(move || {
        let locked = file.lock().and_then(|()| name_holder(&mut file)).map(|()| file);
        let _ = sender.send(Some(locked));
    });
    let mut holder = Holder { content: fs::read(path).unwrap_or_default(), since: Instant::now() };
    while !interrupt::requested() {
        match answers.recv_timeout(LOOK) {
            Ok(Some(locked)) => return locked.map_err(Error::file("lock", path)),
            Ok(None) => {}
            Err(_) if !holder.is_late(fs::read(path).unwrap_or_default(), Instant::now()) => {}
            Err(_) => {
                let waited = LOCK_LIMIT.as_secs();
                return Err(Error::Failed(format!(
                    "another octopod has been building for {waited} s; wait for it or end it, then try again"
                )));
            }
        }
    }
    Err(Error::Interrupted)
}

/// Replaces the content of the file, which names its holder: no two are the same.
fn name_holder(file: &mut File) -> io::Result<()> {
    let id = RandomState::new().hash_one(process::id());
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{} {id:016x}", process::id())
}

/// The holder of the lock, as a waiter sees it.
struct Holder {
    content: Vec<u8>,
    since: Instant,
}

impl Holder {
    /// Notes the content of the file at this time. Returns whether the holder has been the same for longer than a build takes.
    fn is_late(&mut self, content: Vec<u8>, now: Instant) -> bool {
        if content != self.content {
            *self = Holder { content, since: now };
        }
        now.saturating_duration_since(self.since) >= LOCK_LIMIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Silent;

    #[test]
    fn each_holder_has_the_whole_time() {
        let began = Instant::now();
        let at = |minutes: u64| began + Duration::from_secs(60 * minutes);
        let mut holder = Holder { content: b"1".to_vec(), since: began };
        for (content, minutes, is_late) in
            [("1", 30, false), ("2", 45, false), ("2", 75, false), ("2", 76, true)]
        {
            assert_eq!(holder.is_late(content.into(), at(minutes)), is_late, "{content} {minutes}");
        }
    }

    #[test]
    fn no_two_holders_have_the_same_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("build.lock");
        let names = [(); 2].map(|()| {
            drop(take(&path, &mut Silent).unwrap());
            fs::read_to_string(&path).unwrap()
        });
        assert_ne!(names[0], names[1]);
        assert!(names[0].starts_with(&format!("{} ", process::id())), "{names:?}");
    }

    #[test]
    fn the_lock_is_exclusive_and_ends_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("build.lock");
        let held = take(&path, &mut Silent).unwrap();
        let (sender, taken) = mpsc::channel();
        let second = path.clone();
        let waiter = thread::spawn(move || {
            let _file = take(&second, &mut Silent).unwrap();
            sender.send(()).unwrap();
        });
        assert!(taken.recv_timeout(Duration::from_millis(100)).is_err());
        drop(held);
        taken.recv_timeout(Duration::from_secs(120)).unwrap();
        waiter.join().unwrap();
    }
}
