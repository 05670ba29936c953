//! A project of a user's own, outside the checkout: `octopod new` makes it, cargo builds it on stable Rust, and the launcher is its
//! runner. Then it is broken on purpose, and each time the right words are said.

use std::fs;
use std::path::Path;

use rustix::process::Signal;

mod documented;
mod extensions;
pub(crate) mod folder;
pub(crate) mod git;
mod heaps;
mod lines;
mod registered;
mod shards;

use folder::{Project, Said, launcher};

#[test]
fn a_new_project_boots_eight_cpus_runs_its_tests_and_names_its_faults() {
    let project = Project::new("visitor", &[]);
    project.cargo(&["run"]).expect(0, &["8 CPUs are online", "hello from CPU 7", "PASS  8 CPUs"]);
    project.cargo(&["run", "--", "--smp", "2"]).expect(0, &["hello from CPU 1", "PASS  2 CPUs"]);
    // An example of the project is a kernel as well.
    project.write("examples/two.rs", &fs::read_to_string(project.folder.join("src/main.rs")).unwrap());
    project.cargo(&["run", "--example", "two", "--", "--smp", "2"]).expect(0, &["PASS  2 CPUs"]);
    fs::remove_dir_all(project.folder.join("examples")).unwrap();
    // Settings of builds do not concern the file that cargo has built.
    let builds = "debug = true\ncompressed = true\ninject = \"lose_item\"\nsmp = 8";
    project.replace("Cargo.toml", "smp = 8", builds);
    project.cargo(&["run", "--", "--smp", "2"]).expect(0, &["PASS  2 CPUs"]);
    project.cargo(&["test"]).expect(0, &["every_cpu_has_a_frame_of_its_own ... ok", "1 passed"]);
    project.replace("Cargo.toml", builds, "smp = 8");
    let runs = project.target.join("octopod");
    assert!(fs::read_dir(&runs).unwrap().count() > 0, "the runs are in the project's target folder");
    // In a folder of the project as in the project's.
    project.octopod_in("src", &["report"]).expect(0, &["report.html"]);
    project.octopod_in("src", &["run", "--smp", "2", "--debug"]).expect(0, &["PASS  2 CPUs"]);

    // The project's own rows, on the kernel that is built already, with its settings.
    project.replace("Cargo.toml", "smp = 8", "profile = \"dev\"\nsmp = 3");
    let row = |name: &str, run: &str, cpus| {
        format!("[[row]]\nname = \"{name}\"\nrun = \"{run}\"\nexpect = {{ status = 0, cpus = {cpus} }}\n")
    };
    project.write("machines.toml", &(row("two", "run --smp 2", 2) + &row("three", "run", 3)));
    let matrix = project.octopod(&["matrix", "--progress", "0"]);
    matrix.expect(0, &["launcher: building", "2 rows", "2 passed, 0 failed"]);
    project.replace("Cargo.toml", "smp = 3", "smp = 8");

    // Tests that fail in each way.
    project.write("tests/faults.rs", FAULTS);
    project.replace(
        "Cargo.toml",
        "[package.metadata",
        "[[test]]\nname = \"faults\"\nharness = false\n\n[package.metadata",
    );
    let failed = project.cargo(&["test", "--test", "faults"]);
    failed.expect(
        101,
        &[
            "alone ... ok",
            "on_ten ... ok",
            "panics_as_it_should ... ok",
            "skipped ... ignored",
            "hangs_and_should_panic ... FAILED",
            "the test faults::hangs_and_should_panic at tests/faults.rs:",
            "hangs_on_another_cpu ... FAILED",
            "the test faults::hangs_on_another_cpu at tests/faults.rs:",
            "leaves_a_fault ... FAILED",
            "the kernel failed after the test:\ncpu 0 panicked at tests/faults.rs:",
            "left by a test",
            "3 passed; 8 failed; 1 ignored",
            "cpu 0 panicked at tests/faults.rs:12:\nassertion `left == right` failed: arithmetic",
            "the test returned an error: Sign('!')",
            "the test returned an error: there is no cpu 9999, at tests/faults.rs:38\n",
            "the test did not panic, as it should",
            "the test faults::hangs at tests/faults.rs:",
            "has not ended within 300 ms",
            "faults::wait_for_ever at tests/faults.rs:",
            "calls, innermost first:\n    faults::fails at tests/faults.rs:12",
            "cpu0 faults: said by the test",
        ],
    );
    project.cargo(&["test", "--test", "faults", "fails"]).expect(101, &["0 passed; 1 failed; 0 ignored"]);
    project.cargo(&["test", "--test", "faults", "--", "--list"]).expect(0, &["hangs: test", "skipped: test"]);

    // A program that does not compile: the errors are all that there is, so they are shown in any case.
    project.add("src/main.rs", "fn broken() -> u32 {}\n");
    project
        .octopod(&["boot", "--quiet"])
        .expect(2, &["the kernel does not build", "src/main.rs:", "mismatched types"]);
    project.replace("src/main.rs", "fn broken() -> u32 {}\n", "");

    // Attributes of libtest, on each side of octopod's.
    project.add("tests/faults.rs", "#[ignore]\n#[octopod::test]\nfn a() {}\n");
    project.add("tests/faults.rs", "#[octopod::test]\n#[should_panic(expected = \"oh\")]\nfn b() {}\n");
    project
        .cargo(&["test", "--test", "faults"])
        .expect(101, &["#[octopod::test(ignore)]", "#[octopod::test(should_panic = \"oh\")]", "^^^^^^\n"]);

    // A setting that is no option.
    project.replace("Cargo.toml", "smp = 8", "smb = 8");
    project.octopod(&["boot"]).expect(2, &["[package.metadata.octopod] smb: no command has such an option"]);
    project.replace("Cargo.toml", "smb = 8", "smp = 8");

    // A file that is no kernel.
    project.write("text.elf", "no kernel");
    project.octopod(&["run", "text.elf"]).expect(2, &["text.elf is not a kernel that can be booted"]);
    project.octopod(&["run", launcher().to_str().unwrap()]).expect(2, &["octopod::program!"]);

    // Flags without frame pointers.
    project.replace(".cargo/config.toml", "-Cforce-frame-pointers=yes", "-Copt-level=1");
    project.cargo(&["build"]).expect(
        101,
        &[
            "without frame pointers",
            "[target.x86_64-unknown-none] rustflags = [\"-Cforce-frame-pointers=yes\"]",
        ],
    );
    let line = "write into .cargo/config.toml: [target.x86_64-unknown-none] rustflags = ";
    project.octopod(&["doctor"]).expect(2, &["cargo's flags", line]);
    project.replace(
        ".cargo/config.toml",
        "-Copt-level=1",
        "-Cforce-frame-pointers=yes\", \"-Crelocation-model=static",
    );
    project.cargo(&["build"]).expect(101, &["built with -Crelocation-model=static; leave the flag out"]);
}

