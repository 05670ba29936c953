//! Interrupts that never occur or are late.

use super::super::*;
use super::uart::Uart;
use super::{append, driven, ring, sending, serve};

/// Another CPU's line is sent whole before the probe's handler gets the lock.
#[test]
fn line_during_the_probe_does_not_disable_its_interrupt() {
    let mut uart = Uart::new();
    let mut transmitter = Transmitter::new(ring::<64>());
    transmitter.begin_probe(&mut uart);
    assert!(append(&mut transmitter, "another CPU's line"));
    while transmitter.step(&mut uart, 0) != Step::Empty {
        uart.tick();
    }
    transmitter.leave_to_interrupt(&mut uart, 0);
    // The earlier edge finds no cause pending.
    serve(&mut transmitter, &mut uart, 0);
    for _ in 0..16 {
        uart.tick();
        serve(&mut transmitter, &mut uart, 0);
    }
    assert!(transmitter.end_probe(&mut uart), "the port interrupts, but is polled");
    assert!(transmitter.is_interrupt_driven() && !uart.transmit_enabled);
}

#[test]
fn port_that_never_interrupts_is_polled() {
    let mut uart = Uart { is_mute: true, ..Uart::new() };
    let mut transmitter = Transmitter::new(ring::<64>());
    transmitter.begin_probe(&mut uart);
    serve(&mut transmitter, &mut uart, 0);
    assert!(!transmitter.end_probe(&mut uart));
    assert!(!transmitter.is_interrupt_driven() && !uart.transmit_enabled);
    assert!(append(&mut transmitter, "a line"));
    transmitter.leave_to_interrupt(&mut uart, 0);
    assert!(!uart.transmit_enabled, "a writer uses an interrupt that has never occurred");
}

#[test]
fn lost_interrupt_is_not_used_until_it_occurs_again() {
    let mut uart = Uart::new();
    let mut transmitter = driven::<1024>(&mut uart);
    assert!(append(&mut transmitter, &"x".repeat(100)));
    transmitter.step(&mut uart, 0);
    transmitter.leave_to_interrupt(&mut uart, 1);
    // The CPU takes no interrupt.
    uart.send_fifo();
    assert_eq!(transmitter.step(&mut uart, LATE_NS), Step::Sent);
    assert!(transmitter.is_interrupt_driven(), "it is not late yet");
    uart.send_fifo();
    assert_eq!(transmitter.step(&mut uart, LATE_NS + 1), Step::Sent);
    assert!(!transmitter.is_interrupt_driven());
    assert_eq!(transmitter.interrupts().1, 1);
    // The CPU takes interrupts again.
    uart.send_fifo();
    serve(&mut transmitter, &mut uart, LATE_NS + 2);
    assert!(transmitter.is_interrupt_driven());
}

/// A CPU checks this before it halts, if there are no writers.
#[test]
fn bytes_are_overdue_if_no_interrupt_sends_them_in_time() {
    let mut uart = Uart::new();
    let mut transmitter = driven::<1024>(&mut uart);
    assert!(!transmitter.is_overdue(10 * LATE_NS), "there is nothing to send");
    assert!(append(&mut transmitter, &"x".repeat(100)));
    assert!(transmitter.is_overdue(10 * LATE_NS), "no interrupt is enabled");
    transmitter.step(&mut uart, 10 * LATE_NS);
    transmitter.leave_to_interrupt(&mut uart, 10 * LATE_NS);
    assert!(!transmitter.is_overdue(11 * LATE_NS - 1));
    uart.send_fifo();
    assert!(transmitter.is_overdue(11 * LATE_NS));
    assert_eq!(transmitter.step(&mut uart, 11 * LATE_NS), Step::Sent);
    assert!(!transmitter.is_interrupt_driven());
    // With an interrupt in time, they are not overdue.
    let mut uart = Uart::new();
    let mut transmitter = driven::<1024>(&mut uart);
    assert!(append(&mut transmitter, &"x".repeat(100)));
    transmitter.leave_to_interrupt(&mut uart, 0);
    serve(&mut transmitter, &mut uart, LATE_NS);
    assert!(!transmitter.is_overdue(2 * LATE_NS - 1));
}

/// A port whose interrupt is late, and its transmitter, after a writer has sent all 40 bytes.
fn sent_without_the_interrupt() -> (Uart, Transmitter<'static>) {
    let (mut uart, mut transmitter) = sending(40);
    // The port is ready at each step.
    while !transmitter.is_empty() {
        uart.send_fifo();
        transmitter.step(&mut uart, LATE_NS);
    }
    (uart, transmitter)
}

/// The CPU takes the late interrupt after a writer has sent all bytes.
#[test]
fn late_interrupt_without_bytes_to_send_is_used_again() {
    let (mut uart, mut transmitter) = sent_without_the_interrupt();
    assert!(!transmitter.is_interrupt_driven() && uart.edges > 0);
    serve(&mut transmitter, &mut uart, LATE_NS);
    assert!(transmitter.is_interrupt_driven());
}

/// The late interrupt never occurs.
#[test]
fn writer_enables_a_late_interrupt_again() {
    let (mut uart, mut transmitter) = sent_without_the_interrupt();
    uart.edges = 0;
    assert!(append(&mut transmitter, &"y".repeat(40)));
    transmitter.leave_to_interrupt(&mut uart, LATE_NS);
    for _ in 0..60 {
        serve(&mut transmitter, &mut uart, LATE_NS);
        uart.tick();
    }
    assert_eq!(uart.line.len(), 80);
    assert!(transmitter.is_interrupt_driven());
}

#[test]
fn interrupt_is_not_late_while_the_port_is_busy() {
    let (mut uart, mut transmitter) = sending(100);
    assert_eq!(transmitter.step(&mut uart, 10 * LATE_NS), Step::Busy);
    uart.send_fifo();
    assert_eq!(transmitter.step(&mut uart, 10 * LATE_NS + 1), Step::Sent);
    assert!(transmitter.is_interrupt_driven());
}

/// A writer clears each cause before the handler runs, and the ring never becomes empty.
#[test]
fn interrupt_without_bytes_to_send_is_not_late() {
    let (mut uart, mut transmitter) = sending(400);
    for time in 1..20 {
        uart.send_fifo();
        assert_eq!(transmitter.step(&mut uart, time * (LATE_NS / 2)), Step::Sent);
        assert!(uart.edges > 0);
        serve(&mut transmitter, &mut uart, time * (LATE_NS / 2));
    }
    assert!(!transmitter.is_empty());
    assert_eq!(transmitter.interrupts().1, 0);
}
