//! What the kernel is booted on: QEMU, or Bochs. Here is what the launcher asks of both; [`crate::machine::qemu`] and
//! [`crate::machine::bochs`] know how each is told.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use octopod::wire::ExitCode;

use crate::base::error::Error;
use crate::base::files::scratch::Scratch;
use crate::base::message::Observer;
use crate::commands::cli::Options;
use crate::machine::accelerator as accel;
use crate::machine::accelerator::{Accel, Decision, Host};
use crate::machine::bochs;
use crate::machine::bochs::Bochs;
use crate::machine::media::Medium;
use crate::machine::qemu::{Machine, Qemu, QmpSocket};
use crate::present::trace;
use crate::report::verdict::End;
use crate::run::folder::RunDir;
use crate::run::session::Run;
use crate::setup;

/// Unix sockets have short names: 104 bytes on macOS, 108 on Linux, with the zero at the end.
pub const MAX_SOCKET_BYTES: usize = 100;

/// The socket of QEMU's machine protocol, at which the launcher listens.
pub const QMP: &str = "qmp";

/// `--emulator`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Kind {
    /// QEMU, by its translator or by KVM.
    Qemu,
    /// Bochs, which interprets every instruction: slow, strict, and with a TSC-deadline timer.
    Bochs,
}

impl Kind {
    /// Its name, as `--emulator` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Qemu => "qemu",
            Kind::Bochs => "bochs",
        }
    }

    /// Its name, as its makers write it.
    pub fn title(self) -> &'static str {
        match self {
            Kind::Qemu => "QEMU",
            Kind::Bochs => "Bochs",
        }
    }

    /// How long a run may take whose boot may take `boot` under TCG, and whose workloads run for `work` of the machine's
    /// own time. Bochs interprets all CPUs on one thread: on an idle host, eight take 15 seconds to boot and half a
    /// minute for each second of work.
    pub fn time_limit(self, boot: Duration, work: Duration) -> Duration {
        match self {
            Kind::Qemu => boot + work,
            Kind::Bochs => boot * 4 + work * 120,
        }
    }
}

/// An emulator that is there, with what was decided about it.
#[derive(Debug)]
pub enum Emulator {
    /// QEMU, and who runs the guest's code.
    Qemu(Qemu, Decision),
    /// Bochs.
    Bochs(Bochs),
}

/// A machine that can be started.
#[derive(Debug)]
pub struct Ready {
    /// Whose it is.
    pub kind: Kind,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// The same as a script, for people.
    pub script: Vec<u8>,
    /// The folder of the sockets by which QEMU is talked to; Bochs has none.
    sockets: Option<PathBuf>,
}

impl Emulator {
    /// Finds the emulator that is asked for, and installs it if it is missing.
    pub fn provide(options: &Options, host: &Host, observer: &mut dyn Observer) -> Result<Emulator, Error> {
        match options.emulator {
            Kind::Qemu => {
                let decision = accel::decide(options.accel, host)?;
                let qemu = setup::qemu::provide(options.qemu_program.as_deref(), observer)?;
                Ok(Emulator::Qemu(qemu, decision))
            }
            Kind::Bochs => {
                setup::bochs::provide(options.bochs_program.as_deref(), observer).map(Emulator::Bochs)
            }
        }
    }

    /// Takes TCG if KVM was the launcher's own choice and did not get as far as the kernel. Returns what happened, for the
    /// user, if there is to be another run.
    pub fn fall_back(&mut self, run: &Run) -> Option<String> {
        let Emulator::Qemu(_, decision) = self else { return None };
        let is_choice = decision.is_automatic && decision.accel == Accel::Kvm;
        let is_failure = match run.end {
            End::Status(status) => ExitCode::from_qemu_status(status).is_none(),
            End::Signal(_) => true,
            End::Deadline(_) => run.complaint.to_lowercase().contains("kvm"),
            End::ShutDown | End::Interrupted | End::SecondBoot => false,
        };
        if !is_choice || !is_failure || run.has_output() {
            return None;
        }
        let complaint = run.complaint.lines().next().unwrap_or("QEMU ended before the kernel began");
        let reason = format!("KVM does not work here, so that TCG is used instead: {complaint}");
        *decision = Decision { accel: Accel::Tcg, reason: reason.clone(), is_automatic: true };
        Some(reason)
    }

