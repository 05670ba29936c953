//! Tests of the command line: accepted values, refused values, and the messages.

use proptest::prelude::*;

use core::fmt;
use core::time::Duration;

use super::*;
use crate::boot::command_line::{MAX_MESSAGE_BYTES, MAX_RESERVED, Named, Switch};
use crate::boot::memory_map::PhysRange;
use crate::config::MAX_CPUS;
use crate::faults::{FAULT_STAGES, Fault};
use crate::stress::allocators::{Allocator, OCTOPOD};
use crate::stress::parameters::CpuCounts;
use crate::stress::workloads::{Workload, defaults};
use crate::wire::Nonce;
use ap_trampoline::Stage;

fn parse(line: &str) -> Result<Options, String> {
    Options::parse(line.as_bytes(), BuiltIn { faults: false, ..BuiltIn::ALL })
        .map_err(|error| error.to_string())
}

#[track_caller]
fn assert_refused(line: &str, message: &str) {
    assert_eq!(parse(line), Err(message.to_string()));
}

#[test]
fn an_empty_line_gives_the_defaults() {
    for line in ["", " ", "\t \n"] {
        assert_eq!(parse(line), Ok(Options::defaults(BuiltIn { faults: false, ..BuiltIn::ALL })));
    }
    let options = Options::defaults(BuiltIn::ALL);
    assert_eq!((options.work(), options.stress.time), (Work::Program, None));
    assert!(defaults().all(|workload| workload.name != "replay"), "it needs a trace");
    assert!(options.stress.workloads.iter().eq(defaults()));
    assert_eq!((options.stress.seed, options.faults.fault), (None, None));
    assert!(options.stress.allocators.iter().eq([&OCTOPOD]));
}

#[test]
fn the_default_of_each_parameter_is_a_value_that_it_takes() {
    let mut with_default = 0;
    for parameter in Options::parameters() {
        let default = fmt::from_fn(|f| (parameter.default)(f)).to_string();
        if default.is_empty() {
            continue;
        }
        with_default += 1;
        let line = format!("{}={default}", parameter.name);
        assert_eq!(
            Options::parse(line.as_bytes(), BuiltIn::ALL),
            Ok(Options::defaults(BuiltIn::ALL)),
            "{line}"
        );
        assert!(
            !parameter.summary.is_empty() && !fmt::from_fn(|f| (parameter.allowed)(f)).to_string().is_empty()
        );
    }
    assert!(with_default >= 9, "{with_default}");
    let values = [
        ("stress.seconds", "1.250"),
        ("log", "smp=debug,acpi::madt=off,warn"),
        ("reserve", "0x8000-0x9000"),
        ("record_nonce", "0123456789abcdef"),
        ("stress.cpus", "1,2,8"),
    ];
    for (name, text) in values {
        let options = Options::parse(format!("{name}={text}").as_bytes(), BuiltIn::ALL).unwrap();
        let written = fmt::from_fn(|f| match name {
            "stress.seconds" => ParameterValue::write(&options.stress.time, f),
            "log" => ParameterValue::write(&options.kernel.log, f),
            "reserve" => ParameterValue::write(&options.kernel.reserve, f),
            "record_nonce" => ParameterValue::write(&options.kernel.record_nonce, f),
            _ => ParameterValue::write(&options.stress.cpus, f),
        });
        assert_eq!(written.to_string(), text);
    }
}

#[test]
fn parameters_of_each_layer_are_accepted() {
    let line =
        b"work=boot  stress.seconds=0.25\tstress.workloads=storm,pairs stress.seed=0xFf inject=leak_frame\n";
    let options = Options::parse(line, BuiltIn::ALL).unwrap();
    assert_eq!(options.work(), Work::Boot);
    assert_eq!(options.stress.time, Some(Duration::from_millis(250)));
    assert!(options.stress.workloads.iter().map(|one| one.name).eq(["storm", "pairs"]));
    assert_eq!(options.stress.seed, Some(255));
    assert_eq!(options.faults.fault, Some(Fault::LeakFrame));
}

