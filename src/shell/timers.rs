//! The command `timers`.

use core::fmt;

use crate::console;
use crate::smp;
use crate::time::timer::{self, ArmedTimer};
use crate::time::{self};

/// The most timers that are shown for each CPU, those that are due first.
const SHOWN: usize = 4;

/// Shows the timers of each CPU.
pub(crate) fn list() {
    console::print(format_args!("APIC timers: {}", timer::mode().name()));
    for cpu in smp::cpus() {
        let Some(gs_base) = cpu.gs_base() else { continue };
        let mut first = [ArmedTimer::default(); SHOWN];
        // SAFETY: the base must be that of a per-CPU area that stays mapped. Areas are never freed.
        let count = unsafe { timer::armed_timers(gs_base, &mut first) };
        let served = if cpu.is_online() { "" } else { " (offline: served by cpu 0)" };
        console::print(format_args!("cpu {:>4}: {count} armed{served}", cpu.id().0));
        let now_ns = time::now_ns();
        for armed in &first[..count.min(SHOWN)] {
            let ArmedTimer { deadline_ns, period_ns, callback } = *armed;
            console::print(format_args!(
                "    calls {callback:#018x} {}{}",
                Due(deadline_ns, now_ns),
                Every(period_ns)
            ));
        }
        if count > SHOWN {
            console::print(format_args!("    and {} more", count - SHOWN));
        }
    }
}

struct Due(u64, u64);

impl fmt::Display for Due {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Due(deadline_ns, now_ns) = *self;
        match deadline_ns.checked_sub(now_ns) {
            // A wait without a deadline has a timer at the end of time.
            Some(ns) if ns > u64::MAX >> 2 => f.write_str("never"),
            Some(ns) => write!(f, "in {} us", ns.div_ceil(1000)),
            None => write!(f, "overdue for {} us", (now_ns - deadline_ns) / 1000),
        }
    }
}

struct Every(u64);

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            period_ns if period_ns > u64::MAX >> 3 => Ok(()),
            period_ns => write!(f, ", each {} us", period_ns / 1000),
        }
    }
}
