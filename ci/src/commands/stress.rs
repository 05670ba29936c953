//! `stress`: all CPUs allocate and free frames, or objects of heaps, concurrently, or run threads. The kernel proves that nothing was lost,
//! allocated twice or run twice. With `--host`, threads of the host take the role of CPUs.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use octopod::boot::command_line::Named;
use octopod::stress::parameters::MAX_CPU_COUNTS;
use octopod::stress::subject::SubjectKind;
use octopod::stress::workloads::{REPLAY, Workload, defaults};

use crate::base::project::Project;
use crate::base::values::{Seconds, Seed, Word};
use crate::base::{Error, Message, Observer, Workspace};
use crate::commands::args::EmulatorArgs;
use crate::commands::launch::{Launch, LaunchKind};
use crate::commands::launch_args::LaunchArgs;
use crate::commands::launch_report::{run_folder, with_report};
use crate::host::stress::{self as host, HostConfig};
use crate::kernel::build::{self, HostProgram};
use crate::report::{Outcome, Report};
use crate::run::replay;

/// The time limit of each part of a comparison besides its own time: a slow host needs long to begin and to end it.
const GRACE_OF_A_PART: Duration = Duration::from_secs(2);

/// Options of `stress`.
#[derive(Clone, Debug, Args)]
pub struct StressArgs {
    /// The time of all workloads together, with up to three decimals [default: the kernel's own].
    #[arg(long, value_name = "S", help_heading = "Stress")]
    pub seconds: Option<Seconds>,

    /// The workloads to run, separated by commas; `list` names those of a program [default: all].
    #[arg(long, value_name = "A,B", value_delimiter = ',', help_heading = "Stress")]
    pub workloads: Vec<Word>,

    /// The allocators to test, separated by commas: octopod, magazine, locked, and those of a program, which `list` names
    /// [default: octopod].
    #[arg(long = "allocator", value_name = "A,B", value_delimiter = ',', help_heading = "Stress")]
    pub allocators: Vec<Word>,

    /// The heaps to test, separated by commas: octopod, talc, linked_list, buddy, wf_alloc, and those of a program; runs all workloads
    /// of heaps unless --workloads names some [default: octopod].
    #[arg(long = "heap", value_name = "A,B", value_delimiter = ',', help_heading = "Stress")]
    pub heaps: Vec<Word>,

    /// The scheduling policies to test, separated by commas: fair, round_robin, and those of a program, which `list` names;
    /// runs all workloads of the scheduler unless --workloads names some [default: that of the boot].
    #[arg(long = "scheduler", value_name = "A,B", value_delimiter = ',', help_heading = "Stress")]
    pub schedulers: Vec<Word>,

    /// On how many CPUs, one number after the other [default: all; for several allocators, heaps or policies 1, 2, 4 and so on].
    #[arg(long, value_name = "N,M", value_delimiter = ',', help_heading = "Stress")]
    pub cpus: Vec<u32>,

    /// Run the workloads as threads of this host, with --mem of its memory, and boot nothing. In a project its program runs its own
    /// allocators.
    #[arg(
        long,
        conflicts_with_all = [
            "append", "trace", "debug", "inject", "compressed", "kernel", "emulator", "smp", "cpu", "machine", "accel",
            "boot", "log", "allow_missing_cpus", "qemu_arguments",
        ],
        help_heading = "Stress"
    )]
    pub host: bool,

    /// The seed of the random choices, decimal or as 0x1f [default: one is drawn for each run].
    #[arg(long, value_name = "N", help_heading = "Stress")]
    pub seed: Option<Seed>,

    /// Check the owner word of every frame of a run and every word of an object, not some of a large one; then the rates measure the check.
    #[arg(long, help_heading = "Stress")]
    pub check_every_frame: bool,

    /// Allocate no order above this one, 0 to 18: larger allocations count as unsupported. So allocators of different largest orders get
    /// the same requests.
    #[arg(long, value_name = "ORDER", help_heading = "Stress")]
    pub largest_order: Option<u8>,

    /// Replay this trace of allocations and frees, instead of the other workloads unless --workloads names some.
    #[arg(long, value_name = "FILE", help_heading = "Stress")]
    pub replay: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) emulator: EmulatorArgs,
    #[command(flatten)]
    pub(crate) common: LaunchArgs,
}

