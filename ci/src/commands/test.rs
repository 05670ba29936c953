//! `test`: runs the tests of a kernel's file, with the arguments and the output of Rust's libtest. Cargo calls it by way of `run`,
//! its runner.

mod junit;
mod machines;
mod target;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use libtest_mimic::{Arguments, Trial};

use crate::base::files::{Plan, input, output};
use crate::base::shard::Shard;
use crate::base::{Error, Silent, Workspace, text};
use crate::commands::args::EmulatorArgs;
use crate::commands::launch::LaunchKind;
use crate::commands::launch_args::LaunchArgs;
use crate::commands::test::machines::Machines;
use crate::commands::test::target::Target;
use crate::kernel::KernelSource;
use crate::kernel::registry::{self, TestEntry};
use crate::report::origin::OriginReport;
use crate::report::shards::ShardEnd;

/// No kernel is larger.
const MOST_BYTES: u64 = 256 << 20;

/// The status of libtest where tests fail.
const FAILED: u8 = 101;

/// The folder in which each file of tests leaves its results, in a folder of its own. Under `cargo test` no option can say it: cargo's
/// arguments are those of libtest.
const JUNIT_FOLDER: &str = "OCTOPOD_JUNIT";

/// The results in such a folder.
const JUNIT: &str = "junit.xml";

/// Options of `test`.
#[derive(Clone, Debug, Args)]
pub struct TestArgs {
    /// The ELF file with the tests, as `cargo test` builds it.
    #[arg(value_name = "ELF", conflicts_with_all = ["kernel", "debug", "compressed", "inject"])]
    pub elf: PathBuf,

    /// Write the results as JUnit XML here [default: with OCTOPOD_JUNIT=DIR, junit.xml in a folder of this file's own in DIR].
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub junit: Option<PathBuf>,

    /// Only the K-th of N parts of the tests; each test is in exactly one.
    #[arg(long, value_name = "K/N", help_heading = "Run", env = "OCTOPOD_SHARD", hide_env_values = true)]
    pub shard: Option<Shard>,

    #[command(flatten)]
    pub(crate) emulator: EmulatorArgs,
    #[command(flatten)]
    pub(crate) common: LaunchArgs,
}

impl TestArgs {
    /// Does what is asked for. Returns the exit status: that of libtest, or the launcher's where no test could run.
    pub fn execute(&self) -> u8 {
        self.run().unwrap_or_else(|error| {
            eprintln!("octopod: {}", text::lines(&error.to_string()));
            error.verdict().status()
        })
    }

    fn run(&self) -> Result<u8, Error> {
        let elf = input::read(&self.elf, MOST_BYTES)?;
        let not_a_kernel = |reason: String| Error::NotAKernel { path: self.elf.clone(), reason };
        let mut entries = registry::tests(&elf).map_err(|error| not_a_kernel(error.to_string()))?;
        let mut launch = self.common.configure(LaunchKind::Test, &self.emulator);
        let files = launch.files();
        launch.kernel.source = KernelSource::File(self.elf.clone());
        let target = Target::of(&self.elf);
        // Each boot has a folder there.
        launch.output.out = launch.output.out.map(|folder| folder.join(target.folder(self.shard)));
        let words = std::mem::take(&mut launch.machine.qemu_arguments);
        let mut arguments = Arguments::from_iter([OsString::from("test")].into_iter().chain(words));
        // Tests of one machine share a boot: they run one after the other, and the output is in their order.
        arguments.test_threads = Some(1);
        entries.sort_by(|one, other| one.name().cmp(other.name()));
        let is_here = |place: usize| self.shard.is_none_or(|shard| shard.has(place));
        let entries: Vec<TestEntry> = entries
            .into_iter()
            .enumerate()
            .filter(|(place, _)| is_here(*place))
            .map(|(_, entry)| entry)
            .collect();
        let mut selected: Vec<TestEntry> =
            entries.iter().filter(|entry| is_selected(entry, &arguments)).cloned().collect();
        // In the order of the file, in which they run.
        selected.sort_by_key(|entry| entry.number);
        let is_left_out = |entry: &&TestEntry| {
            entry.ignore && is_named(entry, &arguments) && !is_selected(entry, &arguments)
        };
        let ignored: Vec<String> =
            entries.iter().filter(is_left_out).map(|entry| entry.name().to_owned()).collect();
        let machines = Arc::new(Machines::new(launch, selected));
        let trials = entries.into_iter().map(|entry| {
            let (machines, number) = (machines.clone(), entry.number);
            let is_ignored = entry.ignore;
            let run = move || machines.result(number, &mut Silent).map_err(Into::into);
            Trial::test(entry.name().to_owned(), run).with_ignored_flag(is_ignored)
        });
        let results = self.results(&target, arguments.list)?;
        self.files(files, results.as_ref()).check(Some(&Workspace::find_or_here()?.root))?;
        let conclusion = libtest_mimic::run(&arguments, trials.collect());
        let status = if conclusion.has_failed() { FAILED } else { 0 };
        if let Some((asked_by, path)) = results {
            let octopod = OriginReport::begins(&Workspace::find_or_here()?).octopod();
            let command = target.command();
            let end = ShardEnd { command: &command, shard: self.shard, status, octopod: &octopod };
            let text = end.document(junit::suite(&machines.results(), &ignored));
            output::write(&path, text.as_bytes()).map_err(Error::unwritable(asked_by, &path))?;
        }
        Ok(status)
    }

    /// The files to read and write: those of each boot, and those of this command.
    fn files(&self, mut files: Plan, results: Option<&(&'static str, PathBuf)>) -> Plan {
        files.reads("ELF", &self.elf);
        if let Some((asked_by, path)) = results {
            files.writes(asked_by, path, JUNIT);
        }
        files
    }

    /// The file for the results, and the option or variable that asks for it. In the folder of the variable, this makes the folder of
    /// this file of tests and removes the results of an earlier run.
    fn results(&self, target: &Target, is_list: bool) -> Result<Option<(&'static str, PathBuf)>, Error> {
        if let Some(file) = &self.junit {
            return Ok(Some(("--junit", file.clone())));
        }
        let folder = std::env::var_os(JUNIT_FOLDER).filter(|folder| !folder.is_empty() && !is_list);
        let Some(folder) = folder else { return Ok(None) };
        let folder = Path::new(&folder).join(target.folder(self.shard));
        std::fs::create_dir_all(&folder).map_err(Error::file("make the folder", &folder))?;
        let file = folder.join(JUNIT);
        // They must not be taken for those of this run, if it has none.
        let _ = std::fs::remove_file(&file);
        Ok(Some((JUNIT_FOLDER, file)))
    }
}

/// Returns whether libtest runs a test with these arguments: `libtest_mimic` does not say it beforehand, and the tests of one boot are
/// chosen before it.
fn is_selected(entry: &TestEntry, arguments: &Arguments) -> bool {
    !arguments.list
        && is_named(entry, arguments)
        && (arguments.include_ignored || arguments.ignored == entry.ignore)
        && !arguments.bench
}

/// Returns whether the filters of these arguments leave a test.
fn is_named(entry: &TestEntry, arguments: &Arguments) -> bool {
    let name = entry.name();
    let matches = |filter: &String| if arguments.exact { name == filter } else { name.contains(filter) };
    arguments.filter.as_ref().is_none_or(matches) && !arguments.skip.iter().any(matches)
}
