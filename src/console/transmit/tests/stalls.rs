//! Writers that wait for a port.

use super::super::*;
use super::uart::Uart;
use super::{append, ring};

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
    uart.send_fifo();
    assert_eq!(transmitter.step(&mut uart, 0), Step::Sent);
    assert!(!transmitter.is_stalled());
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
