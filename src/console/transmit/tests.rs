//! The transmitter with a simulated 16550, and with faulty ports.

use std::collections::VecDeque;
use std::fmt::Write;

use super::*;

/// A simulated 16550 behind an edge-triggered pin. It sends a byte on each [`tick`](Uart::tick).
#[derive(Default)]
struct Uart {
    fifo: VecDeque<u8>,
    line: Vec<u8>,
    received: VecDeque<u8>,
    taken: Vec<u8>,
    transmit_enabled: bool,
    transmit_pending: bool,
    /// The last level of the output, and the number of edges that no handler has served.
    output: bool,
    edges: u32,
    /// All fills, in bytes.
    fills: Vec<usize>,
    /// Whether it never sends, and whether it never interrupts for an empty transmitter.
    is_dead: bool,
    is_mute: bool,
    /// Whether another cause is pending, and whether reads do not clear it.
    is_stuck: bool,
    stays_stuck: bool,
    /// Whether it is in loopback mode.
    is_looped: bool,
    /// Whether all interrupts are disabled.
    is_silent: bool,
    /// How often `retrigger` was called.
    retriggered: u32,
    capacity: usize,
}

impl Uart {
    fn new() -> Uart {
        Uart { capacity: 16, ..Uart::default() }
    }

    fn update(&mut self) {
        let is_pending =
            self.transmit_enabled && self.transmit_pending || !self.received.is_empty() || self.is_stuck;
        let output = is_pending && !self.is_silent;
        self.edges += u32::from(output && !self.output);
        self.output = output;
    }

    /// The time of one byte on the line.
    fn tick(&mut self) {
        if self.is_dead {
            return;
        }
        if let Some(byte) = self.fifo.pop_front() {
            if self.is_looped {
                self.received.push_back(byte);
            } else {
                self.line.push(byte);
            }
            if self.fifo.is_empty() {
                self.transmit_pending = !self.is_mute;
            }
        }
        self.update();
    }

    fn text(&self) -> String {
        String::from_utf8(self.line.clone()).unwrap()
    }
}

impl Port for Uart {
    fn is_ready(&mut self) -> bool {
        self.fifo.is_empty()
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn send(&mut self, byte: u8) {
        if self.fifo.is_empty() {
            self.fills.push(0);
        }
        self.fifo.push_back(byte);
        *self.fills.last_mut().unwrap() += 1;
        assert!(self.fifo.len() <= self.capacity, "the FIFO overflows");
        self.transmit_pending = false;
        self.update();
    }

    fn receive(&mut self) -> usize {
        let count = self.received.len();
        self.taken.extend(self.received.drain(..));
        self.update();
        count
    }

    fn set_transmit_interrupt(&mut self, is_enabled: bool) {
        if is_enabled && !self.transmit_enabled && self.fifo.is_empty() {
            self.transmit_pending = !self.is_mute;
        }
        self.transmit_enabled = is_enabled;
        self.update();
    }

    fn cause(&mut self) -> Cause {
        if self.is_stuck || !self.received.is_empty() {
            return Cause::Other;
        }
        if self.transmit_enabled && core::mem::take(&mut self.transmit_pending) {
            self.update();
            return Cause::Transmit;
        }
        Cause::None
    }

    fn retrigger(&mut self) {
        self.retriggered += 1;
        let is_enabled = core::mem::replace(&mut self.transmit_enabled, false);
        self.output = false;
        self.transmit_enabled = is_enabled;
        self.transmit_pending |= is_enabled && self.fifo.is_empty() && !self.is_mute;
        self.update();
    }

    fn clear_causes(&mut self) {
        self.is_stuck &= self.stays_stuck;
        self.update();
    }

    fn disable_interrupts(&mut self) {
        (self.transmit_enabled, self.is_silent) = (false, true);
        self.update();
    }

    fn leave_test_mode(&mut self) {
        self.is_looped = false;
    }
}

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
    (0..16).for_each(|_| uart.tick());
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

/// A port that sends bytes immediately.
struct Instant<'a>(&'a mut Uart);

