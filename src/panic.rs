//! Last words: once, from the first CPU that dies, after the others have been stopped.

use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU32, Ordering};

use spin::Once;

use crate::boot::{handoff, image};
use crate::console::{self, LastWords, LineBuffer};
use crate::cpu::{self, registers, thread};
use crate::wire::{ExitCode, Frame, Panic, Record};

/// The CPU that is dying; there is only ever one.
static DYING: AtomicU32 = AtomicU32::new(NOBODY);
const NOBODY: u32 = u32::MAX;

/// Stops all other CPUs, where that is possible yet.
static STOP_OTHERS: Once<fn()> = Once::new();

/// A backtrace ends here at the latest.
pub const MAX_FRAMES: usize = 32;

/// What a CPU died of.
pub struct Death<'a> {
    /// What happened.
    pub message: fmt::Arguments<'a>,
    /// Where in the source it panicked.
    pub location: Option<&'a core::panic::Location<'a>>,
    /// The instruction at fault.
    pub rip: Option<u64>,
    /// The frame pointer to begin the backtrace with.
    pub frame_pointer: u64,
}

/// From now on a dying CPU can stop the others.
pub fn set_stop_others(stop: fn()) {
    STOP_OTHERS.call_once(|| stop);
}

/// Whether some CPU is dying. One that is told to stop then stops for good.
pub fn is_dying() -> bool {
    DYING.load(Ordering::Acquire) != NOBODY
}

/// Ends the run with last words. Any context; of several CPUs that die at once the first speaks and the others stop.
pub fn die(death: &Death) -> ! {
    x86_64::instructions::interrupts::disable();
    let me = cpu::current().0;
    match DYING.compare_exchange(NOBODY, me, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {}
        // The last words themselves went wrong. Whatever was said so far has to do.
        Err(dying) if dying == me => registers::exit(ExitCode::Panicked),
        Err(_) => registers::halt_forever(),
    }
    if let Some(stop) = STOP_OTHERS.get() {
        stop();
    }
    // SAFETY: DYING lets one CPU through, once, and the others have just been stopped.
    unsafe { console::take_over(|line| speak(line, me, death)) };
    registers::exit(ExitCode::Panicked)
}

fn speak(line: &mut LastWords, me: u32, death: &Death) {
    let message = LineBuffer::<300>::format(death.message);
    let location =
        death.location.map(|at| LineBuffer::<100>::format(format_args!("{}:{}", at.file(), at.line())));
    let location = location.as_ref().map(LineBuffer::as_str);
    // The line drops what it cannot send; it never fails.
    let _ = writeln!(line, "\noctopod: cpu{me} panicked: {}", message.as_str());
    if let Some(location) = location {
        let _ = writeln!(line, "  at {location}");
    }
    line.send(&Record::Panic(Panic {
        cpu: me,
        message: message.as_str(),
        location,
        rip: death.rip,
        slide: handoff().slide,
    }));
    for address in backtrace(death.frame_pointer) {
        let _ = writeln!(line, "  {address:#018x}");
        line.send(&Record::Frame(Frame { address }));
    }
}

/// The return addresses behind a frame pointer of this CPU's, innermost first, at most [`MAX_FRAMES`]. Any context.
pub fn backtrace(frame_pointer: u64) -> impl Iterator<Item = u64> {
    Backtrace { frame: frame_pointer }.take(MAX_FRAMES)
}

struct Backtrace {
    frame: u64,
}

impl Iterator for Backtrace {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        // A frame that is not aligned, or on no stack of this CPU's, ends the chain.
        let both = [self.frame, self.frame.checked_add(8)?];
        if !self.frame.is_multiple_of(8) || !both.into_iter().all(thread::is_on_stack) {
            return None;
        }
        let frame = self.frame as *const [u64; 2];
        // SAFETY: both words lie on a stack of this CPU's, which is mapped.
        let [caller, return_address] = unsafe { frame.read_volatile() };
        if !image::is_text(return_address) {
            return None;
        }
        self.frame = caller;
        Some(return_address)
    }
}

/// What `panic!` ends in.
pub fn panicked(info: &PanicInfo) -> ! {
    die(&Death {
        message: format_args!("{}", info.message()),
        location: info.location(),
        rip: None,
        frame_pointer: registers::frame_pointer(),
    })
}

#[cfg(all(target_os = "none", not(test)))]
#[panic_handler]
fn panic_handler(info: &PanicInfo) -> ! {
    panicked(info)
}