#[test]
fn a_new_allocator_runs_under_each_workload_and_its_faults_are_found() {
    let project = Project::new("frames-of-mine", &["--template", "allocator"]);
    let stress = ["stress", "--debug", "--seconds", "1", "--allocator", "bitmap", "--quiet"];
    project.octopod(&stress).expect(0, &["PASS  4 CPUs", "nothing lost, nothing allocated twice"]);
    // Each CPU holds many frames at once: the second allocation of a frame is seen when it happens.
    let bulk = ["stress", "--debug", "--seconds", "1", "--workloads", "bulk", "--quiet"];
    project
        .octopod(&["stress", "--debug", "--allocator", "none"])
        .expect(2, &["\"none\" is not known (allowed: a list of octopod, magazine, locked, bitmap)"]);

    // On the host, by the same file.
    project.add("src/main.rs", "fn broken() -> u32 {}\n");
    let broken = project.octopod(&[&host("pairs")[..], &["--quiet"]].concat());
    broken.expect(2, &["the program does not build for this host", "src/main.rs:", "mismatched types"]);
    project.replace("src/main.rs", "fn broken() -> u32 {}\n", "");
    project.replace("Cargo.toml", "smp = 4", "profile = \"dev\"\nsmp = 4");
    project.octopod(&host("pairs,storm")).expect(0, &["nothing lost, nothing allocated twice"]);

    // A workload and a parameter of the project's own.
    project.replace("src/allocator.rs", "/// A bit is set", MORE);
    project
        .octopod(&[
            "stress",
            "--debug",
            "--seconds",
            "1",
            "--workloads",
            "one,pairs",
            "--allocator",
            "bitmap",
        ])
        .expect(0, &["one ", "pairs ", "PASS  4 CPUs"]);
    project.octopod(&["run", "--debug", "--append", "most=no"]).expect(2, &["most=no"]);

    // It allocates a frame twice: the bit stays.
    let taken = "word.fetch_update(AcqRel, Relaxed, |bits| (bits != 0).then(|| bits & (bits - 1))).ok()?";
    project.replace("src/allocator.rs", taken, "Some(word.load(Relaxed)).filter(|bits| *bits != 0)?");
    project.octopod(&bulk).expect(1, &["was allocated to cpu", "had it"]);
    // The process of the part that failed has ended, and another part would be next.
    let twice = project.octopod(&host("bulk,pairs"));
    twice.expect(
        1,
        &[
            "FAIL  bulk on bitmap with 2 threads: frame 0x",
            "was allocated to cpu",
            "had it",
            "by hand, for a debugger: ",
            " workload=bulk threads=2 ",
        ],
    );
    project.replace("src/allocator.rs", "Some(word.load(Relaxed)).filter(|bits| *bits != 0)?", taken);

    // It loses what is freed.
    let freed = "match self.words[index / 64].fetch_or(1 << (index % 64), AcqRel)";
    project.replace("src/allocator.rs", freed, "match (index == usize::MAX) as u64");
    let lost = "frames that were free before are not free after: frame";
    project.octopod(&bulk).expect(1, &[lost, "(freed by cpu "]);
    project.octopod(&host("bulk")).expect(1, &["bulk on bitmap with 2 threads", lost, "(freed by cpu "]);
    project.replace("src/allocator.rs", "match (index == usize::MAX) as u64", freed);

    // It hangs, also in the kernel; it panics, and a signal ends it, on the host.
    let called = "fn alloc(&self, _: &mut AllocContext, _: Order) -> Option<FrameNumber> {";
    project.replace("src/allocator.rs", called, &format!("{called}\n        while self.is_on() {{}}"));
    project.replace("src/allocator.rs", "impl<'a> Bitmap<'a> {", HANGS);
    let hangs = project.octopod(&[&host("pairs")[..], &["--timeout", "3"]].concat());
    let at =
        "last seen in pairs on bitmap with 2 threads: thread 0 in call 1 (alloc of order 0), thread 1 in ";
    hangs.expect(
        4,
        &["no verdict within 3 s; ", at, "by hand, for a debugger: ", " workload=pairs threads=2 "],
    );
    let in_kernel = ["--smp", "2", "--seconds", "1", "--workloads", "pairs", "--timeout", "10", "--quiet"];
    let hangs = project.octopod(&[&["stress", "--debug", "--allocator", "bitmap"], &in_kernel[..]].concat());
    let at = "no verdict within 10 s; last seen in workload pairs on bitmap with 2 CPUs, cpu ";
    hangs.expect(4, &[at, "frames_of_mine::allocator::Bitmap", " (src/allocator.rs:"]);
    for signal in [Signal::INT, Signal::TERM] {
        project.ends_by(signal, &host("pairs"));
    }
    project.replace("src/allocator.rs", "while self.is_on() {}", "assert!(!self.is_on(), \"no more\");");
    let panicked = project.octopod(&host("pairs"));
    panicked.expect(
        3,
        &["PANIC  pairs on bitmap with 2 threads: thread 'cpu ", "panicked at src/allocator.rs:", "no more"],
    );
    project.replace("src/allocator.rs", "assert!(!self.is_on(), \"no more\");", "");

    // Two of one name.
    project.replace("src/main.rs", "= \"bitmap\"", "= \"locked\"");
    let twice = "the program registers two allocators called ";
    let own = "src/main.rs:13: locked is also the name of one of octopod's own allocators";
    let on_host = |allocator: &str| {
        project.octopod(&[
            "stress",
            "--host",
            "--mem",
            "16M",
            "--allocator",
            allocator,
            "--workloads",
            "pairs",
        ])
    };
    // The names that are given are octopod's, and the program's allocator would not be tested.
    for refused in [project.octopod(&["boot", "--debug"]), on_host("locked"), on_host("octopod")] {
        refused.expect(2, &[own]);
    }
    project.replace("src/main.rs", "= \"locked\"", "= \"bitmap\"");
    project.add("src/allocator.rs", ANOTHER);
    let both = |said: &Said| {
        said.expect(2, &[&format!("{twice}bitmap, at src/"), "src/main.rs:13", "src/allocator.rs:"]);
    };
    both(&project.octopod(&["boot", "--debug"]));
    both(&on_host("bitmap"));
}

