//! An ISO image from which GRUB loads the kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use octopod::wire::{EXIT_PORT, ExitCode, MARKER, SHUTDOWN, SHUTDOWN_PORT};

use crate::base::files::{RunFolder, input, output};
use crate::base::process::capture_with;
use crate::base::values::{MAX_MODULE_BYTES, ModuleFile};
use crate::base::{Error, Message, Observer};
use crate::machine::Firmware;
use crate::machine::media::loaded::Loaded;

/// Half a second is usual.
const BUILD_LIMIT: Duration = Duration::from_secs(60);

/// The builder of the image may use this long to remove its own files.
const BUILD_GRACE: Duration = Duration::from_secs(2);

/// The folder with the contents of the image.
const TREE: &str = "iso";

/// The kernel in the image.
const KERNEL: &str = "/boot/octopod";

/// The program that makes ISO images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grub {
    /// `grub-mkrescue`, by whatever name.
    pub mkrescue: PathBuf,
    /// The folder of GRUB's modules for one firmware; `None` leaves the choice to the program.
    pub modules: Option<PathBuf>,
    /// `xorriso`, which writes the image.
    pub xorriso: PathBuf,
}

/// The image in the run's folder.
const ISO: &str = "octopod.iso";

impl Grub {
    /// Creates an ISO image in the run's folder that boots the kernel by GRUB's `command`.
    ///
    /// # Errors
    /// A tool fails, or a file cannot be written.
    pub fn make_iso(
        &self,
        loaded: Loaded<'_>,
        command: &str,
        folder: &RunFolder,
        observer: &mut dyn Observer,
    ) -> Result<PathBuf, Error> {
        let Loaded { kernel, command_line, modules } = loaded;
        observer.receive(Message::Step("making the ISO image"));
        // The contents of the image, and the image until it is complete.
        let work = folder.temporary_folder()?;
        let (tree, part) = (work.path().join(TREE), work.path().join(ISO));
        let configuration = tree.join("boot/grub");
        fs::create_dir_all(&configuration).map_err(Error::file("make the folder", &configuration))?;
        let path = configuration.join("grub.cfg");
        fs::write(&path, script(command, command_line, modules)).map_err(Error::file("write", &path))?;
        let in_image = tree.join(KERNEL.trim_start_matches('/'));
        output::link_or_copy(kernel, &in_image).map_err(Error::copy(kernel, &in_image))?;
        for (index, module) in modules.iter().enumerate() {
            // Checks that it is a file of a plausible size.
            let bytes = input::read(&module.path, MAX_MODULE_BYTES)?;
            let path = tree.join(module_path(index).trim_start_matches('/'));
            fs::write(&path, bytes).map_err(Error::file("write", &path))?;
        }
        let mut mkrescue = self.command(work.path());
        let ended = capture_with(&mut mkrescue, BUILD_LIMIT, BUILD_GRACE, |line| {
            observer.receive(Message::Tool(line));
        })?;
        // It has been known to end well without having written anything.
        if !ended.status.success() || !part.is_file() {
            return Err(Error::ProgramFailed {
                program: self.mkrescue.display().to_string(),
                status: ended.status.to_string(),
                output: ended.tail(12),
            });
        }
        let iso = folder.file(ISO);
        fs::rename(&part, &iso).map_err(Error::file("write", &iso))?;
        Ok(iso)
    }

    /// Run in the folder and with names from there: xorriso takes an equals sign in a path for a mark of its own.
    fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.mkrescue);
        command.current_dir(folder);
        if let Some(modules) = &self.modules {
            command.arg("-d").arg(modules);
        }
        // Files that only a menu needs, and that are half of the image.
        command.args(["--fonts=", "--locales=", "--themes="]);
        command.arg("--xorriso").arg(&self.xorriso).args(["-o", ISO, TREE]);
        command
    }
}

/// GRUB's configuration. UEFI firmware has no text screen, so that GRUB there sets up a screen of pixels if it has the
/// drivers, and complains if it has not. Where GRUB cannot load the kernel it would wait at its prompt for ever; so it says
/// that in the kernel's stead, and ends the run.
fn script(command: &str, command_line: &str, modules: &[ModuleFile]) -> String {
    let words: String = command_line.split_whitespace().map(|word| format!(" {}", quoted(word))).collect();
    let load = command.replace("multiboot", "module");
    let begin: String = modules
        .iter()
        .enumerate()
        .map(|(index, module)| {
            // GRUB would decompress a file that `gzip` has made.
            format!("if {load} --nounzip {} {}; then\n", module_path(index), quoted(&module.name))
        })
        .collect();
    let end = "fi\n".repeat(modules.len());
    let shutdown: String =
        SHUTDOWN.iter().map(|byte| format!("outb {SHUTDOWN_PORT:#x} {byte:#x}\n")).collect();
    // GRUB breaks lines at 80 columns, this one too, which has no room for the nonce; and does not wait for the line's last
    // two characters.
    let record =
        format!("{MARKER} {{\"usage\":{{\"reason\":\"GRUB cannot load the kernel: see serial.log\"}}}}");
    format!(
        "serial --unit=0 --speed=115200\n\
         terminal_input serial\n\
         terminal_output serial\n\
         set timeout=0\n\
         if [ $grub_platform = efi ]; then insmod all_video; fi\n\
         if {command} {KERNEL}{words}; then\n\
         {begin}\
         \x20   boot\n\
         {end}\
         fi\n\
         echo\n\
         echo {}\n\
         echo\n\
         insmod iorw\n\
         outb {EXIT_PORT:#x} {:#x}\n\
         {shutdown}",
        quoted(&record),
        ExitCode::Usage as u8,
    )
}

