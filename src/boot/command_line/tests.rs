//! The command line: what is taken, what is refused, and how the refusal reads.

use proptest::prelude::*;

use super::*;

fn parse(line: &str) -> Result<Options, String> {
    Options::parse(line.as_bytes(), BuiltIn { faults: false, ..BuiltIn::ALL })
        .map_err(|error| error.to_string())
}

#[track_caller]
fn assert_refused(line: &str, message: &str) {
    assert_eq!(parse(line), Err(message.to_string()));
}

#[test]
fn nothing_means_the_defaults() {
    for line in ["", " ", "\t \n"] {
        assert_eq!(parse(line), Ok(Options::default()));
    }
    let defaults = Options::default();
    assert_eq!((defaults.work, defaults.stress_time), (Work::Stress, None));
    let (replay, others) = Workload::ALL.split_last().unwrap();
    assert_eq!((defaults.stress_workloads.as_slice(), *replay), (others, Workload::Replay));
    assert_eq!((defaults.stress_seed, defaults.fault), (None, None));
    assert_eq!(defaults.stress_allocators.as_slice(), [Allocator::Octopod]);
}

#[test]
fn every_option_is_taken() {
    let line =
        b"work=boot  stress.seconds=0.25\tstress.workloads=storm,pairs stress.seed=0xFf fault=lose_frame\n";
    let options = Options::parse(line, BuiltIn::ALL).unwrap();
    assert_eq!(options.work, Work::Boot);
    assert_eq!(options.stress_time, Some(Duration::from_millis(250)));
    assert_eq!(options.stress_workloads.as_slice(), [Workload::Storm, Workload::Pairs]);
    assert_eq!(options.stress_seed, Some(255));
    assert_eq!(options.fault, Some(Fault::LoseFrame));
}

#[test]
fn the_options_of_bring_up_are_taken_and_bounded() {
    let options =
        parse("x2apic=off max_cpus=3 allow_missing_cpus=on acpi_rsdp=0x6000000 reserve=0x8000-36864");
    let options = options.unwrap();
    assert_eq!((options.x2apic, options.max_cpus), (Switch::Off, Some(3)));
    assert_eq!((options.allow_missing_cpus, options.acpi_rsdp), (Switch::On, Some(0x600_0000)));
    assert_eq!(options.reserve[..2], [PhysRange::new(0x8000, 0x9000), PhysRange::new(0, 0)]);
    let several = "reserve=0-1 ".repeat(MAX_RESERVED);
    assert!(
        Options::parse(several.as_bytes(), BuiltIn::ALL)
            .unwrap()
            .reserve
            .iter()
            .all(|range| !range.is_empty())
    );
    let message = "reserve=1-2: more than 8 ranges (allowed: START-END, as in 0x8000-0x9000)";
    assert_refused(&format!("{several}reserve=1-2"), message);
    for stage in FAULT_STAGES {
        assert_eq!(parse(&format!("fault.stage={stage}")).unwrap().fault_stage, *stage);
    }

    for value in ["0", &(MAX_CPUS + 1).to_string(), "4294967297"] {
        assert_refused(
            &format!("max_cpus={value}"),
            &format!("max_cpus={value}: out of range (allowed: 1 to {MAX_CPUS})"),
        );
    }
    for value in ["0x8000", "2-1", "1-1"] {
        let message = format!("reserve={value}: not a range (allowed: START-END, as in 0x8000-0x9000)");
        assert_refused(&format!("reserve={value}"), &message);
    }
    // Before the first of these a CPU does not run.
    assert_eq!(FAULT_STAGES.len(), Stage::COUNT - 1);
    assert!(parse("fault.stage=sipi_sent").is_err());
}

#[test]
fn a_nonce_is_taken_or_refused() {
    let options = parse("record_nonce=5f3a9c0e1b2d4f68 work=boot").unwrap();
    assert_eq!(options.record_nonce, Nonce::new(0x5f3a_9c0e_1b2d_4f68));
    let allowed = "not a nonce (allowed: 16 hexadecimal digits, not all 0)";
    for value in ["0000000000000000", "5f3a", "5F3A9C0E1B2D4F68", "5f3a9c0e1b2d4f680"] {
        assert_refused(&format!("record_nonce={value}"), &format!("record_nonce={value}: {allowed}"));
    }
}

#[test]
fn a_filter_of_the_log_is_taken_or_refused() {
    let options = parse("log=smp=debug,warn").unwrap();
    assert_eq!(options.log.level_for("octopod::smp"), log::LevelFilter::Debug);
    assert_eq!(options.log.level_for("octopod::time"), log::LevelFilter::Warn);
    let allowed = "(allowed: a list of LEVEL and TARGET=LEVEL, as in smp=debug,info; levels off, error, warn, info, debug, trace)";
    assert_refused("log=smp=loud", &format!("log=smp=loud: \"loud\" is not a level {allowed}"));
    assert_refused(
        "log=s/mp=info",
        &format!("log=s/mp=info: \"s/mp\" is not a module's path of at most 40 bytes {allowed}"),
    );
    assert_refused("log=", &format!("log=: no value {allowed}"));
}

