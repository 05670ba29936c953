//! All tests of the launcher but the rows, in one program: while one waits for the kernel that it builds, others run.
//!
//! `cargo test -p octopod-ci --test suite docs::` runs those of one module.

mod acpi;
mod action;
mod api;
mod bring_up;
mod completions;
mod docs;
mod gdb;
mod guest;
mod image;
mod launcher;
mod log;
mod machine_check;
mod mutated;
mod nmi;
mod outside;
mod packages;
mod packed;
mod panic_record;
mod pause;
mod project;
mod screen;
mod shell;
mod trace;
mod workflows;
