//! Lines that a program adds to the panic report: [`panic_context!`](crate::panic_context!).

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicUsize, Ordering};

use super::hooks::SMP_OPS;
use crate::console::{BoundedLines, PanicOutput};
use crate::registry::Header;
use crate::wire::{PanicContextLine, Record};

/// The most lines of one context in the report.
pub const MAX_LINES: usize = 16;

/// The longest line, in bytes.
pub const MAX_LINE_BYTES: usize = 120;

/// A registered function that writes lines of the panic report.
#[doc(hidden)]
#[repr(C)]
pub struct PanicContext {
    /// Its name, and its place.
    pub header: Header,
    /// Writes the lines.
    pub write: fn(&mut dyn fmt::Write) -> fmt::Result,
}

/// The contexts that the program registers.
#[doc(hidden)]
#[linkme::distributed_slice]
pub static PANIC_CONTEXTS: [PanicContext];

/// The number of contexts that have begun.
static BEGUN: AtomicUsize = AtomicUsize::new(0);

/// Writes the lines of all contexts that have not begun. In a handler that may have interrupted any code, none is called.
///
/// **Context:** the CPU that reports the panic, after everything that octopod itself has to say.
pub(super) fn print(line: &mut PanicOutput) {
    let Some(ops) = SMP_OPS.get().filter(|_| !PANIC_CONTEXTS.is_empty()) else { return };
    // Elsewhere a panic is a call of the code that panics, and so are these calls. An exception that is handled on the same stack is
    // raised by code that is undefined by Rust's rules already; a stack overflow becomes #DF. Handlers of these vectors interrupt any
    // code, and the program's functions are not written for that.
    if ops.is_in_nmi() {
        let _ = writeln!(line, "context: not written in a handler of #DB, NMI, #DF or #MC");
        return;
    }
    // Counted before the call: a context that panics is not called again.
    while let Some(context) = PANIC_CONTEXTS.get(BEGUN.fetch_add(1, Ordering::Relaxed)) {
        let name = context.header.name.as_str();
        let mut lines = BoundedLines::<_, MAX_LINES, MAX_LINE_BYTES>::new(|text| put(line, name, text));
        // An error is that of the writer, which has no more room.
        let _ = (context.write)(&mut lines);
        let dropped = lines.finish();
        if dropped > 0 {
            put(line, name, "(more lines than the report takes)");
        }
    }
}

/// Reports a panic of the context that is being written, and writes those after it. Without one, does nothing.
pub(super) fn go_on_after(line: &mut PanicOutput, message: &str, location: &str) -> bool {
    let begun = BEGUN.load(Ordering::Relaxed);
    let Some(context) = begun.checked_sub(1).and_then(|index| PANIC_CONTEXTS.get(index)) else {
        return false;
    };
    let mut lines = BoundedLines::<_, MAX_LINES, MAX_LINE_BYTES>::new(|text| {
        put(line, context.header.name.as_str(), text);
    });
    let _ = write!(lines, "panicked: {message}, at {location}");
    lines.finish();
    print(line);
    true
}

fn put(line: &mut PanicOutput, name: &str, text: &str) {
    // Writing never fails: the console drops what it cannot send.
    let _ = writeln!(line, "  {name}: {text}");
    line.send(&Record::PanicContextLine(PanicContextLine { name, text }));
}

/// Registers lines of the panic report, in any crate of the program. The function writes them to a [`core::fmt::Write`]; they are
/// shown under the name, on the console, by the launcher, in `report.json` and on the report's page.
///
/// ```ignore
/// static QUEUED: AtomicUsize = AtomicUsize::new(0);
///
/// octopod::panic_context! {
///     "queue" => |out| writeln!(out, "{} items queued", QUEUED.load(Ordering::Relaxed))
/// }
/// ```
///
/// At most [`MAX_LINES`](crate::panic::MAX_LINES) lines of [`MAX_LINE_BYTES`](crate::panic::MAX_LINE_BYTES) bytes count; then the
/// writer returns an error.
///
/// **Context:** the CPU that panicked first, after octopod's own report; interrupts off, all other CPUs stopped in whatever they
/// did. The function must not wait, log or take locks: a lock that a stopped CPU holds ends the function by the time-out of
/// the lock. A panic in it is reported under its name, and the contexts after it follow; a second such panic ends the run. After a
/// panic in a handler of NMI, #MC, #DB or #DF, which may have interrupted any code, no context is written.
#[macro_export]
macro_rules! panic_context {
    ($($name:literal => $write:expr),+ $(,)?) => {$(
        const _: () = {
            #[$crate::registry::linkme::distributed_slice($crate::panic::PANIC_CONTEXTS)]
            #[linkme(crate = $crate::registry::linkme)]
            static REGISTERED: $crate::panic::PanicContext = $crate::panic::PanicContext {
                header: $crate::registry::Header::new($name, "", ::core::file!(), ::core::line!()),
                write: $write,
            };
        };
    )+};
}