#[test]
fn parameters_of_bring_up_are_accepted_and_bounded() {
    let options =
        parse("x2apic=off max_cpus=3 allow_missing_cpus=on acpi_rsdp=0x6000000 reserve=0x8000-36864");
    let options = options.unwrap();
    assert_eq!(
        (options.kernel.x2apic, options.kernel.max_cpus.map(|most| most.get())),
        (Switch::Off, Some(3))
    );
    assert_eq!((options.kernel.allow_missing_cpus, options.kernel.acpi_rsdp), (Switch::On, Some(0x600_0000)));
    assert!(options.kernel.reserve.iter().eq([&PhysRange::new(0x8000, 0x9000)]));
    let several = "reserve=0-1 ".repeat(MAX_RESERVED);
    assert_eq!(parse(&several).unwrap().kernel.reserve.iter().count(), MAX_RESERVED);
    let message = "reserve=1-2: more than 8 ranges (allowed: START-END, as in 0x8000-0x9000)";
    assert_refused(&format!("{several}reserve=1-2"), message);
    for stage in FAULT_STAGES {
        assert_eq!(parse(&format!("inject.stage={stage}")).unwrap().faults.stage, *stage);
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
    // Before the first of these stages a CPU does not run.
    assert_eq!(FAULT_STAGES.len(), Stage::COUNT - 1);
    assert!(parse("inject.stage=sipi_sent").is_err());
}

#[test]
fn a_nonce_is_accepted_or_refused() {
    let options = parse("record_nonce=5f3a9c0e1b2d4f68 work=boot").unwrap();
    assert_eq!(options.kernel.record_nonce, Nonce::new(0x5f3a_9c0e_1b2d_4f68));
    let allowed = "not a nonce (allowed: 16 hexadecimal digits, not all 0)";
    for value in ["0000000000000000", "5f3a", "5F3A9C0E1B2D4F68", "5f3a9c0e1b2d4f680"] {
        assert_refused(&format!("record_nonce={value}"), &format!("record_nonce={value}: {allowed}"));
    }
}

#[test]
fn a_log_filter_is_accepted_or_refused() {
    let options = parse("log=smp=debug,warn").unwrap();
    assert_eq!(options.kernel.log.level_for("octopod::smp"), log::LevelFilter::Debug);
    assert_eq!(options.kernel.log.level_for("octopod::time"), log::LevelFilter::Warn);
    let allowed = "(allowed: a list of LEVEL and TARGET=LEVEL, as in smp=debug,info; levels off, error, warn, info, debug, trace)";
    assert_refused("log=smp=loud", &format!("log=smp=loud: \"loud\" is not a level {allowed}"));
    assert_refused(
        "log=s/mp=info",
        &format!("log=s/mp=info: \"s/mp\" is not a module's path of at most 40 bytes {allowed}"),
    );
    assert_refused("log=", &format!("log=: no value {allowed}"));
}

#[test]
fn names_parse_to_their_values() {
    for fault in Fault::all() {
        let line = format!("inject={fault}");
        assert_eq!(Options::parse(line.as_bytes(), BuiltIn::ALL).unwrap().faults.fault, Some(*fault));
    }
    for allocator in <&Allocator>::all() {
        let options = parse(&format!("stress.allocators={allocator}")).unwrap();
        assert!(options.stress.allocators.iter().eq([*allocator]));
    }
    for workload in <&Workload>::all() {
        let options = parse(&format!("stress.workloads={workload}")).unwrap();
        assert!(options.stress.workloads.iter().eq([*workload]));
    }
}

#[test]
fn cpu_counts_ascend() {
    assert_eq!(parse("stress.cpus=1,2,0x10").unwrap().stress.cpus, CpuCounts::of([1, 2, 16]));
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
        parse(&format!("stress.seconds={value}")).map(|options| options.stress.time.unwrap().as_millis())
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
    let seed = |value: &str| parse(&format!("stress.seed={value}")).map(|options| options.stress.seed);
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
    let allowed = format!("(allowed: a list of {})", names(<&Workload>::all()));
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
        "inject=skip_sipi",
        "inject=skip_sipi: this kernel was built without fault injection (build it with the feature `faults`)",
    );
    // There are more than a message has room for.
    let (start, all) = ("inject=x: \"x\" is not known (allowed: ", names(Fault::all()));
    let lacking = Options::parse(b"work=selftest", BuiltIn::NONE).unwrap_err().to_string();
    assert_eq!(
        lacking,
        "work=selftest: this kernel was built without its self-test (build it with the feature `selftest`)"
    );
    let lacking =
        Options::parse(b"work=shell", BuiltIn { shell: false, ..BuiltIn::ALL }).unwrap_err().to_string();
    assert_eq!(
        lacking,
        "work=shell: this kernel was built without its shell (build it with the feature `shell`)"
    );
    for built_in in [BuiltIn::NONE, BuiltIn::ALL] {
        let unknown = Options::parse(b"inject=x", built_in).unwrap_err().to_string();
        let listed = unknown.strip_prefix(start).and_then(|rest| rest.strip_suffix(", ...)"));
        let listed = listed.unwrap_or_else(|| panic!("{unknown}"));
        assert!(listed.len() > 1400 && all.starts_with(&format!("{listed}, ")), "{listed}");
    }
}

fn names<T: Named>(names: &[T]) -> String {
    names.iter().map(T::name).collect::<Vec<_>>().join(", ")
}

