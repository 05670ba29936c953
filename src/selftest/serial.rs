//! Checks the serial port's interrupt. Bytes that the port sends to itself arrive, through the I/O APIC, on each CPU in turn
//! and on no other. Bytes that do not fit are counted. Lines left in the ring are sent by interrupt on each CPU in turn, also
//! if the interrupt is routed to the next CPU before all are sent.

use core::sync::atomic::{AtomicU64, Ordering};

use super::check::{CheckResult, ensure, on_all_cpus, send_facts};
use crate::apic::serial_input;
use crate::console::{self, ReceiveErrors};
use crate::cpu::{ApicId, CpuId};
use crate::interrupts::{self, Vector};
use crate::per_cpu;
use crate::smp::{self, Cpu};
use crate::sync::Timeout;

/// Bytes that the port's receive FIFO holds.
const FIFO: usize = 16;

/// Bytes that the kernel's receive ring holds.
const RING: usize = 255;

/// Time limit for bytes from the port to the ring, in milliseconds; they take microseconds.
const LIMIT_MS: u64 = 10_000;

/// The most CPUs that receive in turn.
const MOST_RECEIVERS: usize = 16;

per_cpu! {
    /// Serial interrupts of this CPU before the bytes were sent.
    static BEFORE: AtomicU64 = AtomicU64::new(0);
}

/// Runs the part. A machine whose port cannot interrupt a CPU passes, with a line in the log.
///
/// **Context:** the thread of the BSP, interrupts on, while all APs wait for work.
///
/// # Errors
/// The first failed check.
pub(crate) fn run(_: u32) -> CheckResult {
    if !serial_input::is_open() {
        log::info!("serial: no input, nothing to test");
        return Ok(());
    }
    while console::read_byte().is_some() {}
    let can_be_reached = |cpu: &&'static Cpu| cpu.entry.apic_id < ApicId::XAPIC_BROADCAST;
    if let Some(cpu) = smp::online().find(|cpu| !can_be_reached(cpu)) {
        let id = cpu.id();
        let is_refused = serial_input::reroute(cpu.entry.apic_id).is_err();
        ensure!(is_refused, "the serial port's interrupt was routed to cpu {id}, which no I/O APIC reaches");
    }
    // A few, spread over all CPUs, if there are many: each receiver takes a round of work on all CPUs.
    let reachable = || smp::online().filter(can_be_reached);
    let receivers = || reachable().step_by(reachable().count().div_ceil(MOST_RECEIVERS));
    drain_interrupts()?;
    for cpu in receivers() {
        one_cpu(cpu)?;
    }
    let sent = match console::transmit_interrupts() {
        (0, _) => None,
        _ => Some(send_lines(receivers())?),
    };
    let bsp = &smp::cpus()[CpuId::BSP.index()];
    route_to(bsp)?;
    overruns()?;
    let cpus = receivers().count();
    log::info!("serial input received on each of {cpus} CPUs, lost bytes counted");
    send_facts("selftest.serial", &[("input_cpus", cpus as u64)]);
    match sent {
        Some(lines) => {
            log::info!("{lines} serial lines sent by interrupt on each of {cpus} CPUs");
            send_facts(
                "selftest.serial",
                &[("output_cpus", cpus as u64), ("output_lines_per_cpu", lines.into())],
            );
        }
        None => log::info!("serial output is by polling: no interrupt to test"),
    }
    Ok(())
}

/// Waits until every CPU has taken its pending interrupts: each runs a work item with interrupts on.
fn drain_interrupts() -> CheckResult {
    on_all_cpus(LIMIT_MS, &|_| Ok(()))
}

/// Routes the serial port's interrupt to a CPU.
fn route_to(cpu: &Cpu) -> CheckResult {
    let is_routed = serial_input::reroute(cpu.entry.apic_id).is_ok();
    ensure!(is_routed, "the serial port's interrupt cannot be routed to cpu {}", cpu.id());
    Ok(())
}

/// Sends bytes from the port to itself.
fn loop_back(bytes: &[u8]) -> CheckResult {
    ensure!(console::loop_back(bytes), "the serial port does not send to itself");
    Ok(())
}

