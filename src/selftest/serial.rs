//! The serial port's interrupt. Bytes that the port sends to itself arrive, through the I/O APIC, on each CPU in turn and on
//! no other; and what does not fit is counted. Lines that writers leave are sent by interrupt on each CPU in turn, also when
//! the interrupt is led to the next CPU before all have gone.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::apic::serial_input;
use crate::console::{self, ReceiveErrors};
use crate::cpu::{ApicId, CpuId};
use crate::interrupts::{self, Vector};
use crate::per_cpu;
use crate::smp::{self, Cpu};
use crate::sync::Deadline;

/// What the port itself holds.
const FIFO: usize = 16;

/// What the kernel holds.
const RING: usize = 255;

/// How long bytes have from the port to the ring, in milliseconds; they need microseconds.
const LIMIT_MS: u64 = 10_000;

/// So many CPUs receive in turn.
const MOST_RECEIVERS: usize = 16;

per_cpu! {
    /// Serial interrupts that this CPU had taken before the bytes were sent.
    static BEFORE: AtomicU64 = AtomicU64::new(0);
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The port cannot send to itself.
    NoLoop,
    /// The interrupt could not be led to that CPU.
    NoRoute {
        /// The CPU.
        cpu: CpuId,
    },
    /// The interrupt was led to a CPU that no I/O APIC can name.
    BeyondReach {
        /// The CPU.
        cpu: CpuId,
    },
    /// Other bytes came than were sent.
    Bytes {
        /// Who was to receive them.
        cpu: CpuId,
        /// How many came that should.
        right: usize,
    },
    /// Another number of interrupts came than should.
    Interrupts {
        /// Who got them.
        cpu: CpuId,
        /// Who was to receive.
        receiver: CpuId,
        /// How many came.
        count: u64,
    },
    /// Lines that were left to the interrupt were not sent.
    NotSent {
        /// The CPU to which the interrupt was led.
        cpu: CpuId,
    },
    /// What was lost is not what the books say.
    ReceiveErrors {
        /// What they should say.
        expected: ReceiveErrors,
        /// What they say.
        found: ReceiveErrors,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::NoLoop => f.write_str("the serial port does not send to itself"),
            Failure::NoRoute { cpu } => write!(f, "the serial port's interrupt cannot be led to cpu {cpu}"),
            Failure::BeyondReach { cpu } => {
                write!(f, "the serial port's interrupt was led to cpu {cpu}, which no I/O APIC reaches")
            }
            Failure::Bytes { cpu, right } => {
                write!(f, "cpu {cpu} received other bytes than were sent, from the {right}th on")
            }
            Failure::Interrupts { cpu, receiver, count } => {
                write!(f, "cpu {cpu} got {count} serial interrupts while cpu {receiver} was to receive")
            }
            Failure::NotSent { cpu } => {
                write!(f, "not all output was sent that cpu {cpu} was to send by interrupt")
            }
            Failure::ReceiveErrors { expected, found } => write!(
                f,
                "{} bytes dropped and {} overruns were counted, there were {} and {}",
                found.dropped, found.overruns, expected.dropped, expected.overruns
            ),
        }
    }
}

/// Runs the part. Only the boot processor calls this, with interrupts on, when all CPUs wait for work. A machine without a
/// way from the port to a CPU passes with a word.
///
/// # Errors
/// The first failure.
pub fn run(_: u32) -> Result<(), Failure> {
    if !serial_input::is_open() {
        log::info!("no serial input: nothing to test");
        return Ok(());
    }
    while console::read_byte().is_some() {}
    let can_be_reached = |cpu: &&'static Cpu| cpu.entry.apic_id < ApicId::XAPIC_BROADCAST;
    if let Some(cpu) = smp::online().find(|cpu| !can_be_reached(cpu))
        && serial_input::reroute(cpu.entry.apic_id).is_ok()
    {
        return Err(Failure::BeyondReach { cpu: cpu.id() });
    }
    // A few, spread over all, where there are many: each takes a word with every CPU.
    let reachable = || smp::online().filter(can_be_reached);
    let receivers = || reachable().step_by(reachable().count().div_ceil(MOST_RECEIVERS));
    settle();
    for cpu in receivers() {
        one_cpu(cpu)?;
    }
    let sent = match console::transmit_interrupts() {
        (0, _) => None,
        _ => Some(send_lines(receivers())?),
    };
    let bsp = &smp::cpus()[CpuId::BSP.index()];
    serial_input::reroute(bsp.entry.apic_id).map_err(|_| Failure::NoRoute { cpu: bsp.id() })?;
    overruns()?;
    log::info!("serial input received on each of {} CPUs, what was lost was counted", receivers().count());
    match sent {
        Some(lines) => {
            log::info!("{lines} serial lines sent by interrupt on each of {} CPUs", receivers().count())
        }
        None => log::info!("serial output is by polling: no interrupt to test"),
    }
    Ok(())
}

