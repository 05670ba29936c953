//! The parameters and the result of a soak.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use crate::base::files::RunFolder;
use crate::base::{Error, Observer, Workspace};
use crate::commands::launch::Launch;
use crate::commands::runs;
use crate::kernel::{KernelSource, build};
use crate::machine::AccelChoice;
use crate::report::Outcome;
use crate::setup;

/// The result of a soak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// All is well; what was done.
    Passed(String),
    /// The failure, and the folder with its files.
    Failed(String, PathBuf),
}

/// The parameters of a soak.
pub(crate) struct Task<'a> {
    /// The accelerator.
    pub accel: AccelChoice,
    /// The QEMU to use.
    pub qemu: Option<&'a OsStr>,
    /// The checkout to build in.
    pub workspace: &'a Workspace,
    /// The folder of its files.
    pub folder: RunFolder,
    /// `--count`: how many of what it counts.
    pub count: Option<u64>,
}

impl Task<'_> {
    /// The folder of the soak's runs, which each run takes over from the one before.
    pub(crate) fn run(&self) -> PathBuf {
        self.folder.file("run")
    }

    /// A run with these arguments, in this soak's folder.
    pub(crate) fn launch(&self, arguments: &[&str]) -> Result<Launch, Error> {
        let parsed = runs::parse(arguments);
        let (mut launch, _) = parsed.map_err(|problem| Error::Usage(problem.to_string()))?;
        launch.machine.accel = self.accel;
        if !arguments.contains(&"--qemu") {
            launch.machine.qemu = self.qemu.map(OsStr::to_owned);
        }
        launch.output.out = Some(self.run());
        Ok(launch)
    }

    /// That a run went wrong, and how to have it again.
    pub(crate) fn failed(&self, what: &str, outcome: &Outcome, arguments: &str) -> Ended {
        let reason = outcome.report.reason.as_deref().unwrap_or("see its report");
        let text = format!("{what}: {}\nto repeat it: cargo run -- {arguments}", reason.trim());
        Ended::Failed(text, self.run())
    }

    /// Builds the kernel of a run once, for `launch` and those that take its kernel over.
    pub(crate) fn build(&self, launch: &mut Launch, observer: &mut dyn Observer) -> Result<(), Error> {
        setup::target::provide(observer)?;
        let built = build::provide(&launch.kernel, self.workspace, observer)?;
        let path = self.folder.adopt(&built.path, "octopod-kernel", built.is_users)?;
        let symbols = self.folder.adopt(&built.symbols, "octopod-symbols", built.is_users)?;
        launch.kernel.source = KernelSource::Built(Box::new(built.moved_to(path, symbols, None)));
        Ok(())
    }
}

/// A time as people say it.
pub(crate) fn human(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds}.{} s", time.subsec_millis() / 100),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_readable() {
        assert_eq!(human(Duration::from_millis(61_250)), "61.2 s");
        assert_eq!(human(Duration::from_secs(3_725)), "62 min 5 s");
    }
}
