//! Timers on every CPU at once: a thousand of random length, of which none is early and none lost; then timers that this
//! CPU and its neighbour cancel while they expire, each of which must do one of the two and not both; then nothing at
//! all, during which no CPU but the boot processor takes a timer interrupt.

mod failure;

use core::cell::Cell;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use core::time::Duration;

use fastrand::Rng;
use spin::Once;

use crate::config::STRESS_GRACE_MS;
use crate::cpu::per_cpu::{PerCpu, gs_base};
use crate::cpu::{self, CpuId, IrqGuard};
use crate::interrupts::{Counts, Vector};
use crate::stress::histogram::{Histogram, summarise};
use crate::sync::{Deadline, SpinLockIrq};
use crate::time::timer::{self, Expiry, TimerId};
use crate::time::{self, halt_until};
use crate::wire::{self, Record};
use crate::{console, interrupts, memory, per_cpu, smp};

pub use failure::Failure;

/// Timers on each CPU.
const TIMERS: usize = 1000;
/// The longest of them, in nanoseconds.
const LONGEST_NS: u64 = 50_000_000;
/// The longest of those that are cancelled meanwhile: about as long as arming them all takes.
const LONGEST_RACED_NS: u64 = 2_000_000;
/// How long the others are left alone.
const IDLE: Duration = Duration::from_millis(100);

per_cpu! {
    /// Timers of the part at hand that have expired here.
    static EXPIRED: Cell<u64> = Cell::new(0);
    /// Timer interrupts that this CPU had taken when it was left alone.
    static BEFORE: AtomicU64 = AtomicU64::new(0);
}

/// What became of a timer.
struct Probe {
    not_before_ns: AtomicU64,
    expired_ns: AtomicU64,
    /// One more than the CPU that it expired on.
    expired_on: AtomicU32,
    expired: AtomicU32,
    cancelled: AtomicU32,
    timer: SpinLockIrq<Option<TimerId>>,
}

impl Probe {
    fn new() -> Probe {
        Probe {
            not_before_ns: AtomicU64::new(0),
            expired_ns: AtomicU64::new(0),
            expired_on: AtomicU32::new(0),
            expired: AtomicU32::new(0),
            cancelled: AtomicU32::new(0),
            timer: SpinLockIrq::new(None),
        }
    }

    fn is_settled(&self) -> bool {
        self.expired.load(Ordering::Relaxed) + self.cancelled.load(Ordering::Relaxed) > 0
    }

    fn forget(&self) {
        self.expired.store(0, Ordering::Relaxed);
        self.cancelled.store(0, Ordering::Relaxed);
    }
}

/// [`TIMERS`] for each CPU, by rank.
static PROBES: Once<&'static [Probe]> = Once::new();
static FIRST: SpinLockIrq<Option<Failure>> = SpinLockIrq::new(None);
crate::name_lock!(FIRST);

fn probes(rank: usize) -> &'static [Probe] {
    PROBES.get().and_then(|all| all.get(rank * TIMERS..(rank + 1) * TIMERS)).unwrap_or_default()
}

fn expired(expiry: &Expiry) {
    let Some(probe) = PROBES.get().and_then(|all| all.get(expiry.data)) else { return };
    probe.expired_ns.store(time::now_ns(), Ordering::Relaxed);
    probe.expired_on.store(cpu::current().0 + 1, Ordering::Relaxed);
    probe.expired.fetch_add(1, Ordering::Relaxed);
    EXPIRED.set(EXPIRED.get() + 1);
}