impl Port for Instant<'_> {
    fn is_ready(&mut self) -> bool {
        while !self.0.fifo.is_empty() {
            self.0.tick();
        }
        true
    }

    fn capacity(&self) -> usize {
        16
    }

    fn send(&mut self, byte: u8) {
        self.0.send(byte);
    }

    fn receive(&mut self) -> usize {
        self.0.receive()
    }

    fn set_transmit_interrupt(&mut self, is_enabled: bool) {
        self.is_ready();
        self.0.set_transmit_interrupt(is_enabled);
    }

    fn cause(&mut self) -> Cause {
        self.is_ready();
        self.0.cause()
    }

    fn retrigger(&mut self) {
        self.is_ready();
        self.0.retrigger();
    }

    fn clear_causes(&mut self) {
        self.0.clear_causes();
    }

    fn disable_interrupts(&mut self) {
        self.0.disable_interrupts();
    }

    fn leave_test_mode(&mut self) {
        self.0.leave_test_mode();
    }
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
        let mut uart = Uart::new();
        let mut transmitter = driven::<256>(&mut uart);
        assert!(append(&mut transmitter, &"x".repeat(100)));
        transmitter.step(&mut uart, 0);
        transmitter.leave_to_interrupt(&mut uart, 0);
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
    let mut uart = Uart::new();
    let mut transmitter = driven::<64>(&mut uart);
    assert!(append(&mut transmitter, &"x".repeat(40)));
    transmitter.step(&mut uart, 0);
    transmitter.leave_to_interrupt(&mut uart, 0);
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
    (0..16).for_each(|_| uart.tick());
    assert_eq!(transmitter.step(&mut uart, LATE_NS), Step::Sent);
    assert!(transmitter.is_interrupt_driven(), "it is not late yet");
    (0..16).for_each(|_| uart.tick());
    assert_eq!(transmitter.step(&mut uart, LATE_NS + 1), Step::Sent);
    assert!(!transmitter.is_interrupt_driven());
    assert_eq!(transmitter.interrupts().1, 1);
    // The CPU takes interrupts again.
    (0..16).for_each(|_| uart.tick());
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
    (0..16).for_each(|_| uart.tick());
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
    let mut uart = Uart::new();
    let mut transmitter = driven::<1024>(&mut uart);
    assert!(append(&mut transmitter, &"x".repeat(40)));
    transmitter.step(&mut uart, 0);
    transmitter.leave_to_interrupt(&mut uart, 0);
    // The port is ready at each step.
    while !transmitter.is_empty() {
        (0..16).for_each(|_| uart.tick());
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
    let mut uart = Uart::new();
    let mut transmitter = driven::<1024>(&mut uart);
    assert!(append(&mut transmitter, &"x".repeat(100)));
    transmitter.step(&mut uart, 0);
    transmitter.leave_to_interrupt(&mut uart, 0);
    assert_eq!(transmitter.step(&mut uart, 10 * LATE_NS), Step::Busy);
    (0..16).for_each(|_| uart.tick());
    assert_eq!(transmitter.step(&mut uart, 10 * LATE_NS + 1), Step::Sent);
    assert!(transmitter.is_interrupt_driven());
}

#[test]
fn port_that_is_never_ready_stalls_writers_once_until_it_sends_again() {
    let mut uart = Uart { is_dead: true, ..Uart::new() };
    let mut transmitter = Transmitter::new(ring::<64>());
    assert!(append(&mut transmitter, &"x".repeat(40)));
    transmitter.step(&mut uart, 0);
    assert_eq!(transmitter.step(&mut uart, 0), Step::Busy);
    transmitter.set_stalled();
    assert_eq!(transmitter.step(&mut uart, 0), Step::Busy);
    assert!(transmitter.is_stalled());
    uart.is_dead = false;
    (0..16).for_each(|_| uart.tick());
    assert_eq!(transmitter.step(&mut uart, 0), Step::Sent);
    assert!(!transmitter.is_stalled());
}

