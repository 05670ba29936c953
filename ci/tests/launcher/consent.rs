//! The question before an installation, at a terminal. The package manager is a shell script: nothing is installed.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use octopod_ci::setup::packages::{Manager, OsRelease};

use super::fake::{Fake, SOUND_BOOT, VERDICT_PASS, launcher, write_program};
use super::terminal::{OnTerminal, Output};
use super::{STATUS_PASS, say};

const QUESTION: &str = "Go ahead? [y/N]";

/// A machine without QEMU, whose package manager installs a QEMU that passes, and logs its arguments.
struct Bare {
    folder: tempfile::TempDir,
    fake: Fake,
}

impl Bare {
    fn new() -> Bare {
        let fake =
            Fake::new(&say(&["octopod: up", SOUND_BOOT, VERDICT_PASS], &format!("exit {STATUS_PASS}")));
        let folder = tempfile::tempdir().unwrap();
        let bare = Bare { folder, fake };
        let manager = Manager::find().expect("a system with a package manager that octopod knows");
        let (log, qemu) = (bare.log(), bare.fake.program());
        let (log, qemu, bin) = (log.display(), qemu.display(), bare.bin().display().to_string());
        let install = format!(
            "#!/bin/sh\necho \"$@\" >>'{log}'\n\
             case \" $* \" in *qemu*) /bin/ln -sf '{qemu}' '{bin}/qemu-system-x86_64';; esac\n"
        );
        let log_only = format!("#!/bin/sh\necho \"${{0##*/}} $@\" >>'{log}'\n");
        let codename = OsRelease::read().codename.unwrap_or_default();
        let offer = |version: &str, suite: &str| {
            format!("echo 'qemu-system-x86 | {version} | x {suite}/main amd64'\n")
        };
        let offers = offer("1:10.0.0", &format!("{codename}-backports")) + &offer("1:7.2.0", &codename);
        let sudo = "#!/bin/sh\nshift\ncase $1 in true) exit;; env) shift 2; exec \"$@\";; esac\n";
        fs::create_dir(bare.bin()).unwrap();
        for (name, script) in [
            (manager.program(), &*install),
            ("sudo", sudo),
            ("apt-cache", &format!("#!/bin/sh\n{offers}")),
            ("install", &log_only),
            ("rm", &log_only),
            // Of the machine's script.
            ("cat", "#!/bin/sh\nexec /bin/cat \"$@\"\n"),
        ] {
            write_program(&bare.bin().join(name), script);
        }
        bare
    }

    fn bin(&self) -> std::path::PathBuf {
        self.folder.path().join("bin")
    }

    fn log(&self) -> std::path::PathBuf {
        self.folder.path().join("log")
    }

