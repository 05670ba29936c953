//! `gdb`: a run that waits for a debugger before its first instruction.
//!
//! QEMU listens on a Unix socket. A script in the run's folder makes gdb load octopod's commands (`ci/gdb/octopod.py`, which is
//! copied there: a project has no checkout of octopod), connect, and find the address at which KASLR has placed the kernel. The launcher does not start gdb itself: its terminal
//! shows the kernel's lines, and gdb needs a terminal of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::base::Error;
use crate::base::files::{RunFolder, Scratch};
use crate::machine::arguments::{Arguments, escape_commas};

/// The commands.
const COMMANDS: &str = include_str!("../../gdb/octopod.py");

/// Their name in the run's folder.
pub(crate) const COMMANDS_FILE: &str = "octopod.py";

/// The socket that QEMU listens at.
const SOCKET: &str = "gdb";

/// The script's name in the run's folder.
pub(crate) const SCRIPT: &str = "debug.gdb";

/// The arguments that make QEMU wait for a debugger.
pub fn arguments(scratch: &Scratch) -> Arguments {
    let mut value = OsString::from("unix:");
    value.push(escape_commas(scratch.path().join(SOCKET).as_os_str()));
    value.push(",server=on,wait=off");
    vec![vec!["-S".into()], vec!["-gdb".into(), value]]
}

/// Writes gdb's script, and returns its path. gdb misreads a file name with a quote, a space or a non-ASCII letter, so the script
/// uses names without them. QEMU loads a kernel to its link address. GRUB chooses an address, and the unpacker uses the one
/// after its own end.
///
/// # Errors
/// A file cannot be written or linked.
pub fn write_script(
    symbols: &Path,
    scratch: &Scratch,
    folder: &RunFolder,
    is_at_link_address: bool,
) -> Result<PathBuf, Error> {
    let commands = folder.write(COMMANDS_FILE, COMMANDS.as_bytes())?;
    let text = format!(
        "source {}\noctopod connect {} {}{}\n",
        scratch.plain(&commands, COMMANDS_FILE)?.display(),
        quoted(&scratch.plain(symbols, "kernel.elf")?),
        quoted(&scratch.path().join(SOCKET)),
        if is_at_link_address { " early" } else { "" }
    );
    scratch.plain(&folder.write(SCRIPT, text.as_bytes())?, SCRIPT)
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