/// Does all three. Only the boot processor calls this, with interrupts on, when all CPUs wait for work.
///
/// # Errors
/// The first failure.
pub fn run(_: u32) -> Result<(), Failure> {
    let cpus = smp::online().count();
    let table = memory::alloc_slice_from((0..cpus * TIMERS).map(|_| Probe::new()));
    let histograms = memory::alloc_slice_from((0..cpus).map(|_| Histogram::new()));
    let (Some(table), Some(histograms)) = (table, histograms) else { return Err(Failure::OutOfMemory) };
    PROBES.call_once(|| table);
    let histograms = &*histograms;
    let deadline = Deadline::after_ms(STRESS_GRACE_MS);
    let each = |part: &(dyn Fn(CpuId, usize) -> Result<(), Failure> + Sync)| {
        super::on_each_cpu(2 * STRESS_GRACE_MS, &|cpu| {
            let Some(rank) = cpu.rank() else { return };
            if let Err(failure) = part(cpu.id(), rank) {
                FIRST.lock().get_or_insert(failure);
            }
        });
        FIRST.lock().map_or(Ok(()), Err)
    };
    each(&|cpu, rank| expire_all(cpu, rank, &histograms[rank], &deadline))?;
    report(histograms);
    each(&|_, rank| arm_to_be_raced(rank))?;
    each(&|cpu, rank| race(cpu, rank, cpus, &deadline))?;
    each(&|cpu, rank| judge_race(cpu, rank))?;
    stay_idle()
}

/// Each its own seed, the same in every run.
fn random(rank: usize) -> Rng {
    Rng::with_seed(rank as u64)
}

fn expire_all(cpu: CpuId, rank: usize, histogram: &Histogram, deadline: &Deadline) -> Result<(), Failure> {
    let mut random = random(rank);
    let own = probes(rank);
    // The kernel's own: the clock may have one.
    let before = timer::count();
    // SAFETY: this CPU's own area, which lives for good.
    let counted = || unsafe { timer::lateness(gs_base()) }.map(|(_, timers)| timers).sum::<u64>();
    let counted_before = counted();
    EXPIRED.set(0);
    for (number, probe) in own.iter().enumerate() {
        let length_ns = random.u64(0..=LONGEST_NS);
        probe.forget();
        probe.not_before_ns.store(time::now_ns() + length_ns, Ordering::Relaxed);
        timer::after(Duration::from_nanos(length_ns), expired, rank * TIMERS + number)
            .map_err(Failure::Arm)?;
    }
    let all = || EXPIRED.get() >= TIMERS as u64;
    if halt_until(deadline, all).is_err() {
        return Err(Failure::Lost { cpu, timers: TIMERS as u64 - EXPIRED.get() });
    }
    // The alarm of the wait may have been one more.
    let (expired, counted) = (EXPIRED.get(), counted() - counted_before);
    if counted < expired {
        return Err(Failure::Uncounted { cpu, expired, counted });
    }
    for probe in own {
        judge_once(cpu, probe)?;
        let not_before_ns = probe.not_before_ns.load(Ordering::Relaxed);
        let expired_ns = probe.expired_ns.load(Ordering::Relaxed);
        match expired_ns.checked_sub(not_before_ns) {
            Some(late_ns) => histogram.record(late_ns),
            None => return Err(Failure::Early { cpu, ns: not_before_ns - expired_ns }),
        }
    }
    match timer::count() {
        timers if timers == before => Ok(()),
        timers => Err(Failure::Left { cpu, timers }),
    }
}

fn judge_once(cpu: CpuId, probe: &Probe) -> Result<(), Failure> {
    let (expired, cancelled) =
        (probe.expired.load(Ordering::Relaxed), probe.cancelled.load(Ordering::Relaxed));
    if expired + cancelled != 1 {
        return Err(Failure::NotOnce { cpu, expired, cancelled });
    }
    if expired == 1 && probe.expired_on.load(Ordering::Relaxed) != cpu.0 + 1 {
        return Err(Failure::Astray { cpu });
    }
    Ok(())
}

fn report(histograms: &[Histogram]) {
    let lateness_ns = summarise(histograms);
    log::info!(
        "{TIMERS} timers on each of {} CPUs: none early, none lost; late by {} ns as a rule, at most {} ns",
        histograms.len(),
        lateness_ns.p50,
        lateness_ns.max
    );
    let mut below = [0; wire::LATENESS_BUCKETS];
    for probe in PROBES.get().copied().unwrap_or_default() {
        let late_ns = probe
            .expired_ns
            .load(Ordering::Relaxed)
            .saturating_sub(probe.not_before_ns.load(Ordering::Relaxed));
        let bucket = wire::lateness_bucket(late_ns);
        below[bucket] += 1;
    }
    console::send(&Record::Timers(wire::Timers {
        mode: timer::mode().name(),
        cpus: histograms.len() as u32,
        timers: (histograms.len() * TIMERS) as u64,
        lateness_ns,
        lateness_histogram: below,
    }));
}

