//! A person without a serial cable must see why the kernel refuses the machine: the reason on the VGA text screen.

use std::process::Command;
use std::time::{Duration, Instant};

use clap::Parser;
use octopod::wire::MARKER;
use octopod_ci::accel::Accel;
use octopod_ci::doors::Medium;
use octopod_ci::notice::Silent;
use octopod_ci::process::{Happening, Stream, Streams, Supervised};
use octopod_ci::qemu::Machine;
use octopod_ci::qmp::Qmp;
use octopod_ci::rundir::Workspace;
use octopod_ci::{Options, kernel_build, setup};

/// Long enough for a host with much else to do.
const LIMIT: Duration = Duration::from_secs(60);

/// Where the text screen lies: 80 columns, a character and its colours for each cell.
const FIRST_ROW: &str = "xp /160xb 0xb8000";

#[test]
fn a_refusal_is_on_the_text_screen() {
    let options = Options::parse_from(["octopod", "boot", "--cpu", "qemu64,-nx", "--machine", "pc"]);
    let named = std::env::var_os("OCTOPOD_QEMU");
    let qemu = setup::qemu::provide(named.as_deref(), &mut Silent).unwrap();
    setup::target::provide(&mut Silent).unwrap();
    let kernel = kernel_build::provide(&options, &Workspace::find(), &mut Silent).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("qmp");
    let medium = Medium::Kernel { file: kernel.path, command_line: options.kernel_command_line() };
    let machine =
        Machine { options: &options, accel: Accel::Tcg, medium: &medium, qmp_socket: Some(&socket) };
    // Without the device that ends the run, the machine stands still after the message.
    let is_exit = |group: &&Vec<_>| {
        group.iter().any(|part: &std::ffi::OsString| part.to_string_lossy().contains("isa-debug-exit"))
    };
    let arguments = qemu.arguments(&machine);
    let mut command = Command::new(&qemu.program);
    command.args(arguments.iter().filter(|group| !is_exit(group)).flatten());
    let deadline = Instant::now() + LIMIT;
    let mut machine = Supervised::spawn(&mut command, Streams::default()).unwrap();
    loop {
        match machine.next(deadline) {
            Happening::Line(Stream::Stdout, line) if line.contains(MARKER) => break,
            Happening::Line(..) => {}
            other => panic!("QEMU said no word of a refusal: {other:?}"),
        }
    }
    let dump = Qmp::connect(&socket, deadline).unwrap().monitor(FIRST_ROW, deadline).unwrap();
    machine.end(Duration::from_secs(1));
    assert_eq!(characters(&dump).trim_end(), "octopod: this processor lacks NX");
}

/// The characters of a row, from the monitor's dump of its bytes: `000b8000: 0x6f 0x0f …`.
fn characters(dump: &str) -> String {
    let bytes =
        dump.lines().filter_map(|line| line.split_once(':')).flat_map(|(_, bytes)| bytes.split_whitespace());
    let bytes = bytes.map(|byte| u8::from_str_radix(byte.trim_start_matches("0x"), 16).unwrap());
    bytes.step_by(2).map(char::from).collect()
}
