use std::fs;
use std::path::PathBuf;

use super::*;
use crate::base::{Error, Workspace};
use crate::run::folder;

fn read(words: &[&str]) -> Result<Cli, clap::Error> {
    Cli::read([&["octopod"], words].concat().into_iter().map(OsString::from))
}

fn refusal(words: &[&str]) -> String {
    read(words).unwrap_err().to_string()
}

#[test]
fn the_grammar_is_sound() {
    command().debug_assert();
}

#[test]
fn a_line_without_a_command_is_one_for_stress() {
    for words in [&[][..], &["--smp", "4"], &["--", "-d", "int"]] {
        let command = read(words).unwrap().command;
        assert!(matches!(command, Command::Run(RunCommand::Stress(_))), "{words:?}");
    }
    assert!(refusal(&["--help"]).contains("Commands:"));
    assert!(refusal(&["--version"]).starts_with("octopod "));
}

/// Cargo passes the file that it has built, then the words behind its `--`, and `--bench` last.
#[test]
fn a_runner_takes_files_of_tests_and_benchmarks_with_cargos_words() {
    let folder = tempfile::tempdir().unwrap();
    let deps = folder.path().join("debug/deps");
    fs::create_dir_all(&deps).unwrap();
    let file = |path: PathBuf| {
        fs::write(&path, "").unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (built, program) = (file(deps.join("costs-01")), file(folder.path().join("debug/hello")));
    let of = |line: &str| {
        let line = line.replace("DEPS", &built).replace("PROGRAM", &program);
        let words = as_tests(line.split(' ').map(OsString::from).collect());
        let words: Vec<_> = words.iter().map(|word| word.to_str().unwrap()).collect();
        words.join(" ").replace(&built, "DEPS").replace(&program, "PROGRAM")
    };
    for (typed, executed) in [
        ("octopod run PROGRAM --smp 2", "octopod run PROGRAM --smp 2"),
        ("octopod run DEPS", "octopod test DEPS --"),
        ("octopod run DEPS name --exact", "octopod test DEPS -- name --exact"),
        ("octopod run DEPS --bench", "octopod bench DEPS"),
        ("octopod run DEPS hash queue --smp 1 --bench", "octopod bench DEPS hash queue --smp 1"),
        ("octopod run DEPS hash -- -d int --bench", "octopod bench DEPS hash -- -d int"),
        ("octopod bench --kernel DEPS", "octopod bench --kernel DEPS"),
    ] {
        assert_eq!(of(typed), executed);
    }
    // What is no option of `bench` is refused.
    let refused = refusal(&["run", &built, "hash", "--save-baseline", "x", "--bench"]);
    assert!(refused.contains("unexpected argument '--save-baseline'"), "{refused}");
    let Command::Run(RunCommand::Bench(args)) = read(&["run", &built, "hash", "--bench"]).unwrap().command
    else {
        panic!("it is no bench")
    };
    assert_eq!((args.elf, args.filters), (Some(built.into()), vec!["hash".to_owned()]));
}

#[test]
fn help_shows_what_a_command_takes_and_nothing_else() {
    let bench = refusal(&["bench", "--help"]);
    for option in ["--smp", "--append", "--json", "--timeout"] {
        assert!(bench.contains(option), "{option}: {bench}");
    }
    for option in ["--seed", "--tier", "--count", "--example", "--command", "--emulator", "--host"] {
        assert!(!bench.contains(option), "{option}: {bench}");
    }
    let soak = refusal(&["soak", "--help"]);
    assert!(soak.contains("--count") && !soak.contains("--smp"), "{soak}");
}

#[test]
fn an_option_of_another_command_is_refused_with_a_hint() {
    for (words, hint) in [
        (&["boot", "--seed", "7"][..], "--seed is an option of stress and alloc-trace, not of boot"),
        (&["matrix", "--seed", "2"], "--seed is an option of stress and alloc-trace, not of matrix"),
        (
            &["matrix", "--smp", "2"],
            "--smp is an option of boot, stress, bench, run, shell, gdb and test, not of matrix",
        ),
        (&["boot", "--tier", "full"], "--tier is an option of matrix, not of boot"),
        (&["boot", "--count", "2"], "--count is an option of soak, not of boot"),
        (&["soak", "--tier", "full"], "--tier is an option of matrix, not of soak"),
        (
            &["report", "--smp", "2"],
            "--smp is an option of boot, stress, bench, run, shell, gdb and test, not of report",
        ),
        (&["report", "--tier", "full"], "--tier is an option of matrix, not of report"),
        (&["stress", "--example", "hello"], "--example is an option of run and gdb, not of stress"),
        (&["shell", "--type", "help"], "--type is now --command LINE, or -c LINE"),
        (&["boot", "--fault", "skip_sipi"], "--fault is now --inject NAME"),
        (&["--smp", "2", "boot"], "the command comes first: octopod boot"),
        (&["test"], "`cargo test` builds the file and starts this command with it"),
        (&["new", "--", "hello", "--path", "x"], "--path is an option: it stands before --"),
        (
            &["bot"],
            "the commands are boot, stress, bench, run, shell, gdb, test, matrix, soak, new, list, report, alloc-trace, doctor",
        ),
    ] {
        let text = refusal(words);
        assert!(text.contains(hint), "{words:?}: {text}");
    }
    assert!(refusal(&["stress", "x"]).contains("unexpected argument 'x'"));
}

#[test]
fn the_matrix_and_soaks_run_under_tcg_unless_they_name_another() {
    let accel = |words: &[&str]| match read(words).unwrap().command {
        Command::Matrix(args) => args.accel.name(),
        Command::Soak(args) => args.accel.name(),
        other => panic!("{other:?}"),
    };
    assert_eq!(accel(&["matrix"]), "tcg");
    assert_eq!(accel(&["matrix", "--accel", "kvm"]), "kvm");
    assert_eq!(accel(&["soak", "boots", "--count", "2"]), "tcg");
}

#[test]
fn completions_name_the_commands_and_their_options() {
    use clap_complete::Shell;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command(), "octopod", &mut text);
        let text = String::from_utf8(text).unwrap();
        assert!(["matrix", "completions", "workloads"].iter().all(|word| text.contains(word)), "{shell}");
    }
}

