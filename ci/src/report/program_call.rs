//! The program's part of a panic: the first call on the stack that is neither octopod's nor a library's.

use std::path::Path;

use crate::kernel::StackFrame;

/// Crates whose functions are not the program's.
const NOT_THE_PROGRAMS: [&str; 8] =
    ["octopod", "ap_trampoline", "core", "alloc", "std", "compiler_builtins", "__rustc", "rust_begin_unwind"];

/// Returns `FUNCTION (FILE:LINE)` of the program's innermost call, if a panic's own location does not name the program's source
/// already. An exception has no location of its own. `None` for a panic without a call of the program, as those of octopod's own
/// kernel are.
pub fn called_from(location: Option<&str>, backtrace: &[StackFrame]) -> Option<String> {
    let mut own = backtrace.iter().filter(|frame| is_programs(frame)).peekable();
    let first = *own.peek()?;
    if location.is_some_and(|location| own.any(|frame| is_in_file_of(frame, location))) {
        return None;
    }
    Some(in_words(first))
}

/// Returns `FUNCTION (FILE:LINE)` of the program's innermost call; without one, of octopod's innermost call outside some of its modules.
pub fn user_of(backtrace: &[StackFrame], modules: &[&str]) -> Option<String> {
    called_from(None, backtrace).or_else(|| {
        let is_it = |frame: &&StackFrame| {
            let function = frame.function.as_deref().unwrap_or_default();
            crate_of(function) == Some("octopod") && !modules.iter().any(|module| function.contains(module))
        };
        backtrace.iter().find(is_it).map(in_words)
    })
}

/// `FUNCTION (FILE:LINE)`, as far as the symbols know them.
pub fn in_words(frame: &StackFrame) -> String {
    let function = frame.function.as_deref().unwrap_or(&frame.address);
    match &frame.location {
        Some(location) => format!("{function} ({location})"),
        None => function.to_owned(),
    }
}

fn is_programs(frame: &StackFrame) -> bool {
    let krate = frame.function.as_deref().and_then(crate_of);
    krate.is_some_and(|krate| !NOT_THE_PROGRAMS.contains(&krate))
        && frame.location.is_some()
        && !frame.is_library
}

/// Returns whether the frame's source is the file of a location, which may be a longer or a shorter path to it.
fn is_in_file_of(frame: &StackFrame, location: &str) -> bool {
    let file = file_of(location);
    frame.location.as_deref().map(file_of).is_some_and(|own| own.ends_with(file) || file.ends_with(own))
}

fn file_of(location: &str) -> &Path {
    Path::new(location.rsplit_once(':').map_or(location, |(file, _)| file))
}