impl StressArgs {
    /// The run that is asked for.
    pub fn configure(&self) -> Launch {
        let kind = if self.host { LaunchKind::StressOnHost } else { LaunchKind::Stress };
        let seconds = self.seconds.as_ref().map(Seconds::time).unwrap_or_default();
        let work = seconds + GRACE_OF_A_PART * self.compared_parts();
        let launch = self.common.configure_work(kind, &self.emulator, self.parameters(), work);
        let adds_workloads = self.chooses_workloads();
        Launch { adds_workloads, cpus: self.cpus.clone(), replay: self.replay.clone(), ..launch }
    }

    /// Returns whether heaps or policies are named and no workloads: then those of heaps or of the scheduler run. The kernel's default is
    /// another list.
    fn chooses_workloads(&self) -> bool {
        self.workloads.is_empty() && !(self.heaps.is_empty() && self.schedulers.is_empty())
    }

    /// The parameters that these options stand for.
    fn parameters(&self) -> Vec<String> {
        fn list<T: ToString>(values: &[T]) -> String {
            values.iter().map(T::to_string).collect::<Vec<_>>().join(",")
        }
        let mut parameters = Vec::new();
        parameters.extend(self.seconds.as_ref().map(|seconds| format!("stress.seconds={seconds}")));
        let mut names: Vec<String> = self.workloads.iter().map(Word::to_string).collect();
        if self.chooses_workloads() {
            names.extend(self.workloads_of_subjects().map(|workload| workload.name.to_owned()));
        }
        let replay = REPLAY.name;
        if self.replay.is_some() && !names.iter().any(|name| name == replay) {
            names.push(replay.to_owned());
        }
        for (name, value) in [
            ("workloads", list(&names)),
            ("allocators", list(&self.allocators)),
            ("heaps", list(&self.heaps)),
            ("schedulers", list(&self.schedulers)),
            ("cpus", list(&self.cpus)),
        ] {
            parameters.extend((!value.is_empty()).then(|| format!("stress.{name}={value}")));
        }
        parameters.extend(self.check_every_frame.then(|| "stress.check_every_frame=on".to_owned()));
        parameters.extend(self.largest_order.map(|order| format!("stress.largest_order={order}")));
        parameters.extend(self.seed.as_ref().map(|seed| format!("stress.seed={seed}")));
        parameters
    }

    /// The workloads of a run that names heaps or policies and no workloads: those of heaps if it names heaps, those of the scheduler if it
    /// names policies, after those of allocators if any are named too; on the host those that run there.
    fn workloads_of_subjects(&self) -> impl Iterator<Item = &'static Workload> {
        let has = |kind| match kind {
            SubjectKind::Frames => !self.allocators.is_empty(),
            SubjectKind::Heap => !self.heaps.is_empty(),
            SubjectKind::Scheduler => !self.schedulers.is_empty(),
        };
        let all = |kind| <&Workload>::all().iter().copied().filter(move |one| one.kind() == kind);
        let of_allocators = defaults().filter(|workload| workload.kind() == SubjectKind::Frames);
        let others = all(SubjectKind::Heap).chain(all(SubjectKind::Scheduler));
        let wanted = of_allocators.chain(others).filter(move |workload| has(workload.kind()));
        wanted.filter(|workload| workload.on_host || !self.host)
    }

    /// Returns the largest number of parts that a comparison has: a workload on an allocator or a heap, or with a policy, with one number of CPUs. 0 if
    /// nothing is compared.
    fn compared_parts(&self) -> u32 {
        let allocators = (self.allocators.len() + self.heaps.len() + self.schedulers.len()).max(1);
        let counts = match self.cpus.len() {
            0 if allocators > 1 => MAX_CPU_COUNTS,
            given => given.max(1),
        };
        let workloads =
            if self.workloads.is_empty() { <&Workload>::all().len() } else { self.workloads.len() };
        if allocators * counts > 1 { (allocators * counts * workloads) as u32 } else { 0 }
    }
}