/// Nothing is built: each command is refused before.
#[test]
fn what_a_new_project_does_not_have_is_named_with_what_to_do() {
    let project = Project::new("bare", &[]);
    let manifest = project.folder.join("machines.toml").display().to_string();
    project
        .octopod(&["matrix"])
        .expect(2, &[&manifest, "is not there; write rows into it", "[[row]]", "--rows FILE"]);
    project.octopod(&["soak", "boots"]).expect(2, &["this command works on a checkout of octopod"]);
    let example = project.octopod(&["run", "--example", "hello"]);
    example.expect(2, &["cargo runs those of a project: cargo run --example hello"]);
    // Of the settings, nothing is shown that was not typed.
    let test = project.octopod(&["test"]);
    test.expect(2, &["tip: `cargo test` builds the file"]);
    assert!(!test.text.contains("--smp"), "{}", test.text);
    let mut without_cargo = project.command(&project.launcher, &project.folder);
    without_cargo.arg("boot").env("PATH", "/nowhere").env_remove("CARGO");
    folder::said(&mut without_cargo)
        .expect(2, &["cannot start cargo", "install Rust from https://rustup.rs"]);
}

/// What cannot be written whole is not there afterwards, so that it can be made again.
#[test]
fn a_project_that_cannot_be_written_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let made = |limit: &str| {
        let line = format!("{limit} exec \"$@\"");
        let mut shell = folder::outside(Path::new("sh"));
        shell.args(["-c", &line, "sh"]).arg(launcher()).args(["new", "hello", "--git", "file:///octopod"]);
        folder::said(shell.current_dir(folder.path()))
    };
    made("ulimit -f 0;").expect(2, &["cannot write hello/", "File too large"]);
    assert!(!folder.path().join("hello").exists());
    made("").expect(0, &["7 files in hello"]);
}

