//! A kernel that uses its heap: every CPU counts words in a map of its own, and the BSP adds up what they have found.
//! `cargo run -- run --example collections`
#![no_std]
#![no_main]
extern crate alloc;

use alloc::collections::BTreeMap;

use octopod::config::IPI_CALL_TIMEOUT_MS;
use octopod::prelude::*;
use octopod::sync::SpinLockIrq;

octopod::program!(main);

static FOUND: SpinLockIrq<Vec<(CpuId, BTreeMap<String, usize>)>> = SpinLockIrq::new(Vec::new());
octopod::name_lock!(FOUND);

fn main(machine: &Machine) -> Result<(), Reason> {
    smp::on_each_cpu(IPI_CALL_TIMEOUT_MS, &|cpu| {
        let mut counts = BTreeMap::new();
        for word in "each arm of an octopus has a heap of its own and each arm thinks".split(' ') {
            *counts.entry(word.to_string()).or_default() += 1;
        }
        FOUND.lock().push((cpu.id(), counts));
    })?;
    let found = core::mem::take(&mut *FOUND.lock());
    for (cpu, counts) in &found {
        let twice: Vec<&str> =
            counts.iter().filter(|(_, count)| **count == 2).map(|(word, _)| &**word).collect();
        log::info!("cpu {cpu}: {} words, twice: {}", counts.len(), twice.join(", "));
    }
    let expected = machine.bring_up.online as usize;
    match found.len() {
        count if count == expected => Ok(()),
        count => Err(Reason::of_program(format_args!("{count} of {expected} CPUs have counted"))),
    }
}
