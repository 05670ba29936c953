//! What each door asks of QEMU, and what it refuses.

use clap::Parser;

use super::*;

fn options(arguments: &[&str]) -> Options {
    Options::try_parse_from([&["octopod"], arguments].concat()).unwrap()
}

fn lines(medium: &Medium) -> Vec<String> {
    let join = |group: Vec<OsString>| group.join(OsStr::new(" ")).into_string().unwrap();
    medium.arguments().into_iter().map(join).collect()
}

#[test]
fn names_are_those_of_the_command_line() {
    for door in Door::value_variants() {
        assert_eq!(options(&["boot", "--boot", door.name()]).boot, *door);
        assert_eq!(door.to_possible_value().unwrap().get_name(), door.name());
    }
    assert_eq!(Options::default().boot, Door::Pvh);
}

#[test]
fn a_kernel_gets_its_command_line_from_qemu_and_a_disc_has_it() {
    let medium =
        Medium::Kernel { file: "/r/octopod-kernel".into(), command_line: "work=boot".into(), module: None };
    assert_eq!(lines(&medium), ["-kernel /r/octopod-kernel", "-append work=boot"]);
    let medium = Medium::Disc { iso: "/r,s/octopod.iso".into(), flash: None };
    assert_eq!(lines(&medium), ["-cdrom /r,s/octopod.iso"]);
}

#[test]
fn uefi_firmware_lies_in_two_flash_chips() {
    let flash = Flash { code: "/o/CODE.fd".into(), variables: "/r,s/ovmf-variables.fd".into() };
    let medium = Medium::Disc { iso: "/r,s/octopod.iso".into(), flash: Some(flash) };
    let expected = [
        "-drive if=pflash,unit=0,format=raw,readonly=on,file=/o/CODE.fd",
        "-drive if=pflash,unit=1,format=raw,readonly=off,file=/r,,s/ovmf-variables.fd",
        "-cdrom /r,s/octopod.iso",
    ];
    assert_eq!(lines(&medium), expected);
}

#[test]
fn microvm_has_no_disc_drive() {
    for door in Door::value_variants() {
        let options = options(&["boot", "--machine", "microvm,acpi=off", "--boot", door.name()]);
        let error = options.check().err().map(|error| error.to_string());
        assert_eq!(error.is_some(), door.disc_for().is_some(), "{error:?}");
        assert!(error.is_none_or(|error| error.contains("microvm") && error.contains(door.name())));
    }
}

#[test]
fn what_grub_would_change_is_refused_and_qemu_changes_nothing() {
    for character in ["\"", "'", "\\"] {
        let append = format!("x=a{character}b");
        let refused = |door| options(&["boot", "--boot", door, "--append", &append]).check().is_err();
        assert!(refused("multiboot2") && refused("uefi") && refused("multiboot1-grub"), "{character}");
        assert!(!refused("pvh") && !refused("multiboot1"), "{character}");
    }
    assert!(options(&["boot", "--boot", "uefi", "--append", "x=$a;{b}|#&<>"]).check().is_ok());
}

#[test]
fn a_slow_firmware_has_time() {
    let limit = |door| options(&["boot", "--boot", door]).time_limit();
    assert!(limit("uefi") > limit("multiboot2") && limit("multiboot2") > limit("pvh"));
    assert_eq!(options(&["boot", "--boot", "uefi", "--timeout", "7"]).time_limit(), Duration::from_secs(7));
}

/// QEMU would break each of these names up: it stands on the kernel's command line, and a module's beside its arguments.
#[test]
fn multiboot1_has_plain_names_for_files_of_any() {
    use header::tests::{BASE, BLANK, file};
    let folder = tempfile::tempdir().unwrap();
    let workspace =
        crate::base::checkout::Workspace { root: folder.path().into(), target: folder.path().into() };
    let trace = folder.path().join("trace");
    fs::write(&trace, "+0 0 0\n").unwrap();
    for name in ["a b", "it's", "a,b", "100%", "\u{e4}"] {
        let run = RunDir::create(&workspace, "boot", Some(&folder.path().join(name))).unwrap();
        let kernel = run.write("octopod-kernel", &file(header::SYMBOL, BASE, &BLANK)).unwrap();
        let options = options(&["stress", "--boot", "multiboot1", "--replay", trace.to_str().unwrap()]);
        let scratch = Scratch::new("qmp", 100).unwrap();
        let (line, silent) = (options.kernel_command_line(), &mut crate::base::message::Silent);
        let medium = prepare(&options, &line, &Tools::default(), &kernel, &run, Some(&scratch), silent);
        let medium = medium.unwrap();
        let Medium::Kernel { file, module: Some(module), .. } = &medium else { panic!("{medium:?}") };
        for path in [file, module] {
            let text = path.to_str().unwrap();
            assert!(text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c)), "{text}");
            assert!(fs::canonicalize(path).unwrap().starts_with(&run.path), "{text}");
        }
        // The script outlives the links.
        let (by_hand, files) = medium.by_hand();
        assert_eq!(lines(&by_hand)[0], "-kernel /dev/fd/8");
        assert!(lines(&by_hand).contains(&"-initrd /dev/fd/9".to_owned()));
        assert!(files.iter().all(|(_, file)| file.starts_with(&run.path)), "{files:?}");
    }
}

#[test]
fn a_kernel_without_a_header_cannot_come_in_by_multiboot1() {
    let folder = tempfile::tempdir().unwrap();
    let kernel = std::env::current_exe().unwrap();
    let workspace =
        crate::base::checkout::Workspace { root: folder.path().into(), target: folder.path().into() };
    let run = RunDir::create(&workspace, "boot", Some(&folder.path().join("out"))).unwrap();
    let options = options(&["boot", "--boot", "multiboot1"]);
    let (tools, silent) = (Tools::default(), &mut crate::base::message::Silent);
    let error = prepare(&options, "work=boot", &tools, &kernel, &run, None, silent).unwrap_err();
    assert!(error.to_string().contains("is not a kernel that can be booted"), "{error}");
}
