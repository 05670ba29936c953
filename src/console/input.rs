//! What the serial line receives.

use heapless::spsc::Consumer;

use super::line::{self, Rest};
use super::logger::write_kept;
use super::serial::RING;
use crate::sync::SpinLockIrq;

static INPUT: SpinLockIrq<Option<Consumer<'static, u8, RING>>> = SpinLockIrq::new(None);
crate::name_lock!(INPUT);

/// Lets the line interrupt when it receives something; false without a line. Once, when its interrupt has a handler that
/// calls [`serve`](super::serve).
pub fn listen() -> bool {
    let input = line::lock().listen();
    write_kept();
    let listens = input.is_some();
    *INPUT.lock() = input;
    listens
}

/// Takes in what the line has received. Waits for the line, whose holder may be writing.
pub fn receive() {
    line::lock().receive();
    write_kept();
}

/// The next byte that was received, if there is one. Any context but an NMI; never waits for the line.
pub fn read_byte() -> Option<u8> {
    INPUT.lock().as_mut()?.dequeue()
}

/// Shows bytes at the place where somebody types, on the serial line alone. `stands` says whether there is a prompt from
/// now on: the next line that anybody writes takes its place, and whoever types has to draw it again
/// ([`lines`](super::lines) tells of it). Any context but an NMI; waits for the line.
pub fn prompt(bytes: &[u8], stands: bool) {
    line::write_unit(Rest::Leave, |serial| {
        serial.append(|unit| unit.append(bytes));
        serial.has_prompt = stands;
    });
    write_kept();
}

/// Lets the line receive these bytes from itself; false where it cannot. Any context but an NMI; waits for the line.
pub fn loop_back(bytes: &[u8]) -> bool {
    let looped = line::lock().loop_back(bytes);
    write_kept();
    looped
}