#[test]
fn the_help_of_an_installed_launcher_has_its_own_name() {
    let cargos = launcher().with_file_name("cargo-octopod");
    for (program, words) in [(launcher(), vec!["--help"]), (cargos, vec!["octopod", "--help"])] {
        let help = folder::said(folder::outside(&program).args(words));
        help.expect(0, &["Usage: octopod [COMMAND]", "\n  octopod boot --smp 64 --machine pc "]);
        assert!(!help.text.contains("cargo run"), "{}", help.text);
    }
    // Cargo runs the launcher of a checkout.
    let by_cargo =
        folder::said(folder::outside(&launcher()).env("CARGO_PKG_NAME", "octopod-ci").arg("--help"));
    by_cargo.expect(0, &["Usage: cargo run -- [COMMAND]", "\n  cargo run -- boot --smp 64 "]);
}

/// The stress on the host.
fn host(workloads: &str) -> [&str; 12] {
    let words = ["stress", "--host", "--mem", "16M", "--cpus", "2", "--seconds", "0.2"];
    let [a, b, c, d, e, f, g, h] = words;
    [a, b, c, d, e, f, g, h, "--allocator", "bitmap", "--workloads", workloads]
}

/// Another allocator of the same name.
const ANOTHER: &str = "
octopod::frame_allocator! {
    pub static ANOTHER = \"bitmap\",
    metadata: |needs| needs.frames.div_ceil(64) * size_of::<u64>(),
    shape: MemoryShape::Contiguous { alignment: Order::FRAME, most: None },
    run: |memory, run| run(&Bitmap::on(memory)),
}
";

