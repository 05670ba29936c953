//! A program that adds to octopod what a program can add. `ci/tests/project.rs` makes a project of it.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering};

use octopod::config::IPI_CALL_TIMEOUT_MS;
use octopod::interrupts::ProgramVector;
use octopod::prelude::*;
use octopod::scheduler::{DispatchPolicy, Enqueue, LentThread, Place};
use octopod::selftest::failed;
use octopod::sync::{Deadline, SpinLockIrq};

octopod::program!(main);
octopod::scheduler!(LastFirst);

octopod::fault! {
    /// An item that is queued is lost.
    static LOSE_ITEM = "lose_item";
    /// A null pointer is read.
    static READ_NULL = "read_null";
    /// A lock is taken twice.
    static RELOCK = "relock";
    /// A line of the panic report panics.
    static BAD_CONTEXT = "bad_context";
}

octopod::option! {
    /// The number of the first item.
    static FIRST_ID: u64 = 0, "first_id";
}

octopod::bench! {
    "triple" => || {
        core::hint::black_box(core::hint::black_box(7_u64).wrapping_mul(3));
    }
}

octopod::per_cpu! {
    /// Interrupts that this CPU has taken.
    static TAKEN: AtomicU64 = AtomicU64::new(0);
}

static QUEUED: SpinLockIrq<u64> = SpinLockIrq::new(0);
static ALL_TAKEN: AtomicU64 = AtomicU64::new(0);

octopod::panic_context! {
    "ark" => |out| (1..=20).try_for_each(|number| writeln!(out, "line {number}")),
    "queue" => |out| {
        assert!(!BAD_CONTEXT.is_armed(), "no line");
        writeln!(out, "{} interrupts\non this CPU: {}", ALL_TAKEN.load(Ordering::Relaxed), TAKEN.get())
    },
    "zoo" => |out| out.write_str("empty"),
}

octopod::self_test! {
    /// An item that is put in is counted.
    QUEUES = "queues", |rounds| {
        for round in 1..=u64::from(rounds) {
            put(round);
            let queued = *QUEUED.lock();
            if queued != round {
                return Err(failed(format_args!("{queued} items after round {round}")));
            }
        }
        Ok(())
    }
}

static ENQUEUED: AtomicU64 = AtomicU64::new(0);

/// The thread that has come last runs first.
struct LastFirst;

impl DispatchPolicy for LastFirst {
    const NAME: &str = "last_first";
    const SUMMARY: &str = "The thread that has come last runs first.";

    fn new(_: CpuId) -> LastFirst {
        LastFirst
    }

    fn enqueue(&mut self, _: &mut LentThread<'_>, _: Enqueue, _: u64) -> Place {
        ENQUEUED.fetch_add(1, Ordering::Relaxed);
        Place::Front(0)
    }
}

fn put(id: u64) {
    let mut queued = QUEUED.lock();
    octopod::trace_event!("item queued", id = id, length = *queued);
    if !(LOSE_ITEM.is_armed() && id == 3) {
        *queued += 1;
    }
    if RELOCK.is_armed() {
        // Twice.
        drop(QUEUED.lock());
    }
}

fn taken(vector: ProgramVector) {
    assert_eq!(usize::from(vector.get()), 0x40);
    TAKEN.increment();
    ALL_TAKEN.fetch_add(1, Ordering::Release);
}

/// Counts like another.
fn taken_by_last(vector: ProgramVector) {
    ALL_TAKEN.fetch_add(100, Ordering::Relaxed);
    taken(vector);
}

/// The reason has the place of the question mark.
fn call_of_no_cpu() -> Result<(), Reason> {
    smp::call(&CpuSet::of(CpuId(1000)), &|| {})?;
    Ok(())
}

fn work_with_interrupts_off() -> Result<(), Reason> {
    let _guard = IrqGuard::new();
    smp::on_each_cpu(IPI_CALL_TIMEOUT_MS, &|_| ())?;
    Ok(())
}

fn own_reason() -> Result<(), Reason> {
    Err(Reason::of_program(format_args!("no items")))
}

fn main(machine: &Machine) -> Result<(), Reason> {
    let cpus = u64::from(machine.bring_up.online);
    octopod::trace_event!(rare, "begun");
    for id in FIRST_ID.get()..10 {
        put(id);
    }
    if READ_NULL.is_armed() {
        // SAFETY: none: it is the fault.
        let nothing = unsafe { core::ptr::null::<u8>().read_volatile() };
        log::info!("{nothing}");
    }
    let vector = ProgramVector::allocate("my vector", taken).expect("a free vector");
    smp::on_each_cpu(IPI_CALL_TIMEOUT_MS, &|cpu| {
        // The last CPU has a handler of its own.
        if u64::from(cpu.id().0) + 1 == cpus {
            let before = vector.set_on_this_cpu(&IrqGuard::new(), Some(taken_by_last));
            assert!(before.is_none());
        }
    })?;
    smp::on_each_cpu(IPI_CALL_TIMEOUT_MS, &|cpu| {
        let next = (u64::from(cpu.id().0) + 1) % cpus;
        smp::send_interrupt(CpuId(next as u32), vector).expect("the next CPU is online");
    })?;
    assert!(smp::send_interrupt(CpuId(1000), vector).is_err());
    let have_all = || ALL_TAKEN.load(Ordering::Acquire) == cpus + 100;
    time::halt_until(&Deadline::after_ms(IPI_CALL_TIMEOUT_MS), have_all).expect("all interrupts arrive");
    for cpu in smp::online() {
        assert_eq!(cpu.get(TAKEN).map(|taken| taken.load(Ordering::Relaxed)), Some(1));
    }
    let mut free = 1;
    while ProgramVector::allocate("another", taken).is_ok() {
        free += 1;
    }
    assert_eq!(octopod::thread::spawn(|| 7).join(), 7);
    report::number("queue", "enqueued", ENQUEUED.load(Ordering::Relaxed).min(1));
    report::figure("free vectors", free, "vectors");
    report::mean("items for a CPU", *QUEUED.lock(), 4, "items");
    report::number("queue", "items", *QUEUED.lock());
    report::text("queue", "kind", "a \"counter\"");
    for (name, reason) in
        [("call", call_of_no_cpu()), ("work", work_with_interrupts_off()), ("own", own_reason())]
    {
        report::text("reason", name, &format!("{}", reason.expect_err("it fails")));
    }
    assert!(!BAD_CONTEXT.is_armed(), "the first panic");
    assert_eq!(*QUEUED.lock(), 10, "items are lost");
    Ok(())
}