/// A writer clears each cause before the handler runs, and the ring never becomes empty.
#[test]
fn interrupt_without_bytes_to_send_is_not_late() {
    let mut uart = Uart::new();
    let mut transmitter = driven::<1024>(&mut uart);
    assert!(append(&mut transmitter, &"x".repeat(400)));
    transmitter.step(&mut uart, 0);
    transmitter.leave_to_interrupt(&mut uart, 0);
    for time in 1..20 {
        (0..16).for_each(|_| uart.tick());
        assert_eq!(transmitter.step(&mut uart, time * (LATE_NS / 2)), Step::Sent);
        assert!(uart.edges > 0);
        serve(&mut transmitter, &mut uart, time * (LATE_NS / 2));
    }
    assert!(!transmitter.is_empty());
    assert_eq!(transmitter.interrupts().1, 0);
}

/// A writer waits for room and checks every 10 us. The host stops the machine at times; otherwise the port sends a byte every
/// 87 us.
#[test]
fn wait_does_not_count_time_of_a_stopped_host() {
    for stop_ns in [0, 1_000_000_000, 3600 * 1_000_000_000] {
        let (mut uart, mut transmitter) = (Uart::new(), Transmitter::new(ring::<64>()));
        assert!(append(&mut transmitter, &"x".repeat(64)));
        let (mut wait, mut now_ns) = (PortWait::new(), 0);
        for check in 1_u64.. {
            if transmitter.step(&mut uart, now_ns) == Step::Empty {
                break;
            }
            assert!(wait.should_wait(&mut transmitter, now_ns), "a stop of {stop_ns} ns stalled the port");
            now_ns += if check.is_multiple_of(50) { stop_ns } else { 10_000 };
            if check.is_multiple_of(9) {
                uart.tick();
            }
        }
        assert!(transmitter.is_empty() && !transmitter.is_stalled());
    }
}

#[test]
fn wait_for_a_dead_port_ends_after_the_timeout() {
    let (mut uart, mut transmitter) = (Uart::new(), Transmitter::new(ring::<64>()));
    uart.is_dead = true;
    assert!(append(&mut transmitter, &"x".repeat(64)));
    let (mut wait, mut now_ns) = (PortWait::new(), 7);
    while transmitter.step(&mut uart, now_ns) != Step::Busy || wait.should_wait(&mut transmitter, now_ns) {
        now_ns += 1_000_000;
    }
    // The first step has filled the port.
    assert_eq!(now_ns, 7 + (TRANSMIT_MS + 1) * 1_000_000);
    assert!(transmitter.is_stalled() && !PortWait::new().should_wait(&mut transmitter, now_ns));
}

#[test]
fn retry_stalled_makes_the_next_writer_wait_again() {
    let mut uart = Uart { is_dead: true, ..Uart::new() };
    let mut transmitter = Transmitter::new(ring::<64>());
    assert!(append(&mut transmitter, &"x".repeat(40)));
    transmitter.step(&mut uart, 0);
    transmitter.set_stalled();
    transmitter.retry_stalled();
    assert!(!transmitter.is_stalled());
    assert_eq!(transmitter.step(&mut uart, 0), Step::Busy);
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
fn panic_in_loopback_mode_sends_on_the_line() {
    let mut uart = Uart { is_looped: true, ..Uart::new() };
    let mut transmitter = Transmitter::new(ring::<64>());
    transmitter.poll_only(&mut uart);
    assert!(append(&mut transmitter, "panicked"));
    transmitter.step(&mut uart, 0);
    (0..16).for_each(|_| uart.tick());
    assert_eq!(uart.text(), "panicked");
}

#[test]
fn retrigger_repeats_a_lost_transmit_edge() {
    let mut uart = Uart::new();
    let mut transmitter = driven::<64>(&mut uart);
    assert!(append(&mut transmitter, &"x".repeat(40)));
    transmitter.step(&mut uart, 0);
    transmitter.leave_to_interrupt(&mut uart, 0);
    (0..16).for_each(|_| uart.tick());
    // Masked: no handler is called.
    uart.edges = 0;
    transmitter.retrigger(&mut uart);
    for _ in 0..40 {
        serve(&mut transmitter, &mut uart, 0);
        uart.tick();
    }
    assert_eq!(uart.line.len(), 40);
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
    (0..16).for_each(|_| uart.tick());
    assert_eq!(uart.text(), "x".repeat(40));
    assert!(!uart.transmit_enabled);
}
