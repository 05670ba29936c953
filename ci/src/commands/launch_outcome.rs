//! The outcome of a run that has booted its kernel: the verdict and the report.

use std::time::Duration;

use crate::base::files::RunFolder;
use crate::base::{Error, Message, Observer};
use crate::commands::launch::{Launch, LaunchKind};
use crate::commands::launch_report::Begun;
use crate::kernel::{Kernel, KernelSource, Symbols, registry};
use crate::machine::emulator::Emulator;
use crate::machine::{EmulatorKind, MachineConfig};
use crate::present::trace;
use crate::report::document::{HostReport, KernelReport};
use crate::report::event_names::EventNames;
use crate::report::trace::TraceReport;
use crate::report::verdict::{RunEvidence, judge};
use crate::report::{Outcome, Report, Requested, symbolize};
use crate::run::folder;
use crate::run::session::Run;

/// Changes the report of a run that has booted its kernel, before it is written.
pub type Finish<'a> = &'a mut dyn FnMut(&mut Report, &Kernel, &RunFolder, &mut dyn Observer);

/// Judges a run, and makes its report.
pub(super) fn outcome(
    launch: &Launch,
    emulator: &Emulator,
    kernel: &Kernel,
    run: Run,
    begun: &Begun,
    observer: &mut dyn Observer,
    finish: Finish<'_>,
) -> Result<Outcome, Error> {
    let symbols = Symbols::read(&kernel.symbols, &begun.workspace.root);
    let slide = run.seen.boot.as_ref().map_or(0, |boot| boot.slide);
    let mut lines = run.serial.iter().map(String::as_str).filter(|line| !line.trim().is_empty());
    let (first_line, last_line) = (lines.clone().next(), lines.next_back());
    let is_own_program =
        matches!(launch.kind, LaunchKind::Run | LaunchKind::Test) || launch.kernel.example().is_some();
    let asked = Requested {
        is_named_kernel: matches!(launch.kernel.source, KernelSource::File(_)),
        ..Requested::of(&launch.machine, &launch.command_line, is_own_program)
    };
    let backtrace = symbolize::backtrace(&run.seen, &symbols);
    let judgement = judge(&RunEvidence {
        emulator: launch.machine.emulator,
        backtrace: &backtrace,
        end: &run.end,
        shutdown: run.shutdown.as_ref(),
        seen: &run.seen,
        first_line,
        last_line,
        complaint: &run.complaint,
        asked: &asked,
    });
    let kernel_report = KernelReport {
        variant: kernel.variant.clone(),
        image_bytes: kernel.image_bytes,
        compressed_bytes: kernel.compressed_bytes,
    };
    let mut report = Report::assemble(
        judgement,
        launch.command_line.to_string(),
        Some(host_report(&launch.machine, emulator, &run)),
        Some(kernel_report),
        &run.seen,
        backtrace,
    );
    symbolize::add_backtraces(&mut report, &run.seen, &symbols);
    let vectors = run.seen.interrupts.iter().map(|table| (table.vector, table.name.clone()));
    let known_slide = run.seen.panic.as_ref().map_or(slide, |panic| panic.slide);
    let has_events = launch.machine.has_trace_port || run.seen.panic.is_some();
    let elf = has_events.then(|| std::fs::read(&kernel.symbols).ok()).flatten();
    let events = elf.and_then(|elf| registry::events(&elf).ok()).unwrap_or_default();
    let words = EventNames::new(&symbols, known_slide, vectors).with_program(events);
    symbolize::add_events(&mut report, &run.seen, &words);
    let mut lacking = None;
    if let Some(folder) = &begun.folder {
        if launch.machine.has_trace_port {
            match trace::convert(folder, &words) {
                Ok(came) => {
                    report.trace = Some(came);
                    let (file, TraceReport { cpus, events, lost }) = (folder.file(folder::TRACE), came);
                    observer.receive(Message::Note(&format!(
                        "{events} trace events of {cpus} CPUs, {lost} lost; open in ui.perfetto.dev: {}",
                        file.display()
                    )));
                }
                Err(error) => lacking = Some(Error::NotMade { what: "--trace", error: Box::new(error) }),
            }
        }
        finish(&mut report, kernel, folder, observer);
    }
    let mut outcome = Outcome {
        serial: run.serial,
        complaint: run.complaint,
        cpus_at: match &run.registers {
            Some(text) => symbolize::cpus_at(text, &symbols, slide),
            None => Vec::new(),
        },
        registers: run.registers,
        ..Outcome::without_a_run(report)
    };
    if let Some(error) = lacking {
        outcome.lacks(error);
    }
    Ok(outcome)
}

fn host_report(config: &MachineConfig, emulator: &Emulator, run: &Run) -> HostReport {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    HostReport {
        os: std::env::consts::OS.to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
        boot_protocol: config.boot.name().to_owned(),
        emulator: config.emulator.name().to_owned(),
        emulator_version: emulator.version(),
        qemu_version: (config.emulator == EmulatorKind::Qemu).then(|| emulator.version()),
        accel: emulator.accel().to_owned(),
        machine: emulator.machine(config),
        cpu: emulator.cpu(config),
        smp: config.smp.to_string(),
        memory_bytes: config.mem.bytes(),
        qemu_start_to_online_ms: run.start_to_online.map(millis),
        wall_ms: millis(run.wall),
    }
}