fn one_cpu(receiver: &'static Cpu) -> CheckResult {
    let id = receiver.id();
    route_to(receiver)?;
    note_interrupts();
    let sent: [u8; FIFO] = core::array::from_fn(|index| id.0 as u8 ^ (index as u8 * 17));
    loop_back(&sent)?;
    let right = sent.iter().take_while(|byte| next_byte() == Some(**byte)).count();
    let is_complete = right == sent.len() && console::read_byte().is_none();
    ensure!(is_complete, "cpu {id} received other bytes than were sent, from index {right}");
    // A port that is read slowly interrupts again, and that interrupt may still be pending.
    drain_interrupts()?;
    check_interrupts(id)
}

/// Lets the interrupt send lines on each CPU in turn, and returns the number of lines on each. The interrupt is routed to a CPU
/// while the previous one still sends. Afterwards that CPU alone sends.
fn send_lines(receivers: impl Iterator<Item = &'static Cpu>) -> CheckResult<u32> {
    const LINES: u32 = 6;
    for cpu in receivers {
        let id = cpu.id();
        let append = |line: u32| {
            console::append_only(format_args!(
                "line {line} of {LINES} that cpu {id} sends by interrupt, end of line"
            ))
        };
        let wait = || {
            let is_sent = Timeout::after_ms(LIMIT_MS).wait_until(console::is_sent).is_ok();
            // The CPU may still be in its handler.
            drain_interrupts()?;
            check_sent(id, is_sent)
        };
        let mut appended = append(1) & append(2);
        route_to(cpu)?;
        appended &= append(3) & append(4);
        wait()?;
        note_interrupts();
        appended &= append(5) & append(6);
        wait()?;
        check_sent(id, appended)?;
        check_interrupts(id)?;
    }
    Ok(LINES)
}

fn check_sent(cpu: CpuId, is_sent: bool) -> CheckResult {
    ensure!(is_sent, "cpu {cpu} did not send all output by interrupt");
    Ok(())
}

/// Stores each CPU's number of serial interrupts.
fn note_interrupts() {
    for cpu in smp::online() {
        cpu.get(BEFORE).inspect(|before| before.store(interrupts_of(cpu), Ordering::Relaxed));
    }
}

/// Checks that this CPU, and no other, has taken serial interrupts since [`note_interrupts`].
fn check_interrupts(receiver: CpuId) -> CheckResult {
    for cpu in smp::online() {
        let before = cpu.get(BEFORE).map_or(0, |before| before.load(Ordering::Relaxed));
        let count = interrupts_of(cpu) - before;
        ensure!(
            (count > 0) == (cpu.id() == receiver),
            "cpu {} took {count} serial interrupts while they were routed to cpu {receiver}",
            cpu.id()
        );
    }
    Ok(())
}

/// Waits for the next byte.
fn next_byte() -> Option<u8> {
    let mut byte = None;
    let _ = Timeout::after_ms(LIMIT_MS).wait_until(|| {
        byte = console::read_byte();
        byte.is_some()
    });
    byte
}

fn interrupts_of(cpu: &Cpu) -> u64 {
    let counts = cpu.get(interrupts::COUNTS);
    counts.map_or(0, |counts| counts[usize::from(Vector::SERIAL.get())].load(Ordering::Relaxed))
}

/// Sends four bytes more than the FIFO holds, then more than the ring holds. The lost bytes must be counted.
fn overruns() -> CheckResult {
    const TOO_MANY: usize = 4;
    let before = console::receive_errors();
    loop_back(&[0x5a; FIFO + TOO_MANY])?;
    for index in 0..FIFO {
        ensure!(next_byte().is_some(), "cpu {} received {index} bytes of {FIFO}", CpuId::BSP);
    }
    let rounds = RING / FIFO + 1;
    for _ in 0..rounds {
        loop_back(&[0xa5; FIFO])?;
        // The interrupt may be late, and the next round must find the port empty.
        console::receive();
    }
    let found = console::receive_errors();
    let found =
        ReceiveErrors { dropped: found.dropped - before.dropped, overruns: found.overruns - before.overruns };
    let expected = ReceiveErrors { dropped: (rounds * FIFO - RING) as u64, overruns: TOO_MANY as u64 };
    while console::read_byte().is_some() {}
    ensure!(
        found == expected,
        "{} dropped bytes and {} overruns were counted, expected {} and {}",
        found.dropped,
        found.overruns,
        expected.dropped,
        expected.overruns
    );
    Ok(())
}