/// The command line with the workloads that the program registers, where the options ask for all workloads of heaps: its file, which
/// [`registry::learn`](crate::kernel::registry::learn) has read, names them.
pub(crate) fn with_workloads_of_program(launch: &Launch) -> Cow<'_, Launch> {
    const LIST: &str = "stress.workloads=";
    let has = |list| launch.command_line.own.iter().any(|word| word.starts_with(list));
    let registered = <&Workload>::registered().iter();
    let names: String = registered
        .filter(|workload| has(if workload.is_of_heaps() { "stress.heaps=" } else { "stress.allocators=" }))
        .map(|workload| format!(",{}", workload.name))
        .collect();
    if !launch.adds_workloads || names.is_empty() {
        return Cow::Borrowed(launch);
    }
    let mut launch = launch.clone();
    let lists = launch.command_line.own.iter_mut().filter(|word| word.starts_with(LIST));
    lists.for_each(|list| list.push_str(&names));
    Cow::Owned(launch)
}

/// The program of a project, if the command line names an allocator, a heap or a workload of its own, or is to have its workloads. It is
/// built in any case: only its file shows whether one of them has a name of octopod's, which would be tested in its place.
fn program(
    launch: &Launch,
    project: &Project,
    workspace: &Workspace,
    observer: &mut dyn Observer,
) -> Result<Option<HostProgram>, Error> {
    if launch.command_line.names_program() {
        return build::for_host(project, workspace, observer).map(Some);
    }
    match build::for_host(project, workspace, &mut WithoutOutput(observer)) {
        Ok(program) => {
            let has_more = matches!(with_workloads_of_program(launch), Cow::Owned(_));
            Ok(Some(program).filter(|_| has_more))
        }
        // It has no program for the host, and what is named is octopod's.
        Err(Error::HostBuild { .. }) => {
            let text = "the program does not build for this host: only names of octopod's own are known";
            observer.receive(Message::Note(text));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Passes on what is reported, without the output of cargo.
struct WithoutOutput<'a>(&'a mut dyn Observer);

impl Observer for WithoutOutput<'_> {
    fn receive(&mut self, message: Message<'_>) {
        if !matches!(message, Message::Tool(_)) {
            self.0.receive(message);
        }
    }
}

/// Runs the workloads as threads of this host; in a project, where an allocator or a workload of its own is named, by its program.
pub fn launch_on_host(launch: &Launch, observer: &mut dyn Observer) -> Outcome {
    with_report(launch, observer, |begun, observer| {
        let program = match begun.workspace.project() {
            Some(project) => program(launch, project, &begun.workspace, observer)?,
            None => None,
        };
        let launch = &*with_workloads_of_program(launch);
        let folder = run_folder(launch, &begun.workspace, &begun.files, observer)?;
        begun.folder = Some(folder.clone());
        let replay = match (&launch.replay, &program) {
            // The program reads a file.
            (Some(path), Some(_)) => Some(replay::place(path, &folder)?),
            (path, _) => path.clone(),
        };
        let config = HostConfig {
            command_line: launch.command_line.clone(),
            mem: launch.machine.mem.clone(),
            threads: launch.cpus.clone(),
            replay,
            program,
            limit: launch.run.limit,
            seed: begun.seed.map_or(0, |seed| seed.value),
        };
        let (judgement, seen) = host::run(&config, observer)?;
        let line = launch.command_line.to_string();
        let report = Report::assemble(judgement, line, None, None, &seen, Vec::new());
        Ok::<Outcome, Error>(Outcome::without_a_run(report))
    })
}
