//! Runs one row. The boot tests of `cargo test` and the `matrix` command use it.
//!
//! A [`Runner`] holds what all rows share. It creates a [`Job`] for each row, and installs tools and builds kernels before a
//! row runs: two installations must not run at once.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::base::files::{Scratch, output};
use crate::base::{Error, Observer, Version, Workspace, interrupt};
use crate::commands::launch::Launch;
use crate::commands::matrix::result::{Ended, RowResult, Skip};
use crate::commands::matrix::rows::{self, Problem, Row, RowProblem};
use crate::commands::matrix::weight::Weight;
use crate::commands::runs::launch_with;
use crate::kernel::{Kernel, KernelSource, build};
use crate::machine::accelerator::Host;
use crate::machine::qemu::Qemu;
use crate::machine::{AccelChoice, BootProtocol, EmulatorKind, MachineConfig, accelerator as accel};
use crate::setup;

/// The folder of the kernels, beside those of the rows; no row's name begins so.
const KERNELS: &str = "_kernels";

/// The parts that all rows share: one QEMU, one accelerator, a folder for their folders, a kernel of each variant.
#[derive(Debug)]
pub struct Runner {
    /// The one that is named, if one is; a row's command line names it too.
    named: Option<OsString>,
    /// The same of Bochs, which only the rows that boot on it need.
    named_bochs: Option<OsString>,
    qemu: Qemu,
    accel: AccelChoice,
    host: Host,
    folder: PathBuf,
}

/// A row that is ready to be run.
#[derive(Clone, Debug)]
pub struct Job {
    /// The row.
    pub row: Row,
    launch: Launch,
    /// The result that is known before the run, and replaces it.
    known_result: Option<Ended>,
    folder: PathBuf,
}

impl Runner {
    /// Finds QEMU, by name if one is given, and checks that `accel` is available.
    ///
    /// # Errors
    /// QEMU is missing or too old, or `accel` is not available.
    pub fn new(
        qemu: Option<&OsStr>,
        accel: AccelChoice,
        folder: PathBuf,
        observer: &mut dyn Observer,
    ) -> Result<Runner, Error> {
        let host = Host::examine();
        accel::decide(accel, &host)?;
        let found = setup::qemu::provide(qemu, observer)?;
        let named = qemu.map(OsStr::to_owned);
        Ok(Runner { named, named_bochs: None, qemu: found, accel, host, folder })
    }

    /// The same with a Bochs of the user's own, if one is named.
    pub fn with_bochs(self, named_bochs: Option<OsString>) -> Runner {
        Runner { named_bochs, ..self }
    }

    /// The version of the QEMU that was found.
    pub fn qemu_version(&self) -> Version {
        self.qemu.version
    }

    /// Creates a job for each row.
    ///
    /// # Errors
    /// A row is invalid.
    pub fn jobs(&self, rows: Vec<Row>) -> Result<Vec<Job>, Error> {
        let job = |row: Row| match self.job(&row) {
            Ok((launch, skip)) => {
                let known_result = skip.map(Ended::Skipped);
                Ok(Job { folder: self.folder.join(row.folder()), row, launch, known_result })
            }
            Err(problem) => {
                let problem = Problem::Row { name: row.name, problem };
                Err(Error::format(rows::FILE)(problem))
            }
        };
        rows.into_iter().map(job).collect()
    }

    fn job(&self, row: &Row) -> Result<(Launch, Option<Skip>), RowProblem> {
        let mut launch = row.launch(self.accel)?;
        let machine = &mut launch.machine;
        machine.qemu.clone_from(&self.named);
        machine.bochs = self.named_bochs.clone().or(machine.bochs.take());
        let has = self.qemu.version;
        let too_old = row.oldest_qemu()?.filter(|needs| has < *needs);
        let skip = match (too_old, accel::decide(machine.accel, &self.host)) {
            (Some(needs), _) => Some(Skip::QemuTooOld { needs, has }),
            (None, Err(error)) => Some(Skip::NoAccelerator(error.to_string())),
            (None, Ok(_)) => None,
        };
        Ok((launch, skip))
    }