#[test]
fn names_are_found_again() {
    assert!(Key::ALL.iter().all(|key| Key::from_name(key.name()) == Some(*key)));
    for fault in Fault::ALL {
        let line = format!("fault={fault}");
        assert_eq!(Options::parse(line.as_bytes(), BuiltIn::ALL).unwrap().fault, Some(*fault));
    }
    for allocator in Allocator::ALL {
        let options = parse(&format!("stress.allocators={allocator}")).unwrap();
        assert_eq!(options.stress_allocators.as_slice(), [*allocator]);
    }
    for workload in Workload::ALL {
        let options = parse(&format!("stress.workloads={workload}")).unwrap();
        assert_eq!(options.stress_workloads.as_slice(), [*workload]);
    }
}

#[test]
fn cpu_counts_ascend() {
    assert_eq!(parse("stress.cpus=1,2,0x10").unwrap().stress_cpus, [1, 2, 16, 0, 0, 0, 0, 0]);
    let allowed = "(allowed: a list of at most 8 ascending numbers of CPUs)";
    for list in ["0", "2,2", "4,1", "1,2,3,4,5,6,7,8,9"] {
        let message = format!("stress.cpus={list}: not a list of ascending numbers above 0 {allowed}");
        assert_refused(&format!("stress.cpus={list}"), &message);
    }
    assert_refused("stress.cpus=1,", &format!("stress.cpus=1,: not a number {allowed}"));
}

#[test]
fn seconds_have_millisecond_resolution_and_bounds() {
    let ms = |value: &str| {
        parse(&format!("stress.seconds={value}")).map(|options| options.stress_time.unwrap().as_millis())
    };
    for (value, expected) in [
        ("0.001", 1),
        ("0.01", 10),
        ("0.1", 100),
        ("1.50", 1500),
        ("007", 7000),
        ("86400", 86_400_000),
        ("86400.000", 86_400_000),
    ] {
        assert_eq!(ms(value), Ok(expected), "{value}");
    }
    for value in ["0", "0.000", "86400.001", "86401", "4294967296", "99999999999999999999999"] {
        assert_eq!(ms(value), Err(format!("stress.seconds={value}: out of range (allowed: 0.001 to 86400)")));
    }
    for value in ["abc", "-1", "+1", ".5", "5.", "1.2.3", "1e3", "0x4", "1,5", "."] {
        let message = format!("stress.seconds={value}: not a number of seconds (allowed: 0.001 to 86400)");
        assert_eq!(ms(value), Err(message));
    }
    assert_refused(
        "stress.seconds=0.0005",
        "stress.seconds=0.0005: more than three decimals (allowed: 0.001 to 86400)",
    );
}

#[test]
fn seeds_are_decimal_or_hexadecimal() {
    let seed = |value: &str| parse(&format!("stress.seed={value}")).map(|options| options.stress_seed);
    for (value, expected) in [
        ("0", 0),
        ("0x0", 0),
        ("10", 10),
        ("0X1f", 31),
        ("18446744073709551615", u64::MAX),
        ("0xffffffffffffffff", u64::MAX),
    ] {
        assert_eq!(seed(value), Ok(Some(expected)), "{value}");
    }
    let allowed = "(allowed: 0 to 18446744073709551615, or 0x0 to 0xffffffffffffffff)";
    for value in ["18446744073709551616", "0x10000000000000000"] {
        assert_eq!(seed(value), Err(format!("stress.seed={value}: out of range {allowed}")));
    }
    for value in ["-1", "+1", "0x", "0x+1", "1f", "0x1g", "one"] {
        assert_eq!(seed(value), Err(format!("stress.seed={value}: not a number {allowed}")));
    }
}

#[test]
fn a_list_of_workloads_is_checked_name_by_name() {
    let allowed = format!("(allowed: a list of {})", names(Workload::ALL));
    assert_refused(
        "stress.workloads=pairs,bulk,pairs",
        &format!("stress.workloads=pairs,bulk,pairs: \"pairs\" is given twice {allowed}"),
    );
    assert_refused(
        "stress.workloads=pairs,x",
        &format!("stress.workloads=pairs,x: \"x\" is not known {allowed}"),
    );
    assert_refused(
        "stress.workloads=pairs,",
        &format!("stress.workloads=pairs,: \"\" is not known {allowed}"),
    );
    assert_refused("stress.workloads=", &format!("stress.workloads=: no value {allowed}"));
}

#[test]
fn a_fault_needs_a_kernel_built_for_it() {
    assert_refused(
        "fault=skip_sipi",
        "fault=skip_sipi: this kernel was built without deliberate faults (build it with the feature `faults`)",
    );
    let unknown = format!("fault=x: \"x\" is not known (allowed: {})", names(Fault::ALL));
    let lacking = Options::parse(b"work=selftest", BuiltIn::NONE).unwrap_err().to_string();
    assert_eq!(
        lacking,
        "work=selftest: this kernel was built without its self-test (build it with the feature `selftest`)"
    );
    let lacking =
        Options::parse(b"work=shell", BuiltIn { shell: false, ..BuiltIn::ALL }).unwrap_err().to_string();
    assert_eq!(
        lacking,
        "work=shell: this kernel was built without its console (build it with the feature `shell`)"
    );
    for built_in in [BuiltIn::NONE, BuiltIn::ALL] {
        assert_eq!(Options::parse(b"fault=x", built_in).unwrap_err().to_string(), unknown);
    }
}

