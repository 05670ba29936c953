//! From options to an outcome, one step a line.

use std::time::Duration;

use octopod::wire::{NONCE_PARAMETER, Nonce};

use crate::base::checkout::Workspace;
use crate::base::error::Error;
use crate::base::files::Plan;
use crate::base::files::scratch::Scratch;
use crate::base::interrupt;
use crate::base::message::{Notice, Observer, Silent};
use crate::base::text;
use crate::base::verdict::VerdictKind;
use crate::commands::cli::{Mode, Options};
use crate::host::stress as host_stress;
use crate::kernel::build as kernel_build;
use crate::kernel::build::Kernel;
use crate::kernel::symbols::StackFrame;
use crate::kernel::symbols::Symbols;
use crate::machine::accelerator::Host;
use crate::machine::emulator::{Emulator, Kind, MAX_SOCKET_BYTES, QMP};
use crate::machine::limits;
use crate::machine::media as doors;
use crate::machine::qemu;
use crate::present::trace;
use crate::present::trace::Words;
use crate::report::cost_limits::Limits;
use crate::report::document::{HostReport, KernelReport, Report};
use crate::report::outcome::{CpuPlace, Outcome};
use crate::report::trace::{EventReport, TraceReport};
use crate::report::verdict::{Asked, Judgement, Witnesses, judge};
use crate::run::console::Names;
use crate::run::debugger;
use crate::run::folder as rundir;
use crate::run::folder::RunDir;
use crate::run::records::{Seen, TracedWords, draw_nonce};
use crate::run::session as run;
use crate::run::session::{Booted, Run};
use crate::setup;

/// How far a launch has come, for what is done at its end in any case.
#[derive(Debug, Default)]
struct Begun {
    /// No output is an input, so that the report may be written where it was asked for.
    may_write: bool,
    folder: Option<RunDir>,
}

/// Does what `options` ask for, in silence.
pub fn launch(options: &Options) -> Outcome {
    launch_with(options, &mut Silent)
}

/// The same, with an observer. Whatever goes wrong is in the outcome's report.
pub fn launch_with(options: &Options, observer: &mut dyn Observer) -> Outcome {
    launch_on(options, &Host::examine(), observer)
}

/// The same on a host that is described.
pub fn launch_on(options: &Options, host: &Host, observer: &mut dyn Observer) -> Outcome {
    let mut begun = Begun::default();
    let mut outcome = boot(options, host, &mut begun, observer).unwrap_or_else(|error| {
        // A compiler's words may be coloured.
        let reason = text::lines(&error.to_string()).trim_end().to_owned();
        let judgement = Judgement { kind: error.verdict(), reason: Some(reason) };
        let report = Report::assemble(
            judgement,
            options.kernel_command_line(),
            None,
            None,
            &Seen::default(),
            Vec::new(),
        );
        Outcome { error: Some(error), ..Outcome::without_a_run(report) }
    });
    let in_folder = begun.folder.as_ref().map(|folder| ("the run's folder", folder.file("report.json")));
    let asked_for = options.json.clone().filter(|path| begun.may_write && path.as_os_str() != "-");
    for (what, path) in in_folder.into_iter().chain(asked_for.map(|path| ("--json", path))) {
        if let Err(source) = outcome.report.write(&path) {
            outcome.lacks(Error::Unwritable { what: what.to_owned(), path, source });
        }
    }
    let run_dir = begun.folder.as_ref().map(|folder| folder.path.clone());
    Outcome { run_dir, in_use: begun.folder, ..outcome }
}

