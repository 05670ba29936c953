//! Machine checks, injected by QEMU's monitor into a kernel at work: one report names bank, status, address and CPU, whether the
//! error is signalled to one CPU or to all.

use crate::guest::Guest;
use octopod::wire::ExitCode;

/// Valid, uncorrected, enabled, with a valid address and misc register; the processor's state is intact.
const STATUS: &str = "0xbd00000000000134";

/// Injects an error into bank 3 of CPU 2, and returns what the kernel says when it dies. The monitor's line is
/// `mce [-b] cpu bank status mcg_status address misc`; the global status 5 says that the code could go on.
fn panic_summary(cpu: &str, broadcast: &str, global_status: &str, status: &str) -> (u32, String) {
    let work = ["stress", "--smp", "4", "--seconds", "60", "--workloads", "pairs", "--cpu", cpu];
    let mut guest = Guest::boot(&work);
    guest.hear_until("the work", |guest| guest.seen.work.is_some() || guest.seen.progress.is_some());
    let answer = guest.monitor(&format!("mce {broadcast} 2 3 {status} {global_status} 0x12345000 0x8c"));
    assert_eq!(answer.trim(), "");
    assert_eq!(guest.hear_out(), ExitCode::Panicked);
    // The list of all CPUs says so once more, in other words.
    let panics = guest.lines.iter().filter(|line| line.contains(" panicked: ")).count();
    assert_eq!(panics, 1, "{:#?}", guest.lines);
    let panic = guest.seen.panic.take().expect("a panic record");
    (panic.cpu, panic.message)
}

#[test]
fn bank_status_address_and_cpu_are_named() {
    assert_eq!(
        panic_summary("qemu64", "", "0x5", STATUS),
        (
            2,
            format!(
                "machine check: bank 3, status {STATUS} (uncorrected, cache hierarchy, context intact), address \
                 0x12345000, misc 0x8c; the interrupted code is not at fault and could be resumed (status 0x5)"
            )
        )
    );
}

/// Intel's processors tell all CPUs, and all come at once; QEMU gives the others an error that none of their banks had
/// enabled, as bystanders have.
#[test]
fn of_all_cpus_the_one_that_has_the_bank_speaks() {
    assert_eq!(
        panic_summary("qemu64,vendor=GenuineIntel", "-b", "0x6", "0xb600000000000e0b"),
        (
            2,
            "machine check: bank 3, status 0xb600000000000e0b (uncorrected, bus or interconnect, context \
             corrupt), address 0x12345000; the interrupted code is at fault and could not be resumed (status 0x6)"
                .to_owned()
        )
    );
}

/// Valid and uncorrected, but not enabled: the error is in the bank without a signal. No other CPU reports one, so after a wait
/// this CPU reports that it found no signalled error.
#[test]
fn a_bystander_is_not_taken_for_the_error() {
    let (cpu, message) = panic_summary("qemu64", "", "0x5", "0xad00000000000134");
    let expected = "machine check: no bank of any CPU holds an uncorrected error;";
    assert!(cpu == 2 && message.starts_with(expected), "CPU {cpu}: {message}");
}

/// Valid, corrected and enabled: no machine check is raised. The CPU goes offline and comes back under this workload, and then
/// finds the error, which is not from before the boot, and which it reports once.
#[test]
fn a_corrected_error_is_reported_as_one_since_the_boot() {
    let work = ["stress", "--smp", "2", "--seconds", "8", "--workloads", "hotplug"];
    let mut guest = Guest::boot(&work);
    guest.hear_until("the work", |guest| guest.seen.progress.is_some());
    guest.while_stopped(|guest| assert_eq!(guest.monitor("mce 1 4 0x9000000000000005 0 0 0").trim(), ""));
    assert_eq!(guest.hear_out(), ExitCode::Pass, "{:#?}", guest.lines);
    let warnings: Vec<_> = guest.seen.warnings.iter().map(|(warning, _)| warning).collect();
    let [warning] = warnings[..] else { panic!("{warnings:#?}") };
    let expected = "MCE logged since the previous bring-up of this CPU: bank 4, status 0x9000000000000005 (corrected, \
                    internal parity, context intact), no address";
    assert_eq!((warning.cpu, &*warning.kind, &*warning.message), (1, "machine_check", expected));
}
