//! The last stage: the work that the command line selects, and what a pass requires besides.

use core::sync::atomic::{AtomicBool, Ordering};

#[cfg(feature = "selftest")]
use crate::audit;
use crate::boot;
use crate::boot::command_line::Switch;
use crate::cpu::{self, CpuId, IrqGuard};
#[cfg(feature = "faults")]
use crate::faults::{self, Point};
use crate::heap;
use crate::memory;
use crate::options::Work;
use crate::program::{self, Machine};
use crate::report::{self, Reason};
#[cfg(feature = "shell")]
use crate::shell;
use crate::{bench, selftest, smp, stress, testing};

#[cfg(feature = "selftest")]
fn self_test(machine: &Machine) -> Result<(), Reason> {
    let options = machine.options;
    selftest::run(options.selftest.parts.iter(), options.selftest.rounds.get()).map_err(Reason::SelfTest)?;
    // Some parts map and unmap pages.
    audit::run(machine.boot.map, machine.features).map_err(Reason::PageTableAudit)?;
    #[cfg(feature = "faults")]
    faults::inject(Point::AfterSelfTest, options.faults.fault);
    report::free_before_work(memory::frames().free_frames() as u64);
    Ok(())
}

#[cfg(not(feature = "selftest"))]
fn self_test(_: &Machine) -> Result<(), Reason> {
    unreachable!("refused with the other options")
}

/// Runs the shell. Returns whether the machine is to be reset afterwards.
#[cfg(feature = "shell")]
fn shell(machine: &Machine) -> Result<bool, Reason> {
    // A command may fill or drain the CPUs' frame caches. Cached frames are free, so they are drained before both counts.
    shell::drain_cpus();
    report::free_before_work(memory::frames().free_frames() as u64);
    let give_up = |error| report::verdict(Err(Reason::Stress(error)));
    let end = shell::run(machine.boot, &machine.options.stress, give_up);
    shell::drain_cpus();
    end.map(|end| end == shell::End::Reboot).map_err(Reason::Shell)
}

#[cfg(not(feature = "shell"))]
fn shell(_: &Machine) -> Result<bool, Reason> {
    unreachable!("refused with the other options")
}

/// Runs the work that the command line selects.
///
/// # Errors
/// The first failure of the work.
pub(super) fn run(machine: &Machine) -> Result<(), Reason> {
    let options = machine.options;
    #[cfg(feature = "faults")]
    faults::inject(Point::BeforeWork, options.faults.fault);
    free_dropped_mappings();
    heap::ignore_live_sites();
    let mut is_to_reset = false;
    match options.work() {
        Work::Program => program::run(machine)?,
        Work::Boot => report::free_before_work(memory::frames().free_frames() as u64),
        Work::Bench => bench::run(&options.bench, report::free_before_work).map_err(Reason::Bench)?,
        Work::SelfTest => self_test(machine)?,
        Work::Shell => is_to_reset = shell(machine)?,
        Work::Stress => run_stress(machine)?,
        Work::Test => tests(machine)?,
    }
    if is_to_reset {
        is_whole(machine)?;
        reset()
    }
    Ok(())
}

fn run_stress(machine: &Machine) -> Result<(), Reason> {
    let Machine { options, .. } = *machine;
    let seed = options.stress.seed.unwrap_or_else(cpu::registers::read_tsc);
    let give_up = |error| report::verdict(Err(Reason::Stress(error)));
    let trace = boot::modules().next().map(|module| module.bytes);
    stress::run(&options.stress, seed, trace, report::free_before_work, give_up).map_err(Reason::Stress)
}

/// The program of the kernel that this package builds: the stress, by the parameters of the command line.
///
/// **Context:** the thread of the BSP, interrupts on, once per boot.
///
/// # Errors
/// The first failure that the checks find.
///
/// # Panics
/// On another CPU, and on a second call: the stress uses the machine as a whole.
#[track_caller]
pub fn stress(machine: &Machine) -> Result<(), Reason> {
    static HAS_BEGUN: AtomicBool = AtomicBool::new(false);
    assert!(cpu::current() == CpuId::BSP, "the stress must be started on the BSP");
    assert!(!HAS_BEGUN.swap(true, Ordering::AcqRel), "the stress must be started once per boot");
    run_stress(machine)
}

/// The program of a kernel that has only tests: runs those that the command line selects, or all.
///
/// **Context:** the thread of the BSP, interrupts on.
///
/// # Errors
/// A test cannot run: there is no such test, or there are too few CPUs for it.
///
/// # Panics
/// If a test fails.
pub fn tests(machine: &Machine) -> Result<(), Reason> {
    testing::run(machine.options.tests.run.as_ref()).map_err(Reason::Test)
}

/// The program of a kernel that has only tests, as a file in a package's `tests/` is: see [`test`](macro@crate::test).
///
/// ```ignore
/// #![no_std]
/// #![no_main]
/// octopod::test_main!();
///
/// #[octopod::test]
/// fn adds() {
///     assert_eq!(1 + 1, 2);
/// }
/// ```
#[macro_export]
macro_rules! test_main {
    () => {
        $crate::program!($crate::stages::tests);
    };
}

/// Frees the frames and the page tables of dropped mappings, so that the free frames can be counted. Does nothing if there are none.
fn free_dropped_mappings() {
    let memory::MappingStatistics { waiting_pages, table_frames, .. } = memory::mapping_statistics();
    if waiting_pages + table_frames > 0 {
        if let Err(error) = smp::purge_mappings() {
            log::warn!("{error}");
        }
        memory::drain_this_cpu(&IrqGuard::new());
    }
}

/// Checks what a pass requires of the boot, for any program: all CPUs online, and the pages beside the trampoline unchanged.
pub(super) fn is_whole(machine: &Machine) -> Result<(), Reason> {
    let Machine { options, bring_up: up, .. } = *machine;
    if !up.neighbours_intact {
        return Err(Reason::TrampolineOverrun { page: up.trampoline_page });
    }
    free_dropped_mappings();
    match (report::missing_cpus(up), options.kernel.allow_missing_cpus) {
        (Some(reason), Switch::Off) => return Err(reason),
        (Some(reason), Switch::On) => log::warn!("{reason}"),
        (None, _) => {}
    }
    Ok(())
}

#[cfg(feature = "shell")]
fn reset() -> ! {
    report::verdict_and_reset(shell::reset)
}

#[cfg(not(feature = "shell"))]
fn reset() -> ! {
    unreachable!("only the shell requests a reset")
}