fn names<T: ToString>(names: &[T]) -> String {
    names.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

#[test]
fn unknown_options_list_the_known_ones() {
    let known = format!("(known: {})", names(Key::ALL));
    assert!(known.starts_with("(known: work, stress.seconds, "), "{known}");
    for key in ["stres.seconds", "quiet", "Work", "-", "work:boot"] {
        assert_refused(key, &format!("{key}: unknown option {known}"));
        assert_refused(&format!("work=boot {key}=1"), &format!("{key}: unknown option {known}"));
    }
    assert_refused("=1", &format!(": unknown option {known}"));
    assert_refused("work", &format!("work: needs a value, as in work=VALUE (allowed: {})", names(Work::ALL)));
    assert_refused("work=fly", &format!("work=fly: \"fly\" is not known (allowed: {})", names(Work::ALL)));
}

#[test]
fn of_an_option_given_twice_the_last_counts() {
    let options = parse("work=stress stress.seed=1 work=boot stress.seed=2").unwrap();
    assert_eq!((options.work, options.stress_seed), (Work::Boot, Some(2)));
}

#[test]
fn quotes_surround_whole_values() {
    assert_eq!(parse("work=\"boot\"\tstress.seed=\"7\"").unwrap().stress_seed, Some(7));
    assert_refused(
        "work=\"bo ot\"",
        &format!("work=bo ot: \"bo ot\" is not known (allowed: {})", names(Work::ALL)),
    );
    assert_refused("work=\"\"", &format!("work=: no value (allowed: {})", names(Work::ALL)));
    for word in ["work=bo\"ot", "work=boot\"", "wo\"rk\"=boot", "\"work=boot\"", "\"", "work=\"boot\"x"] {
        let shown = word.strip_suffix('x').unwrap_or(word);
        assert_refused(word, &format!("{shown}: quotes may only surround a whole value"));
    }
    assert_refused("work=\"boot stress.seed=1", "work=\"boot stress.seed=1: the quote is not closed");
    assert_refused("work=\"", "work=\": the quote is not closed");
}

#[test]
fn bytes_that_are_not_text_are_named() {
    for byte in [0, 7, 0x1b, 0x7f, 0x80, 0xff] {
        let line = [b'a', byte];
        let error = Options::parse(&line, BuiltIn::NONE).unwrap_err();
        assert_eq!(error, OptionError::BadByte { offset: 1, byte });
    }
    let message = "byte 0x1b at offset 0 of the command line is not printable ASCII";
    assert_refused("\x1b[31m", message);
}

#[test]
fn what_is_quoted_is_cut() {
    let message = parse(&"x".repeat(4000)).unwrap_err();
    assert!(message.starts_with(&format!("{}...: unknown option", "x".repeat(80))), "{message}");
    let value = "y".repeat(80);
    assert!(parse(&format!("work={value}")).unwrap_err().starts_with(&format!("work={value}: ")));
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) }
}

/// It fits on a line of the report, and commands no terminal.
fn is_a_line(error: &OptionError<'_>) -> bool {
    let text = error.to_string();
    text.len() <= MAX_MESSAGE_BYTES && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_bytes_are_survived(line in prop::collection::vec(any::<u8>(), 0..200), faults in any::<bool>()) {
        if let Err(error) = Options::parse(&line, BuiltIn { faults, selftest: faults, shell: faults }) {
            prop_assert!(is_a_line(&error), "{:?}", error.to_string());
        }
    }

    /// Nearly right lines reach deeper than random bytes do.
    #[test]
    fn any_words_are_survived(line in "((work|log|stress\\.(seconds|seed|workloads|allocators|cpus)|fault|[a-z]{0,3})[= \"]{0,3}[a-z0-9.,x=\" \n]{0,9} ?){0,6}") {
        if let Err(error) = Options::parse(line.as_bytes(), BuiltIn::ALL) {
            prop_assert!(is_a_line(&error), "{:?}", error.to_string());
        }
    }

    #[test]
    fn every_number_of_milliseconds_is_read_back(ms in MIN_STRESS_MS..=MAX_STRESS_MS, seed in any::<u64>()) {
        let line = format!("stress.seconds={}.{:03} stress.seed={seed:#x}", ms / 1000, ms % 1000);
        let options = parse(&line).unwrap();
        prop_assert_eq!(options.stress_time, Some(Duration::from_millis(ms.into())));
        prop_assert_eq!(options.stress_seed, Some(seed));
    }
}

#[test]
fn what_is_echoed_commands_no_terminal() {
    assert_refused("=\"III$\t \r", "=\"III$   : the quote is not closed");
    let message = parse("log=\"\n\r=debug\"").unwrap_err();
    assert!(message.starts_with("log=  =debug: \"  \" is not a module's path"), "{message:?}");
}