    /// QEMU's program, beside which its firmware lies.
    pub fn qemu_program(&self) -> Option<&Path> {
        match self {
            Emulator::Qemu(qemu, _) => Some(&qemu.program),
            Emulator::Bochs(_) => None,
        }
    }

    /// Its version.
    pub fn version(&self) -> String {
        match self {
            Emulator::Qemu(qemu, _) => qemu.version.to_string(),
            Emulator::Bochs(bochs) => bochs.version.to_string(),
        }
    }

    /// Who runs the guest's code.
    pub fn accel(&self) -> &'static str {
        match self {
            Emulator::Qemu(_, decision) => decision.accel.name(),
            Emulator::Bochs(_) => "interpreter",
        }
    }

    /// Why it is that.
    pub fn accel_reason(&self) -> &str {
        match self {
            Emulator::Qemu(_, decision) => &decision.reason,
            Emulator::Bochs(_) => "Bochs has no other",
        }
    }

    /// The machine, as its emulator calls it.
    pub fn machine(&self, options: &Options) -> String {
        match self {
            Emulator::Qemu(..) => options.machine.to_string(),
            Emulator::Bochs(_) => bochs::MACHINE.to_owned(),
        }
    }

    /// The processor, as its emulator calls it.
    pub fn cpu(&self, options: &Options) -> String {
        let default = match self {
            Emulator::Qemu(qemu, decision) => qemu.default_cpu(options.mode, decision.accel),
            Emulator::Bochs(_) => bochs::DEFAULT_CPU,
        };
        options.cpu.as_ref().map_or_else(|| default.to_owned(), ToString::to_string)
    }

    /// Makes a machine that boots from `medium`; what it needs, and a script to start it by hand, go into the run's
    /// folder.
    pub fn set_up(
        &self,
        options: &Options,
        medium: &Medium,
        folder: &RunDir,
        scratch: Option<&Scratch>,
    ) -> Result<Ready, Error> {
        match self {
            Emulator::Qemu(qemu, decision) => {
                let socket = scratch.map(|scratch| scratch.path().join(QMP));
                let trace_file = folder.file(trace::STREAM);
                let (by_hand, files) = medium.by_hand();
                let mut machine = Machine {
                    options,
                    accel: decision.accel,
                    medium: &by_hand,
                    qmp: None,
                    trace_file: options.trace.then_some(&*trace_file),
                };
                let script = qemu.script(&qemu.arguments(&machine), &files);
                folder.write_script("qemu.sh", &script)?;
                machine = Machine { medium, qmp: socket.as_deref().map(QmpSocket::Connects), ..machine };
                Ok(Ready {
                    kind: Kind::Qemu,
                    program: qemu.program.clone(),
                    arguments: qemu.arguments(&machine).into_iter().flatten().collect(),
                    script,
                    sockets: scratch.map(|scratch| scratch.path().to_owned()),
                })
            }
            Emulator::Bochs(bochs) => {
                for (name, text) in bochs.files(options, medium.file_name()) {
                    folder.write(name, text.as_bytes())?;
                }
                let script = bochs.script();
                folder.write_script("bochs.sh", &script)?;
                Ok(Ready {
                    kind: Kind::Bochs,
                    program: "/bin/sh".into(),
                    arguments: vec![folder.file("bochs.sh").into_os_string()],
                    script,
                    sockets: None,
                })
            }
        }
    }
}

impl Ready {
    /// Where a socket to talk to QEMU by may be; [`QMP`] is the one that it connects to.
    pub fn socket(&self, name: &str) -> Option<PathBuf> {
        self.sockets.as_ref().map(|folder| folder.join(name))
    }

    /// The file of the run's folder that gets what the emulator says itself.
    pub fn log_name(&self) -> &'static str {
        match self.kind {
            Kind::Qemu => "qemu.log",
            Kind::Bochs => "bochs.log",
        }
    }
}
