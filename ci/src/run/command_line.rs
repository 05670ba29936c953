//! The kernel's command line: parameters from the launcher's options, and those that the user appends.

use std::fmt;

use octopod::boot::MAX_COMMAND_LINE_BYTES;
use octopod::boot::command_line::{Named, parse_u64};
use octopod::options::{BuiltIn, Options, Work};
use octopod::sched::parameters::LockChecks;
use octopod::sched::policies::Policy;
use octopod::stress::allocators::Allocator;
use octopod::stress::heap::Heap;
use octopod::stress::workloads::Workload;
use octopod::wire::{NONCE_DIGITS, NONCE_PARAMETER};

use crate::base::Error;

/// The parameter of the workloads' seed.
pub const SEED_PARAMETER: &str = "stress.seed";

/// The parameters of a kernel. What the user appends comes last, where it wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// The parameters from the launcher's options.
    pub own: Vec<String>,
    /// The parameters that the user appends.
    pub appended: Vec<String>,
}

impl CommandLine {
    /// With the parameter `work`.
    pub fn for_work(work: &str) -> CommandLine {
        CommandLine { own: vec![format!("work={work}")], appended: Vec::new() }
    }

    /// Refuses what the kernel would refuse later: too long a line, and names of its own options that it does not know.
    /// The kernel checks the appended parameters, because it may be of another version than the launcher.
    ///
    /// # Errors
    /// The error that the kernel would report.
    pub fn check(&self) -> Result<(), Error> {
        // The launcher puts the nonce of the records before it, and a seed if none is given.
        let nonce = NONCE_PARAMETER.len() + "=".len() + NONCE_DIGITS + " ".len();
        let is_without_seed = self
            .parsed()
            .is_some_and(|options| options.work() == Work::Stress && options.stress.seed.is_none());
        let seed = if is_without_seed { SEED_PARAMETER.len() + "=0x ".len() + NONCE_DIGITS } else { 0 };
        let bytes = nonce + seed + self.to_string().len();
        if bytes > MAX_COMMAND_LINE_BYTES {
            return Err(Error::Usage(format!(
                "the kernel's command line has {bytes} bytes, and at most {MAX_COMMAND_LINE_BYTES} are allowed"
            )));
        }
        let own = self.own.join(" ");
        let parsed = Options::parse(own.as_bytes(), BuiltIn::ALL);
        parsed.map(drop).map_err(|error| Error::Usage(error.to_string()))
    }

    /// The kernel's work. Of a line with names that a program may have registered, the last `work=`; `None` if the kernel would refuse
    /// that.
    pub fn work(&self) -> Option<Work> {
        let line = self.to_string();
        let named =
            || line.split_ascii_whitespace().filter_map(|word| word.strip_prefix("work=")).next_back();
        self.parsed().map(|options| options.work()).or_else(|| Work::from_name(named()?))
    }

    /// The seed of the workloads' random choices, if the line has one. Of a line with names that a program may have registered, the
    /// last `stress.seed=`.
    pub fn seed(&self) -> Option<u64> {
        match self.parsed() {
            Some(options) => options.stress.seed,
            None => parse_u64(self.values(SEED_PARAMETER).next_back()?.as_str()).ok(),
        }
    }

    /// Returns whether the line names an allocator, a policy or a workload that octopod does not have, which a program may have registered.
    pub fn names_program(&self) -> bool {
        let has_other = |parameter, is_known: fn(&str) -> bool| {
            self.values(parameter).any(|list| list.split(',').any(|name| !is_known(name)))
        };
        has_other("stress.allocators", |name| <&Allocator>::from_name(name).is_some())
            || has_other("stress.heaps", |name| <&Heap>::from_name(name).is_some())
            || has_other("stress.schedulers", |name| <&Policy>::from_name(name).is_some())
            || has_other("stress.workloads", |name| <&Workload>::from_name(name).is_some())
    }

    /// Returns whether the line asks for checks of locks.
    pub fn checks_locks(&self) -> bool {
        self.values("locks.checked").next_back().is_some_and(|value| value != LockChecks::Off.name())
    }

    /// Returns whether the line names workloads; if it does not, the defaults run.
    pub fn names_workloads(&self) -> bool {
        self.values("stress.workloads").next().is_some()
    }

