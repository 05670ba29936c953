//! A kernel with an interrupt vector and a per-CPU variable of its own: every CPU interrupts every CPU, and each counts.
//! `cargo run -- run --example vectors`

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering};

use octopod::config::IPI_CALL_TIMEOUT_MS;
use octopod::interrupts::ProgramVector;
use octopod::prelude::*;
use octopod::sync::Deadline;

octopod::program!(main);

octopod::per_cpu! {
    /// Interrupts that this CPU has taken.
    static TAKEN: AtomicU64 = AtomicU64::new(0);
}

/// Interrupts that all CPUs have taken.
static ALL_TAKEN: AtomicU64 = AtomicU64::new(0);

fn taken(_: ProgramVector) {
    TAKEN.increment();
    ALL_TAKEN.fetch_add(1, Ordering::Release);
}

fn main(machine: &Machine) -> Result<(), Reason> {
    let vector = ProgramVector::allocate("hello", taken)?;
    let cpus = u64::from(machine.bring_up.online);
    for round in 1..=cpus {
        // Each sends one to a CPU that no other sends one to.
        smp::on_each_cpu(IPI_CALL_TIMEOUT_MS, &|cpu| {
            let to = (u64::from(cpu.id().0) + round) % cpus;
            smp::send_interrupt(CpuId(to as u32), vector).expect("the CPU is online");
        })?;
        let is_round_over = || ALL_TAKEN.load(Ordering::Acquire) == round * cpus;
        time::halt_until(&Deadline::after_ms(IPI_CALL_TIMEOUT_MS), is_round_over)
            .map_err(|_| Reason::of_program(format_args!("an interrupt was lost")))?;
    }
    for cpu in smp::online() {
        let count = cpu.get(TAKEN).map_or(0, |taken| taken.load(Ordering::Relaxed));
        log::info!("cpu {} has taken {count} interrupts on vector {:#x}", cpu.id(), vector.get());
    }
    report::figure("interrupts taken", ALL_TAKEN.load(Ordering::Relaxed), "");
    Ok(())
}
