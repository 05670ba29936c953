//! A machine that stands still at the end of its run, so that its screen can be looked at.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use clap::Parser;
use octopod::console::screen::{Surface, TEXT_COLUMNS, TEXT_ROWS, Text};
use octopod_ci::accel::Accel;
use octopod_ci::doors;
use octopod_ci::notice::Silent;
use octopod_ci::process::{Happening, Stream, Streams, Supervised};
use octopod_ci::qemu::Machine;
use octopod_ci::qmp::Qmp;
use octopod_ci::records::{Line, read_line};
use octopod_ci::rundir::{RunDir, Workspace};
use octopod_ci::{Options, kernel_build, setup};

use super::picture::Picture;

/// Long enough for a host with much else to do.
const LIMIT: Duration = Duration::from_secs(120);

/// A character and its colours for each cell.
const CELL_BYTES: usize = 2;

pub struct Watched {
    machine: Supervised,
    socket: PathBuf,
    folder: tempfile::TempDir,
    deadline: Instant,
    /// The lines for people, so far.
    pub lines: Vec<String>,
}

impl Watched {
    /// Boots the kernel by the launcher's `arguments`, but without the device that ends the run.
    pub fn boot(arguments: &[&str]) -> Watched {
        let options = Options::parse_from(["octopod"].iter().chain(arguments));
        let named = std::env::var_os("OCTOPOD_QEMU");
        let qemu = setup::qemu::provide(named.as_deref(), &mut Silent).unwrap();
        setup::target::provide(&mut Silent).unwrap();
        let tools = setup::doors::provide(options.boot, Some(&qemu.program), &mut Silent).unwrap();
        let workspace = Workspace::find();
        let kernel = kernel_build::provide(&options, &workspace, &mut Silent).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::create(&workspace, options.mode.name(), Some(folder.path())).unwrap();
        let medium = doors::prepare(&options, &tools, &kernel.path, &run, &mut Silent).unwrap();
        let socket = folder.path().join("qmp");
        let machine = Machine {
            options: &options,
            accel: Accel::Tcg,
            medium: &medium,
            qmp_socket: Some(&socket),
            trace_file: None,
        };
        let is_exit = |group: &&Vec<OsString>| {
            group.iter().any(|part| part.to_string_lossy().contains("isa-debug-exit"))
        };
        let arguments = qemu.arguments(&machine);
        let mut command = Command::new(&qemu.program);
        command.args(arguments.iter().filter(|group| !is_exit(group)).flatten());
        Watched {
            machine: Supervised::spawn(&mut command, Streams::default()).unwrap(),
            socket,
            folder,
            deadline: Instant::now() + LIMIT + options.boot.grace(),
            lines: Vec::new(),
        }
    }

    /// Hears the machine out until it sends such a line.
    pub fn hear_until(&mut self, is_last: impl Fn(&str) -> bool) {
        loop {
            match self.machine.next(self.deadline) {
                Happening::Line(Stream::Stdout, line) => {
                    match read_line(&line) {
                        Line::Plain(text) => self.lines.push(text),
                        Line::Record(words, _) if !words.is_empty() => self.lines.push(words),
                        _ => {}
                    }
                    if is_last(&line) {
                        return;
                    }
                }
                Happening::Line(..) => {}
                other => panic!("{other:?} before the last line:\n{}", self.lines.join("\n")),
            }
        }
    }

    /// The rows that the lines so far must have left on the screen; of a text screen, or of one of pixels with so many
    /// columns and rows, from where the kernel says that there is one.
    pub fn expected(&self, cells: Option<(usize, usize)>) -> Vec<String> {
        let mut text = Text::new();
        for line in self.lines.iter().skip_while(|line| !line.contains("stages: octopod ")) {
            if let Some((columns, rows)) = cells.filter(|_| line.contains("stages: screen of ")) {
                assert!(line.ends_with(&format!("screen of {columns} by {rows} characters")), "{line}");
                text.grow(columns, rows);
            }
            text.write(line, &mut Nowhere);
            text.write("\n", &mut Nowhere);
        }
        let row = |row| text.row(row).map(char::from).collect::<String>().trim_end().to_owned();
        (0..text.size().1).map(row).collect()
    }

    /// What the text screen's memory holds.
    pub fn display_memory(&self) -> Vec<u8> {
        let bytes = TEXT_COLUMNS * TEXT_ROWS * CELL_BYTES;
        let dump = self.monitor(&format!("xp /{bytes}xb 0xb8000"));
        let bytes = dump.lines().filter_map(|line| line.split_once(':'));
        let bytes = bytes.flat_map(|(_, bytes)| bytes.split_whitespace());
        bytes.map(|byte| u8::from_str_radix(byte.trim_start_matches("0x"), 16).unwrap()).collect()
    }

    /// The rows of the text screen.
    pub fn text_screen(&self) -> Vec<String> {
        let memory = self.display_memory();
        let rows = memory.chunks(TEXT_COLUMNS * CELL_BYTES);
        let row =
            |row: &[u8]| row.iter().step_by(CELL_BYTES).map(|byte| char::from(*byte)).collect::<String>();
        rows.map(|cells| row(cells).trim_end().to_owned()).collect()
    }

    /// A picture of the screen.
    pub fn picture(&self) -> Picture {
        let file = self.folder.path().join("screen.ppm");
        assert_eq!(self.monitor(&format!("screendump {}", file.display())).trim(), "");
        Picture::parse(&std::fs::read(file).unwrap())
    }

    fn monitor(&self, line: &str) -> String {
        Qmp::connect(&self.socket, self.deadline).unwrap().monitor(line, self.deadline).unwrap()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.machine.end(Duration::from_secs(1));
    }
}

struct Nowhere;

impl Surface for Nowhere {
    fn put(&mut self, _: usize, _: usize, _: u8) {}
}
