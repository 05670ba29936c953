//! Tests of settings: those of a project and those of the environment.

use std::collections::BTreeSet;

use super::*;
use crate::commands::cli;

fn read(settings: &str, line: &str) -> Result<String, String> {
    read_as(settings, line, false)
}

fn read_as(settings: &str, line: &str, is_row: bool) -> Result<String, String> {
    let settings: toml::Table = settings.parse().unwrap();
    let project = Project {
        name: "mine".to_owned(),
        folder: "/p".into(),
        program: None,
        programs: Vec::new(),
        has_benches: false,
        profile: "release".to_owned(),
        options: settings.into_iter().collect(),
    };
    let words: Vec<OsString> = format!("octopod {line}").split(' ').map(OsString::from).collect();
    let grammar = cli::command();
    let command = taker(&words, &grammar).expect("a command that takes settings");
    let settings = Settings { project: &project, command, grammar: &grammar, is_row };
    let words = settings.add(words).map_err(|error| error.to_string())?;
    Ok(words[1..].iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" "))
}

#[test]
fn settings_are_options_that_the_command_line_overrides() {
    let settings =
        "smp = 4\nmemory = \"256M\"\ntrace = true\nappend = [\"log=debug\", \"kaslr=off\"]\nseconds = 2";
    let all = "boot --append log=debug --append kaslr=off --mem 256M --smp 4 --trace";
    assert_eq!(read(settings, "boot").unwrap(), all);
    assert_eq!(read("smp = 4", "boot --smp=2").unwrap(), "boot --smp=2");
    assert_eq!(read("smp = 4", "run a.elf -- --smp 2").unwrap(), "run --smp 4 a.elf -- --smp 2");
    assert_eq!(
        read("append = [\"a=1\"]", "boot --append b=2").unwrap(),
        "boot --append a=1 --append b=2",
        "values of append add up"
    );
    assert_eq!(read("trace = false", "boot").unwrap(), "boot");
    let by_command = "append = { run = \"a=1\", boot = \"b=2\" }";
    assert_eq!(read(by_command, "boot").unwrap(), "boot --append b=2");
    assert_eq!(read(by_command, "stress").unwrap(), "stress");
    // Options of other commands do not concern this one.
    assert_eq!(read("seconds = 2", "stress").unwrap(), "stress --seconds 2");
    // A run on the host has no machine.
    let settings = "smp = 4\nmem = \"64M\"\nappend = [\"log=debug\"]\nallocator = \"own\"";
    assert_eq!(read(settings, "stress --host").unwrap(), "stress --allocator own --mem 64M --host");
    assert_eq!(read("machines = \"m.toml\"", "matrix").unwrap(), "matrix --rows /p/m.toml");
}

#[test]
fn a_table_has_the_names_of_commands_that_take_the_option() {
    for (settings, said) in [
        ("append = { runn = \"x\" }", "append: runn is no command with this option; those are boot, "),
        ("append = { run = \"x\", report = \"y\" }", "append: report is no command with this option"),
        ("memory = { matrix = \"64M\" }", "memory: matrix is no command with this option"),
        ("seconds = { boot = 2 }", "seconds: boot is no command with this option; those are stress"),
        ("smb = { boot = 2 }", "smb: no command has such an option"),
    ] {
        for line in ["boot", "stress", "run a.elf"] {
            let error = read(settings, line).unwrap_err();
            assert!(error.contains(said), "{settings} of {line}: {error}");
        }
    }
    let known = "append = { boot = \"a\", run = \"a\", stress = \"a\", bench = \"a\", test = \"a\" }";
    assert_eq!(read(known, "boot").unwrap(), "boot --append a");
}

#[test]
fn what_the_words_exclude_is_no_setting() {
    for (settings, line) in [
        // Cargo has built the file.
        ("debug = true", "run a.elf"),
        ("compressed = true", "run a.elf -- -d int"),
        ("inject = \"skip_sipi\"", "run a.elf"),
        ("inject = { run = \"skip_sipi\" }", "run --quiet a.elf"),
        ("kernel = \"b.elf\"", "run a.elf"),
        ("example = \"hello\"", "run a.elf"),
        ("debug = true", "test a.elf -- --list"),
        ("compressed = true", "test a.elf"),
        ("inject = \"skip_sipi\"", "test a.elf"),
        ("kernel = \"b.elf\"", "test a.elf"),
        ("inject = \"skip_sipi\"", "bench --kernel a.elf"),
        ("debug = true", "boot --kernel=a.elf"),
        // Either excludes the other.
        ("kernel = \"b.elf\"", "boot --debug"),
        ("quiet = true", "boot --verbose"),
    ] {
        assert_eq!(read(settings, line).as_deref(), Ok(line), "{settings}");
    }
    assert_eq!(read("debug = true", "run --smp 2").unwrap(), "run --debug --smp 2");
    assert_eq!(read("inject = \"a\"", "run --").unwrap(), "run --inject a --");
    assert_eq!(read("smp = 4", "run a.elf").unwrap(), "run --smp 4 a.elf");
}

