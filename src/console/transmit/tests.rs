//! The transmitter with a simulated 16550, and with faulty ports: its ring, and a panic's output.

mod edges;
mod late;
mod stalls;
mod uart;

use std::fmt::Write;

use super::*;
use uart::Uart;

fn ring<const N: usize>() -> &'static mut [u8] {
    Box::leak(Box::new([0; N]))
}

fn append(transmitter: &mut Transmitter, text: &str) -> bool {
    let mut unit = transmitter.unit();
    write!(unit, "{text}").unwrap();
    unit.commit()
}

/// One whose interrupt has been probed.
fn driven<const N: usize>(uart: &mut Uart) -> Transmitter<'static> {
    let mut transmitter = Transmitter::new(ring::<N>());
    transmitter.begin_probe(uart);
    serve(&mut transmitter, uart, 0);
    assert!(transmitter.end_probe(uart));
    assert!(!uart.transmit_enabled, "the interrupt stays enabled with nothing to send");
    transmitter
}

/// A port that sends, and its transmitter, to which a writer has left so many bytes.
fn sending(bytes: usize) -> (Uart, Transmitter<'static>) {
    let mut uart = Uart::new();
    let mut transmitter = driven::<1024>(&mut uart);
    assert!(append(&mut transmitter, &"x".repeat(bytes)));
    transmitter.step(&mut uart, 0);
    transmitter.leave_to_interrupt(&mut uart, 0);
    (uart, transmitter)
}

/// Calls the handler for each edge.
fn serve(transmitter: &mut Transmitter, uart: &mut Uart, now_ns: u64) {
    while uart.edges > 0 {
        uart.edges = 0;
        transmitter.service(uart, now_ns);
    }
}

#[test]
fn unit_is_appended_completely_or_not_at_all_and_wraps_around() {
    let mut uart = Uart::new();
    let mut transmitter = Transmitter::new(ring::<32>());
    let mut expected = String::new();
    for number in 0..100 {
        let text = format!("line {number}\n");
        assert!(append(&mut transmitter, &text));
        let end = transmitter.end();
        assert!(!append(&mut transmitter, &"x".repeat(32)), "there is no room for 32 more");
        assert_eq!(transmitter.end(), end, "a part of the unit was appended");
        expected.push_str(&text.replace('\n', "\r\n"));
        while transmitter.step(&mut uart, 0) != Step::Empty {
            uart.tick();
        }
    }
    uart.send_fifo();
    assert_eq!(uart.text(), expected);
}

#[test]
fn uncommitted_unit_is_not_sent() {
    let mut transmitter = Transmitter::new(ring::<32>());
    let mut unit = transmitter.unit();
    unit.append(b"half a li");
    assert!(transmitter.is_empty());
    assert_eq!(transmitter.step(&mut Uart::new(), 0), Step::Empty);
}

#[test]
fn ring_holds_exactly_its_length() {
    let mut transmitter = Transmitter::new(ring::<32>());
    assert!(append(&mut transmitter, &"x".repeat(32)));
    assert_eq!(transmitter.room(), 0);
    assert!(append(&mut transmitter, ""));
    assert!(!append(&mut transmitter, "y"));
}

#[test]
fn port_without_fifo_gets_one_byte_at_a_time() {
    let mut uart = Uart { capacity: 1, ..Uart::new() };
    let mut transmitter = driven::<64>(&mut uart);
    assert!(append(&mut transmitter, "twenty-two characters!"));
    transmitter.step(&mut uart, 0);
    transmitter.leave_to_interrupt(&mut uart, 0);
    for _ in 0..22 {
        uart.tick();
        serve(&mut transmitter, &mut uart, 0);
    }
    assert_eq!(uart.text(), "twenty-two characters!");
}

#[test]
fn panic_in_loopback_mode_sends_on_the_line() {
    let mut uart = Uart { is_looped: true, ..Uart::new() };
    let mut transmitter = Transmitter::new(ring::<64>());
    transmitter.poll_only(&mut uart);
    assert!(append(&mut transmitter, "panicked"));
    transmitter.step(&mut uart, 0);
    uart.send_fifo();
    assert_eq!(uart.text(), "panicked");
}

#[test]
fn panic_sends_all_committed_bytes_of_a_stopped_writer() {
    let mut uart = Uart::new();
    let mut transmitter = driven::<64>(&mut uart);
    assert!(append(&mut transmitter, &"x".repeat(40)));
    transmitter.leave_to_interrupt(&mut uart, 0);
    let mut unit = transmitter.unit();
    unit.append(b"the writer is stopped here");
    transmitter.poll_only(&mut uart);
    while transmitter.step(&mut uart, 0) != Step::Empty {
        uart.tick();
    }
    uart.send_fifo();
    assert_eq!(uart.text(), "x".repeat(40));
    assert!(!uart.transmit_enabled);
}
