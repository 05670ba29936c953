//! A kernel that reads files which the launcher hands to it, by any boot protocol.
//! `cargo run -- run --example modules --module LICENSE-MIT=license --module README.md`
#![no_std]
#![no_main]

use octopod::program::{Machine, Reason};

octopod::program!(list);

fn list(_: &Machine) -> Result<(), Reason> {
    for module in octopod::modules() {
        let text = core::str::from_utf8(module.bytes).unwrap_or("no text");
        let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        log::info!("{}: {} bytes, {} lines: {}", module.name, text.len(), text.lines().count(), first.trim());
    }
    match octopod::module("license") {
        Some(license) if license.is_empty() => Err(Reason::of_program(format_args!("the license is empty"))),
        Some(_) => Ok(()),
        None => Err(Reason::of_program(format_args!("there is no module license: --module FILE=license"))),
    }
}
