//! The kernel under gdb: stopped on another CPU, at any KASLR address; and a processor without CPUID, which gdb simulates
//! because QEMU has none. The tests are skipped, with a message, if gdb is missing and cannot be installed.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use object::{Object, ObjectSection, ObjectSymbol};
use octopod_ci::base::process::capture;
use octopod_ci::base::{Message, Observer, Silent, Workspace};
use octopod_ci::kernel::{KernelConfig, build};
use octopod_ci::{Outcome, launch_with, parse, setup};

use crate::project::folder::Project;

/// Only a hang uses it up, however busy the host is.
const LIMIT: Duration = Duration::from_secs(600);

/// Passes on that the launcher waits for gdb.
struct Waiting(Sender<String>);

impl Observer for Waiting {
    fn receive(&mut self, message: Message<'_>) {
        if let Message::Note(text) = message
            && let Some((_, line)) = text.split_once("in another terminal: ")
        {
            let _ = self.0.send(line.to_owned());
        }
    }
}

/// A run that waits for gdb, with its folder; `None` where there is no gdb.
fn waiting(arguments: &[&str], folder: &Path) -> Option<JoinHandle<Outcome>> {
    if let Err(error) = setup::gdb::provide(&mut Silent) {
        eprintln!("skipped: {error}");
        return None;
    }
    let always = ["gdb", "--accel", "tcg", "--timeout", "600", "--out", folder.to_str().unwrap()];
    let launch = parse(&[&always, arguments].concat()).unwrap().0;
    let (sender, line) = channel();
    let run = thread::spawn(move || launch_with(&launch, &mut Waiting(sender)));
    match line.recv() {
        Ok(line) => assert!(line.starts_with("gdb -x ") && line.ends_with("debug.gdb"), "{line}"),
        Err(_) => panic!("{:?}", run.join().unwrap().error),
    }
    Some(run)
}

/// The output of gdb for these commands, which follow those of the run's script.
fn gdb(folder: &Path, commands: &[&str]) -> String {
    let mut command = Command::new("gdb");
    command.args(["-nx", "-batch", "-x"]).arg(folder.join("debug.gdb"));
    command.args(commands.iter().flat_map(|command| ["-ex", *command]));
    let answer = capture(&mut command, LIMIT).unwrap();
    format!("{}\n{}", answer.stdout, answer.stderr)
}

/// The value behind `NAME = `, in the line of that thread.
fn value_of<'a>(text: &'a str, thread: &str, name: &str) -> &'a str {
    let wanted = format!("thread {thread}: ");
    let line = text.lines().find(|line| line.starts_with(&wanted) && line.contains(name));
    line.and_then(|line| line.split_once(" = "))
        .unwrap_or_else(|| panic!("no {name} of {thread} in\n{text}"))
        .1
}

