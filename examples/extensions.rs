//! A kernel with a parameter, a trace event, a fault, a part of the self-test, lines of the panic report, a named lock, figures and
//! records of its own. `cargo run -- run --example extensions --append items=5`, with `--trace`, or `--inject lose_item`

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering};

use octopod::config::IPI_CALL_TIMEOUT_MS;
use octopod::prelude::*;
use octopod::selftest::failed;
use octopod::sync::SpinLockIrq;

octopod::program!(main);

octopod::option! {
    /// How many items each CPU puts into the queue.
    static ITEMS: u64 = 10, "items";
}

octopod::fault! {
    /// One item is lost before it is in the queue.
    static LOSE_ITEM = "lose_item";
}

/// The items, by the CPU that has put them in.
static QUEUE: SpinLockIrq<Vec<u32>> = SpinLockIrq::new(Vec::new());
// Reports of a CPU that waits for it, or holds it, have its name.
octopod::name_lock!(QUEUE);

/// The most items at once.
static LONGEST: AtomicU64 = AtomicU64::new(0);

octopod::panic_context! {
    // Without the lock: a CPU that is stopped may hold it.
    "queue" => |out| writeln!(out, "at most {} items", LONGEST.load(Ordering::Relaxed))
}

octopod::self_test! {
    /// An item that is put in comes out.
    QUEUES = "queues", |rounds| {
        for round in 0..rounds {
            put(round);
            if QUEUE.lock().pop() != Some(round) {
                return Err(failed(format_args!("round {round}: another item came out")));
            }
        }
        Ok(())
    }
}

fn put(item: u32) {
    let mut queue = QUEUE.lock();
    octopod::trace_event!("item queued", item = item, length = queue.len());
    if !(LOSE_ITEM.is_armed() && queue.len() == 5) {
        queue.push(item);
    }
    LONGEST.fetch_max(queue.len() as u64, Ordering::Relaxed);
}

fn main(machine: &Machine) -> Result<(), Reason> {
    let begin = time::now_ns();
    smp::on_each_cpu(IPI_CALL_TIMEOUT_MS, &|cpu| (0..ITEMS.get()).for_each(|_| put(cpu.id().0)))?;
    let (elapsed_ns, items) = (time::now_ns() - begin, QUEUE.lock().len() as u64);
    assert_eq!(items, ITEMS.get() * u64::from(machine.bring_up.online), "items are lost");
    report::mean("time for an item", elapsed_ns, items, "ns");
    report::number("queue", "items", items);
    report::text("queue", "order", "last in, first out");
    Ok(())
}