fn boot(
    options: &Options,
    host: &Host,
    begun: &mut Begun,
    observer: &mut dyn Observer,
) -> Result<Outcome, Error> {
    let workspace = Workspace::find()?;
    let plan = options.plan(&workspace);
    plan.check(Some(&workspace.root))?;
    begun.may_write = true;
    options.check()?;
    qemu::check(options)?;
    let limits = (options.mode == Mode::Bench).then(|| Limits::read(&workspace.root)).transpose()?;
    if options.host {
        let folder = run_folder(options, &workspace, "stress-host", &plan, observer)?;
        begun.folder = Some(folder);
        let (judgement, seen) = host_stress::run(options, observer)?;
        let report =
            Report::assemble(judgement, options.kernel_command_line(), None, None, &seen, Vec::new());
        return Ok(Outcome::without_a_run(report));
    }
    kernel_build::check(options, &workspace)?;
    let mut emulator = Emulator::provide(options, host, observer)?;
    if options.kernel.is_none() && options.built.is_none() {
        setup::target::provide(observer)?;
    }
    if options.mode == Mode::Gdb {
        setup::gdb::provide(observer)?;
    }
    let tools = setup::media::provide(options.boot, emulator.qemu_program(), observer)?;
    let kernel = kernel_build::provide(options, &workspace, observer)?;
    limits::check_image(kernel.image_end, options.mem.bytes())?;
    if interrupt::requested() {
        return Err(Error::Interrupted);
    }
    let folder = run_folder(options, &workspace, options.mode.name(), &plan, observer)?;
    let folder = begun.folder.insert(folder);
    let kernel = adopted(kernel, folder)?;
    let scratch = match options.emulator {
        Kind::Qemu => Some(Scratch::new(QMP, MAX_SOCKET_BYTES)?),
        Kind::Bochs => None,
    };
    let nonce = nonce(options);
    // First, so that no word of the user's can hide it; one of the same name counts instead.
    let command_line = format!("{NONCE_PARAMETER}={nonce} {}", options.kernel_command_line());
    let medium =
        doors::prepare(options, &command_line, &tools, &kernel.path, folder, scratch.as_ref(), observer)?;
    let run = loop {
        let mut machine = emulator.set_up(options, &medium, folder, scratch.as_ref())?;
        announce(options, &emulator, &kernel, &machine.script, observer);
        if let Some(scratch) = scratch.as_ref().filter(|_| options.mode == Mode::Gdb) {
            machine.arguments.extend(debugger::arguments(scratch).into_iter().flatten());
            let script = debugger::write_script(options, &workspace.root, &kernel.symbols, scratch, folder)?;
            let line = debugger::line(&script);
            observer.notice(Notice::Note(&format!("waiting for gdb; in another terminal: {line}")));
        }
        let booted = Booted { nonce, names: Names::of(&kernel.symbols, &workspace.root) };
        let run = run::run(options, &machine, folder, booted, observer)?;
        let Some(reason) = emulator.fall_back(&run) else { break run };
        // The next one is listened for anew.
        machine.socket(QMP).map(std::fs::remove_file);
        observer.notice(Notice::Note(&reason));
    };

    let symbols = Symbols::read(&kernel.symbols, &workspace.root);
    let slide = run.seen.boot.as_ref().map_or(0, |boot| boot.slide);
    let host = host_report(options, &emulator, &run);
    let mut lines = run.serial.iter().map(String::as_str).filter(|line| !line.trim().is_empty());
    let (first_line, last_line) = (lines.clone().next(), lines.next_back());
    let judgement = judge(&Witnesses {
        emulator: options.emulator,
        end: &run.end,
        shutdown: run.shutdown.as_ref(),
        seen: &run.seen,
        first_line,
        last_line,
        complaint: &run.complaint,
        asked: &Asked::of(options),
    });
    let kernel_report = KernelReport {
        variant: kernel.variant,
        image_bytes: kernel.image_bytes,
        compressed_bytes: kernel.compressed_bytes,
    };
    let mut report = Report::assemble(
        judgement,
        options.kernel_command_line(),
        Some(host),
        Some(kernel_report),
        &run.seen,
        backtrace(&run.seen, &symbols),
    );
    for (report, (warning, frames)) in report.warnings.iter_mut().zip(&run.seen.warnings) {
        report.backtrace = calls(warning.rip, frames, warning.slide, &symbols);
    }
    if let Some(panic) = &mut report.panic {
        let slide = run.seen.panic.as_ref().map_or(slide, |panic| panic.slide);
        for (report, (cpu, frames)) in panic.cpus.iter_mut().zip(&run.seen.panic_cpus) {
            if report.cpu != panic.cpu {
                let rip = cpu.registers.map(|registers| registers.rip());
                report.backtrace = calls(rip, frames, slide, &symbols);
            }
        }
    }
    let vectors = run.seen.interrupts.iter().map(|table| (table.vector, table.name.clone()));
    let known_slide = run.seen.panic.as_ref().map_or(slide, |panic| panic.slide);
    let words = Words::new(&symbols, known_slide, vectors);
    add_events(&mut report, &run.seen, &words);
    let mut lacking = None;
    if options.trace {
        match trace::convert(folder, &words) {
            Ok(came) => {
                report.trace = Some(came);
                let file = folder.file(trace::FILE);
                let TraceReport { cpus, events, lost } = came;
                observer.notice(Notice::Note(&format!(
                    "{events} trace events of {cpus} CPUs, {lost} lost; open in ui.perfetto.dev: {}",
                    file.display()
                )));
            }
            Err(error) => {
                lacking = Some(Error::NotMade { what: "--trace", error: Box::new(error) });
            }
        }
    }
    if let Some(limits) = &limits {
        if report.verdict == VerdictKind::Pass {
            match crate::commands::bench::boots::measure(&kernel.path, &folder.path, observer) {
                Ok(figures) => report.add_bench(&figures),
                Err(failure) => report.fail(failure.to_string()),
            }
        }
        limits.apply_to(&mut report);
    }
    let mut outcome = Outcome {
        status: report.status(),
        report,
        cpus_at: run.registers.as_deref().map(|text| cpus_at(text, &symbols, slide)).unwrap_or_default(),
        serial: run.serial,
        complaint: run.complaint,
        registers: run.registers,
        run_dir: None,
        error: None,
        unwritten: Vec::new(),
        in_use: None,
    };
    if let Some(error) = lacking {
        outcome.lacks(error);
    }
    Ok(outcome)
}

