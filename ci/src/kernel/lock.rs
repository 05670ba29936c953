//! The build lock: one launcher at a time builds.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::base::interrupt::{self, Listener};
use crate::base::{Error, Message, Observer};

/// No build takes longer than its limit, so a lock that is held for longer has lost its owner's attention.
const LOCK_LIMIT: Duration = Duration::from_secs(31 * 60);

/// Takes the build lock; it ends with the file that is returned, or with this process.
pub(crate) fn take(path: &Path, observer: &mut dyn Observer) -> Result<File, Error> {
    let file = File::options().write(true).create(true).truncate(false).open(path);
    let file = file.map_err(Error::file("write", path))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
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
        let locked = file.lock().map(|()| file);
        let _ = sender.send(Some(locked));
    });
    let deadline = Instant::now() + LOCK_LIMIT;
    while !interrupt::requested() {
        match answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Some(locked)) => return locked.map_err(Error::file("lock", path)),
            Ok(None) => {}
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Silent;

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