/// Lets every CPU take what interrupts are still on their way to it: it runs this with interrupts on.
fn settle() {
    super::on_each_cpu(LIMIT_MS, &|_| {});
}

fn one_cpu(receiver: &'static Cpu) -> Result<(), Failure> {
    let id = receiver.id();
    serial_input::reroute(receiver.entry.apic_id).map_err(|_| Failure::NoRoute { cpu: id })?;
    note_interrupts();
    let sent: [u8; FIFO] = core::array::from_fn(|index| id.0 as u8 ^ (index as u8 * 17));
    if !console::loop_back(&sent) {
        return Err(Failure::NoLoop);
    }
    let right = sent.iter().take_while(|byte| next_byte() == Some(**byte)).count();
    if right < sent.len() || console::read_byte().is_some() {
        return Err(Failure::Bytes { cpu: id, right });
    }
    // A port that is emptied slowly interrupts again, and that may not have been taken yet.
    settle();
    check_interrupts(id)
}

/// Lines that are left to the interrupt, on each CPU in turn; returns how many on each. The interrupt is led to a CPU while the
/// one before still sends; then that CPU alone sends.
fn send_lines(receivers: impl Iterator<Item = &'static Cpu>) -> Result<u32, Failure> {
    const LINES: u32 = 6;
    for cpu in receivers {
        let id = cpu.id();
        let append = |line: u32| {
            console::append_only(format_args!(
                "line {line} of {LINES} that cpu {id} sends by interrupt, from end to end"
            ))
        };
        let wait = || {
            let is_sent = Deadline::after_ms(LIMIT_MS).wait_until(console::is_sent);
            // The CPU may still be in its handler.
            settle();
            is_sent.map_err(|_| Failure::NotSent { cpu: id })
        };
        let mut appended = append(1) & append(2);
        serial_input::reroute(cpu.entry.apic_id).map_err(|_| Failure::NoRoute { cpu: id })?;
        appended &= append(3) & append(4);
        wait()?;
        note_interrupts();
        appended &= append(5) & append(6);
        wait()?;
        if !appended {
            return Err(Failure::NotSent { cpu: id });
        }
        check_interrupts(id)?;
    }
    Ok(LINES)
}

/// Remembers how many serial interrupts each CPU has taken.
fn note_interrupts() {
    for cpu in smp::online() {
        cpu.get(BEFORE).inspect(|before| before.store(interrupts_of(cpu), Ordering::Relaxed));
    }
}

/// Whether that CPU has taken serial interrupts since, and no other.
fn check_interrupts(receiver: CpuId) -> Result<(), Failure> {
    for cpu in smp::online() {
        let before = cpu.get(BEFORE).map_or(0, |before| before.load(Ordering::Relaxed));
        let count = interrupts_of(cpu) - before;
        if (count > 0) != (cpu.id() == receiver) {
            return Err(Failure::Interrupts { cpu: cpu.id(), receiver, count });
        }
    }
    Ok(())
}

/// The next byte, waited for.
fn next_byte() -> Option<u8> {
    let mut byte = None;
    let _ = Deadline::after_ms(LIMIT_MS).wait_until(|| {
        byte = console::read_byte();
        byte.is_some()
    });
    byte
}

fn interrupts_of(cpu: &Cpu) -> u64 {
    let counts = cpu.get(interrupts::COUNTS);
    counts.map_or(0, |counts| counts[usize::from(Vector::SERIAL.get())].load(Ordering::Relaxed))
}

/// Four bytes more than the port holds, then more than the ring holds.
fn overruns() -> Result<(), Failure> {
    const TOO_MANY: usize = 4;
    let before = console::receive_errors();
    if !console::loop_back(&[0x5a; FIFO + TOO_MANY]) {
        return Err(Failure::NoLoop);
    }
    for _ in 0..FIFO {
        next_byte().ok_or(Failure::Bytes { cpu: CpuId::BSP, right: 0 })?;
    }
    let rounds = RING / FIFO + 1;
    for _ in 0..rounds {
        if !console::loop_back(&[0xa5; FIFO]) {
            return Err(Failure::NoLoop);
        }
        // Not by its interrupt, which may be late: the next round must find the port empty.
        console::receive();
    }
    let found = console::receive_errors();
    let found =
        ReceiveErrors { dropped: found.dropped - before.dropped, overruns: found.overruns - before.overruns };
    let expected = ReceiveErrors { dropped: (rounds * FIFO - RING) as u64, overruns: TOO_MANY as u64 };
    while console::read_byte().is_some() {}
    if found == expected { Ok(()) } else { Err(Failure::ReceiveErrors { expected, found }) }
}
