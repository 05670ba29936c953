//! The kernel command line as a whole: the parameter sets of all layers, and the work to do.

use crate::bench::parameters::BenchParameters;
use crate::boot::command_line::{
    self, CommandLineError, FromText, KernelParameters, Parameter, ParameterList, ParameterSet,
    ParameterValue, TraceLevel, Unknown, ValueError,
};
use crate::faults::FaultParameters;
use crate::heap::parameters::HeapParameters;
use crate::named;
use crate::sched::parameters::{LockParameters, SchedulerParameters};
use crate::selftest::parameters::SelfTestParameters;
use crate::stress::parameters::StressParameters;
use crate::testing::TestParameters;
use crate::time::parameters::ClockParameters;

#[cfg(test)]
mod tests;

/// The options of the kernel command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// `work=`: what to do when all CPUs are online.
    pub work: WorkParameters,
    /// The kernel as a whole.
    pub kernel: KernelParameters,
    /// The clock.
    pub time: ClockParameters,
    /// The scheduler.
    pub scheduler: SchedulerParameters,
    /// The locks.
    pub locks: LockParameters,
    /// The heap.
    pub heap: HeapParameters,
    /// The stress.
    pub stress: StressParameters,
    /// The bench.
    pub bench: BenchParameters,
    /// The self-test.
    pub selftest: SelfTestParameters,
    /// Fault injection.
    pub faults: FaultParameters,
    /// The tests of the program.
    pub tests: TestParameters,
}

named! {
    /// The work when all CPUs are online.
    pub enum Work {
        /// Run the kernel's own program: see [`program!`](crate::program!).
        Program = "program",
        /// Nothing more than report the boot.
        Boot = "boot",
        /// Allocate frames on all CPUs at once, and check every allocation.
        Stress = "stress",
        /// Count the instructions that operations cost.
        Bench = "bench",
        /// Run the self-test.
        SelfTest = "selftest",
        /// Execute typed commands.
        Shell = "shell",
        /// Run the tests of the program: see [`test`](macro@crate::test).
        Test = "test",
    }
}

/// The features that a kernel was built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuiltIn {
    /// Fault injection.
    pub faults: bool,
    /// The self-test.
    pub selftest: bool,
    /// The shell.
    pub shell: bool,
    /// The checks of locks.
    pub checked: bool,
}

impl BuiltIn {
    /// The features of this build.
    pub const HERE: BuiltIn = BuiltIn {
        faults: cfg!(feature = "faults"),
        selftest: cfg!(feature = "selftest"),
        shell: cfg!(feature = "shell"),
        checked: cfg!(feature = "checked"),
    };
    /// Everything.
    pub const ALL: BuiltIn = BuiltIn { faults: true, selftest: true, shell: true, checked: true };
    /// Nothing.
    pub const NONE: BuiltIn = BuiltIn { faults: false, selftest: false, shell: false, checked: false };
}

/// The work of a command line that names none.
const DEFAULT_WORK: Work = Work::Program;

/// `work=`, as far as the kernel was built for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkParameters {
    work: Work,
    built_in: BuiltIn,
}

const WORK: Parameter = Parameter {
    name: "work",
    summary: " What to do when all CPUs are online.",
    allowed: <Work as FromText>::describe,
    default: |f| ParameterValue::write(&DEFAULT_WORK, f),
    set: None,
    place: None,
};

impl ParameterSet for WorkParameters {
    fn parameters(&self) -> &'static ParameterList {
        const ALL: ParameterList = &[WORK];
        &ALL
    }

    fn set<'a>(&mut self, _: &str, value: &'a str) -> Result<(), ValueError<'a>> {
        let mut work = self.work;
        work.assign(value)?;
        if work == Work::SelfTest && !self.built_in.selftest {
            return Err(ValueError::NotBuiltIn { what: "its self-test", feature: "selftest" });
        }
        if work == Work::Shell && !self.built_in.shell {
            return Err(ValueError::NotBuiltIn { what: "its shell", feature: "shell" });
        }
        self.work = work;
        Ok(())
    }
}

impl Options {
    /// The options of an empty command line, for a kernel that was built with `built_in`.
    pub fn defaults(built_in: BuiltIn) -> Options {
        let mut options = Options::unread(built_in);
        options.stress.complete(options.scheduler.policy);
        options
    }

    /// The value of each parameter before the command line is read.
    fn unread(built_in: BuiltIn) -> Options {
        Options {
            work: WorkParameters { work: DEFAULT_WORK, built_in },
            kernel: KernelParameters::default(),
            time: ClockParameters::default(),
            scheduler: SchedulerParameters::default(),
            locks: LockParameters::new(built_in.checked),
            heap: HeapParameters::default(),
            stress: StressParameters::default(),
            bench: BenchParameters::default(),
            selftest: SelfTestParameters::default(),
            faults: FaultParameters::new(built_in.faults),
            tests: TestParameters::default(),
        }
    }

    /// Parses a command line, without its final zero byte, for a kernel that was built with `built_in`.
    ///
    /// # Errors
    /// The first wrong parameter.
    pub fn parse(line: &[u8], built_in: BuiltIn) -> Result<Options, CommandLineError<'_>> {
        let mut options = Options::unread(built_in);
        command_line::parse(line, &mut options.sets(), Unknown::Refuse)?;
        options.stress.complete(options.scheduler.policy);
        Ok(options)
    }

    /// As [`parse`](Self::parse), for the launcher: it skips parameters that it does not know, which a program may have registered.
    ///
    /// # Errors
    /// The first wrong parameter of those that it knows.
    pub fn parse_known(line: &[u8], built_in: BuiltIn) -> Result<Options, CommandLineError<'_>> {
        let mut options = Options::unread(built_in);
        command_line::parse(line, &mut options.sets(), Unknown::Skip)?;
        options.stress.complete(options.scheduler.policy);
        Ok(options)
    }

    /// The sets of all layers, in the order in which their parameters are listed. To add one, add a field and a line.
    fn sets(&mut self) -> [&mut dyn ParameterSet; 11] {
        [
            &mut self.work,
            &mut self.stress,
            &mut self.bench,
            &mut self.selftest,
            &mut self.kernel,
            &mut self.time,
            &mut self.scheduler,
            &mut self.locks,
            &mut self.heap,
            &mut self.faults,
            &mut self.tests,
        ]
    }

    /// All parameters, in the order in which they are listed.
    pub fn parameters() -> impl Iterator<Item = &'static Parameter> {
        Options::unread(BuiltIn::ALL).sets().map(|set| set.parameters()).into_iter().copied().flatten()
    }

    /// The work when all CPUs are online.
    pub fn work(&self) -> Work {
        self.work.work
    }

    /// The traced events: by default those that a panic reports; in the shell, which can show them, all.
    pub fn trace(&self) -> TraceLevel {
        let default = if self.work() == Work::Shell { TraceLevel::All } else { TraceLevel::Panic };
        self.kernel.trace.unwrap_or(default)
    }
}
