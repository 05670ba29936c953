//! Ctrl-C, SIGTERM and SIGHUP, as something that a wait can wake up for.
//!
//! A signal sets a flag that never goes back, and wakes each wait that has registered a `Listener`. Only the
//! binary installs the handlers; a program that uses the library keeps its own.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

type Waker = Box<dyn Fn() + Send>;

static REQUESTED: AtomicBool = AtomicBool::new(false);
static NEXT_ID: AtomicU64 = AtomicU64::new(0);
static WAKERS: Mutex<Vec<(u64, Waker)>> = Mutex::new(Vec::new());

/// Installs the handlers, once for each process.
pub fn install() -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(request)
}

/// Does what a signal does.
pub fn request() {
    REQUESTED.store(true, Ordering::SeqCst);
    for (_, wake) in WAKERS.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        wake();
    }
}

/// Whether a signal has asked this process to end.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// A wait that wants to be woken; ends with its scope.
pub(crate) struct Listener {
    id: u64,
}

impl Listener {
    /// `wake` runs on the signal's thread and must not block.
    pub(crate) fn new(wake: impl Fn() + Send + 'static) -> Listener {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        WAKERS.lock().unwrap_or_else(PoisonError::into_inner).push((id, Box::new(wake)));
        Listener { id }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        WAKERS.lock().unwrap_or_else(PoisonError::into_inner).retain(|(id, _)| *id != self.id);
    }
}
