//! One run: starts the emulator, reads its output, and ends it at the deadline at the latest.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use octopod::wire::{ExitCode, Nonce};

use crate::base::files::RunFolder;
use crate::base::process::{ProcessEvent, Stream, Streams, Supervised};
use crate::base::{Error, Observer};
use crate::machine::bochs;
use crate::machine::emulator::{QMP, Ready};
use crate::machine::qmp::Monitor;
use crate::machine::shutdown::Shutdown;
use crate::run::console::{Attached, ConsoleConfig, Names};
use crate::run::records::Step;
use crate::run::{End, Seen, TimeLimit};

use crate::run::clock::{RunClock, TICK};
use crate::run::transcript::{MAX_LINE_BYTES, Transcript};

/// The emulator's answer about its registers may take this long, on a machine with a thousand CPUs.
const REGISTERS_LIMIT: Duration = Duration::from_secs(10);

/// The kernel may take this long for its report at the time limit, on a machine with a thousand CPUs.
const REPORT_LIMIT: Duration = Duration::from_secs(10);

/// The emulator may use this long to end when it is asked to, or after the kernel's verdict where that comes with the
/// deadline.
const QUIT_GRACE: Duration = Duration::from_secs(3);

/// The maximum number of lines that are read after the deadline: more than a pipe and the channel behind it hold. A machine that
/// writes without a pause is aborted nevertheless.
const MAX_LATE: usize = 4096;

/// The observations of a run.
#[derive(Debug)]
pub struct Run {
    /// The end of the run.
    pub end: End,
    /// QEMU's reason for it.
    pub shutdown: Option<Shutdown>,
    /// The kernel's records.
    pub seen: Seen,
    /// True if a record came, or what is taken for one.
    pub has_records: bool,
    /// The log of the kernel.
    pub serial: Vec<String>,
    /// The messages of the emulator, without those that are known to be harmless.
    pub complaint: String,
    /// From the emulator's start until the kernel's CPUs were online.
    pub start_to_online: Option<Duration>,
    /// From the emulator's start to its end.
    pub wall: Duration,
    /// The CPUs' registers, if the run was given up and the kernel has not reported its CPUs.
    pub registers: Option<String>,
}

impl Run {
    /// Returns whether the emulator ended, or was given up, before the kernel wrote anything, in a way that KVM may be to
    /// blame for.
    pub fn may_have_failed_by_kvm(&self) -> bool {
        let is_failure = match self.end {
            End::Status(status) => ExitCode::from_qemu_status(status).is_none(),
            End::Signal(_) => true,
            End::Deadline(_) => self.complaint.to_lowercase().contains("kvm"),
            End::ShutDown | End::Interrupted | End::SecondBoot => false,
        };
        is_failure && !self.has_records && self.serial.iter().all(|line| line.trim().is_empty())
    }
}

/// The configuration of a run.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// Its time limit; where it runs tests, that of each step of a test.
    pub limit: Duration,
    /// The limit begins again at each [step](Seen::steps): a busy host makes a run long, but not a hang. Not where the user names
    /// the limit.
    pub is_of_each_step: bool,
    /// The source of input of the kernel's console, if it has one.
    pub console: Option<ConsoleConfig>,
}

/// The kernel of a run, for the interpretation of its records and its console.
pub struct Booted {
    /// The nonce that it was given.
    pub nonce: Nonce,
    /// Its names.
    pub names: Names,
}

/// Runs `machine` for at most as long as the configuration allows.
///
/// # Errors
/// The emulator or a file of the run cannot be started or written.
pub fn run(
    config: &RunConfig,
    machine: &Ready,
    folder: &RunFolder,
    booted: Booted,
    observer: &mut dyn Observer,
) -> Result<Run, Error> {
    let limit = config.limit;
    let streams = Streams {
        interactive: config.console.is_some(),
        max_line_bytes: MAX_LINE_BYTES,
        stdout_log: Some(folder.open("serial.log")?),
        stderr_log: Some(folder.open(machine.log_name())?),
        ..Streams::default()
    };
    let socket = machine.socket(QMP);
    let listen = |socket| Monitor::listen(socket).map_err(Error::file("listen at", socket));
    let monitor = socket.as_deref().map(listen).transpose()?;
    let mut command = Command::new(&machine.program);
    command.args(&machine.arguments);
    let started = Instant::now();
    let mut child = Supervised::spawn(&mut command, streams)
        .map_err(|source| Error::Program { program: machine.program.display().to_string(), source })?;
    let mut transcript = Transcript::new(started, machine.kind, booted.nonce, observer);
    transcript.attached = config
        .console
        .as_ref()
        .zip(child.take_stdin())
        .map(|(config, stdin)| Attached::new(config, stdin, booted.names));
    let mut clock = RunClock::new(limit, started);
    let (end, registers) = follow(&mut child, &mut transcript, &mut clock, config, monitor.as_ref());
    transcript.serial_end();
    let shutdown = monitor.and_then(|monitor| monitor.shutdown(Instant::now() + QUIT_GRACE));
    if let Some(text) = &registers {
        folder.write("registers.txt", text.as_bytes())?;
    }
    let Transcript { seen, has_records, serial, complaint, start_to_online, .. } = transcript;
    let wall = started.elapsed();
    Ok(Run { end, shutdown, seen, has_records, serial, complaint, start_to_online, wall, registers })
}

