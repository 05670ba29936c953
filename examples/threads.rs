//! A kernel whose threads search prime numbers: a task sends ranges by a channel, threads add what they find to a table.
//! `cargo run -- run --example threads --smp 4`
#![no_std]
#![no_main]
extern crate alloc;

use alloc::collections::BTreeMap;

use octopod::prelude::*;
use octopod::thread::sync::{Mutex, channel};
use octopod::{task, thread};

octopod::program!(main);

const LIMIT: u32 = 20_000;
const STEP: u32 = 500;

/// How many primes each thread has found.
static FOUND: Mutex<BTreeMap<usize, usize>> = Mutex::new(BTreeMap::new());

fn is_prime(number: u32) -> bool {
    number > 1 && (2..).take_while(|divisor| divisor * divisor <= number).all(|divisor| number % divisor != 0)
}

fn main(_: &Machine) -> Result<(), Reason> {
    // With room for one range, the sender runs no further ahead than the workers come.
    let (ranges, work) = channel::bounded(1);
    let search = |worker| {
        let work = work.clone();
        thread::spawn(move || {
            // Ends when the sender is gone.
            for range in work.iter() {
                let range: core::ops::Range<u32> = range;
                let primes = range.filter(|number| is_prime(*number)).count();
                *FOUND.lock().entry(worker).or_default() += primes;
            }
        })
    };
    let handles: Vec<_> = (0..smp::online().count()).map(search).collect();
    let sender = task::spawn(async move {
        for start in (0..LIMIT).step_by(STEP as usize) {
            ranges.send_async(start..start + STEP).await?;
        }
        Ok::<_, channel::SendError<_>>(())
    });
    task::block_on(sender).map_err(|error| Reason::of_program(format_args!("{error}")))?;
    handles.into_iter().for_each(thread::JoinHandle::join);
    let found = FOUND.lock();
    for (worker, primes) in &*found {
        log::info!("thread {worker}: {primes} primes");
    }
    match found.values().sum() {
        2262 => Ok(()),
        other => Err(Reason::of_program(format_args!("{other} primes below {LIMIT}"))),
    }
}