/// A condition that the compiler does not know.
const HANGS: &str = "impl<'a> Bitmap<'a> {
    fn is_on(&self) -> bool {
        self.words[0].load(Relaxed) < u64::MAX || self.free_frames() > 0
    }
";

/// A workload and a parameter.
const MORE: &str = r#"octopod::option! {
    /// The most runs that a CPU holds.
    static MOST: u64 = 10, "most";
}

octopod::workload! {
    /// Each CPU allocates a few frames and frees them.
    pub static ONE = "one",
    run: |worker| {
        while worker.has_next_round() {
            for _ in 0..MOST.get() {
                if let Some(frame) = worker.allocate(Order::FRAME) {
                    worker.free_held(frame);
                }
            }
        }
    },
}

/// A bit is set"#;

/// Tests of which eight fail.
const FAULTS: &str = r#"#![no_std]
#![no_main]

octopod::test_main!();

#[octopod::test]
fn alone() {}

#[octopod::test]
fn fails() {
    octopod::prelude::log::info!("said by the test");
    assert_eq!(1 + 1, 3, "arithmetic");
}

#[octopod::test(cpus = 10)]
fn on_ten() {
    assert!(octopod::cpu::current().index() < 10);
}

#[octopod::test(should_panic = "on purpose")]
fn panics_as_it_should() {
    panic!("on purpose");
}

#[octopod::test(should_panic)]
fn panics_not() {}

#[derive(Debug)]
struct Sign(#[allow(dead_code, reason = "it is shown")] char);

#[octopod::test(machine = "pc")]
fn returns_an_error() -> Result<(), Sign> {
    Err(Sign('!'))
}

#[octopod::test]
fn returns_a_reason() -> Result<(), octopod::program::Reason> {
    Ok(octopod::smp::hotplug::offline(octopod::cpu::CpuId(9999))?)
}

#[octopod::test(timeout = "300ms")]
fn hangs() {
    wait_for_ever();
}

#[inline(never)]
fn wait_for_ever() -> ! {
    loop {
        core::hint::spin_loop();
    }
}

#[octopod::test(should_panic, timeout = "300ms")]
fn hangs_and_should_panic() {
    loop {
        core::hint::spin_loop();
    }
}

#[octopod::test(should_panic, cpus = 2, timeout = "300ms")]
fn hangs_on_another_cpu() {
    while octopod::cpu::current().index() > 0 {
        core::hint::spin_loop();
    }
}

struct Fault;

impl Drop for Fault {
    fn drop(&mut self) {
        panic!("left by a test");
    }
}

octopod::cache! {
    static FAULTS: Fault = || Fault;
}

// The kernel drops what the cache has before its verdict. No other test runs on this machine.
#[octopod::test(machine = "q35")]
fn leaves_a_fault() {
    drop(FAULTS.alloc().expect("memory"));
}

#[octopod::test(ignore)]
fn skipped() {}
"#;
