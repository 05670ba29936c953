//! The interrupt's handler: edges, causes and rounds.

use super::super::*;
use super::uart::{Instant, Uart};
use super::{append, driven, sending, serve};

#[test]
fn interrupt_sends_the_bytes_a_writer_left() {
    let mut uart = Uart::new();
    let mut transmitter = driven::<1024>(&mut uart);
    let text = "0123456789".repeat(100);
    assert!(append(&mut transmitter, &text));
    assert_eq!(transmitter.step(&mut uart, 0), Step::Sent);
    assert_eq!(transmitter.step(&mut uart, 0), Step::Busy);
    transmitter.leave_to_interrupt(&mut uart, 0);
    for _ in 0..text.len() {
        uart.tick();
        serve(&mut transmitter, &mut uart, 0);
    }
    assert_eq!(uart.text(), text);
    assert!(!uart.transmit_enabled);
    assert!(uart.fills.iter().all(|fill| *fill <= 16), "{:?}", uart.fills);
}

#[test]
fn port_that_is_always_ready_is_served_in_bounded_rounds() {
    let mut uart = Uart::new();
    let mut transmitter = driven::<4096>(&mut uart);
    let text = "x".repeat(4000);
    assert!(append(&mut transmitter, &text));
    transmitter.leave_to_interrupt(&mut uart, 0);
    let mut calls = 0;
    while uart.edges > 0 {
        uart.edges = 0;
        let before = uart.line.len() + uart.fifo.len();
        // Like QEMU: the bytes are sent before the next register is read.
        transmitter.service(&mut Instant(&mut uart), 0);
        let sent = uart.line.len() + uart.fifo.len() - before;
        assert!(sent <= 16 * ROUNDS as usize, "{sent} bytes in one interrupt");
        calls += 1;
    }
    assert_eq!(uart.line.len(), text.len());
    assert!(calls >= text.len() / 64);
}

/// A byte that arrives at any point of the handler does not leave the output high.
#[test]
fn no_edge_is_lost_whenever_bytes_arrive() {
    /// Receives a byte before each of the accesses with these numbers.
    struct Arriving<'a> {
        uart: &'a mut Uart,
        accesses: u32,
        at: [u32; 2],
    }
    impl Arriving<'_> {
        fn access(&mut self) -> &mut Uart {
            for _ in self.at.iter().filter(|at| **at == self.accesses) {
                self.uart.received.push_back(b'r');
                self.uart.update();
            }
            self.accesses += 1;
            self.uart
        }
    }
    impl Port for Arriving<'_> {
        fn is_ready(&mut self) -> bool {
            self.access().is_ready()
        }
        fn capacity(&self) -> usize {
            16
        }
        fn send(&mut self, byte: u8) {
            self.access().send(byte);
        }
        fn receive(&mut self) -> usize {
            self.access().receive()
        }
        fn set_transmit_interrupt(&mut self, is_enabled: bool) {
            self.access().set_transmit_interrupt(is_enabled);
        }
        fn cause(&mut self) -> Cause {
            self.access().cause()
        }
        fn retrigger(&mut self) {
            self.access().retrigger();
        }
        fn clear_causes(&mut self) {
            self.access().clear_causes();
        }
        fn disable_interrupts(&mut self) {
            self.access().disable_interrupts();
        }
        fn leave_test_mode(&mut self) {
            self.access().leave_test_mode();
        }
    }
    for at in (0..40).flat_map(|first| (first..40).map(move |second| [first, second])) {
        let (mut uart, mut transmitter) = sending(100);
        let mut accesses = 0;
        for _ in 0..200 {
            uart.tick();
            while uart.edges > 0 {
                uart.edges = 0;
                let mut arriving = Arriving { uart: &mut uart, accesses, at };
                transmitter.service(&mut arriving, 0);
                accesses = arriving.accesses;
            }
        }
        assert!(accesses > at[1], "the bytes never arrived");
        assert_eq!((uart.line.len(), uart.taken.len()), (100, 2), "arrivals {at:?}");
        assert!(!uart.output, "the output is still high: no further edge");
    }
}

#[test]
fn cause_cleared_by_reading_all_registers_keeps_the_interrupt_in_use() {
    let mut uart = Uart::new();
    let mut transmitter = driven::<64>(&mut uart);
    uart.is_stuck = true;
    uart.update();
    serve(&mut transmitter, &mut uart, 0);
    assert!(!uart.output, "the output is still high: no further edge");
    uart.received.push_back(b'r');
    uart.update();
    serve(&mut transmitter, &mut uart, 0);
    assert_eq!(uart.taken, b"r");
    assert!(transmitter.is_interrupt_driven());
}

#[test]
fn cause_that_cannot_be_cleared_disables_interrupts_and_polls() {
    let (mut uart, mut transmitter) = sending(40);
    (uart.is_stuck, uart.stays_stuck) = (true, true);
    uart.update();
    serve(&mut transmitter, &mut uart, 0);
    assert_eq!((uart.retriggered, uart.edges), (0, 0));
    assert!(
        uart.is_silent && !transmitter.is_interrupt_driven(),
        "a writer uses an interrupt whose output stays high"
    );
    while !transmitter.is_empty() {
        uart.tick();
        transmitter.step(&mut uart, 0);
        transmitter.leave_to_interrupt(&mut uart, 0);
    }
    assert!(!uart.transmit_enabled);
}

/// Without bytes to send, the transmitter's interrupt is disabled.
#[test]
fn retrigger_repeats_a_lost_receive_edge() {
    let mut uart = Uart::new();
    let mut transmitter = driven::<64>(&mut uart);
    uart.received.push_back(b'r');
    uart.update();
    // Masked: no handler is called.
    uart.edges = 0;
    transmitter.retrigger(&mut uart);
    serve(&mut transmitter, &mut uart, 0);
    assert_eq!(uart.taken, b"r");
    assert!(!uart.output, "the output is still high: no further edge");
}

#[test]
fn retrigger_repeats_a_lost_transmit_edge() {
    let (mut uart, mut transmitter) = sending(40);
    uart.send_fifo();
    // Masked: no handler is called.
    uart.edges = 0;
    transmitter.retrigger(&mut uart);
    for _ in 0..40 {
        serve(&mut transmitter, &mut uart, 0);
        uart.tick();
    }
    assert_eq!(uart.line.len(), 40);
}
