//! A custom kernel: octopod brings the machine up, then each CPU logs a line, and another one when a timer of its own expires.
//! `cargo run -- run --example hello`

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;

use octopod::config::IPI_CALL_TIMEOUT_MS;
use octopod::cpu;
use octopod::program::{Machine, Reason};
use octopod::sync::Deadline;
use octopod::{smp, time};

octopod::program!(hello);

static AGAIN: AtomicUsize = AtomicUsize::new(0);

fn hello(machine: &Machine) -> Result<(), Reason> {
    log::info!("{} CPUs, boot protocol {}", machine.bring_up.online, machine.boot.protocol.name());
    smp::on_each_cpu(IPI_CALL_TIMEOUT_MS, &|cpu| {
        log::info!("hello from cpu {}", cpu.id());
        let again = |_: &time::timer::Expiry| {
            log::info!("hello again from cpu {}", cpu::current());
            AGAIN.fetch_add(1, Ordering::Release);
            // The BSP halts meanwhile.
            smp::wake_others_or_warn();
        };
        let _ = time::timer::after(Duration::from_millis(1), again, 0);
    })
    .map_err(|error| Reason::of_program(format_args!("{error}")))?;
    let all_again = || AGAIN.load(Ordering::Acquire) == smp::online().count();
    time::halt_until(&Deadline::after_ms(IPI_CALL_TIMEOUT_MS), all_again)
        .map_err(|_| Reason::of_program(format_args!("a timer has not expired in {IPI_CALL_TIMEOUT_MS} ms")))
}