#[test]
fn unknown_parameters_list_the_known_ones() {
    let mut options = Options::defaults(BuiltIn::ALL);
    let known: Vec<_> = options.sets().iter().flat_map(|set| *set.parameters()).map(|one| one.name).collect();
    let known = format!("(known: {})", known.join(", "));
    assert!(known.starts_with("(known: work, stress.seconds, "), "{known}");
    for key in ["stres.seconds", "quiet", "Work", "-", "work:boot"] {
        assert_refused(key, &format!("{key}: unknown parameter {known}"));
        assert_refused(&format!("work=boot {key}=1"), &format!("{key}: unknown parameter {known}"));
    }
    assert_refused("=1", &format!(": unknown parameter {known}"));
    assert_refused(
        "work",
        &format!("work: needs a value, as in work=VALUE (allowed: {})", names(Work::all())),
    );
    assert_refused("work=fly", &format!("work=fly: \"fly\" is not known (allowed: {})", names(Work::all())));
}

#[test]
fn the_last_value_of_a_parameter_counts() {
    let options = parse("work=stress stress.seed=1 work=boot stress.seed=2").unwrap();
    assert_eq!((options.work(), options.stress.seed), (Work::Boot, Some(2)));
}

#[test]
fn quotes_surround_whole_values() {
    assert_eq!(parse("work=\"boot\"\tstress.seed=\"7\"").unwrap().stress.seed, Some(7));
    assert_refused(
        "work=\"bo ot\"",
        &format!("work=bo ot: \"bo ot\" is not known (allowed: {})", names(Work::all())),
    );
    assert_refused("work=\"\"", &format!("work=: no value (allowed: {})", names(Work::all())));
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
        assert_eq!(error, CommandLineError::BadByte { offset: 1, byte });
    }
    let message = "byte 0x1b at offset 0 of the command line is not printable ASCII";
    assert_refused("\x1b[31m", message);
}

#[test]
fn quoted_input_is_truncated() {
    let message = parse(&"x".repeat(4000)).unwrap_err();
    assert!(message.starts_with(&format!("{}...: unknown parameter", "x".repeat(80))), "{message}");
    let value = "y".repeat(80);
    assert!(parse(&format!("work={value}")).unwrap_err().starts_with(&format!("work={value}: ")));
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) }
}

/// Whether the message fits on a line of the report and has no control characters.
fn is_a_line(error: &CommandLineError<'_>) -> bool {
    let text = error.to_string();
    text.len() <= MAX_MESSAGE_BYTES && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_bytes_give_options_or_an_error(line in prop::collection::vec(any::<u8>(), 0..200), faults in any::<bool>()) {
        if let Err(error) = Options::parse(&line, BuiltIn { faults, selftest: faults, shell: faults, checked: faults }) {
            prop_assert!(is_a_line(&error), "{:?}", error.to_string());
        }
    }

    /// Nearly valid lines reach deeper than random bytes.
    #[test]
    fn any_parameters_give_options_or_an_error(line in "((work|log|stress\\.(seconds|seed|workloads|allocators|cpus)|fault|[a-z]{0,3})[= \"]{0,3}[a-z0-9.,x=\" \n]{0,9} ?){0,6}") {
        if let Err(error) = Options::parse(line.as_bytes(), BuiltIn::ALL) {
            prop_assert!(is_a_line(&error), "{:?}", error.to_string());
        }
    }

    #[test]
    fn every_number_of_milliseconds_is_read_back(ms in 1_u32..=86_400_000, seed in any::<u64>()) {
        let line = format!("stress.seconds={}.{:03} stress.seed={seed:#x}", ms / 1000, ms % 1000);
        let options = parse(&line).unwrap();
        prop_assert_eq!(options.stress.time, Some(Duration::from_millis(ms.into())));
        prop_assert_eq!(options.stress.seed, Some(seed));
    }
}

#[test]
fn echoed_input_has_no_control_characters() {
    assert_refused("=\"III$\t \r", "=\"III$   : the quote is not closed");
    let message = parse("log=\"\n\r=debug\"").unwrap_err();
    assert!(message.starts_with("log=  =debug: \"  \" is not a module's path"), "{message:?}");
}

/// Every message fits into a record, also one that lists the values of the parameter with the most.
#[test]
fn the_longest_message_fits_into_a_record() {
    let (name, value) = ("x".repeat(80), "y".repeat(80));
    let mut options = Options::defaults(BuiltIn::ALL);
    let all: Vec<_> = options.sets().iter().flat_map(|set| *set.parameters()).map(|one| one.name).collect();
    for line in all.iter().map(|known| format!("{known}={value},{value}")).chain([name]) {
        let message = parse(&line).unwrap_err();
        assert!(message.len() <= MAX_MESSAGE_BYTES, "{} bytes: {message}", message.len());
    }
}

/// The documentation lists the parameters by their summaries.
#[test]
fn every_parameter_has_a_name_of_its_own_and_a_summary() {
    let mut options = Options::defaults(BuiltIn::ALL);
    let all: Vec<_> = options.sets().iter().flat_map(|set| *set.parameters()).collect();
    for (index, parameter) in all.iter().enumerate() {
        assert!(
            all[..index].iter().all(|other| other.name != parameter.name),
            "{parameter:?} is there twice"
        );
        assert!(parameter.summary.trim_end().ends_with('.'), "{parameter:?}: {}", parameter.summary);
    }
}
