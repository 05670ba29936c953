//! Checks timers on every CPU at once. First each CPU arms a thousand timers of random length: none is early, none is lost.
//! Then each CPU and its neighbour cancel timers while they expire: each timer is cancelled or expires, not both. Then all CPUs
//! are idle: none but the BSP takes a timer interrupt.

use core::cell::Cell;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use core::time::Duration;

use fastrand::Rng;
use spin::Once;

use super::check::{CheckResult, ensure, failed, on_all_cpus, send_facts};
use crate::config::STRESS_GRACE_MS;
use crate::cpu::per_cpu::{PerCpu, gs_base};
use crate::cpu::{self, CpuId, IrqGuard};
use crate::interrupts::{Counts, Vector};
use crate::stress::histogram::{Histogram, summarise};
use crate::sync::{SpinLockIrq, Timeout};
use crate::time::timer::{self, Expiry, TimerId};
use crate::time::{self, halt_for};
use crate::wire::{self, Record};
use crate::{console, interrupts, memory, per_cpu, smp};

/// Timers on each CPU.
const TIMERS: usize = 1000;
/// The length of the longest of them, in nanoseconds.
const LONGEST_NS: u64 = 50_000_000;
/// The length of the longest timer that is cancelled, in nanoseconds: about as long as arming all of them takes.
const LONGEST_RACED_NS: u64 = 2_000_000;
/// How long the CPUs are idle.
const IDLE: Duration = Duration::from_millis(100);

per_cpu! {
    /// Timers of the current step that have expired on this CPU.
    static EXPIRED: Cell<u64> = Cell::new(0);
    /// Timer interrupts of this CPU before it was idle.
    static BEFORE: AtomicU64 = AtomicU64::new(0);
}

/// The history of a timer.
struct Probe {
    not_before_ns: AtomicU64,
    expired_ns: AtomicU64,
    /// The number of the CPU that it expired on, plus one.
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

    fn has_ended(&self) -> bool {
        self.expired.load(Ordering::Relaxed) + self.cancelled.load(Ordering::Relaxed) > 0
    }

    fn reset(&self) {
        self.expired.store(0, Ordering::Relaxed);
        self.cancelled.store(0, Ordering::Relaxed);
    }
}

/// [`TIMERS`] probes for each CPU, by rank.
static PROBES: Once<&'static [Probe]> = Once::new();

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

/// Runs the part.
///
/// **Context:** the thread of the BSP, interrupts on, while all APs wait for work.
///
/// # Errors
/// The first failed check.
pub(crate) fn run(_: u32) -> CheckResult {
    let cpus = smp::online().count();
    let table = memory::alloc_slice_from((0..cpus * TIMERS).map(|_| Probe::new()));
    let histograms = memory::alloc_slice_from((0..cpus).map(|_| Histogram::new()));
    let (Some(table), Some(histograms)) = (table, histograms) else {
        return Err(failed(format_args!("timers: out of memory")));
    };
    PROBES.call_once(|| table);
    let histograms = &*histograms;
    let each = |step: &(dyn Fn(CpuId, usize) -> CheckResult + Sync)| {
        on_all_cpus(2 * STRESS_GRACE_MS, &|cpu| cpu.rank().map_or(Ok(()), |rank| step(cpu.id(), rank)))
    };
    each(&|cpu, rank| expire_all(cpu, rank, &histograms[rank]))?;
    report(histograms);
    each(&|_, rank| arm_for_race(rank))?;
    each(&|cpu, rank| race(cpu, rank, cpus))?;
    each(&|cpu, rank| check_cancel_race(cpu, rank))?;
    stay_idle()
}

/// A generator with a seed of the CPU's own, the same in every run.
fn random(rank: usize) -> Rng {
    Rng::with_seed(rank as u64)
}

