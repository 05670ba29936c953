//! Ctrl-C, SIGTERM and SIGHUP, as an event that wakes waits.
//!
//! The first signal asks the launcher to end: it sets a flag that is never cleared, and wakes each wait that has registered a
//! `Listener`. The second signal ends the process at once, with the status of an interrupted run. Only the binary installs the
//! handlers; a program that uses the library keeps its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::base::VerdictKind;

type Waker = Box<dyn Fn() + Send>;

static SIGNALS: AtomicU64 = AtomicU64::new(0);
static NEXT_ID: AtomicU64 = AtomicU64::new(0);
static WAKERS: Mutex<Vec<(u64, Waker)>> = Mutex::new(Vec::new());
/// Work before an immediate end of the process.
static CLEANUPS: Mutex<Vec<fn()>> = Mutex::new(Vec::new());

/// Installs the handlers, once for each process.
///
/// # Errors
/// The handlers cannot be installed, or are installed already.
pub fn install() -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(|| {
        if SIGNALS.load(Ordering::SeqCst) > 0 {
            end_at_once();
        }
        request();
    })
}

/// Does what the first signal does.
pub fn request() {
    SIGNALS.fetch_add(1, Ordering::SeqCst);
    for (_, wake) in locked(&WAKERS).iter() {
        wake();
    }
}

/// Returns whether a signal has asked this process to end.
pub fn requested() -> bool {
    count() > 0
}

/// Returns the number of signals so far that have asked this process to end.
pub fn count() -> u64 {
    SIGNALS.load(Ordering::SeqCst)
}

/// Leaves the terminal usable and no child running, and ends the process, whatever its other threads do.
fn end_at_once() -> ! {
    for clean_up in locked(&CLEANUPS).iter() {
        clean_up();
    }
    std::process::exit(VerdictKind::Interrupted.status().into())
}

/// Has the second signal do this before it ends the process: it runs on the signal's thread and must not block.
pub fn before_ending_at_once(clean_up: fn()) {
    let mut all = locked(&CLEANUPS);
    if !all.iter().any(|known| std::ptr::fn_addr_eq(*known, clean_up)) {
        all.push(clean_up);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes a wait on a signal, until it is dropped.
pub(crate) struct Listener {
    id: u64,
}

impl Listener {
    /// `wake` runs on the signal's thread and must not block.
    pub(crate) fn new(wake: impl Fn() + Send + 'static) -> Listener {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        locked(&WAKERS).push((id, Box::new(wake)));
        Listener { id }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        locked(&WAKERS).retain(|(id, _)| *id != self.id);
    }
}
