//! The threads in a panic report.

use core::fmt::Write;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::console::PanicOutput;
use crate::sync::Hook;
use crate::wire::{PanicThread, Record};

/// Calls a function with each of the newest threads.
type Visit = fn(&mut dyn FnMut(&PanicThread<&str>));

static THREADS: Hook<Visit> = Hook::new();

/// Whether the list has begun.
static HAS_BEGUN: AtomicBool = AtomicBool::new(false);

/// Sets what lists the threads: it must not wait. Only the first call has an effect.
pub(crate) fn set_thread_lister(visit: Visit) {
    THREADS.set(visit);
}

/// Writes and sends the newest threads, once. Not on the screen: what the panic is about must stay there.
///
/// **Context:** the CPU that reports the panic, at the end of its report.
pub(super) fn print(line: &mut PanicOutput) {
    let Some(visit) = THREADS.get().filter(|_| !HAS_BEGUN.swap(true, Ordering::Relaxed)) else { return };
    visit(&mut |thread| {
        let PanicThread { id, name, state, cpu, waits_for, frames } = thread;
        let text = line.serial_only();
        // Writing never fails: the console drops what it cannot send.
        let _ = write!(text, "thread {id} {name:?}: {state}, cpu {cpu}");
        if let Some(waits_for) = waits_for {
            let _ = write!(text, ", waits for {waits_for}");
        }
        let _ = writeln!(text);
        for address in frames {
            let _ = writeln!(text, "  {address:#018x}");
        }
        line.send(&Record::PanicThread(thread.clone()));
    });
}