    /// Provides the emulators and media of the jobs, and builds their kernels, each variant once.
    ///
    /// # Errors
    /// A tool cannot be installed, or a kernel does not build.
    pub fn prepare<'a>(
        &self,
        jobs: impl IntoIterator<Item = &'a mut Job>,
        observer: &mut dyn Observer,
    ) -> Result<(), Error> {
        let workspace = Workspace::find()?;
        let mut known: Vec<((EmulatorKind, BootProtocol), Option<Ended>)> = Vec::new();
        let mut kernels: BTreeMap<String, Kernel> = BTreeMap::new();
        for job in jobs.into_iter().filter(|job| job.known_result.is_none()) {
            let wanted = (job.launch.machine.emulator, job.launch.machine.boot);
            if !known.iter().any(|(one, _)| *one == wanted) {
                known.push((wanted, self.unavailable(&job.launch.machine, observer)?));
            }
            job.known_result =
                known.iter().find(|(one, _)| *one == wanted).and_then(|(_, ended)| ended.clone());
            if job.known_result.is_some() || matches!(job.launch.kernel.source, KernelSource::File(_)) {
                continue;
            }
            let variant = job.launch.kernel.variant();
            let kernel = match kernels.get(&variant) {
                Some(kernel) => kernel.clone(),
                None => {
                    setup::target::provide(observer)?;
                    self.own(build::provide(&job.launch.kernel, &workspace, observer)?)?
                }
            };
            let kernel = kernels.entry(variant).or_insert(kernel).clone();
            job.launch.kernel.source = KernelSource::Built(Box::new(kernel));
        }
        Ok(())
    }

    /// A kernel in a file of the matrix's own: a build of another launcher meanwhile does not change what the rows boot.
    fn own(&self, kernel: Kernel) -> Result<Kernel, Error> {
        let folder = Scratch::new_in(&self.folder.join(KERNELS))?;
        let own = |file: &Path, name: &str| {
            let own = folder.path().join(name);
            output::link_or_copy(file, &own).map_err(Error::copy(file, &own)).map(|()| own)
        };
        let (path, symbols) =
            (own(&kernel.path, "octopod-kernel")?, own(&kernel.symbols, "octopod-symbols")?);
        Ok(kernel.moved_to(path, symbols, Some(Arc::new(folder))))
    }

    /// The result of a row whose emulator or boot protocol this host cannot use.
    fn unavailable(
        &self,
        config: &MachineConfig,
        observer: &mut dyn Observer,
    ) -> Result<Option<Ended>, Error> {
        let emulator = match config.emulator {
            EmulatorKind::Qemu => Ok(()),
            EmulatorKind::Bochs => setup::bochs::provide(config.bochs.as_deref(), observer).map(drop),
        };
        let media = |()| setup::media::provide(config.boot, Some(&self.qemu.program), observer).map(drop);
        match emulator.and_then(media) {
            Ok(()) => Ok(None),
            Err(Error::Interrupted) => Err(Error::Interrupted),
            Err(error @ (Error::Missing { .. } | Error::MissingByHand { .. })) => {
                Ok(Some(Ended::Skipped(Skip::ToolMissing(error.to_string()))))
            }
            Err(error) => Ok(Some(Ended::NotStarted(error.to_string()))),
        }
    }
}

impl Job {
    /// The resources of the host that it needs.
    pub fn weight(&self) -> Weight {
        Weight::of(&self.launch.machine)
    }

    /// The name of the kernel that it boots: jobs of one name boot the same file.
    pub fn kernel_variant(&self) -> String {
        self.launch.kernel.variant()
    }

    /// Runs the row, unless there is a reason not to.
    pub fn run(&self, observer: &mut dyn Observer) -> RowResult {
        let not_begun = |ended| RowResult::not_begun(&self.row, &self.launch.machine, ended);
        match &self.known_result {
            Some(ended) => return not_begun(ended.clone()),
            None if interrupt::requested() => return not_begun(Ended::Skipped(Skip::Interrupted)),
            None => {}
        }
        let mut launch = self.launch.clone();
        launch.output.out = Some(self.folder.clone());
        let began = Instant::now();
        let outcome = launch_with(&launch, observer);
        RowResult::of(&self.row, &launch.machine, outcome, began.elapsed())
    }
}
