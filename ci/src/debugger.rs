//! `gdb`: a run that waits for a debugger before its first instruction.
//!
//! QEMU listens on a Unix socket. A script in the run's folder makes gdb load octopod's commands (`ci/gdb/octopod.py`),
//! connect, and find out where KASLR has put the kernel. The launcher does not start gdb itself: the terminal is the
//! kernel's, whose lines come as they are written, and gdb wants one of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::cli::Options;
use crate::doors::Door;
use crate::error::Error;
use crate::qemu::{Arguments, escape_commas};
use crate::rundir::RunDir;

/// The commands, from the workspace's root.
const COMMANDS: &str = "ci/gdb/octopod.py";

/// The script's name in the run's folder.
const SCRIPT: &str = "debug.gdb";

/// What makes QEMU wait for a debugger at `socket`.
pub fn arguments(socket: &Path) -> Arguments {
    let mut value = OsString::from("unix:");
    value.push(escape_commas(socket.as_os_str()));
    value.push(",server=on,wait=off");
    vec![vec!["-S".into()], vec!["-gdb".into(), value]]
}

/// Writes gdb's script; gives its path.
pub fn write_script(
    options: &Options,
    root: &Path,
    symbols: &Path,
    socket: &Path,
    folder: &RunDir,
) -> Result<PathBuf, Error> {
    // By these doors QEMU itself loads the kernel to where it was linked. GRUB chooses a place, and an unpacker the one
    // behind itself.
    let early = matches!(options.boot, Door::Pvh | Door::Multiboot1) && !options.compressed;
    let text = format!(
        "source {}\noctopod connect {} {}{}\n",
        root.join(COMMANDS).display(),
        quoted(symbols),
        quoted(socket),
        if early { " early" } else { "" }
    );
    let path = folder.file(SCRIPT);
    std::fs::write(&path, text).map_err(Error::file("write", &path))?;
    Ok(path)
}

/// The line to type in another terminal.
pub fn line(script: &Path) -> String {
    format!("gdb -x {}", quoted(script))
}

/// As one word, for gdb's commands and for a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    shlex::try_quote(&text).map(|quoted| quoted.into_owned()).unwrap_or(text)
}