/// Returns the crate of a function by its demangled name; of a method, the crate of its type or else of its trait. `None` for a
/// symbol without a path, as assembly has.
fn crate_of(function: &str) -> Option<&str> {
    let path = function.trim_start_matches(['<', '&', '*', '(', '[']);
    let path = ["mut ", "const ", "dyn "].iter().fold(path, |path, word| path.trim_start_matches(word));
    let end = path.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(path.len());
    let (name, rest) = path.split_at(end);
    if rest.starts_with("::") {
        return Some(name);
    }
    function.split_once(" as ").and_then(|(_, of_trait)| crate_of(of_trait))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: &str, location: &str) -> StackFrame {
        StackFrame {
            address: "0x1".to_owned(),
            function: Some(function.to_owned()),
            location: Some(location.to_owned()),
            inlined: false,
            is_library: false,
        }
    }

    fn library(function: &str, location: &str) -> StackFrame {
        StackFrame { is_library: true, ..frame(function, location) }
    }

    const OCTOPOD: &str = "/home/me/octopod/src/sync/waiting.rs:149";

    /// As the kernel of a project logs it, whose lock is taken twice through a function of octopod.
    fn recorded() -> Vec<StackFrame> {
        vec![
            frame("__rustc::rust_begin_unwind", "/home/me/octopod/src/panic/mod.rs:115"),
            library("core::panicking::panic_fmt", "library/core/src/panicking.rs:80"),
            frame("octopod::sync::waiting::acquire", OCTOPOD),
            frame("<octopod::sync::SpinLockIrq<T>>::lock", "/home/me/octopod/src/sync/spin_lock.rs:172"),
            library("spin::once::Once<T>::call_once", "spin-0.10.0/src/once.rs:12"),
            frame("<visitor::Queue as octopod::work::Item>::next", "src/queue.rs:31"),
            frame("visitor::main", "src/main.rs:9"),
            frame("octopod_program", "src/main.rs:6"),
            frame("octopod::program::run", "/home/me/octopod/src/program.rs:71"),
        ]
    }

    #[test]
    fn the_first_call_outside_octopod_is_named() {
        let expected = "<visitor::Queue as octopod::work::Item>::next (src/queue.rs:31)";
        assert_eq!(called_from(Some(OCTOPOD), &recorded()).as_deref(), Some(expected));
        assert_eq!(called_from(None, &recorded()).as_deref(), Some(expected));
    }

    /// The folder of a workspace's member may be called like a package of a registry.
    #[test]
    fn a_member_with_a_number_in_its_folders_name_is_the_programs() {
        let calls = [
            frame("octopod::sync::waiting::acquire", OCTOPOD),
            frame("queue::push", "queue-2/src/lib.rs:8"),
            frame("visitor::main", "src/main.rs:9"),
        ];
        assert_eq!(called_from(Some(OCTOPOD), &calls).as_deref(), Some("queue::push (queue-2/src/lib.rs:8)"));
    }

    #[test]
    fn a_location_in_the_program_needs_no_other() {
        for location in ["src/queue.rs:30", "src/main.rs:9", "/home/me/visitor/src/main.rs:8"] {
            assert_eq!(called_from(Some(location), &recorded()), None, "{location}");
        }
        // A file of the same name in octopod is another one.
        let own = [frame("octopod::main::run", "/o/src/other.rs:1"), frame("visitor::main", "src/main.rs:9")];
        assert!(called_from(Some("/o/src/other.rs:1"), &own).is_some());
    }

    #[test]
    fn octopods_own_kernel_has_no_other_place() {
        let own: Vec<_> = recorded().into_iter().filter(|at| !in_words(at).contains("visitor")).collect();
        assert_eq!(called_from(Some(OCTOPOD), &own), None);
        assert_eq!(called_from(None, &own), None);
    }

    #[test]
    fn the_user_of_the_heap_is_the_program_or_else_octopod() {
        let heap = "<octopod::heap::kernel::KernelHeap as core::alloc::global::GlobalAlloc>::alloc";
        let mut calls =
            vec![frame(heap, "src/heap/kernel.rs:1"), library("alloc::alloc::alloc", "library/a.rs:2")];
        calls.push(frame("octopod::selftest::heap::run", "src/selftest/heap.rs:3"));
        let own = "octopod::selftest::heap::run (src/selftest/heap.rs:3)";
        assert_eq!(user_of(&calls, &["octopod::heap::"]).as_deref(), Some(own));
        calls.push(frame("visitor::main", "src/main.rs:9"));
        assert_eq!(user_of(&calls, &["octopod::heap::"]).as_deref(), Some("visitor::main (src/main.rs:9)"));
        assert_eq!(user_of(&calls[..2], &["octopod::heap::"]), None);
    }

    #[test]
    fn a_method_is_of_the_crate_of_its_type() {
        for (function, krate) in [
            ("visitor::main::{{closure}}", Some("visitor")),
            ("<octopod::cpu::CpuSet as core::clone::Clone>::clone", Some("octopod")),
            ("<&mut visitor::A as core::fmt::Write>::write_str", Some("visitor")),
            ("<T as visitor::Named>::name", Some("visitor")),
            ("<[T] as octopod::memory::Zeroable>::zeroed", Some("octopod")),
            ("interrupt_dispatch", None),
            ("memcpy", None),
        ] {
            assert_eq!(crate_of(function), krate, "{function}");
        }
    }
}