/// The folder of a run; and as many older ones are removed as are too many.
fn run_folder(
    options: &Options,
    workspace: &Workspace,
    mode: &str,
    plan: &Plan,
    observer: &mut dyn Observer,
) -> Result<RunDir, Error> {
    let folder = RunDir::create(workspace, mode, options.out.as_deref())?;
    if options.out.is_none() {
        let keep = options.keep.get();
        match rundir::prune(workspace, keep, plan.inputs()) {
            0 => {}
            count => observer.notice(Notice::Note(&format!(
                "removed {count} older run folders: the newest {keep} are kept (--keep N)"
            ))),
        }
    }
    Ok(folder)
}

/// The same kernel in the run's own files.
fn adopted(kernel: Kernel, folder: &RunDir) -> Result<Kernel, Error> {
    let path = folder.adopt(&kernel.path, "octopod-kernel", kernel.is_users)?;
    let symbols = match kernel.symbols == kernel.path {
        true => path.clone(),
        false => folder.adopt(&kernel.symbols, "octopod-symbols", kernel.is_users)?,
    };
    Ok(kernel.moved_to(path, symbols, None))
}

/// The nonce of a run's records. Where instructions are counted, two runs of one machine are the same to the last of them,
/// so their nonces are.
fn nonce(options: &Options) -> Nonce {
    let counts = options.mode == Mode::Bench || options.qemu_arguments.iter().any(|word| word == "-icount");
    Nonce::new(u64::MAX).filter(|_| counts).unwrap_or_else(draw_nonce)
}

/// The last trace events of each CPU, for a panic's report.
fn add_events(report: &mut Report, seen: &Seen, words: &Words) {
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
                text: words.line(*event, *a, *b),
            }
        };
        cpu.events = own.map(report).collect();
    }
}

fn announce(
    options: &Options,
    emulator: &Emulator,
    kernel: &Kernel,
    script: &[u8],
    observer: &mut dyn Observer,
) {
    let kib = |bytes: u64| bytes.div_ceil(1024);
    let compressed = kernel.compressed_bytes.map(|bytes| format!(", {} KiB compressed", kib(bytes)));
    let line = format!(
        "{} {}, {}, {} with -smp {} and {}; kernel `{}`, {} KiB{}",
        options.emulator.title(),
        emulator.version(),
        emulator.accel(),
        emulator.machine(options),
        options.smp,
        options.mem,
        kernel.variant,
        kib(kernel.image_bytes),
        compressed.unwrap_or_default(),
    );
    observer.notice(Notice::Note(&line));
    observer.notice(Notice::Tool(&format!("{}: {}", emulator.accel(), emulator.accel_reason())));
    observer.notice(Notice::Tool(&String::from_utf8_lossy(script)));
    observer.notice(Notice::Step("booting"));
}

fn host_report(options: &Options, emulator: &Emulator, run: &Run) -> HostReport {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    HostReport {
        os: std::env::consts::OS.to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
        door: options.boot.name().to_owned(),
        emulator: options.emulator.name().to_owned(),
        emulator_version: emulator.version(),
        qemu_version: (options.emulator == Kind::Qemu).then(|| emulator.version()),
        accel: emulator.accel().to_owned(),
        machine: emulator.machine(options),
        cpu: emulator.cpu(options),
        smp: options.smp.to_string(),
        memory_bytes: options.mem.bytes(),
        qemu_start_to_online_ms: run.start_to_online.map(millis),
        wall_ms: millis(run.wall),
    }
}

/// Where the first CPU panicked.
fn backtrace(seen: &Seen, symbols: &Symbols) -> Vec<StackFrame> {
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
fn cpus_at(registers: &str, symbols: &Symbols, slide: u64) -> Vec<CpuPlace> {
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
