//! What a command line means.

use super::*;

fn options(arguments: &[&str]) -> Options {
    Options::try_parse_from([&["octopod"], arguments].concat()).unwrap()
}

#[test]
fn the_default_is_stress_on_eight_cpus() {
    let options = Options::default();
    assert_eq!((options.mode, options.smp.to_string()), (Mode::Stress, "8".to_owned()));
    assert_eq!(options.kernel_command_line(), "work=stress");
}

#[test]
fn options_may_stand_on_either_side_of_the_command() {
    for arguments in [["--smp", "2", "boot"], ["boot", "--smp", "2"]] {
        let options = options(&arguments);
        assert_eq!((options.mode, options.smp.to_string()), (Mode::Boot, "2".to_owned()));
    }
}

#[test]
fn the_kernel_hears_of_each_option_that_is_its_own() {
    let options = options(&[
        "--append",
        "log=debug stress.seed=1",
        "--seconds",
        "5",
        "--workloads",
        "pairs,bulk",
        "--seed",
        "7",
        "--fault",
        "lose_frame",
        "--log",
        "smp=trace,warn",
    ]);
    assert_eq!(
        options.kernel_command_line(),
        "work=stress stress.seconds=5 stress.workloads=pairs,bulk stress.seed=7 fault=lose_frame log=smp=trace,warn log=debug stress.seed=1"
    );
    assert_eq!(options.time_limit(), Duration::from_secs(65));
}

#[test]
fn a_comparison_has_time_for_each_of_its_parts() {
    let limit = |arguments: &[&str]| options(arguments).time_limit().as_secs();
    assert_eq!(limit(&["--allocator", "locked", "--cpus", "4"]), 60);
    assert_eq!(
        limit(&["--allocator", "octopod,locked", "--cpus", "1,8", "--workloads", "pairs,bulk"]),
        60 + 2 * 8
    );
    let all = Workload::ALL.len() as u64;
    assert_eq!(limit(&["--cpus", "1,2,4", "--seconds", "9"]), 60 + 9 + 2 * 3 * all);
    assert_eq!(limit(&["--allocator", "octopod,locked"]), 60 + 2 * 2 * MAX_CPU_COUNTS as u64 * all);
}

#[test]
fn stress_options_are_for_stress() {
    let error = options(&["boot", "--seed", "7"]).check().unwrap_err();
    assert_eq!(error.to_string(), "--seed is an option of stress, not of boot");
    assert!(options(&["--seed", "7"]).check().is_ok());
}

#[test]
fn the_console_needs_somebody_to_type() {
    let error = options(&["boot", "--append", "work=shell"]).check().unwrap_err();
    assert_eq!(error.to_string(), "work=shell is an option of shell, not of boot");
    assert!(options(&["boot", "--append", "work=shell work=boot"]).check().is_ok());
    assert!(options(&["shell"]).check().is_ok());
}

#[test]
fn what_is_debugged_boots_and_waits() {
    let gdb = options(&["gdb", "--append", "work=stress"]);
    assert_eq!(gdb.kernel_command_line(), "work=boot work=stress");
    assert_eq!(gdb.time_limit(), UNLIMITED);
    assert_eq!(options(&["gdb", "--timeout", "5"]).time_limit(), Duration::from_secs(5));
}

#[test]
fn the_rest_is_qemus() {
    let options = options(&["boot", "--", "-d", "int"]);
    assert_eq!(options.qemu_arguments, ["-d", "int"]);
}