fn arm_to_be_raced(rank: usize) -> Result<(), Failure> {
    let mut random = random(rank);
    for (number, probe) in probes(rank).iter().enumerate() {
        probe.forget();
        let length = Duration::from_nanos(random.u64(0..=LONGEST_RACED_NS));
        let timer = timer::after(length, expired, rank * TIMERS + number).map_err(Failure::Arm)?;
        *probe.timer.lock() = Some(timer);
    }
    Ok(())
}

/// Cancels half of this CPU's timers and half of the next one's, some of them by both, while they expire.
fn race(cpu: CpuId, rank: usize, cpus: usize, deadline: &Deadline) -> Result<(), Failure> {
    let mut random = random(rank + cpus);
    let (own, next) = (probes(rank), probes((rank + 1) % cpus));
    for _ in 0..TIMERS {
        let probe = random.choice([own, next]).and_then(|of| random.choice(of));
        let Some(probe) = probe else { continue };
        let timer = *probe.timer.lock();
        if timer.is_some_and(timer::cancel) {
            probe.cancelled.fetch_add(1, Ordering::Relaxed);
        }
    }
    // Some of them were another CPU's, which waits for the last of its own.
    smp::wake_others_or_warn();
    // What the kernel has of its own, and the alarm of this wait, end no sooner than the deadline.
    let left = || own.iter().filter(|probe| !probe.is_settled()).count();
    halt_until(deadline, || left() == 0).map_err(|_| Failure::Lost { cpu, timers: left() as u64 })
}

fn judge_race(cpu: CpuId, rank: usize) -> Result<(), Failure> {
    probes(rank).iter().try_for_each(|probe| judge_once(cpu, probe))
}

/// Leaves all other CPUs alone, and counts their timer interrupts meanwhile.
fn stay_idle() -> Result<(), Failure> {
    // A timer that another CPU cancelled may have left the APIC timer set; one of its own that it cancels resets it, or
    // comes in the middle of the silence if it does not.
    super::on_each_cpu(STRESS_GRACE_MS, &|_| {
        if let Ok(timer) = timer::after(IDLE / 2, |_| {}, 0) {
            timer::cancel(timer);
        }
    });
    let count = |cpu: &smp::Cpu| cpu.get(interrupts::COUNTS).map_or(0, timer_interrupts);
    let others = || smp::online().filter(|cpu| cpu.id() != cpu::current());
    for cpu in others() {
        if let Some(before) = cpu.get(BEFORE) {
            before.store(count(cpu), Ordering::Relaxed);
        }
    }
    let own_before = timer_interrupts_here();
    time::sleep(IDLE);
    for cpu in others() {
        let before = cpu.get(BEFORE).map_or(0, |before| before.load(Ordering::Relaxed));
        let interrupts = count(cpu) - before;
        if interrupts > 0 {
            return Err(Failure::NotIdle { cpu: cpu.id(), interrupts });
        }
    }
    log::info!("{} idle CPUs took no timer interrupt in {} ms", others().count(), IDLE.as_millis());
    // The one who slept has been woken by one, or this saw nothing at all.
    if timer_interrupts_here() == own_before {
        Err(Failure::Lost { cpu: cpu::current(), timers: 1 })
    } else {
        Ok(())
    }
}

fn timer_interrupts_here() -> u64 {
    interrupts::COUNTS.with(&IrqGuard::new(), timer_interrupts)
}

fn timer_interrupts(counts: &Counts) -> u64 {
    counts[usize::from(Vector::TIMER.get())].load(Ordering::Relaxed)
}
