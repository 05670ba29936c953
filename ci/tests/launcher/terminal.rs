//! The output of the launcher: bars and colours on a terminal, neither on a pipe.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use nix::pty::{Winsize, openpty};

use super::fake::{Fake, PAIRS, PATIENCE, SOUND_BOOT, VERDICT_PASS};
use super::{STATUS_PASS, say};

/// A terminal's size, as people have it.
const ROWS: u16 = 24;
const COLUMNS: u16 = 80;

/// Begins every command to a terminal.
const ESCAPE: char = '\u{1b}';

/// An output of a program.
#[derive(Clone, Copy)]
pub(crate) enum Output {
    Standard,
    Error,
}

/// A launcher on a terminal of its own.
pub(crate) struct OnTerminal {
    child: Child,
    keyboard: File,
    output: Receiver<Vec<u8>>,
    seen: Vec<u8>,
}

impl OnTerminal {
    /// Starts a command whose input is also the terminal's.
    pub(crate) fn start_interactive(mut command: Command) -> OnTerminal {
        OnTerminal::start_with(|slave| {
            command.stdin(slave.try_clone().unwrap());
            command
        })
    }

    /// The same with some outputs elsewhere.
    pub(crate) fn start_interactive_with(
        mut command: Command,
        elsewhere: impl IntoIterator<Item = (Output, Stdio)>,
    ) -> OnTerminal {
        let command = |slave: &OwnedFd| {
            command.stdin(slave.try_clone().unwrap());
            command
        };
        OnTerminal::start_as(command, elsewhere)
    }

    fn start(command: Command) -> OnTerminal {
        OnTerminal::start_with(|_| command)
    }

    fn start_with(command: impl FnOnce(&OwnedFd) -> Command) -> OnTerminal {
        OnTerminal::start_as(command, [])
    }

    fn start_as(
        command: impl FnOnce(&OwnedFd) -> Command,
        elsewhere: impl IntoIterator<Item = (Output, Stdio)>,
    ) -> OnTerminal {
        let size = Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
        let terminal = openpty(Some(&size), None).unwrap();
        let mut command = command(&terminal.slave);
        let other_end = terminal.slave.try_clone().unwrap();
        command.env("TERM", "xterm-256color").stdout(terminal.slave).stderr(other_end);
        for (output, elsewhere) in elsewhere {
            match output {
                Output::Standard => command.stdout(elsewhere),
                Output::Error => command.stderr(elsewhere),
            };
        }
        let child = command.spawn().unwrap();
        // It holds the launcher's end of the terminal, which would never be closed.
        drop(command);
        let (sender, output) = channel();
        let master = File::from(terminal.master);
        let keyboard = master.try_clone().unwrap();
        thread::spawn(move || {
            let (mut terminal, mut bytes) = (master, [0; 4096]);
            // Linux returns an error when the other side is closed.
            while let Ok(count @ 1..) = terminal.read(&mut bytes) {
                let _ = sender.send(bytes[..count].to_vec());
            }
        });
        OnTerminal { child, keyboard, output, seen: Vec::new() }
    }

    /// Types.
    pub(crate) fn type_in(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for the launcher's end. Returns its status, and all that it has written.
    pub(crate) fn end_of_text(mut self) -> (Option<i32>, String) {
        while let Ok(bytes) = self.output.recv_timeout(PATIENCE) {
            self.seen.extend(bytes);
        }
        (self.child.wait().unwrap().code(), self.text())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// Waits until these words have been drawn, wherever.
    pub(crate) fn wait_for(&mut self, wanted: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.text().contains(wanted) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.seen.extend(bytes),
                Err(error) => panic!("{error}: no {wanted:?} in {:?}", self.text()),
            }
        }
    }

    /// Waits for the launcher's end. Returns its status, all that it has drawn, and what is left on the screen.
    fn end(mut self) -> (Option<i32>, String, Vec<String>) {
        while let Ok(bytes) = self.output.recv_timeout(PATIENCE) {
            self.seen.extend(bytes);
        }
        let status = self.child.wait().unwrap().code();
        let mut screen = vt100::Parser::new(ROWS, COLUMNS, 0);
        screen.process(&self.seen);
        let rows: Vec<String> =
            screen.screen().rows(0, COLUMNS).map(|row| row.trim_end().to_owned()).collect();
        let wrapped = (0..ROWS).find(|row| screen.screen().row_wrapped(*row));
        assert_eq!(wrapped, None, "a line is longer than the terminal is wide: {rows:#?}");
        (status, self.text(), rows.into_iter().filter(|row| !row.is_empty()).collect())
    }
}

