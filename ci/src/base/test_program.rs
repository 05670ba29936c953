//! Programs that unit tests write and run.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes a shell script by another process. Written by this one, it could not be run while a child that another test has just
/// forked still holds the file open for writing.
pub(crate) fn write_script(path: &Path, body: &str) {
    let script = "cat >\"$0\" && chmod +x \"$0\"";
    let mut writer = Command::new("sh").args(["-c", script]).arg(path).stdin(Stdio::piped()).spawn().unwrap();
    writer.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{body}\n").as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success());
}
