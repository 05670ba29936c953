//! Each list that a program adds to has its sections in the linker script. The linker puts a section without a place anywhere, also
//! where no boot protocol loads it.

use std::fs;
use std::path::Path;

/// octopod's build script, which gives programs the linker script.
#[allow(dead_code, reason = "cargo runs the rest")]
#[path = "../config/build.rs"]
mod build;

/// Appends the names of the lists that the sources below a folder declare.
fn declared(folder: &Path, names: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            declared(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).unwrap();
            let lists = source.split("#[linkme::distributed_slice]").skip(1);
            names.extend(lists.map(|after| {
                let (_, name) = after.split_once("static ").unwrap();
                name.split(':').next().unwrap().to_owned()
            }));
        }
    }
}

#[test]
fn each_list_has_its_sections_in_the_linker_script() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = Vec::new();
    declared(&root.join("src"), &mut names);
    assert!(names.len() > 10, "the lists are declared in another way");
    let script = fs::read_to_string(root.join("linker/kernel.ld")).unwrap();
    for name in names {
        for section in [format!("linkme_{name}"), format!("linkm2_{name}")] {
            let place = format!("{section} : AT(ADDR({section}) - PAGE_OFFSET) {{ KEEP(*({section})) }}");
            assert!(script.contains(&place), "linker/kernel.ld has no place for {section}");
        }
    }
}

#[test]
fn a_flag_that_names_another_linker_script_is_refused_with_the_line_to_write() {
    let refused = |flags: &[&str]| build::check_scripts(&flags.join("\u{1f}")).err();
    for flags in [
        &["-Cforce-frame-pointers=yes", "-Clink-arg=-Tother.ld"][..],
        &["-C", "link-arg=-T", "-Clink-arg=other.ld"],
        &["-Clink-args=--no-relax --script=other.ld"],
        &["--codegen=link-arg=-Wl,-T,other.ld"],
    ] {
        let reason = refused(flags).unwrap_or_else(|| panic!("{flags:?} is accepted"));
        let line = "[target.x86_64-unknown-none] rustflags = [\"-Cforce-frame-pointers=yes\"]";
        assert!(reason.contains("names a linker script") && reason.ends_with(line), "{reason}");
    }
    assert_eq!(refused(&["-Cforce-frame-pointers=yes", "-Clink-arg=--no-relax", "-Copt-level=1"]), None);
}
