//! Resolves the addresses of a report by the kernel's symbols.

use crate::kernel::{StackFrame, Symbols};
use crate::report::Report;
use crate::report::event_names::EventNames;
use crate::report::outcome::CpuPlace;
use crate::report::program_call::user_of;
use crate::report::trace::EventReport;
use crate::run::Seen;
use crate::run::records::TracedWords;

/// Adds the backtraces of warnings, of call sites of the heap, and of the other CPUs in a panic.
pub fn add_backtraces(report: &mut Report, seen: &Seen, symbols: &Symbols) {
    for (report, (warning, frames)) in report.warnings.iter_mut().zip(&seen.warnings) {
        report.backtrace = calls(warning.rip, frames, warning.slide, symbols);
    }
    for (report, site) in report.heap_sites.iter_mut().zip(&seen.heap_sites) {
        report.backtrace = symbols.backtrace(&site.calls, site.slide);
        report.call = user_of(&report.backtrace, &["octopod::heap::"]);
    }
    let (Some(report), Some(panic)) = (&mut report.panic, &seen.panic) else { return };
    for (report, thread) in report.threads.iter_mut().zip(&seen.panic_threads) {
        report.backtrace = symbols.backtrace(&thread.frames, panic.slide);
        report.call = user_of(&report.backtrace, &["octopod::sched::"]);
    }
    for (cpu_report, (cpu, frames)) in report.cpus.iter_mut().zip(&seen.panic_cpus) {
        if cpu_report.cpu != report.cpu {
            let rip = cpu.registers.map(|registers| registers.rip());
            cpu_report.backtrace = calls(rip, frames, panic.slide, symbols);
        }
    }
}

/// Adds the last trace events of each CPU to a panic.
pub fn add_events(report: &mut Report, seen: &Seen, names: &EventNames) {
    let (Some(panic), Some(at)) = (&mut report.panic, seen.panic.as_ref().and_then(|panic| panic.tsc)) else {
        return;
    };
    // Before the kernel knows how fast the TSC is, there are only cycles.
    let khz = seen.panic.as_ref().and_then(|panic| panic.tsc_khz).filter(|khz| *khz > 0);
    for cpu in &mut panic.cpus {
        let own = seen.panic_events.iter().filter(|(number, _)| *number == cpu.cpu);
        let report = |(_, (tsc, event, a, b)): &(u32, TracedWords)| {
            let cycles_before = at.wrapping_sub(*tsc) as i64;
            EventReport {
                cycles_before,
                us_before: khz.map(|khz| cycles_before as f64 * 1000.0 / khz as f64),
                text: names.line(*event, *a, *b),
            }
        };
        cpu.events = own.map(report).collect();
    }
}

/// Returns the calls of the first CPU that panicked.
pub fn backtrace(seen: &Seen, symbols: &Symbols) -> Vec<StackFrame> {
    seen.panic.as_ref().map_or_else(Vec::new, |panic| calls(panic.rip, &seen.frames, panic.slide, symbols))
}

/// The instruction, if it is known, and the calls that led there.
fn calls(rip: Option<u64>, frames: &[u64], slide: u64, symbols: &Symbols) -> Vec<StackFrame> {
    let instruction = rip.map(|rip| symbols.instruction(rip, slide)).unwrap_or_default();
    instruction.into_iter().chain(symbols.backtrace(frames, slide)).collect()
}

/// Each CPU's place, from a list of registers in QEMU's form, which calls the instruction pointer RIP or EIP by the CPU's
/// mode.
/// A kernel that has not said by how much it slid is taken to run where it was linked.
pub fn cpus_at(registers: &str, symbols: &Symbols, slide: u64) -> Vec<CpuPlace> {
    let mut places = Vec::new();
    let mut cpu = String::new();
    for line in registers.lines() {
        if let Some(number) = line.trim().strip_prefix("CPU#") {
            cpu = number.to_owned();
        }
        let value = |name: &str| line.split_once(name).and_then(|(_, rest)| rest.split_whitespace().next());
        let pointer = value("RIP=").or_else(|| value("EIP="));
        if let Some(address) = pointer.and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
            let halted = value("HLT=") == Some("1");
            places.push(CpuPlace { cpu: cpu.clone(), halted, frames: symbols.instruction(address, slide) });
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_cpus_place_is_found_in_qemus_list() {
        let text = "\nCPU#0\nRAX=1 RBX=2\nRIP=ffff800000101234 RFL=00000246 [---Z-P-] CPL=0 HLT=0\n\n\
                    CPU#1\nEIP=0000fff0 EFL=00000002 HLT=1\n";
        let places = cpus_at(text, &Symbols::read(Path::new("/nonexistent"), Path::new("/")), 0);
        let found: Vec<_> =
            places.iter().map(|at| (at.cpu.as_str(), at.halted, at.frames[0].address.as_str())).collect();
        assert_eq!(found, [("0", false, "0xffff800000101234"), ("1", true, "0x000000000000fff0")]);
    }
}