/// A module in the image.
fn module_path(index: usize) -> String {
    format!("/boot/module-{index}")
}

/// One word of GRUB's language, with nothing in it that GRUB would take for its own: between single quotes every
/// character stands for itself, but for the single quote.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// The folders in which GRUB's modules for `firmware` may be, for a program in `PREFIX/bin`.
pub fn module_folders(mkrescue: &Path, firmware: Firmware) -> Vec<PathBuf> {
    let platform = match firmware {
        Firmware::Bios => "i386-pc",
        Firmware::Uefi => "x86_64-efi",
    };
    let prefixes = [Some(mkrescue.to_owned()), mkrescue.canonicalize().ok()];
    let prefixes = prefixes.iter().flatten().filter_map(|program| program.parent()?.parent());
    // Most; openSUSE; then Homebrew, which builds GRUB for each platform apart.
    let within = ["lib/grub", "share/grub2", "lib/x86_64-elf/grub", "lib/i686-elf/grub"];
    prefixes.flat_map(|prefix| within.map(|folder| prefix.join(folder).join(platform))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Silent;
    use crate::base::test_program::write_script;

    #[test]
    fn the_script_loads_the_kernel_or_says_that_it_could_not() {
        let expected = r#"serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
set timeout=0
if [ $grub_platform = efi ]; then insmod all_video; fi
if multiboot2 /boot/octopod 'work=boot' 'x=$a;b'; then
    boot
fi
echo
echo '@octopod {"usage":{"reason":"GRUB cannot load the kernel: see serial.log"}}'
echo
insmod iorw
outb 0xf4 0x14
outb 0x8900 0x53
outb 0x8900 0x68
outb 0x8900 0x75
outb 0x8900 0x74
outb 0x8900 0x64
outb 0x8900 0x6f
outb 0x8900 0x77
outb 0x8900 0x6e
"#;
        assert_eq!(script("multiboot2", "work=boot  x=$a;b", &[]), expected);
        let modules = ["a", "b"].map(|name| ModuleFile { path: "/x".into(), name: name.to_owned() });
        let nested = "if multiboot /boot/octopod; then\n\
                      if module --nounzip /boot/module-0 'a'; then\n\
                      if module --nounzip /boot/module-1 'b'; then\n    boot\nfi\nfi\nfi\necho\n";
        let script = script("multiboot", "", &modules);
        assert!(script.contains(nested), "{script}");
        assert!(super::script("multiboot2", "", &modules).contains("if module2 --nounzip"));
        let record = expected.lines().find_map(|line| line.strip_prefix("echo '@octopod ")).unwrap();
        let record: octopod::wire::Record<String> =
            serde_json::from_str(record.trim_end_matches('\'')).unwrap();
        assert!(matches!(record, octopod::wire::Record::Usage(_)));
        assert!(expected.lines().all(|line| line.trim_start_matches("echo ").len() < 80));
    }

    #[test]
    fn nothing_in_a_word_is_grubs() {
        assert_eq!(quoted("a $b ${c} {d} ;|&<> \" \\ #"), "'a $b ${c} {d} ;|&<> \" \\ #'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn modules_lie_beside_the_program() {
        let folders = module_folders(Path::new("/opt/x/bin/grub-mkrescue"), Firmware::Bios);
        assert_eq!(folders[0], Path::new("/opt/x/lib/grub/i386-pc"));
        let folders = module_folders(Path::new("/opt/x/bin/grub-mkrescue"), Firmware::Uefi);
        assert!(folders.contains(&"/opt/x/share/grub2/x86_64-efi".into()));
    }

    /// A run's folder, a kernel, and a `grub-mkrescue` that runs `body`.
    fn iso_by(body: &str) -> (tempfile::TempDir, Result<PathBuf, Error>) {
        let folder = tempfile::tempdir().unwrap();
        let (program, kernel) = (folder.path().join("mkrescue"), folder.path().join("kernel"));
        write_script(&program, body);
        fs::write(&kernel, "the kernel").unwrap();
        let run = RunFolder::take(&folder.path().join("out")).unwrap();
        let grub = Grub { mkrescue: program, modules: Some("/m".into()), xorriso: "/x".into() };
        let modules = [ModuleFile { path: kernel.clone(), name: "same".to_owned() }];
        let loaded = Loaded { kernel: &kernel, command_line: "work=boot", modules: &modules };
        let made = grub.make_iso(loaded, "multiboot", &run, &mut Silent);
        (folder, made)
    }

    #[test]
    fn the_tree_holds_the_kernel_and_the_script() {
        // -d MODULES --fonts= --locales= --themes= --xorriso XORRISO -o ISO TREE
        let program = r#"o=$1$2$6$7; shift 8; cat "$2/boot/module-0" "$2/boot/octopod" "$2/boot/grub/grub.cfg" >"$1"; echo "$o" >>"$1""#;
        let (_folder, made) = iso_by(program);
        let iso = fs::read_to_string(made.unwrap()).unwrap();
        assert!(iso.starts_with("the kernelthe kernelserial"), "{iso}");
        assert!(iso.contains("multiboot /boot/octopod 'work=boot'") && iso.ends_with("-d/m--xorriso/x\n"));
    }

    #[test]
    fn a_builder_that_fails_is_quoted_and_one_that_writes_nothing_has_failed() {
        let (_folder, made) = iso_by("echo 'mformat: not found' >&2; exit 1");
        let error = made.unwrap_err().to_string();
        assert!(error.contains("mformat: not found") && error.contains("exit status: 1"), "{error}");
        assert!(matches!(iso_by("exit 0").1, Err(Error::ProgramFailed { .. })));
    }
}
