//! What is known of one thread, with the backtrace of one that does not run.

use heapless::Vec;

use super::listing::ThreadInfo;
use crate::console::LineBuffer;
use crate::sched::entity::{Attributes, ThreadId};
use crate::sched::sync;
use crate::sched::tcb::Tcb;
use crate::sched::thread_list;

/// The most return addresses of a backtrace.
const MAX_FRAMES: usize = 32;

/// What is known of a thread.
pub(crate) struct Details {
    /// As it is listed.
    pub(crate) info: ThreadInfo,
    /// How it was spawned to be scheduled.
    pub(crate) attributes: Attributes,
    /// The mutex that it waits for, in kernels that check locks.
    pub(crate) waits_for: Option<LineBuffer<160>>,
    /// The return addresses on its stack, innermost first; none of a thread that runs.
    pub(crate) frames: Vec<u64, MAX_FRAMES>,
}

/// Returns what is known of the thread with this number; `None` if there is none, or none any more. If a thread that waits runs on meanwhile,
/// the addresses may be those of different times.
///
/// **Context:** thread or interrupt; not NMI.
pub(crate) fn details(id: ThreadId) -> Option<Details> {
    let mut found = None;
    thread_list::for_each(|thread| {
        if thread.id() == id {
            found = Some(of(thread));
        }
    });
    if let Some(Details { info, .. }) = &mut found {
        info.add_current_run();
    }
    found
}

/// **Context:** the thread is on the list of threads, which is locked.
fn of(thread: &Tcb) -> Details {
    Details {
        info: ThreadInfo::of(thread),
        attributes: thread.attributes(),
        waits_for: sync::waits_for(thread),
        frames: thread.backtrace().take(MAX_FRAMES).collect(),
    }
}