/// The error in the files of a command.
fn check(words: &[&str]) -> Result<(), Error> {
    let workspace = Workspace {
        root: "/nonexistent".into(),
        target: "/nonexistent/target".into(),
        kind: crate::base::WorkspaceKind::Checkout,
    };
    let files = match read(words).unwrap().command {
        Command::Run(command) => command.configure().files(),
        Command::Matrix(args) => args.files(&workspace),
        Command::Report(args) => args.files(&workspace),
        other => panic!("{other:?}"),
    };
    files.check(None)
}

#[test]
fn no_output_of_any_command_is_one_of_its_inputs() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for name in folder::files().chain(["matrix.json", "junit.xml", "comparison.html", "rows.toml"]) {
        fs::write(at(name), "").unwrap();
    }
    let out = at("");
    let loader = format!("loader,file={},addr=0x1000", at("serial.log"));
    fs::create_dir(at("pictures")).unwrap();
    fs::hard_link(at("boot.svg"), at("pictures/boot.svg")).unwrap();
    for words in [
        &["boot", "--kernel", &at("octopod-kernel"), "--out", &out][..],
        &["boot", "--kernel", &at("report.json"), "--out", &out],
        &["boot", "--kernel", &at("rows.toml"), "--json", &at("rows.toml")],
        &["boot", "--kernel", &at("boot.svg"), "--pictures", &at("pictures")],
        &["stress", "--replay", &at("replay.trace"), "--out", &out],
        &["stress", "--replay", &at("trace.json"), "--trace", "--out", &out],
        &["boot", "--qemu", "/bin/sh", "--json", "/bin/sh"],
        &["boot", "--out", &out, "--", "-initrd", &at("registers.txt")],
        &["boot", "--out", &out, "--", "-device", &loader],
        &["matrix", "--rows", &at("rows.toml"), "--junit", &at("rows.toml")],
        &["matrix", "--rows", &at("matrix.json"), "--out", &out],
        &["report", &at("report.html"), "--out", &out],
        &["report", &at("report.json"), &at("comparison.html")],
    ] {
        let refused = check(words);
        assert!(matches!(refused, Err(Error::OutputIsInput { .. })), "{words:?}: {refused:?}");
    }
    for words in [
        &["boot", "--kernel", &at("rows.toml"), "--out", &out][..],
        &["matrix", "--rows", &at("rows.toml"), "--out", &out],
        &["report", &at("report.json"), &at("rows.toml")],
        &["boot", "--out", &out, "--json", &at("report.json"), "--pictures", &out],
    ] {
        check(words).unwrap();
    }
}

#[test]
fn only_quiet_keeps_notes_from_the_user() {
    let is_quiet = |words: &[&str]| {
        let words = [&["octopod"], words].concat();
        super::is_quiet(&command().try_get_matches_from(words).unwrap())
    };
    for words in [&["bench", "--quiet"][..], &["stress", "--host", "--quiet"], &["matrix", "--quiet"]] {
        assert!(is_quiet(words), "{words:?}");
    }
    for words in [&["bench"][..], &["stress", "--host"], &["matrix"], &["completions", "bash"]] {
        assert!(!is_quiet(words), "{words:?}");
    }
}
