//! Files that the user names: no input is ever lost, and each requested output is written completely, or the exit status is 2.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::fake::{Fake, SOUND_BOOT, VERDICT_PASS, launcher};
use super::{STATUS_PASS, say};

fn pass() -> String {
    say(&["octopod: up", SOUND_BOOT, VERDICT_PASS], &format!("exit {STATUS_PASS}"))
}

/// A machine that says that it was started, in a file.
fn machine(folder: &Path) -> Fake {
    Fake::new(&format!("echo started >>'{}'\n{}", folder.join("started").display(), pass()))
}

struct Case {
    folder: tempfile::TempDir,
    fake: Fake,
}

impl Case {
    fn new() -> Case {
        let folder = tempfile::tempdir().unwrap();
        let fake = machine(folder.path());
        Case { folder, fake }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Output {
        let mut command = Command::new(launcher());
        // Where no folder is named, the run's is in the target folder.
        command.env("CARGO_TARGET_DIR", self.at("target"));
        command.args(arguments).env("OCTOPOD_QEMU", self.fake.program()).output().unwrap()
    }

    fn has_started(&self) -> bool {
        self.at("started").exists()
    }

    /// A kernel that can be lost without harm.
    fn kernel(&self, name: &str) -> PathBuf {
        fs::copy(Fake::kernel(), self.at(name)).unwrap();
        self.at(name)
    }
}

/// Paths that lead to a file: itself, a hard link, a symbolic link.
fn names_of(file: &Path, folder: &Path) -> [PathBuf; 3] {
    let [hard, soft] = ["hard", "soft"].map(|name| folder.join(name));
    let _ = fs::remove_file(&hard);
    let _ = fs::remove_file(&soft);
    fs::hard_link(file, &hard).unwrap();
    symlink(file, &soft).unwrap();
    [file.to_owned(), hard, soft]
}

#[test]
fn a_kernel_is_never_an_output_and_is_whole_afterwards() {
    let case = Case::new();
    let out = case.at("out");
    fs::create_dir(&out).unwrap();
    let kernel = case.kernel("out/octopod-kernel");
    let bytes = fs::read(&kernel).unwrap();
    for named in names_of(&kernel, case.folder.path()) {
        for more in [
            [OsStr::new("--out"), out.as_os_str()],
            [OsStr::new("--json"), kernel.as_os_str()],
            // Other errors must not lead to a write either.
            [OsStr::new("--json"), named.as_os_str()],
        ] {
            for wrong in [&[][..], &["--inject", "nope"]] {
                let mut arguments = vec![OsStr::new("boot"), OsStr::new("--kernel"), named.as_os_str()];
                arguments.extend(more);
                arguments.extend(wrong.iter().map(OsStr::new));
                let ended = case.run(&arguments);
                let text = String::from_utf8_lossy(&ended.stdout).into_owned();
                assert_eq!(ended.status.code(), Some(2), "{arguments:?} {text}");
                assert!(text.contains("the file of --kernel"), "{arguments:?} {text}");
                assert!(fs::read(&kernel).unwrap() == bytes, "{arguments:?}");
            }
        }
    }
    for named in names_of(&kernel, case.folder.path()) {
        let ended =
            case.run([OsStr::new("test"), named.as_os_str(), OsStr::new("--junit"), kernel.as_os_str()]);
        let text = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(2), "{text}");
        assert!(text.contains("the file of ELF"), "{text}");
        assert!(fs::read(&kernel).unwrap() == bytes, "{named:?}");
    }
    assert!(!case.has_started());
}

#[test]
fn a_trace_is_never_emptied() {
    let case = Case::new();
    let (out, kernel) = (case.at("out"), case.kernel("kernel"));
    fs::create_dir(&out).unwrap();
    let trace = out.join("replay.trace");
    let text = "+0 0 0\n-0 0\n";
    fs::write(&trace, text).unwrap();
    for named in names_of(&trace, case.folder.path()) {
        let arguments = [
            OsStr::new("stress"),
            "--kernel".as_ref(),
            kernel.as_os_str(),
            "--replay".as_ref(),
            named.as_os_str(),
            "--out".as_ref(),
            out.as_os_str(),
        ];
        let ended = case.run(arguments);
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        assert_eq!(fs::read_to_string(&trace).unwrap(), text);
    }
    assert!(!case.has_started());
}

#[test]
fn a_file_that_shares_its_contents_with_an_earlier_runs_is_not_written_to() {
    let case = Case::new();
    let (out, kernel, kept) = (case.at("out"), case.kernel("kernel"), case.at("kept.log"));
    fs::create_dir(&out).unwrap();
    for name in ["serial.log", "report.json", "qemu.log", "qemu.sh", "report.html"] {
        fs::write(out.join(name), "earlier").unwrap();
        let _ = fs::remove_file(&kept);
        fs::hard_link(out.join(name), &kept).unwrap();
        let arguments = ["boot", "--kernel", kernel.to_str().unwrap(), "--out", out.to_str().unwrap()];
        let ended = case.run(arguments);
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        assert_eq!(fs::read_to_string(&kept).unwrap(), "earlier", "{name}");
    }
}