    /// The benchmarks to which the line narrows a run; `None` if it names none.
    pub fn benchmarks(&self) -> Option<Vec<String>> {
        let words = shlex::split(&self.to_string())?;
        let list = words.iter().rev().find_map(|word| word.strip_prefix("bench.only="))?;
        Some(list.split(',').map(str::to_owned).collect())
    }

    /// The values of a parameter, the last one counts.
    fn values(&self, parameter: &str) -> impl DoubleEndedIterator<Item = String> {
        let line = self.to_string();
        let value = |word: &str| Some(word.strip_prefix(parameter)?.strip_prefix('=')?.to_owned());
        line.split_ascii_whitespace().filter_map(value).collect::<Vec<_>>().into_iter()
    }

    /// As the kernel reads it; `None` if it would refuse it.
    pub fn parsed(&self) -> Option<Options> {
        Options::parse_known(self.to_string().as_bytes(), BuiltIn::ALL).ok()
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = self.own.iter().chain(&self.appended);
        if let Some(first) = all.next() {
            f.write_str(first)?;
        }
        all.try_for_each(|parameter| write!(f, " {parameter}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(line: &CommandLine) -> Option<String> {
        line.check().err().map(|error| {
            assert_eq!(error.verdict().status(), 2, "{error}");
            error.to_string()
        })
    }

    #[test]
    fn a_command_line_has_2048_bytes_at_most() {
        let own = "record_nonce=0123456789abcdef work=boot ".len();
        let append = |bytes: usize| CommandLine {
            appended: vec![format!("x={}", "y".repeat(bytes - own - 2))],
            ..CommandLine::for_work("boot")
        };
        assert_eq!(refusal(&append(2048)), None);
        for bytes in [2049, 5_000, 100_000] {
            let text = refusal(&append(bytes)).unwrap();
            assert!(text.contains(&bytes.to_string()) && text.contains("2048"), "{text}");
        }
    }

    #[test]
    fn names_that_no_kernel_knows_are_refused_with_those_that_it_does() {
        let own = |word: &str| CommandLine { own: vec![word.to_owned()], appended: Vec::new() };
        for (word, parts) in [
            ("inject=nope", ["nope", "leak_frame"]),
            ("stress.workloads=pairs,nope", ["nope", "storm"]),
            ("stress.allocators=nope", ["nope", "magazine"]),
        ] {
            let text = refusal(&own(word)).unwrap();
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        }
        // The kernel may be another than this launcher's.
        let appended = vec!["colour=red".to_owned()];
        assert_eq!(refusal(&CommandLine { appended, ..CommandLine::for_work("boot") }), None);
        assert_eq!(refusal(&own("inject=leak_frame")), None);
    }

    #[test]
    fn names_that_a_program_may_have_are_distinguished_from_octopods() {
        let line = |words: &[&str]| CommandLine {
            own: words.iter().map(|word| (*word).to_owned()).collect(),
            appended: Vec::new(),
        };
        assert!(!line(&["work=stress", "stress.seed=9"]).names_program());
        assert!(!line(&["stress.allocators=octopod,locked", "stress.workloads=storm"]).names_program());
        assert!(line(&["stress.allocators=octopod,own"]).names_program());
        assert!(line(&["stress.workloads=own"]).names_program());
        assert_eq!(line(&["stress.seed=9", "stress.allocators=octopod"]).seed(), Some(9));
        assert_eq!(line(&["stress.seed=9", "stress.seed=0x1f", "stress.allocators=own"]).seed(), Some(0x1f));
        assert_eq!(line(&["stress.allocators=own"]).seed(), None);
    }

    #[test]
    fn the_last_parameter_of_a_name_counts() {
        let line = |appended: &str| CommandLine {
            appended: vec![appended.to_owned()],
            ..CommandLine::for_work("stress")
        };
        assert_eq!(line("work=selftest").work(), Some(Work::SelfTest));
        assert_eq!(line("work=selftest work=boot").work(), Some(Work::Boot));
        let checks = ["", "locks.checked=off", "locks.checked=waits", "locks.checked=on locks.checked=off"];
        assert_eq!(checks.map(|words| line(words).checks_locks()), [false, false, true, false]);
        assert_eq!(line("work=selftest selftest.parts=queues").work(), Some(Work::SelfTest));
        assert_eq!(line("stress.seed=x").work(), Some(Work::Stress), "the kernel says what is wrong with it");
        assert_eq!(line("fro=1").work(), Some(Work::Stress), "a program may have registered it");
    }
}
