//! The CPU that goes offline, to which no thread may be pinned meanwhile. A pure atomic, which a model checks.
//!
//! The affinity of a thread changes under the lock of the list that the thread is on, and only if the CPU is not leaving. A CPU that is to
//! go offline is noted first, and then each list is locked and searched. So a change was either made before the search of its list, which
//! finds it; or it comes after, and finds the note.
//!
//! The note ends when the requester returns. A CPU that has acknowledged by then and is late goes offline afterwards: its hotplug state
//! says so, which the requester has seen before it ends the note.

use crate::cpu::CpuId;
use crate::sync::{AtomicU32, Ordering};

/// The CPU that goes offline, if there is one: hotplug runs one operation at a time.
pub(super) struct Leaving(AtomicU32);

/// No CPU.
const NONE: u32 = u32::MAX;

impl Leaving {
    #[cfg(not(any(loom, shuttle)))]
    pub(super) const fn new() -> Leaving {
        Leaving(AtomicU32::new(NONE))
    }

    #[cfg(any(loom, shuttle))]
    pub(super) fn new() -> Leaving {
        Leaving(AtomicU32::new(NONE))
    }

    /// Notes a CPU that is to go offline. The caller then locks and searches all lists of threads.
    pub(super) fn begin(&self, cpu: CpuId) {
        // Who sees this sees what an earlier `end` comes after: a store of another CPU ends what that has released.
        self.0.store(cpu.0, Ordering::Release);
    }

    /// The CPU has left the set of online CPUs, or it stays online, or its hotplug state says that it goes offline by itself. Who sees the
    /// end sees that, too.
    pub(super) fn end(&self) {
        self.0.store(NONE, Ordering::Release);
    }

    /// Returns whether this CPU is to go offline. **Context:** the list of the thread that is to be pinned is locked.
    #[inline]
    pub(super) fn is(&self, cpu: CpuId) -> bool {
        self.0.load(Ordering::Acquire) == cpu.0
    }
}

#[cfg(all(test, loom))]
mod models {
    use std::sync::Arc;

    use loom::sync::Mutex;
    use loom::thread;

    use super::*;
    use crate::sync::model_atomics::{Accesses, explore};

    /// A thread is pinned to a CPU while that goes offline: either the CPU finds it and stays, or the thread is refused.
    #[test]
    fn no_thread_is_pinned_to_a_cpu_that_goes_offline() {
        explore(Some(4), &[Accesses::Exchanges, Accesses::Plain], || {
            const CPU: CpuId = CpuId(1);
            let leaving = Arc::new(Leaving::new());
            // The list of the threads, of which it has only whether one is pinned.
            let is_pinned = Arc::new(Mutex::new(false));
            let is_online = Arc::new(Mutex::new(true));
            let pinner = {
                let (leaving, is_pinned, is_online) = (leaving.clone(), is_pinned.clone(), is_online.clone());
                thread::spawn(move || {
                    let mut list = is_pinned.lock().unwrap();
                    *list = !leaving.is(CPU) && *is_online.lock().unwrap();
                })
            };
            leaving.begin(CPU);
            let stays = *is_pinned.lock().unwrap();
            if !stays {
                *is_online.lock().unwrap() = false;
            }
            leaving.end();
            pinner.join().unwrap();
            assert!(stays || !*is_pinned.lock().unwrap(), "a thread is pinned to a CPU that is offline");
        });
    }
}
