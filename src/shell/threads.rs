//! The command `threads`.

use crate::console::{self, LineBuffer};
use crate::thread::{self, StackUse};

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
