//! Why the verdict of a run is fail.

use core::fmt;
use core::panic::Location;

use ap_trampoline::Stage;

use crate::acpi::expected::UnlistedReason;
use crate::console::LineBuffer;
#[cfg(feature = "selftest")]
use crate::selftest;
#[cfg(feature = "shell")]
use crate::shell;
use crate::smp::{self, BringUp};
use crate::stress::StressError;
use crate::{audit, bench, testing};

/// Why the verdict is fail.
#[derive(Clone, Copy, Debug)]
pub enum Reason {
    /// CPUs that the firmware lists did not come online.
    MissingCpus,
    /// The machine has CPUs that are not in the kernel's list.
    UnlistedCpus(UnlistedReason),
    /// Bring-up changed a page beside the trampoline's.
    TrampolineOverrun {
        /// The trampoline's page, physical.
        page: u64,
    },
    /// The page-table audit found a violation.
    PageTableAudit(audit::Finding),
    /// The stress failed.
    Stress(StressError),
    /// The bench has no exact figures.
    Bench(bench::BenchError),
    /// The self-test failed.
    #[cfg(feature = "selftest")]
    SelfTest(selftest::SelfTestError),
    /// The shell's session failed.
    #[cfg(feature = "shell")]
    Shell(shell::SessionError),
    /// Work did not run on all CPUs.
    Work {
        /// Why not.
        error: smp::WorkError,
        /// Where a program's source returned the error.
        at: Option<&'static Location<'static>>,
    },
    /// A test could not run.
    Test(testing::TestError),
    /// A custom kernel failed.
    Program {
        /// Why.
        reason: LineBuffer<100>,
        /// Where its source made the reason.
        at: &'static Location<'static>,
    },
}

/// Whether a listed CPU should have come online and did not. A CPU that xAPIC mode cannot address should not. A CPU that went
/// offline later did come online.
fn is_missing(cpu: &smp::Cpu) -> bool {
    cpu.stamp(Stage::Online).is_none() && cpu.is_reachable()
}

/// The missing CPUs, by the rules of [`crate::acpi::expected`].
pub(crate) fn missing_cpus(up: &BringUp) -> Option<Reason> {
    if smp::cpus().iter().any(is_missing) {
        return Some(Reason::MissingCpus);
    }
    up.expected.unlisted(up.listed).map(Reason::UnlistedCpus)
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::PageTableAudit(finding) => finding.fmt(f),
            Reason::Stress(error) => error.fmt(f),
            Reason::Bench(failure) => failure.fmt(f),
            #[cfg(feature = "selftest")]
            Reason::SelfTest(failure) => failure.fmt(f),
            #[cfg(feature = "shell")]
            Reason::Shell(failure) => failure.fmt(f),
            Reason::Work { error, at: None } => error.fmt(f),
            Reason::Work { error, at: Some(at) } => write!(f, "{error}, at {}", Place(at)),
            Reason::Test(error) => error.fmt(f),
            Reason::Program { reason, at } => write!(f, "{}, at {}", reason.as_str(), Place(at)),
            Reason::TrampolineOverrun { page } => {
                write!(f, "bring-up has changed a page beside the AP trampoline at {page:#x}")
            }
            Reason::UnlistedCpus(unlisted) => unlisted.fmt(f),
            Reason::MissingCpus => {
                let mut missing = smp::cpus().iter().filter(|cpu| is_missing(cpu));
                let count = missing.clone().count();
                let Some(first) = missing.next() else { return f.write_str("a CPU is missing") };
                write!(f, "cpu {} (APIC ID {}) did not start, ", first.id(), first.entry.apic_id)?;
                if first.has_area() {
                    write!(f, "last seen in stage {}", first.stage())?;
                } else {
                    f.write_str("no free page below 1 MiB for the AP trampoline")?;
                }
                match count {
                    1 => Ok(()),
                    count => write!(f, ", and {} more", count - 1),
                }
            }
        }
    }
}

/// Displays the file and line of a program's source.
struct Place<'a>(&'a Location<'a>);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(LineBuffer::<80>::source_line(self.0.file(), self.0.line()).as_str())
    }
}
