//! The emulator of a run: QEMU or Bochs. This module has their common interface; [`crate::machine::qemu`] and
//! [`crate::machine::bochs`] have the command line of each.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::base::Error;
use crate::base::files::Scratch;
use crate::machine::accelerator::{Accel, Decision};
use crate::machine::bochs::{self, Bochs};
use crate::machine::media::Medium;
use crate::machine::qemu::{Machine, Qemu, QmpSocket};
use crate::machine::{EmulatorKind, MachineConfig};

/// The file of the run's folder that gets the bytes of the trace.
pub const TRACE_STREAM: &str = "trace.bin";
use crate::base::files::RunFolder;

/// Unix sockets have short names: 104 bytes on macOS, 108 on Linux, with the zero at the end.
pub const MAX_SOCKET_BYTES: usize = 100;

/// The socket of QEMU's machine protocol, at which the launcher listens.
pub const QMP: &str = "qmp";

/// An emulator that is there, with what was decided about it.
#[derive(Debug)]
pub enum Emulator {
    /// QEMU, and its accelerator.
    Qemu(Qemu, Decision),
    /// Bochs.
    Bochs(Bochs),
}

/// A machine that can be started.
#[derive(Debug)]
pub struct Ready {
    /// The emulator.
    pub kind: EmulatorKind,
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
    /// Takes TCG in KVM's place if KVM was the launcher's own choice. Returns what happened, for the user; `None` if there is
    /// nothing to fall back to.
    pub fn fall_back_to_tcg(&mut self, complaint: &str) -> Option<String> {
        let Emulator::Qemu(_, decision) = self else { return None };
        if !decision.is_automatic || decision.accel != Accel::Kvm {
            return None;
        }
        let complaint = complaint.lines().next().unwrap_or("QEMU ended before the kernel began");
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

    /// The accelerator.
    pub fn accel(&self) -> &'static str {
        match self {
            Emulator::Qemu(_, decision) => decision.accel.name(),
            Emulator::Bochs(_) => "interpreter",
        }
    }

    /// Returns the reason for the accelerator.
    pub fn accel_reason(&self) -> &str {
        match self {
            Emulator::Qemu(_, decision) => &decision.reason,
            Emulator::Bochs(_) => "Bochs has no other",
        }
    }

    /// The machine, as its emulator calls it.
    pub fn machine(&self, config: &MachineConfig) -> String {
        match self {
            Emulator::Qemu(..) => config.machine.to_string(),
            Emulator::Bochs(_) => bochs::MACHINE.to_owned(),
        }
    }

    /// The processor, as its emulator calls it.
    pub fn cpu(&self, config: &MachineConfig) -> String {
        let default = match self {
            Emulator::Qemu(qemu, decision) => qemu.default_cpu(config.counts_instructions, decision.accel),
            Emulator::Bochs(_) => bochs::DEFAULT_CPU,
        };
        config.cpu.as_ref().map_or_else(|| default.to_owned(), ToString::to_string)
    }

    /// Creates a machine that boots from `medium`. The files that it needs, and a script that starts it by hand, are written to the
    /// run's folder.
    ///
    /// # Errors
    /// The machine cannot run this configuration, or a file of the run cannot be written.
    pub fn set_up(
        &self,
        config: &MachineConfig,
        medium: &Medium,
        folder: &RunFolder,
        scratch: Option<&Scratch>,
    ) -> Result<Ready, Error> {
        match self {
            Emulator::Qemu(qemu, decision) => {
                let socket = scratch.map(|scratch| scratch.path().join(QMP));
                let trace_file = folder.file(TRACE_STREAM);
                let (by_hand, files) = medium.by_hand();
                let mut machine = Machine {
                    config,
                    accel: decision.accel,
                    medium: &by_hand,
                    qmp: None,
                    trace_file: config.has_trace_port.then_some(&*trace_file),
                };
                let script = qemu.script(&qemu.arguments(&machine), &files);
                folder.write_script("qemu.sh", &script)?;
                machine = Machine { medium, qmp: socket.as_deref().map(QmpSocket::Connects), ..machine };
                Ok(Ready {
                    kind: EmulatorKind::Qemu,
                    program: qemu.program.clone(),
                    arguments: qemu.arguments(&machine).into_iter().flatten().collect(),
                    script,
                    sockets: scratch.map(|scratch| scratch.path().to_owned()),
                })
            }
            Emulator::Bochs(bochs) => {
                for (name, text) in bochs.files(config, medium.file_name()) {
                    folder.write(name, text.as_bytes())?;
                }
                let script = bochs.script();
                folder.write_script("bochs.sh", &script)?;
                Ok(Ready {
                    kind: EmulatorKind::Bochs,
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
    /// Returns the path of a socket of QEMU's. [`QMP`] is the one that it connects to.
    pub fn socket(&self, name: &str) -> Option<PathBuf> {
        self.sockets.as_ref().map(|folder| folder.join(name))
    }

    /// The file of the run's folder that gets the emulator's own messages.
    pub fn log_name(&self) -> &'static str {
        match self.kind {
            EmulatorKind::Qemu => "qemu.log",
            EmulatorKind::Bochs => "bochs.log",
        }
    }
}