#[test]
fn settings_of_one_emulator_do_not_concern_another_that_the_words_name() {
    let qemu = "accel = \"kvm\"\nboot = \"uefi\"\ncpu = \"max\"\nmachine = \"pc\"\ntrace = true\nsmp = 4";
    assert_eq!(read(qemu, "boot --emulator bochs").unwrap(), "boot --smp 4 --emulator bochs");
    assert_eq!(read_as(qemu, "boot --emulator bochs", true).unwrap(), "boot --smp 4 --emulator bochs");
    let all = "boot --accel kvm --boot uefi --cpu max --machine pc --smp 4 --trace --emulator qemu";
    assert_eq!(read(qemu, "boot --emulator qemu").unwrap(), all);
    let bochs = "emulator = { boot = \"bochs\" }\ncpu = \"corei7_haswell_4770\"";
    let both = "boot --cpu corei7_haswell_4770 --emulator bochs";
    assert_eq!(read(bochs, "boot").unwrap(), both);
    assert_eq!(read(bochs, "boot --emulator bochs").unwrap(), both);
    assert_eq!(read(bochs, "boot --emulator qemu").unwrap(), "boot --emulator qemu");
    // A number of CPUs suits both; QEMU's properties do not.
    let properties = "smp = { boot = \"4,sockets=2\" }";
    assert_eq!(read(properties, "boot --emulator bochs").unwrap(), "boot --emulator bochs");
    assert_eq!(read(properties, "boot").unwrap(), "boot --smp 4,sockets=2");
    assert_eq!(read("smp = 4", "boot --emulator bochs").unwrap(), "boot --smp 4 --emulator bochs");
}

#[test]
fn a_row_has_the_settings_that_are_not_the_matrixs_own() {
    let settings = "smp = 4\nmem = \"64M\"\naccel = \"kvm\"\nout = \"o\"\njson = \"-\"\nquiet = true\n\
                    append = { run = \"a=1\" }\nmodule = [\"f=g\"]";
    let row = |line| read_as(settings, line, true).unwrap();
    assert_eq!(row("run"), "run --append a=1 --mem 64M --module /p/f=g --smp 4");
    assert_eq!(
        row("run --smp 2 --append b=2"),
        "run --append a=1 --mem 64M --module /p/f=g --smp 2 --append b=2"
    );
    assert_eq!(row("boot --mem 1G"), "boot --module /p/f=g --smp 4 --mem 1G");
    assert_eq!(row("run a.elf"), "run --append a=1 --mem 64M --module /p/f=g --smp 4 a.elf");
    let grammar = cli::command();
    let matrix = grammar.find_subcommand(MATRIX).unwrap();
    let boots = grammar.get_subcommands().filter(|command| option(command, "smp").is_some());
    let taken: BTreeSet<&str> = boots
        .filter(|command| command.get_name() != "test")
        .flat_map(Command::get_arguments)
        .filter_map(|arg| arg.get_long().filter(|name| option(matrix, name).is_some()))
        .collect();
    assert_eq!(taken, BTreeSet::from(OF_MATRIX));
}