/// Follows the machine until it ends or is ended. Returns how, and the registers after a timeout.
fn follow(
    child: &mut Supervised,
    transcript: &mut Transcript<'_>,
    clock: &mut RunClock,
    config: &RunConfig,
    monitor: Option<&Monitor>,
) -> (End, Option<String>) {
    let mut limit = TimeLimit::of_run(config.limit);
    let (mut is_over, mut late, mut steps) = (false, 0, 0);
    let mut is_report_requested = false;
    loop {
        let now = Instant::now();
        let left = clock.left(now);
        // Output that has arrived by the deadline counts: it is read up to the first pause.
        late += usize::from(left.is_zero());
        let happening = match left {
            Duration::ZERO if late > MAX_LATE => ProcessEvent::Deadline,
            Duration::ZERO => child.next(now + TICK),
            left => child.next(now + left.min(TICK)),
        };
        match happening {
            ProcessEvent::Line(Stream::Stdout, line) => transcript.serial_line(&line),
            ProcessEvent::Bytes(bytes) => transcript.serial_bytes(&bytes),
            ProcessEvent::Line(Stream::Stderr, line) => transcript.complaint_line(&line),
            ProcessEvent::Ended(_) if transcript.log.shut_down => return (End::ShutDown, None),
            // A panic of the kernel's own may come with the deadline; it says more.
            ProcessEvent::Ended(_) if is_report_requested && !transcript.seen.has_panicked() => {
                return (End::Deadline(limit), None);
            }
            ProcessEvent::Ended(status) => return (ended(status), None),
            ProcessEvent::Interrupted => {
                end(child, transcript);
                return (End::Interrupted, None);
            }
            ProcessEvent::Deadline if left > Duration::ZERO => {}
            ProcessEvent::Deadline if transcript.seen.verdict.is_some() && !is_over => {
                // All is said; it only has to end.
                is_over = true;
                clock.extend(QUIT_GRACE);
            }
            ProcessEvent::Deadline if !is_report_requested && is_requested(monitor) => {
                is_report_requested = true;
                late = 0;
                clock.extend(REPORT_LIMIT);
            }
            ProcessEvent::Deadline => {
                let registers = match monitor {
                    Some(monitor) => monitor
                        .registers(Instant::now() + REGISTERS_LIMIT)
                        .unwrap_or_else(|error| format!("{error}\n")),
                    None => interrupted_registers(child, transcript),
                };
                end(child, transcript);
                return (End::Deadline(limit), Some(registers));
            }
        }
        if !is_report_requested && !is_over {
            let step = renew(clock, &mut steps, config.is_of_each_step, &transcript.seen);
            limit.since = step.or(limit.since);
        }
        if transcript.seen.booted_again {
            child.end(QUIT_GRACE);
            return (End::SecondBoot, None);
        }
    }
}

/// Ends the machine. What the kernel has written until then is in the log on the disk, so the transcript has it too; what the
/// emulator says about its end is no complaint.
fn end(child: &mut Supervised, transcript: &mut Transcript<'_>) {
    child.end_with(QUIT_GRACE, |output| match output {
        ProcessEvent::Line(Stream::Stdout, line) => transcript.serial_line(&line),
        ProcessEvent::Bytes(bytes) => transcript.serial_bytes(&bytes),
        _ => {}
    });
}

/// Begins the time limit again if the kernel has completed another step of those that count. Returns that step.
fn renew(clock: &mut RunClock, steps: &mut usize, is_of_each_step: bool, seen: &Seen) -> Option<Step> {
    let now = if is_of_each_step { seen.steps } else { seen.tests.len() };
    if now <= *steps {
        return None;
    }
    *steps = now;
    clock.restart();
    match is_of_each_step {
        true => seen.last_step.clone(),
        false => seen.tests.last().map(|test| Step::Test(test.phase)),
    }
}