/// Whether letters are made coloured or bold anywhere.
fn is_styled(text: &str) -> bool {
    let after_escapes = text.split(ESCAPE).skip(1).filter_map(|rest| rest.strip_prefix('['));
    after_escapes
        .into_iter()
        .any(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m'))
}

/// A machine that says how far it is until there is a file of that name.
fn busy(until: &Path) -> String {
    let record = r#"@octopod {"progress":{"workload":"pairs","allocator":"locked","cpus":2,"index":2,"of":9,"elapsed_ms":'$ms',"budget_ms":9000,"operations":5000,"lanes":['$ms',0]}}"#;
    let progress = r#"@octopod {"bring_up_progress":{"called":64,"online":17}}"#;
    let until = until.display();
    say(
        &["octopod: up"],
        &format!(
            "ms=0; while ! [ -e '{until}.arrived' ]; do echo '{progress}'; sleep 0.05; done\n\
             while ! [ -e '{until}' ]; do ms=$((ms + 100)); echo '{record}'; sleep 0.05; done\n\
             cat <<'EOF'\n{SOUND_BOOT}\n{PAIRS}\n{VERDICT_PASS}\nEOF\nexit {STATUS_PASS}"
        ),
    )
}

#[test]
fn on_a_terminal_bars_move_and_then_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("end");
    let fake = Fake::new(&busy(&file));
    let mut running = OnTerminal::start(fake.command(&["stress", "--workloads", "pairs"]));
    running.wait_for("17 of 64");
    fs::write(folder.path().join("end.arrived"), "").unwrap();
    running.wait_for("3/9 pairs on locked");
    // Each record is a tenth of a second and a hundred operations after the one before.
    running.wait_for("CPUs 0–1, a second:  1.0k     0");
    fs::write(&file, "").unwrap();
    let (status, text, screen) = running.end();
    assert_eq!(status, Some(0), "{text:?}");
    assert!(text.contains("CPUs online") && text.contains("5,000 operations"), "{text:?}");
    assert!(screen.iter().any(|row| row == "octopod: up"), "{screen:#?}");
    assert!(screen.last().unwrap().starts_with("PASS"), "{screen:#?}");
    for gone in ["3/9", "a second", "17 of 64", "█"] {
        assert!(!screen.iter().any(|row| row.contains(gone)), "{gone}: {screen:#?}");
    }
}

#[test]
fn in_a_pipe_nothing_moves_and_a_line_says_how_far_it_is() {
    let script = say(
        &[
            r#"@octopod {"bring_up_progress":{"called":64,"online":17}}"#,
            r#"@octopod {"progress":{"workload":"pairs","allocator":"octopod","cpus":2,"index":2,"of":9,"elapsed_ms":100,"budget_ms":9000,"operations":5000,"lanes":[100,0]}}"#,
            SOUND_BOOT,
            PAIRS,
            VERDICT_PASS,
        ],
        &format!("exit {STATUS_PASS}"),
    );
    let fake = Fake::new(&script);
    let ended = fake.run(&["stress", "--workloads", "pairs", "--progress", "0"]);
    for line in [
        "launcher: CPUs online, 17 of 64",
        "launcher: 3/9 pairs: 0.1 of 9.0 s, 5,000 operations; CPUs 0–1, a second:  1.0k     0",
    ] {
        assert!(ended.stdout.lines().any(|said| said == line), "{line}: {ended:#?}");
    }
    // Half a minute has not gone by.
    for arguments in [
        &["stress", "--workloads", "pairs"][..],
        &["stress", "--workloads", "pairs", "--quiet", "--progress", "0"],
    ] {
        let ended = fake.run(arguments);
        assert!(!ended.stdout.contains("3/9") && !ended.stdout.contains("17 of 64"), "{ended:#?}");
    }
    for ended in [
        fake.run(&["stress", "--workloads", "pairs"]),
        fake.run(&["stress", "--workloads", "pairs", "--verbose"]),
    ] {
        assert!(!ended.stdout.contains([ESCAPE, '\r']) && ended.stderr.is_empty(), "{ended:#?}");
    }
}

#[test]
fn colours_are_for_terminals_unless_the_environment_says_otherwise() {
    let fake = Fake::new(&say(&["octopod: up", SOUND_BOOT, VERDICT_PASS], &format!("exit {STATUS_PASS}")));
    let on_terminal = |environment: &[(&str, &str)]| {
        let mut command = fake.command(&["boot"]);
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").envs(environment.iter().copied());
        let (status, text, screen) = OnTerminal::start(command).end();
        assert_eq!(status, Some(0), "{text:?}");
        assert!(screen.last().unwrap().starts_with("PASS"), "{screen:#?}");
        text
    };
    assert!(is_styled(&on_terminal(&[])));
    let plain = on_terminal(&[("NO_COLOR", "1")]);
    assert!(!is_styled(&plain), "{plain:?}");
    let in_pipe = |environment: &[(&str, &str)]| {
        let mut command = fake.command(&["boot"]);
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").envs(environment.iter().copied());
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert!(!in_pipe(&[]).contains(ESCAPE));
    assert!(is_styled(&in_pipe(&[("CLICOLOR_FORCE", "1")])));
}

#[test]
fn quiet_is_one_line_on_a_terminal_too() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["end", "end.arrived"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    let fake = Fake::new(&busy(&folder.path().join("end")));
    let (status, text, screen) =
        OnTerminal::start(fake.command(&["stress", "--workloads", "pairs", "--quiet"])).end();
    assert_eq!((status, screen.len()), (Some(0), 1), "{text:?}");
    assert!(screen[0].starts_with("PASS"), "{text:?}");
}

#[test]
fn the_matrix_shows_what_is_at_work() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("end");
    fs::write(folder.path().join("end.arrived"), "").unwrap();
    let kernel = Fake::kernel();
    let row = format!(
        "[[row]]\nname = \"the-row\"\nrun = \"boot --kernel '{}'\"\nexpect = {{ status = 0 }}\n",
        kernel.display()
    );
    let fake = Fake::new(&busy(&file));
    let mut running = OnTerminal::start(fake.matrix_command(&row, &[]));
    running.wait_for("0 of 1");
    running.wait_for("pairs ");
    running.wait_for(" of 9.0 s");
    fs::write(&file, "").unwrap();
    let (status, text, screen) = running.end();
    assert_eq!(status, Some(0), "{text:?}");
    assert_eq!(screen.last().unwrap(), "1 passed, 0 failed, 0 skipped", "{screen:#?}");
    assert!(!screen.iter().any(|row| row.contains("0 of 1")), "{screen:#?}");
}