#[test]
fn the_matrix_and_the_reports_do_not_replace_what_they_read() {
    let case = Case::new();
    let rows = case.at("rows.toml");
    let text = "[[row]]\nname = \"a\"\nrun = \"boot\"\nexpect = { status = 0 }\n";
    fs::write(&rows, text).unwrap();
    let rows = rows.to_str().unwrap();
    for option in ["--junit", "--json"] {
        let ended = case.run(["matrix", "--rows", rows, option, rows]);
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        assert_eq!(fs::read_to_string(rows).unwrap(), text);
    }
    let run = case.fake.run(&["boot"]).out;
    let page = case.at("report.html");
    fs::copy(run.join("report.json"), &page).unwrap();
    let report = fs::read(&page).unwrap();
    let ended = case.run([OsStr::new("report"), page.as_os_str()]);
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert_eq!(fs::read(&page).unwrap(), report);
}

#[test]
fn what_cannot_be_written_is_refused_before_the_machine_starts() {
    let case = Case::new();
    let (kernel, file) = (case.kernel("kernel"), case.at("file"));
    fs::write(&file, "").unwrap();
    let fifo = case.at("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let [folder, file, kernel, missing, below] =
        [case.folder.path(), &file, &kernel, &case.at("missing/file"), &case.at("file/below")]
            .map(|path| path.to_str().unwrap().to_owned());
    for (option, path) in [
        ("--json", &folder),
        ("--json", &missing),
        ("--json", &below),
        ("--json", &"/dev/full".to_owned()),
        ("--pictures", &file),
        ("--pictures", &below),
        ("--out", &file),
    ] {
        let ended = case.run(["boot", "--kernel", &kernel, option, path]);
        let text = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert_eq!(ended.status.code(), Some(2), "{option} {path}: {text}");
        assert!(text.lines().last().unwrap().starts_with("ERROR") && text.contains(option), "{text}");
    }
    for (option, path) in [("--junit", &"/dev/full".to_owned()), ("--junit", &folder), ("--json", &missing)] {
        for words in [&["matrix", option, path][..], &["test", &kernel, option, path]] {
            let ended = case.run(words);
            assert_eq!(ended.status.code(), Some(2), "{words:?}: {ended:?}");
        }
    }
    assert!(!case.has_started());
    assert_eq!(fs::read_to_string(&file).unwrap(), "");
}

#[test]
fn what_could_not_be_written_in_the_end_makes_a_pass_an_error() {
    let case = Case::new();
    let kernel = case.kernel("kernel");
    let fifo = case.at("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    // No process reads from it.
    let arguments = ["boot", "--kernel", kernel.to_str().unwrap(), "--json", fifo.to_str().unwrap()];
    let ended = case.run(arguments);
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert_eq!(ended.status.code(), Some(2), "{text}");
    assert!(text.contains("PASS") && text.lines().last().unwrap().starts_with("ERROR  --json"), "{text}");
    // The standard output cannot be written to.
    let mut command = case.fake.command(&["boot", "--json", "-"]);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ended = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    // The kernel has sent no trace.
    let ended = case.fake.run(&["boot", "--trace"]);
    assert_eq!(ended.status, Some(2), "{ended:#?}");
    assert!(ended.last_line().starts_with("ERROR  --trace"), "{ended:#?}");
    // A worse verdict stays.
    let panics = Fake::new(&say(&["octopod: up"], "exit 0"));
    assert_eq!(panics.run(&["boot", "--trace"]).status, Some(3));
}

/// As a full disk does, a limit of the size of files ends a write half way.
#[test]
fn no_half_of_a_file_is_left_under_its_name() {
    let case = Case::new();
    let (out, pictures, json) = (case.at("out"), case.at("pictures"), case.at("report.json"));
    fs::write(&json, "earlier").unwrap();
    // Kernel and log are small, report and pictures are not.
    let kernel = Fake::kernel();
    let fake = Fake::new(&pass());
    let script = "ulimit -f 8; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(launcher()).arg("boot").env("OCTOPOD_QEMU", fake.program());
    for (option, path) in
        [("--kernel", &kernel), ("--out", &out), ("--json", &json), ("--pictures", &pictures)]
    {
        command.arg(option).arg(path);
    }
    let ended = command.output().unwrap();
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert_eq!(ended.status.code(), Some(2), "{text}");
    assert!(text.contains("PASS") && text.lines().last().unwrap().starts_with("ERROR  "), "{text}");
    assert_eq!(fs::read_to_string(&json).unwrap(), "earlier");
    for folder in [out, pictures] {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let whole = |end: &str| fs::read_to_string(&path).unwrap().trim_end().ends_with(end);
            assert!(!name.ends_with(".part") && name != "report.json", "{name}");
            assert!(!name.ends_with(".svg") || whole("</svg>"), "{name}");
            assert!(!name.ends_with(".html") || whole("</html>"), "{name}");
        }
    }
}

#[test]
fn two_runs_do_not_share_a_folder() {
    let fake = Fake::new(&format!("echo 'octopod: up'; read line <\"$0.go\"; {}", pass()));
    let go = fake.program().with_extension("go");
    assert!(Command::new("mkfifo").arg(&go).status().unwrap().success());
    let mut first = fake.start(&["boot"]);
    first.wait_for_line("octopod: up");
    let second = fake.run(&["boot"]);
    assert_eq!(second.status, Some(2), "{second:#?}");
    assert!(second.last_line().contains("another octopod is running in"), "{second:#?}");
    fs::write(go, "go\n").unwrap();
    let first = first.end();
    assert_eq!(first.status, Some(0), "{first:#?}");
    assert!(fs::read_to_string(first.out.join("serial.log")).unwrap().contains("octopod: up"));
}

#[test]
fn the_folder_of_a_run_is_kept_until_it_ends_and_old_ones_are_removed() {
    let checkout = tempfile::tempdir().unwrap();
    let root = checkout.path();
    fs::create_dir_all(root.join("ci")).unwrap();
    fs::write(root.join("Cargo.toml"), "[package]\nname = \"octopod\"\n").unwrap();
    fs::write(root.join("ci/Cargo.toml"), "[package]\nname = \"octopod-ci\"\n").unwrap();
    let slow = Fake::new(&format!("echo 'octopod: up'; read line <\"$0.go\"; {}", pass()));
    let go = slow.program().with_extension("go");
    assert!(Command::new("mkfifo").arg(&go).status().unwrap().success());
    let quick = Fake::new(&pass());
    let boot = |fake: &Fake| {
        let mut command = Command::new(launcher());
        command.args(["boot", "--keep", "3", "--kernel"]).arg(Fake::kernel());
        command.env("OCTOPOD_ROOT", root).env_remove("CARGO_TARGET_DIR").env("OCTOPOD_QEMU", fake.program());
        command
    };
    let runs = root.join("target/octopod/runs");
    let mut long = slow.spawn(boot(&slow));
    long.wait_for_line("octopod: up");
    let oldest = fs::read_dir(&runs).unwrap().next().unwrap().unwrap().path();
    let outputs: Vec<Output> = (0..5).map(|_| boot(&quick).output().unwrap()).collect();
    assert!(outputs.iter().all(|output| output.status.success()), "{outputs:?}");
    assert!(
        String::from_utf8_lossy(&outputs[4].stdout).contains("the newest 3 are kept (--keep N)"),
        "{outputs:?}"
    );
    assert!(oldest.join("serial.log").exists());
    assert_eq!(fs::read_dir(&runs).unwrap().count(), 4);
    fs::write(go, "go\n").unwrap();
    assert_eq!(long.end().status, Some(0));
    assert!(oldest.join("report.json").exists() && oldest.join("report.html").exists());
}

#[test]
fn what_a_killed_launcher_leaves_is_swept_by_the_next() {
    let temporary = tempfile::tempdir().unwrap();
    let fake = Fake::new("echo 'octopod: up'; exec sleep 600");
    let mut command = fake.command(&["boot"]);
    command.env("TMPDIR", temporary.path());
    let mut started = fake.spawn(command);
    started.wait_for_line("octopod: up");
    started.child.kill().unwrap();
    started.end();
    let left = || fs::read_dir(temporary.path()).unwrap().count();
    assert_eq!(left(), 1, "a folder for sockets");
    let quick = Fake::new(&pass());
    let mut command = quick.command(&["boot"]);
    assert!(command.env("TMPDIR", temporary.path()).output().unwrap().status.success());
    assert_eq!(left(), 0);
}

#[test]
fn paths_of_any_characters_can_be_booted_from() {
    let folder = tempfile::tempdir().unwrap();
    // The name of the kernel's file as the machine sees it.
    let script = "while [ \"$1\" != -kernel ]; do shift; done; echo \"octopod: kernel <$2>\"; cmp -s \"$2\" \"$0.elf\" && echo 'octopod: same'";
    let fake = Fake::new(&format!("{script}\n{}", pass()));
    fs::copy(Fake::kernel(), fake.program().with_extension("elf")).unwrap();
    for name in ["a b", "it's \"x\"", "a,b", "100%s", "\u{e4}\u{4e2d}"] {
        let out = folder.path().join(name);
        let mut command = Command::new(launcher());
        command.args(["boot", "--kernel"]).arg(Fake::kernel()).arg("--out").arg(&out);
        command.env("OCTOPOD_QEMU", fake.program());
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{name}: {text}");
        assert!(text.contains("octopod: same"), "{name}: {text}");
        let by_hand = Command::new("sh").arg(out.join("qemu.sh")).output().unwrap();
        assert!(String::from_utf8_lossy(&by_hand.stdout).contains("octopod: same"), "{name}: {by_hand:?}");
    }
}
