//! The commands `threads` and `thread`.

use super::backtrace;
use super::error::{CommandError, listed};
use crate::console::{self, LineBuffer};
use crate::sched::entity::{Class, ThreadId};
use crate::sched::{self, Details};
use crate::thread::{self, StackUse, ThreadState};

/// Shows a line for each thread.
pub(crate) fn list() {
    console::print(format_args!(
        "{:>6} {:<24} {:<8} {:>4} {:<16} {:>12}",
        "thread", "name", "state", "cpu", "affinity", "stack KiB"
    ));
    let mut is_shared = false;
    for thread in thread::list() {
        let mut stack = LineBuffer::<32>::format(format_args!("-"));
        if let Some(StackUse { bytes, used_bytes, is_own }) = thread.stack {
            let sign = if is_own { "" } else { "<=" };
            is_shared |= !is_own;
            stack =
                LineBuffer::format(format_args!("{sign}{} of {}", used_bytes.div_ceil(1024), bytes / 1024));
        }
        let affinity = LineBuffer::<64>::format(format_args!("{}", thread.affinity));
        console::print(format_args!(
            "{:>6} {:<24} {:<8} {:>4} {:<16} {:>12}",
            thread.id.0,
            thread.name(),
            thread.state,
            thread.cpu.0,
            affinity.as_str(),
            stack.as_str()
        ));
    }
    if is_shared {
        console::print(format_args!("<=: an earlier thread of the same stack has used so much"));
    }
}

/// Shows a thread.
///
/// # Errors
/// There is none of this number, or the CPU that runs it did not respond.
pub(crate) fn show(id: u64) -> Result<(), CommandError> {
    let Details { info, attributes, waits_for, frames } =
        sched::details(ThreadId(id)).ok_or(CommandError::NoThread { id })?;
    console::print(format_args!("thread {id} {:?}: {}", info.name(), info.state));
    if let Some(waits_for) = waits_for {
        console::print(format_args!("waits for {}", waits_for.as_str()));
    }
    console::print(format_args!("runs on cpu {}, may run on {}", info.cpu, info.affinity));
    let class = match attributes.class {
        Class::Fair => LineBuffer::<40>::format(format_args!("fair, weight {}", attributes.weight)),
        Class::RealTime { priority } => LineBuffer::format(format_args!("real-time, priority {priority}")),
    };
    let ran = info.ran_ns.map(|ns| LineBuffer::<40>::format(format_args!("; ran {} us", ns / 1000)));
    console::print(format_args!(
        "class: {}, slice {} us{}",
        class.as_str(),
        attributes.slice_ns / 1000,
        ran.as_ref().map_or("", LineBuffer::as_str)
    ));
    if let Some(StackUse { bytes, used_bytes, is_own }) = info.stack {
        let at_most = if is_own { "" } else { "at most " };
        console::print(format_args!("stack: {at_most}{} of {} KiB", used_bytes.div_ceil(1024), bytes / 1024));
    }
    backtrace::slide();
    match info.state {
        ThreadState::Running => backtrace::one(listed(info.cpu)?)?,
        _ => frames.into_iter().for_each(backtrace::caller),
    }
    Ok(())
}