#[test]
fn gdb_stops_on_an_ap_and_reads_its_variables() {
    let folder = tempfile::tempdir().unwrap();
    let Some(run) =
        waiting(&["--smp", "3", "--append", "work=selftest selftest.parts=threads"], folder.path())
    else {
        return;
    };
    // Readers type what is written there.
    let page = include_str!("../../docs/tracing.md");
    let (_, rest) = page.split_once("`octopod per-cpu ").unwrap();
    let variable = rest.split(' ').next().unwrap();
    let documented = format!("octopod per-cpu {variable}");
    let said = gdb(
        folder.path(),
        &[
            "break octopod::smp::ap::entry",
            "continue",
            "printf \"stopped on %d\\n\", $_thread",
            "info threads",
            "octopod cpus",
            "octopod per-cpu GS_BASE",
            &documented,
            "printf \"its GS base is %lu\\n\", $gs_base",
            "octopod backtraces",
            "delete",
            // A thread that is parked is about to be woken.
            "break octopod::sched::mechanism::placing::wake_parked",
            "continue",
            "printf \"a thread is woken\\n\"",
            "octopod threads",
            "delete",
            "octopod symbols",
            "detach",
        ],
    );
    let outcome = run.join().unwrap();
    let line = |start: &str| {
        let found = said.lines().find_map(|line| line.strip_prefix(start));
        found.unwrap_or_else(|| panic!("gdb did not say `{start}`:\n{said}")).trim().to_owned()
    };
    let thread = line("stopped on ");
    assert!(thread == "2" || thread == "3", "thread {thread} is no AP's:\n{said}");
    for cpu in ["CPU#0", "CPU#1", "CPU#2"] {
        assert!(said.contains(cpu), "{cpu} is no thread:\n{said}");
    }
    // QEMU's CPUs are gdb's threads, from 1 on; the firmware lists them in their order.
    let number: u32 = thread.parse().unwrap();
    let cpu = (number - 1).to_string();
    let place = line(&format!("thread {thread}: cpu {cpu}, "));
    assert!(place.contains("octopod::smp::ap::entry"), "{place}\n{said}");
    for (of, expected) in [(&*thread, &*cpu), ("1", "0")] {
        assert_eq!(value_of(&said, of, &format!("::{variable} ")), expected, "{said}");
    }
    let of_ap = value_of(&said, &thread, "octopod::cpu::per_cpu::GS_BASE");
    assert_eq!(of_ap, line("its GS base is "), "{said}");
    assert_ne!(of_ap, value_of(&said, "1", "octopod::cpu::per_cpu::GS_BASE"), "{said}");
    assert!(said.contains("octopod::smp::ap::entry ("), "no backtrace of an AP:\n{said}");
    assert!(said.contains("octopod::stages::rust_entry ("), "no backtrace of the BSP:\n{said}");

    // Each of the kernel's threads: the one that wakes, and the one that waits in `park`.
    let (_, listed) = said.split_once("a thread is woken\n").unwrap_or_else(|| panic!("{said}"));
    let threads: Vec<_> = listed.split("kernel thread ").skip(1).collect();
    assert!(threads[0].starts_with("0 \"main\": "), "{listed}");
    let waker = threads.iter().find(|thread| thread.contains("placing::wake_parked ("));
    assert!(waker.is_some_and(|thread| thread.contains(": running on thread ")), "{listed}");
    let parked = threads.iter().find(|thread| thread.contains(": parked\n"));
    assert!(parked.is_some_and(|thread| thread.contains("octopod::sched::thread::park")), "{listed}");

    // Once from what rt0 hands on, once from the table of gates.
    let slides: Vec<_> = said.lines().filter(|line| line.starts_with("octopod: symbols are 0x")).collect();
    assert!(slides.len() == 2 && slides[0] == slides[1], "{slides:?}\n{said}");
    assert!(!slides[0].contains(" 0x0 "), "KASLR is on by default:\n{said}");

    // Let go, the kernel ends as it would have ended.
    assert_eq!(
        (outcome.status, outcome.report.boot.map(|boot| boot.kernel.cpus_online)),
        (0, Some(3)),
        "{said}"
    );
}

/// In a project, which has no checkout, gdb has its commands, and the kernel calls the project's own function.
#[test]
fn gdb_stops_in_the_main_of_a_project() {
    if let Err(error) = setup::gdb::provide(&mut Silent) {
        eprintln!("skipped: {error}");
        return;
    }
    let project = Project::new("visitor", &[]);
    let folder = tempfile::tempdir().unwrap();
    let (output, input) = io::pipe().unwrap();
    let mut command = project.command(&project.launcher, &project.folder);
    command
        .args(["gdb", "--debug", "--accel", "tcg", "--smp", "2", "--timeout", "600", "--out"])
        .arg(folder.path());
    command.stdout(input.try_clone().unwrap()).stderr(input);
    let mut run = command.spawn().unwrap();
    drop(command);
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    let waits = lines.find(|line| line.contains("in another terminal: "));
    assert!(waits.is_some(), "the launcher waits for gdb");
    let said = gdb(
        folder.path(),
        &[
            "break visitor::main",
            "continue",
            "printf \"stopped on %d\\n\", $_thread",
            "octopod cpus",
            "backtrace 1",
            "delete",
            "detach",
        ],
    );
    let rest: Vec<_> = lines.collect();
    assert_eq!(run.wait().unwrap().code(), Some(0), "{rest:#?}\n{said}");
    assert!(said.contains("stopped on 1\n"), "{said}");
    assert!(said.contains("thread 1: cpu 0, "), "{said}");
    assert!(said.lines().any(|line| line.starts_with("#0 ") && line.contains("visitor::main")), "{said}");
    assert!(rest.iter().any(|line| line.contains("hello from CPU 1")), "{rest:#?}");
}

