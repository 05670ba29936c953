//! The command `top`.

use alloc::vec::Vec;
use core::cmp::Reverse;
use core::fmt;

use crate::console;
use crate::cpu::CpuId;
use crate::sched::{self, CpuUse};
use crate::smp;
use crate::thread::{self, ThreadInfo};

/// How many threads are shown.
const MOST_THREADS: usize = 10;

/// What the last call has found: the next one shows what was added since.
pub(super) struct Top {
    cpus: Vec<(CpuId, Counts)>,
    threads: Vec<ThreadInfo>,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    elapsed_ns: u64,
    busy_ns: Option<u64>,
    switches: u64,
    stolen: u64,
}

impl Counts {
    fn of(cpu: &CpuUse) -> Counts {
        let CpuUse { elapsed_ns, busy_ns, stolen, .. } = *cpu;
        Counts { elapsed_ns, busy_ns, switches: cpu.switches.all(), stolen }
    }

    fn since(self, before: Counts) -> Counts {
        Counts {
            elapsed_ns: self.elapsed_ns.saturating_sub(before.elapsed_ns),
            busy_ns: self.busy_ns.map(|ns| ns.saturating_sub(before.busy_ns.unwrap_or(0))),
            switches: self.switches.saturating_sub(before.switches),
            stolen: self.stolen.saturating_sub(before.stolen),
        }
    }
}

impl Top {
    pub(super) const fn new() -> Top {
        Top { cpus: Vec::new(), threads: Vec::new() }
    }

    /// Shows what each CPU has done since the last call, and the threads that have run most. Without times, which are measured while all events
    /// are recorded, the threads are the first ones.
    pub(super) fn show(&mut self) {
        console::print(format_args!(
            "{:>4} {:>7} {:>10} {:>8} {:>6}",
            "cpu", "busy", "switches", "stolen", "queue"
        ));
        let (mut now, mut longest_ns) = (Vec::with_capacity(smp::cpus().len()), 0);
        for cpu in smp::cpus() {
            let Some(its) = sched::use_of(cpu) else { continue };
            let counts = Counts::of(&its);
            let before = self.cpus.iter().find(|(id, _)| *id == cpu.id());
            let since = counts.since(before.map_or(Counts::default(), |(_, counts)| *counts));
            console::print(format_args!(
                "{:>4} {} {:>10} {:>8} {:>6}",
                cpu.id().0,
                Share(since.busy_ns, since.elapsed_ns),
                since.switches,
                since.stolen,
                its.scheduler.backlog.queued()
            ));
            longest_ns = since.elapsed_ns.max(longest_ns);
            now.push((cpu.id(), counts));
        }
        self.cpus = now;
        self.show_threads(longest_ns);
    }

    fn show_threads(&mut self, elapsed_ns: u64) {
        let threads = thread::list();
        let ran = |thread: &ThreadInfo| {
            let before = self.threads.iter().find(|before| before.id == thread.id);
            Some(thread.ran_ns?.saturating_sub(before.and_then(|before| before.ran_ns).unwrap_or(0)))
        };
        let mut order: Vec<_> = threads.iter().map(|thread| (ran(thread), thread)).collect();
        // Those of the same time by their numbers.
        order.sort_by_key(|(ran_ns, thread)| (Reverse(*ran_ns), thread.id));
        console::print(format_args!(
            "{:>6} {:<24} {:<8} {:>4} {:>7}",
            "thread", "name", "state", "cpu", "busy"
        ));
        for (ran_ns, thread) in order.iter().take(MOST_THREADS) {
            console::print(format_args!(
                "{:>6} {:<24} {:<8} {:>4} {}",
                thread.id.0,
                thread.name(),
                thread.state,
                thread.cpu.0,
                Share(*ran_ns, elapsed_ns)
            ));
        }
        drop(order);
        self.threads = threads;
        if self.threads.first().is_some_and(|thread| thread.ran_ns.is_none()) {
            console::print(format_args!("times are measured with trace=all or trace=on"));
        }
    }
}

/// A part of a time in percent; `-` if it was not measured.
struct Share(Option<u64>, u64);

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Share(Some(part), whole) = *self else { return write!(f, "{:>7}", "-") };
        let share = (u128::from(part) * 1000).checked_div(u128::from(whole));
        let tenths = share.map_or(0, |share| share.min(1000));
        write!(f, "{:>3}.{} %", tenths / 10, tenths % 10)
    }
}
