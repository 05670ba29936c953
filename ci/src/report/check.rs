//! The valid ranges of the numbers in a report that is read from a file: the same as those of the records.

use octopod::config::MAX_CPUS;

use crate::report::Report;
use crate::report::scheduler::SchedulerReport;
use crate::report::stress::StressReport;
use crate::run::records::plausible::{
    cpu_count, cpu_number, node_number, of_boot, of_buckets, of_cpu, of_region, time,
};

/// No run has more results, costs or stages than this.
const MAX_RESULTS: usize = 1024;

/// No report holds more of anything else.
const MAX_OF_A_KIND: usize = 1 << 16;

/// There are so many vectors.
const MAX_VECTORS: usize = 256;

/// Returns a value that is out of its valid range.
pub(crate) fn problem(report: &Report) -> Option<String> {
    let cpus = MAX_CPUS as usize;
    let memory = report.memory.as_ref();
    let lengths = [
        ("CPUs", report.cpus.len(), cpus),
        ("workloads", report.stress.len(), MAX_RESULTS),
        ("costs", report.bench.len(), MAX_RESULTS),
        ("stages", report.boot_stages.len(), MAX_RESULTS),
        ("vectors", report.interrupts.len(), MAX_VECTORS),
        ("CPUs with timers", report.lateness.len(), MAX_OF_A_KIND),
        ("warnings", report.warnings.len(), MAX_OF_A_KIND),
        ("threads", report.threads.len(), MAX_OF_A_KIND),
        ("CPUs of the scheduler", report.scheduler.len(), MAX_OF_A_KIND),
        ("regions", memory.map_or(0, |memory| memory.regions.len()), MAX_OF_A_KIND),
        ("zones", memory.map_or(0, |memory| memory.zones.len()), MAX_OF_A_KIND),
        ("counts of calls", memory.map_or(0, |memory| memory.calls.len()), MAX_OF_A_KIND),
        ("CPUs after a panic", report.panic.as_ref().map_or(0, |panic| panic.cpus.len()), MAX_OF_A_KIND),
    ];
    let too_many = lengths.iter().find(|(_, length, most)| length > most);
    if let Some((what, length, most)) = too_many {
        return Some(format!("{length} {what}, where there are at most {most}"));
    }
    let of_memory = memory.and_then(|memory| {
        let regions = memory.regions.iter().find_map(of_region);
        let free = |zone: &crate::report::memory::ZoneReport| {
            let all = zone.before.iter().chain(&zone.after);
            let sum = |by_order: &[u64]| by_order.iter().fold(0, |sum: u64, one| sum.saturating_add(*one));
            all.map(|free| sum(&free.by_order).max(free.frames)).max().unwrap_or(0).max(zone.frames_total)
        };
        let zone = |zone: &crate::report::memory::ZoneReport| {
            node_number(zone.node)
                .or_else(|| (free(zone) > 1 << 40).then(|| format!("{} frames", free(zone))))
        };
        regions.or_else(|| memory.zones.iter().find_map(zone))
    });
    let finite = |what: &str, figure: f64| (!figure.is_finite()).then(|| format!("{what}: {figure}"));
    let per_cpu = |what: &str, length: usize| (length > cpus).then(|| format!("{what} of {length} CPUs"));
    of_memory
        .or_else(|| report.boot.as_ref().and_then(|boot| of_boot(&boot.kernel)))
        .or_else(|| report.cpus.iter().find_map(of_cpu))
        .or_else(|| report.boot_stages.iter().find_map(|stage| time(&stage.stage, stage.began_us)))
        .or_else(|| report.stress.iter().find_map(of_result))
        .or_else(|| report.bench.iter().find_map(|cost| finite(&cost.name, cost.value)))
        .or_else(|| report.interrupts.iter().find_map(|one| per_cpu(&one.name, one.per_cpu.len())))
        .or_else(|| report.scheduler.iter().find_map(of_scheduler))
        .or_else(|| report.lateness.iter().find_map(|late| of_buckets(&late.buckets_ns)))
}

fn of_scheduler(cpu: &SchedulerReport) -> Option<String> {
    cpu_number(cpu.cpu)
        .or_else(|| time("the time of the scheduler", cpu.elapsed_ns.max(cpu.busy_ns.unwrap_or(0))))
        .or_else(|| of_buckets(&cpu.wake_latency_buckets_ns))
        .or_else(|| of_buckets(&cpu.queue_depth))
}

fn of_result(result: &StressReport) -> Option<String> {
    let seconds = result.seconds;
    let is_time = (0.0..1e12).contains(&seconds);
    let shares = result.per_cpu_operations.len();
    cpu_count(result.cpus)
        .or_else(|| (!is_time).then(|| format!("a workload of {seconds} s")))
        .or_else(|| (shares > MAX_CPUS as usize).then(|| format!("shares of {shares} CPUs")))
        .or_else(|| of_buckets(&result.histogram))
}

#[cfg(test)]
mod tests {
    use octopod::wire::MemoryRegion;

    use super::*;
    use crate::report::sample;

    #[test]
    fn a_sound_report_is_taken_and_numbers_that_cannot_be_are_named() {
        let sound = || sample::report(&sample::seen(300, &["pairs"], &["octopod", "locked"]));
        assert_eq!(problem(&sound()), None);
        assert_eq!(problem(&sample::hostile()), None);
        let wrong = |change: fn(&mut Report)| {
            let mut report = sound();
            change(&mut report);
            problem(&report).unwrap()
        };
        let region = |report: &mut Report| {
            let owner = "usable".to_owned();
            report.memory.as_mut().unwrap().regions.push(MemoryRegion { start: u64::MAX, end: 0, owner });
        };
        assert!(wrong(region).contains("a region from 0xffffffffffffffff"));
        assert!(wrong(|report| report.cpus[1].stages_us.online = Some(u64::MAX)).contains("stage online"));
        assert!(wrong(|report| report.stress[0].cpus = 60_000).contains("60000 CPUs"));
        assert!(wrong(|report| report.stress[0].seconds = f64::NAN).contains("NaN"));
        assert!(
            wrong(|report| report.stress = vec![report.stress[0].clone(); 1025]).contains("1025 workloads")
        );
        assert!(wrong(|report| report.boot.as_mut().unwrap().kernel.tsc_khz = 0).contains("0 kHz"));
    }
}