fn expire_all(cpu: CpuId, rank: usize, histogram: &Histogram) -> CheckResult {
    let mut random = random(rank);
    let own = probes(rank);
    // Timers of the kernel, such as the clock's.
    let before = timer::count();
    // SAFETY: the base must be that of a per-CPU area that stays mapped. This CPU's area is never freed.
    let counted = || unsafe { timer::lateness(gs_base()) }.map(|(_, timers)| timers).sum::<u64>();
    let counted_before = counted();
    EXPIRED.set(0);
    for (number, probe) in own.iter().enumerate() {
        let length_ns = random.u64(0..=LONGEST_NS);
        probe.reset();
        probe.not_before_ns.store(time::now_ns() + length_ns, Ordering::Relaxed);
        timer::after(Duration::from_nanos(length_ns), expired, rank * TIMERS + number)?;
    }
    let all = || EXPIRED.get() >= TIMERS as u64;
    let has_ended = halt_for(&mut Timeout::after_ms(STRESS_GRACE_MS), all, || {}).is_ok();
    ensure!(has_ended, "cpu {cpu}: {} timers did not expire", TIMERS as u64 - EXPIRED.get());
    // The wait's own timer may be counted as well.
    let (expired, counted) = (EXPIRED.get(), counted() - counted_before);
    ensure!(
        counted >= expired,
        "cpu {cpu}: {expired} timers expired, and the lateness of {counted} is counted"
    );
    for probe in own {
        check_timer(cpu, probe)?;
        let not_before_ns = probe.not_before_ns.load(Ordering::Relaxed);
        let expired_ns = probe.expired_ns.load(Ordering::Relaxed);
        ensure!(
            expired_ns >= not_before_ns,
            "cpu {cpu}: a timer expired {} ns early",
            not_before_ns - expired_ns
        );
        histogram.record(expired_ns - not_before_ns);
    }
    let timers = timer::count();
    ensure!(
        timers == before,
        "cpu {cpu}: {timers} timers are queued after all have expired, {before} before"
    );
    Ok(())
}

fn check_timer(cpu: CpuId, probe: &Probe) -> CheckResult {
    let (expired, cancelled) =
        (probe.expired.load(Ordering::Relaxed), probe.cancelled.load(Ordering::Relaxed));
    ensure!(
        expired + cancelled == 1,
        "cpu {cpu}: a timer expired {expired} times and was cancelled {cancelled} times"
    );
    let is_astray = expired == 1 && probe.expired_on.load(Ordering::Relaxed) != cpu.0 + 1;
    ensure!(!is_astray, "a timer of cpu {cpu} expired on another CPU");
    Ok(())
}

fn report(histograms: &[Histogram]) {
    let lateness_ns = summarise(histograms);
    log::info!(
        "{TIMERS} timers on each of {} CPUs: none early, none lost; lateness: median {} ns, max {} ns",
        histograms.len(),
        lateness_ns.p50,
        lateness_ns.max
    );
    let cpus = histograms.len() as u64;
    send_facts("selftest.timers", &[("cpus", cpus), ("timers_per_cpu", TIMERS as u64)]);
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

fn arm_for_race(rank: usize) -> CheckResult {
    let mut random = random(rank);
    for (number, probe) in probes(rank).iter().enumerate() {
        probe.reset();
        let length = Duration::from_nanos(random.u64(0..=LONGEST_RACED_NS));
        let timer = timer::after(length, expired, rank * TIMERS + number)?;
        *probe.timer.lock() = Some(timer);
    }
    Ok(())
}

/// Cancels about half of this CPU's timers and half of the next CPU's while they expire; both CPUs cancel some of them.
fn race(cpu: CpuId, rank: usize, cpus: usize) -> CheckResult {
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
    // The CPU that owns a cancelled timer may wait for its last timer.
    smp::wake_others_or_warn();
    let remaining = || own.iter().filter(|probe| !probe.has_ended()).count();
    let has_ended = halt_for(&mut Timeout::after_ms(STRESS_GRACE_MS), || remaining() == 0, || {}).is_ok();
    ensure!(has_ended, "cpu {cpu}: {} timers did not expire", remaining());
    Ok(())
}

fn check_cancel_race(cpu: CpuId, rank: usize) -> CheckResult {
    probes(rank).iter().try_for_each(|probe| check_timer(cpu, probe))
}

/// Sleeps on this CPU, and checks that the idle CPUs take no timer interrupt meanwhile.
fn stay_idle() -> CheckResult {
    // If another CPU cancelled a CPU's timer, that CPU's APIC timer may still be armed. A timer that the CPU cancels itself
    // disarms it, or expires during the idle time.
    on_all_cpus(STRESS_GRACE_MS, &|_| {
        if let Ok(timer) = timer::after(IDLE / 2, |_| {}, 0) {
            timer::cancel(timer);
        }
        Ok(())
    })?;
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
        ensure!(interrupts == 0, "cpu {} was idle and took {interrupts} timer interrupts", cpu.id());
    }
    // This CPU's sleep ended by a timer interrupt, which must be counted.
    let is_counted = timer_interrupts_here() != own_before;
    ensure!(is_counted, "cpu {}: the timer interrupt that ended its sleep was not counted", cpu::current());
    let idle_cpus = others().count();
    log::info!("{idle_cpus} idle CPUs took no timer interrupt in {} ms", IDLE.as_millis());
    send_facts("selftest.timers", &[("idle_cpus", idle_cpus as u64)]);
    Ok(())
}

fn timer_interrupts_here() -> u64 {
    interrupts::COUNTS.with(&IrqGuard::new(), timer_interrupts)
}

fn timer_interrupts(counts: &Counts) -> u64 {
    counts[usize::from(Vector::TIMER.get())].load(Ordering::Relaxed)
}