/// Requests the kernel's report. Returns whether the machine has taken the request; the kernel may still not answer.
fn is_requested(monitor: Option<&Monitor>) -> bool {
    monitor.is_some_and(|monitor| monitor.request_report(Instant::now() + REGISTERS_LIMIT).is_ok())
}

fn ended(status: ExitStatus) -> End {
    match status.code() {
        Some(code) => End::Status(code),
        None => End::Signal(status.signal().unwrap_or(0)),
    }
}

/// Returns the registers of every CPU of Bochs, which shows them at its end. What the kernel writes until then is in the log on the
/// disk, so the transcript has it too.
fn interrupted_registers(child: &mut Supervised, transcript: &mut Transcript<'_>) -> String {
    child.interrupt();
    let deadline = Instant::now() + REGISTERS_LIMIT;
    let mut log = bochs::Log::default();
    loop {
        match child.next(deadline) {
            ProcessEvent::Line(Stream::Stderr, line) => drop(log.take(&line)),
            ProcessEvent::Line(Stream::Stdout, line) => transcript.serial_line(&line),
            ProcessEvent::Bytes(bytes) => transcript.serial_bytes(&bytes),
            ProcessEvent::Interrupted => {}
            ProcessEvent::Ended(_) | ProcessEvent::Deadline => return log.registers,
        }
    }
}

#[cfg(test)]
mod tests {
    use octopod::wire::{Record, TestPhase, TestStep, WorkStart};

    use super::*;
    use crate::base::Silent;
    use crate::machine::EmulatorKind;
    use crate::run::records::draw_nonce;

    /// A run with a limit of ten seconds, in which nine have passed when the record comes: the seconds that are left then, and the
    /// step that the record completes.
    fn left_after(record: Record<String>, is_of_each_step: bool) -> (u64, Option<Step>) {
        let begin = Instant::now();
        let mut clock = RunClock::new(Duration::from_secs(10), begin);
        let after = (1..=9).map(|second| clock.left(begin + Duration::from_secs(second))).last();
        assert_eq!(after, Some(Duration::from_secs(1)));
        let (mut seen, mut steps) = (Seen::default(), 0);
        seen.take(record);
        let step = renew(&mut clock, &mut steps, is_of_each_step, &seen);
        // The same records are no further step.
        clock.left(begin + Duration::from_secs(10));
        assert_eq!(renew(&mut clock, &mut steps, is_of_each_step, &seen), None);
        (clock.left(begin + Duration::from_secs(10)).as_secs(), step)
    }

    #[test]
    fn a_step_begins_the_limit_again_unless_the_user_names_it() {
        let work = || Record::Work(WorkStart { entry_to_work_us: 5 });
        assert_eq!(left_after(work(), true), (9, Some(Step::Work)));
        assert_eq!(left_after(work(), false), (0, None));
        let test = || Record::Test(TestStep { number: 0, phase: TestPhase::Begun, us: 0 });
        let begun = Some(Step::Test(TestPhase::Begun));
        assert_eq!((left_after(test(), true), left_after(test(), false)), ((9, begun.clone()), (9, begun)));
        // What a kernel that hangs may repeat without end is no step.
        assert_eq!(left_after(Record::Prompt, true), (0, None));
    }

    #[test]
    fn the_transcript_has_what_bochs_writes_until_it_has_shown_the_registers() {
        // It ignores the signal, which a test in the background of a shell cannot have handled, and goes on by a pipe.
        let script = "trap '' INT; mkfifo \"$1\"; echo early; read -r _ <\"$1\"; echo late; \
                      echo '001i[CPU0  ] | RIP=1' >&2";
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(&pipe);
        let mut child = Supervised::spawn(&mut command, Streams::default()).unwrap();
        let mut observer = Silent;
        let mut transcript =
            Transcript::new(Instant::now(), EmulatorKind::Bochs, draw_nonce(), &mut observer);
        match child.next(Instant::now() + Duration::from_secs(60)) {
            ProcessEvent::Line(Stream::Stdout, line) => transcript.serial_line(&line),
            other => panic!("{other:?}"),
        }
        std::fs::write(&pipe, "\n").unwrap();
        let registers = interrupted_registers(&mut child, &mut transcript);
        assert_eq!(registers, "CPU#0\nRIP=1 HLT=0\n");
        assert_eq!(transcript.serial, ["early", "late"]);
    }
}
