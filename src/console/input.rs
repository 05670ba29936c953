//! Input from the serial port.

use heapless::spsc::Consumer;

use super::logger::write_deferred;
use super::port::{self, Unsent};
use super::serial::RECEIVE_RING_SIZE;
use crate::sync::SpinLockIrq;

static INPUT: SpinLockIrq<Option<Consumer<'static, u8, RECEIVE_RING_SIZE>>> = SpinLockIrq::new(None);
crate::name_lock!(INPUT);

/// Enables the port's receive interrupt. Returns `false` if there is no port.
///
/// **Context:** once, when the port's interrupt has a handler that calls [`serve`](super::serve).
pub(crate) fn listen() -> bool {
    let input = port::lock().listen();
    write_deferred();
    let listens = input.is_some();
    *INPUT.lock() = input;
    listens
}

/// Moves received bytes from the port to the input queue. Spins for the console's lock.
///
/// **Context:** thread or interrupt.
pub(crate) fn receive() {
    port::lock().receive();
    write_deferred();
}

/// Returns the next received byte; `None` if there is none. Does not take the console's lock.
///
/// **Context:** any but NMI.
pub(crate) fn read_byte() -> Option<u8> {
    INPUT.lock().as_mut()?.dequeue()
}

/// Writes the bytes of a prompt to the serial port alone. `is_shown` says whether the terminal's last row is a prompt from
/// now on. The next line that any CPU writes replaces it; the shell detects that by [`lines`](super::lines) and writes the
/// prompt again.
///
/// **Context:** any but NMI.
pub(crate) fn prompt(bytes: &[u8], is_shown: bool) {
    port::write_unit(Unsent::Defer, |serial| {
        serial.append(|unit| unit.append(bytes));
        serial.has_prompt = is_shown;
    });
    write_deferred();
}

/// Makes the port receive these bytes in loopback mode. Returns `false` if it cannot.
///
/// **Context:** any but NMI.
pub(crate) fn loop_back(bytes: &[u8]) -> bool {
    let looped = port::lock().loop_back(bytes);
    write_deferred();
    looped
}
