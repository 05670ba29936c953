//! A kernel whose threads search prime numbers: one sends ranges by a channel, the others add what they find to a table.
//! `cargo run -- run --example threads --smp 4`
#![no_std]
#![no_main]
extern crate alloc;

use alloc::collections::BTreeMap;

use octopod::prelude::*;
use octopod::thread::sync::{Mutex, channel};
use octopod::thread::{self, Builder};

octopod::program!(main);

const LIMIT: u32 = 20_000;
const STEP: u32 = 500;

/// How many primes each thread has found.
static FOUND: Mutex<BTreeMap<usize, usize>> = Mutex::new(BTreeMap::new());

fn is_prime(number: u32) -> bool {
    number > 1 && (2..).take_while(|divisor| divisor * divisor <= number).all(|divisor| number % divisor != 0)
}

fn main(_: &Machine) -> Result<(), Reason> {
    let workers = smp::online().count();
    // With room for one range, the sender runs no further ahead than the workers come.
    let (ranges, work) = channel::bounded(1);
    let handles: Vec<_> = (0..workers)
        .map(|worker| {
            let work = work.clone();
            thread::spawn(move || {
                // Ends when the sender is gone.
                for range in work.iter() {
                    let range: core::ops::Range<u32> = range;
                    let primes = range.filter(|number| is_prime(*number)).count();
                    *FOUND.lock().entry(worker).or_default() += primes;
                }
            })
        })
        .collect();
    let sender = Builder::new().name("sender").spawn(move || {
        (0..LIMIT).step_by(STEP as usize).all(|start| ranges.send(start..start + STEP).is_ok())
    })?;
    let is_sent = sender.join();
    handles.into_iter().for_each(thread::JoinHandle::join);
    let found = FOUND.lock();
    for (worker, primes) in &*found {
        log::info!("thread {worker}: {primes} primes");
    }
    match found.values().sum() {
        2262 if is_sent => Ok(()),
        other => Err(Reason::of_program(format_args!("{other} primes below {LIMIT}"))),
    }
}