    /// The commands that the package manager was given.
    fn commands(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn boot(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(launcher());
        command.arg("boot").arg("--kernel").arg(Fake::kernel()).arg("--out").arg(self.fake.out());
        command.args(arguments).env("PATH", self.bin());
        for variable in ["OCTOPOD_QEMU", "OCTOPOD_NEWEST_QEMU", "OCTOPOD_NO_INSTALL"] {
            command.env_remove(variable);
        }
        let elsewhere = Path::new("/usr/local/bin/qemu-system-x86_64");
        assert!(!elsewhere.exists(), "{} is found without PATH", elsewhere.display());
        command
    }
}

#[test]
fn at_a_terminal_the_command_is_shown_and_a_no_refuses() {
    for no in ["n\n", "\n", "\u{4}"] {
        let bare = Bare::new();
        let mut running = OnTerminal::start_interactive(bare.boot(&[]));
        running.wait_for(QUESTION);
        running.type_in(no);
        let (status, text) = running.end_of_text();
        assert_eq!(status, Some(2), "{text}");
        let line = Manager::find().unwrap().line();
        assert!(text.contains(&format!("octopod needs to run: {line}")), "{text}");
        assert!(text.contains("you declined"), "{text}");
        assert_eq!(bare.commands(), "", "nothing is run after a no");
    }
}

#[test]
fn the_question_is_asked_at_a_terminal_whichever_outputs_are_pipes_or_files() {
    for outputs in [&[Output::Standard][..], &[Output::Error], &[Output::Standard, Output::Error]] {
        for is_pipe in [true, false] {
            let bare = Bare::new();
            // Its reader stays until the launcher has ended.
            let (_reader, pipe) = io::pipe().unwrap();
            let file = fs::File::create(bare.folder.path().join("output")).unwrap();
            let elsewhere = |output: &Output| {
                let elsewhere: Stdio = match is_pipe {
                    true => pipe.try_clone().unwrap().into(),
                    false => file.try_clone().unwrap().into(),
                };
                (*output, elsewhere)
            };
            let elsewhere: Vec<_> = outputs.iter().map(elsewhere).collect();
            let mut running = OnTerminal::start_interactive_with(bare.boot(&[]), elsewhere);
            running.wait_for(QUESTION);
            assert_eq!(bare.commands(), "", "it waits for the answer");
            running.type_in("n\n");
            let (status, text) = running.end_of_text();
            assert_eq!(status, Some(2), "{text}");
            assert_eq!(bare.commands(), "", "nothing is run after a no");
        }
    }
}

/// The terminal's name is opened where the input cannot be written to.
#[test]
fn an_input_that_is_only_read_from_a_terminal_has_the_question_as_well() {
    let bare = Bare::new();
    let mut command = Command::new("/bin/sh");
    let boot = bare.boot(&[]);
    command.args(["-c", "exec \"$@\" <\"$(/usr/bin/tty)\" >/dev/null 2>&1", "sh"]);
    command.arg(boot.get_program()).args(boot.get_args());
    for (name, value) in boot.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let mut running = OnTerminal::start_interactive(command);
    running.wait_for(QUESTION);
    running.type_in("n\n");
    let (status, text) = running.end_of_text();
    assert_eq!((status, &*bare.commands()), (Some(2), ""), "{text}");
}

#[test]
fn a_yes_installs_the_distributions_own_qemu_and_goes_on() {
    let bare = Bare::new();
    let mut running = OnTerminal::start_interactive(bare.boot(&[]));
    running.wait_for(QUESTION);
    assert_eq!(bare.commands(), "", "it waits for the answer");
    running.type_in("y\n");
    let (status, text) = running.end_of_text();
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("PASS"), "{text}");
    let commands = bare.commands();
    assert!(commands.lines().last().unwrap().contains("qemu"), "{commands}");
    assert!(!commands.contains("backports") && !commands.contains("-t "), "{commands}");
}

#[test]
fn yes_skips_the_question_and_so_does_a_pipe() {
    for is_terminal in [true, false] {
        let bare = Bare::new();
        let text = match is_terminal {
            true => {
                let (status, text) = OnTerminal::start_interactive(bare.boot(&["--yes"])).end_of_text();
                assert_eq!(status, Some(0), "{text}");
                text
            }
            false => {
                let ended = bare.boot(&[]).output().unwrap();
                assert_eq!(ended.status.code(), Some(0), "{ended:?}");
                String::from_utf8(ended.stdout).unwrap()
            }
        };
        assert!(!text.contains(QUESTION) && text.contains("QEMU is missing: installing it"), "{text}");
    }
}

#[test]
fn a_machine_that_needs_a_newer_qemu_gets_it_where_there_are_backports() {
    let release = OsRelease::read();
    let has_backports = release.id == "debian" && release.codename.is_some();
    for arguments in [&["--newest-qemu"][..], &["--smp", "300", "--mem", "1G", "--accel", "tcg"]] {
        let bare = Bare::new();
        let ended = bare.boot(arguments).output().unwrap();
        let (commands, ended) = (bare.commands(), String::from_utf8_lossy(&ended.stdout).into_owned());
        let suite = format!("-t {}-backports", release.codename.clone().unwrap_or_default());
        assert_eq!(commands.contains(&suite), has_backports, "{commands}{ended}");
    }
}

#[test]
fn an_old_qemu_is_replaced_only_where_that_is_needed() {
    let release = OsRelease::read();
    let has_backports = release.id == "debian" && release.codename.is_some();
    let bare = Bare::new();
    let old =
        "#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'QEMU emulator version 7.2.0'; exit; fi\nexit 1\n";
    write_program(&bare.bin().join("qemu-system-x86_64"), old);
    let ended = bare.boot(&[]).output().unwrap();
    assert_eq!((ended.status.code(), &*bare.commands()), (Some(2), ""), "{ended:?}");
    let ended = bare.boot(&["--newest-qemu"]).output().unwrap();
    assert_eq!(ended.status.code(), Some(if has_backports { 0 } else { 2 }), "{ended:?}");
    assert_eq!(bare.commands().is_empty(), !has_backports, "{}", bare.commands());
    // One that the user names is not replaced.
    fs::remove_file(bare.log()).ok();
    fs::remove_file(bare.bin().join("qemu-system-x86_64")).unwrap();
    write_program(&bare.bin().join("qemu-system-x86_64"), old);
    bare.boot(&["--newest-qemu", "--qemu", "qemu-system-x86_64"]).output().unwrap();
    assert_eq!(bare.commands(), "");
}
