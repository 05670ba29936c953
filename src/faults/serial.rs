//! Faults of serial output: the transmitter's interrupt does not occur, or a CPU panics while much output is queued.

use core::sync::atomic::{AtomicBool, Ordering};

use super::injection::{Injection, Point, on_last_cpu};
use super::names::Fault;
use super::redirects::is_armed;
use crate::cpu::IrqGuard;
use crate::sync::Deadline;
use crate::time::halt_until;
use crate::wire::Record;
use crate::{console, static_call};

pub(super) const INJECTIONS: &[Injection] = &[
    Injection(Point::BeforeWork, Fault::MuteTransmitterAtWork, mute_at_work),
    Injection(Point::BeforeWork, Fault::PanicWithFullRing, || on_last_cpu(&panic_with_full_ring)),
];

static_call! {
    console::transmit_interrupt() -> u8 => no_interrupt,
        if |_| is_armed(Fault::MuteTransmitter) || is_armed(Fault::MuteTransmitterAtWork)
            || is_armed(Fault::PanicWithFullRing);
}

/// Whether the interrupt has been disabled at work.
static IS_MUTE: AtomicBool = AtomicBool::new(false);

/// [`console::transmit_interrupt`], which is never pending.
extern "C" fn no_interrupt() -> u8 {
    if is_armed(Fault::MuteTransmitter) || IS_MUTE.load(Ordering::Relaxed) {
        return 0;
    }
    console::transmit_interrupt::original()
}

/// Queues lines for an interrupt that never occurs. The next writer, or a CPU that is about to halt, finds that it is
/// late.
fn mute_at_work() {
    // A host that stops the CPU during the boot makes interrupts late without the fault.
    let (_, late_before) = console::transmit_interrupts();
    IS_MUTE.store(true, Ordering::Relaxed);
    fill(2);
    Deadline::after_ms(2 * console::LATE_MS).wait();
    log::info!("written after lines that no interrupt has sent");
    let (_, late) = console::transmit_interrupts();
    let late = late - late_before;
    log::info!("{late} interrupts of the transmitter were late");
    console::send(&Record::number("fault.serial_output", "late_interrupts", late));
    // Now without a later writer.
    fill(1);
    let is_sent = halt_until(&Deadline::after_ms(2 * console::LATE_MS), console::is_sent).is_ok();
    log::info!("a line that no interrupt sends was sent before a halt: {is_sent}");
    console::send(&Record::number("fault.serial_output", "lines_sent_before_halt", is_sent.into()));
}

/// Fills the ring and panics before anything is sent.
fn panic_with_full_ring() {
    IS_MUTE.store(true, Ordering::Relaxed);
    // Keeps other lines of this CPU out.
    let _guard = IrqGuard::new();
    let lines = fill(usize::MAX);
    panic!("the injected fault panic_with_full_ring, {lines} lines in the ring");
}

/// Appends up to `most` lines, as many as there is room for. Returns their number.
fn fill(most: usize) -> usize {
    (0..most)
        .take_while(|line| console::append_only(format_args!("line {line} waits in the ring, whole")))
        .count()
}