#[test]
fn the_environment_counts_where_neither_the_words_nor_the_project_say_otherwise() {
    let grammar = cli::command();
    let read = |line: &str| {
        let words: Vec<OsString> = format!("octopod {line}").split(' ').map(OsString::from).collect();
        let value_of = |variable: &str| match variable {
            "OCTOPOD_SMP" => Some("4".into()),
            "OCTOPOD_ACCEL" => Some("kvm".into()),
            _ => Some("".into()),
        };
        let mut notes: Vec<String> = Vec::new();
        let note = |note: &str| notes.push(note.to_owned());
        let words = with_variables(words, &grammar, value_of, note).unwrap();
        let words: Vec<_> = words[1..].iter().map(|word| word.to_str().unwrap()).collect();
        (words.join(" "), notes)
    };
    let silent = |line: &str, words: &str| assert_eq!(read(line), (words.to_owned(), Vec::new()));
    let smp = |why: &str| format!("OCTOPOD_SMP is ignored: {why}");
    let accel = |why: &str| format!("OCTOPOD_ACCEL is ignored: {why}");
    silent("boot", "boot --accel kvm --smp 4");
    silent("test a.elf -- one", "test --accel kvm --smp 4 a.elf -- one");
    silent("run --smp 2", "run --accel kvm --smp 2");
    // Bochs has CPUs, and no accelerator.
    for command in ["boot", "run a.elf", "test a.elf"] {
        let line = format!("{command} --emulator bochs");
        let (command, rest) = line.split_once(' ').unwrap();
        let words = format!("{command} --smp 4 {rest}");
        assert_eq!(read(&line), (words, vec![accel("Bochs has no accelerator")]));
    }
    silent("boot --emulator=qemu", "boot --accel kvm --smp 4 --emulator=qemu");
    // What the user types is refused with its reason.
    silent("boot --emulator bochs --accel tcg", "boot --smp 4 --emulator bochs --accel tcg");
    // Rows and soaks have CPUs of their own.
    for (line, words) in [("matrix one", "matrix --accel kvm one"), ("soak boots", "soak --accel kvm boots")]
    {
        let command = line.split(' ').next().unwrap();
        assert_eq!(read(line), (words.to_owned(), vec![smp(&format!("`{command}` has no --smp"))]));
    }
    let own = |option: &str| format!("`bench` has a machine of its own; {option} changes it");
    assert_eq!(read("bench"), ("bench".to_owned(), vec![smp(&own("--smp")), accel(&own("--accel"))]));
    silent("bench --smp 4 --accel tcg", "bench --smp 4 --accel tcg");
    let host = |option: &str| format!("{option} does not go with --host");
    let notes = vec![smp(&host("--smp")), accel(&host("--accel"))];
    assert_eq!(read("stress --host"), ("stress --host".to_owned(), notes));
    // These boot nothing.
    for other in ["report", "completions bash", "new a", "unknown"] {
        silent(other, other);
    }
    // A time limit concerns runs that have no longer one of their own.
    let with_limit = |line: &str| {
        let words = line.split(' ').map(OsString::from).collect();
        let value_of = |variable: &str| (variable == "OCTOPOD_TIMEOUT").then(|| "600".into());
        let note = |note: &str| panic!("{note}");
        with_variables(words, &grammar, value_of, note).unwrap().join(OsStr::new(" ")).into_string().unwrap()
    };
    assert_eq!(with_limit("octopod boot"), "octopod boot --timeout 600");
    for line in ["octopod boot --timeout 5", "octopod matrix one", "octopod soak boots"] {
        assert_eq!(with_limit(line), line);
    }
    // Bochs takes no properties of QEMU.
    let with_properties = |line: &str| {
        let words = line.split(' ').map(OsString::from).collect();
        let value_of = |variable: &str| (variable == "OCTOPOD_SMP").then(|| "4,sockets=2".into());
        let mut notes: Vec<String> = Vec::new();
        let words = with_variables(words, &grammar, value_of, |note| notes.push(note.to_owned())).unwrap();
        (words.join(OsStr::new(" ")).into_string().unwrap(), notes)
    };
    let line = "octopod boot --emulator bochs";
    assert_eq!(with_properties(line), (line.to_owned(), vec![smp("Bochs takes a number")]));
    assert_eq!(with_properties("octopod boot"), ("octopod boot --smp 4,sockets=2".to_owned(), Vec::new()));
    let value_of = |variable: &str| (variable == "OCTOPOD_SMP").then(|| "two".into());
    let wrong = with_variables(vec!["octopod".into(), "boot".into()], &grammar, value_of, |_| ());
    assert!(wrong.unwrap_err().to_string().starts_with("OCTOPOD_SMP: invalid value 'two' for '--smp"));
}

#[test]
fn wrong_settings_are_refused_with_their_place() {
    for (settings, part) in [
        ("smb = 4", "smb: no command has such an option"),
        ("trace = 1", "trace: must be true or false"),
        ("smp = [1]", "smp: must be a string or a number"),
        ("trace = true\nsmp = \"two\"", "smp: invalid value 'two' for '--smp <N|QEMU-STRING>': "),
        ("kernel = \"a\"\ndebug = true", ": the argument '--debug' cannot be used with '--kernel <ELF>'"),
    ] {
        let text = read(settings, "boot").unwrap_err();
        assert!(
            text.starts_with("/p/Cargo.toml: [package.metadata.octopod]") && text.contains(part),
            "{text}"
        );
    }
    // The setting is one of the emulator that the project's others name.
    let wrong = read("emulator = \"bochs\"\nboot = \"nonsense\"", "boot --emulator bochs").unwrap_err();
    assert!(
        wrong.starts_with("/p/Cargo.toml: [package.metadata.octopod] boot: invalid value 'nonsense'"),
        "{wrong}"
    );
}