/// The first quoted or unquoted word after each occurrence of `start`.
fn words_after<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    let is_part = |letter: char| letter.is_alphanumeric() || "_:".contains(letter);
    let rests = text.split(start).skip(1);
    let words = rests.map(|rest| rest.split(|letter| !is_part(letter)).next().unwrap_or_default());
    words.filter(|word| !word.is_empty()).collect()
}

/// The quoted strings of the constants of a Python program.
fn constants(program: &str) -> Vec<&str> {
    let lines = program.lines().filter(|line| line.starts_with(|letter: char| letter.is_ascii_uppercase()));
    lines.flat_map(|line| line.split('"').skip(1).step_by(2)).collect()
}

/// The names in gdb's helper and in the documentation are those of the kernel. This needs no gdb.
#[test]
fn the_kernel_has_each_symbol_that_the_helper_and_the_documentation_name() {
    let workspace = Workspace::find().unwrap();
    let kernel = build::provide(&KernelConfig::default(), &workspace, &mut Silent).unwrap();
    let bytes = fs::read(&kernel.symbols).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let mangled = file.symbols().filter_map(|symbol| symbol.name().ok());
    let symbols: BTreeSet<String> =
        mangled.map(|name| addr2line::demangle_auto(name.into(), None).into_owned()).collect();
    let debug_names = file.section_by_name(".debug_str").unwrap().uncompressed_data().unwrap();
    let debug_names: BTreeSet<&[u8]> = debug_names.split(|byte| *byte == 0).collect();
    let has_symbol = |name: &str| symbols.contains(name);
    let has_debug_name = |name: &str| debug_names.contains(name.as_bytes());
    let has_variable = |name: &str| symbols.iter().any(|path| path.ends_with(&format!("::{name}")));

    let helper = include_str!("../gdb/octopod.py");
    let (types, linked): (Vec<_>, Vec<_>) =
        constants(helper).into_iter().partition(|name| name.contains("::"));
    let linked = [linked, words_after(helper, "linked[\"")].concat();
    let types = types.iter().filter_map(|path| path.rsplit("::").next());
    let types: Vec<_> = types.chain(words_after(helper, "fields[\"")).collect();
    let mut documentation = vec![fs::read_to_string(workspace.root.join("README.md")).unwrap()];
    for entry in fs::read_dir(workspace.root.join("docs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") {
            documentation.push(fs::read_to_string(path).unwrap());
        }
    }
    let documentation = documentation.join("\n");
    let functions = words_after(&documentation, "`break ");
    let variables =
        [words_after(helper, "per_cpu_variable(\""), words_after(&documentation, "`octopod per-cpu ")]
            .concat();
    for (what, names, exists) in [
        ("symbol", &linked, &has_symbol as &dyn Fn(&str) -> bool),
        ("type or field", &types, &has_debug_name),
        ("function", &functions, &has_symbol),
        ("per-CPU variable", &variables, &has_variable),
    ] {
        assert!(!names.is_empty(), "no {what} is named: the test finds nothing");
        for name in names {
            assert!(exists(name), "the kernel has no {what} {name}");
        }
    }
}

/// A processor whose EFLAGS.ID does not stay as it was set. No emulator that is at hand is one: gdb takes the bit back.
#[test]
fn a_processor_without_cpuid_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let Some(run) = waiting(&["--smp", "1"], folder.path()) else { return };
    let bytes = std::fs::read(folder.path().join("octopod-kernel")).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let address = |name: &str| file.symbols().find(|symbol| symbol.name() == Ok(name)).unwrap().address();
    let toggled = address("cpuid_toggled") - address("image_start") + address("rt0_phys");
    // The run's script would run past it.
    let script = folder.path().join("debug.gdb");
    let text = std::fs::read_to_string(&script).unwrap();
    std::fs::write(&script, text.replace(" early\n", "\n")).unwrap();
    let said = gdb(
        folder.path(),
        &[
            &format!("hbreak *{toggled:#x}"),
            "continue",
            "printf \"stopped at %#lx\\n\", $pc",
            // EFLAGS.ID, which rt0 has just set.
            "set $eflags = (int)$eflags & ~(1 << 21)",
            "delete",
            "detach",
        ],
    );
    let outcome = run.join().unwrap();
    assert!(said.contains(&format!("stopped at {toggled:#x}")), "{said}");
    let reason = outcome.report.reason.unwrap_or_default();
    assert_eq!((outcome.status, &*reason), (5, "this processor lacks CPUID"), "{said}");
}
