//! QEMU's arguments for each medium.

use super::*;
use crate::base::Silent;
use crate::base::values::ModuleFile;

fn lines(medium: &Medium) -> Vec<String> {
    let join = |group: Vec<OsString>| group.join(OsStr::new(" ")).into_string().unwrap();
    medium.arguments().into_iter().map(join).collect()
}

#[test]
fn direct_boot_passes_the_command_line_and_an_iso_image_contains_it() {
    let medium =
        Medium::Kernel { file: "/r/octopod-kernel".into(), command_line: "work=boot".into(), module: None };
    assert_eq!(lines(&medium), ["-kernel /r/octopod-kernel", "-append work=boot"]);
    let medium = Medium::Iso { iso: "/r,s/octopod.iso".into(), flash: None };
    assert_eq!(lines(&medium), ["-cdrom /r,s/octopod.iso"]);
}

#[test]
fn uefi_firmware_lies_in_two_flash_chips() {
    let flash = Flash { code: "/o/CODE.fd".into(), variables: "/r,s/ovmf-variables.fd".into() };
    let medium = Medium::Iso { iso: "/r,s/octopod.iso".into(), flash: Some(flash) };
    let expected = [
        "-drive if=pflash,unit=0,format=raw,readonly=on,file=/o/CODE.fd",
        "-drive if=pflash,unit=1,format=raw,readonly=off,file=/r,,s/ovmf-variables.fd",
        "-cdrom /r,s/octopod.iso",
    ];
    assert_eq!(lines(&medium), expected);
}

/// QEMU would break each of these names up: it stands on the kernel's command line, and a module's beside its arguments.
#[test]
fn multiboot1_has_plain_names_for_files_of_any() {
    use header::tests::{BASE, BLANK, file};
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    fs::write(&trace, "+0 0 0\n").unwrap();
    for name in ["a b", "it's", "a,b", "100%", "\u{e4}"] {
        let run = RunFolder::take(&folder.path().join(name)).unwrap();
        let kernel = run.write("octopod-kernel", &file(header::SYMBOL, BASE, &BLANK)).unwrap();
        let scratch = Scratch::new("qmp", 100).unwrap();
        let modules = [ModuleFile { path: trace.clone(), name: "trace".to_owned() }];
        let loaded = Loaded { kernel: &kernel, command_line: "work=stress", modules: &modules };
        let tools = Tools::default();
        let medium = prepare(BootProtocol::Multiboot1, loaded, &tools, &run, Some(&scratch), &mut Silent);
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
    let run = RunFolder::take(&folder.path().join("out")).unwrap();
    let loaded = Loaded { kernel: &kernel, command_line: "work=boot", modules: &[] };
    let tools = Tools::default();
    let error = prepare(BootProtocol::Multiboot1, loaded, &tools, &run, None, &mut Silent).unwrap_err();
    assert!(error.to_string().contains("is not a kernel that can be booted"), "{error}");
}
