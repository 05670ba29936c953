//! Builds the kernel for its own target, one launcher at a time, and keeps each variant's file apart.
//!
//! `variant` says what is built, `isolation` with which settings, `cargo` has it built, `lock` lets one launcher at a time
//! do so; `example` has the kernels in `examples/`.

mod cargo;
mod example;
mod isolation;
mod lock;
mod variant;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object::elf::PT_LOAD;
use object::read::elf::{ElfFile64, ProgramHeader};
use object::{Endianness, Object, ObjectSegment};

use crate::base::checkout::Workspace;
use crate::base::error::Error;
use crate::base::files::scratch::Scratch;
use crate::base::files::{input, output};
use crate::base::message::Observer;
use crate::base::values::Word;
use crate::commands::cli::Options;
use crate::kernel::checksum as seal;
use crate::kernel::pack;

pub(crate) use cargo::forget_outer_cargo;
use isolation::Settings;
pub use variant::Variant;
use variant::{KERNEL, UNPACKER};

/// The target that the kernel is built for.
pub const TARGET: &str = "x86_64-unknown-none";

/// No kernel is larger.
const MOST_BYTES: u64 = 256 << 20;

/// A kernel that can be booted.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The ELF file that is booted.
    pub path: PathBuf,
    /// The one that has the symbols.
    pub symbols: PathBuf,
    /// What it was built as.
    pub variant: String,
    /// Bytes that the loader copies to memory, or would if the kernel were not compressed.
    pub image_bytes: u64,
    /// Bytes that the loader copies of a compressed kernel, unpacker and all.
    pub compressed_bytes: Option<u64>,
    /// The physical address behind the image, where its file wants it.
    pub image_end: u64,
    /// Whether the user has named its file.
    pub is_users: bool,
    /// The build lock, under which no other build replaces the files.
    _lock: Option<Arc<File>>,
    /// The folder of the files, where it goes with the last kernel in it.
    _folder: Option<Arc<Scratch>>,
}

impl Kernel {
    /// The same kernel in files of the caller's own, which no build replaces.
    pub fn moved_to(self, path: PathBuf, symbols: PathBuf, folder: Option<Arc<Scratch>>) -> Kernel {
        Kernel { path, symbols, _lock: None, _folder: folder, ..self }
    }
}

/// The name of the kernel that `options` ask for. Options of the same variant boot the same file.
pub fn variant(options: &Options) -> String {
    Variant::of(options).name()
}

/// Refuses a kernel that cannot be had, before anything is installed or built.
///
/// # Errors
/// What is wrong.
pub fn check(options: &Options, workspace: &Workspace) -> Result<(), Error> {
    if let Some(path) = &options.kernel {
        input::open(path, MOST_BYTES)?;
    } else if options.built.is_none() {
        example_of(options).map_or(Ok(()), |name| example::source(&workspace.root, name).map(drop))?;
        for (path, is_written) in [(&workspace.root, false), (&workspace.target, true)] {
            if let Some(reason) = unusable(path, is_written) {
                return Err(Error::UnusablePath { path: path.clone(), reason });
            }
        }
    }
    Ok(())
}

/// Why the kernel cannot be built from or to a folder.
fn unusable(path: &Path, is_written: bool) -> Option<&'static str> {
    match path.to_str() {
        Some(text) if is_written && text.contains('%') => {
            // It puts random digits in their place, for a file that it renames.
            Some(
                "LLVM's linker writes to no path with a percent sign; move the checkout, or set CARGO_TARGET_DIR",
            )
        }
        Some(text) if !text.chars().any(char::is_control) => None,
        _ => Some("cargo takes only paths of UTF-8 without control characters"),
    }
}

fn example_of(options: &Options) -> Option<&str> {
    options.example.as_ref().map(Word::as_str)
}

/// Builds what `options` ask for, or takes the file that they name.
pub fn provide(
    options: &Options,
    workspace: &Workspace,
    observer: &mut dyn Observer,
) -> Result<Kernel, Error> {
    if let Some(kernel) = &options.built {
        return Ok(kernel.clone());
    }
    if let Some(path) = &options.kernel {
        let image = Image::of(&input::read(path, MOST_BYTES)?);
        let image =
            image.map_err(|error| Error::NotAKernel { path: path.clone(), reason: error.to_string() })?;
        let path = std::path::absolute(path).map_err(Error::file("find", path))?;
        return Ok(Kernel {
            symbols: path.clone(),
            path,
            variant: "given".to_owned(),
            image_bytes: image.bytes,
            compressed_bytes: None,
            image_end: image.end,
            is_users: true,
            _lock: None,
            _folder: None,
        });
    }
    let variant = Variant::of(options);
    let settings = Settings::read(&workspace.root, variant.profile)?;
    build(variant, &settings, workspace, observer).map_err(|error| {
        // What the user has set for all builds may be what is wrong with this one.
        let foreign = isolation::foreign(&workspace.root, &settings);
        match foreign.is_empty() {
            true => error,
            false => error.with_settings(&foreign),
        }
    })
}

fn build(
    variant: Variant<'_>,
    settings: &Settings,
    workspace: &Workspace,
    observer: &mut dyn Observer,
) -> Result<Kernel, Error> {
    let folder = workspace.own().join("kernels").join(variant.name());
    fs::create_dir_all(&folder).map_err(Error::file("make the folder", &folder))?;
    // Cargo puts what it builds of two checkouts with one target folder into the same files.
    let lock = lock::take(&workspace.shared().join("build.lock"), observer)?;
    let built = cargo::build(&variant.program(), variant, settings, None, workspace, observer)?;
    let symbols = folder.join(KERNEL.name);
    let not_a_kernel = |reason: String| Error::NotAKernel { path: symbols.clone(), reason };
    let kernel = seal::sealed(input::read(&built, MOST_BYTES)?);
    let kernel = kernel.map_err(|error| not_a_kernel(error.to_string()))?;
    keep(&kernel, &symbols)?;
    let image_of = |elf: &[u8]| Image::of(elf).map_err(|error| not_a_kernel(error.to_string()));
    let image = image_of(&kernel)?;
    let (mut path, mut compressed) = (symbols.clone(), None);
    if variant.compressed {
        let payload = pack::payload(&kernel).map_err(|error| not_a_kernel(error.to_string()))?;
        let payload_path = folder.join("payload");
        keep(&payload, &payload_path)?;
        let built = cargo::build(&UNPACKER, variant, settings, Some(&payload_path), workspace, observer)?;
        let unpacker = input::read(&built, MOST_BYTES)?;
        path = folder.join(UNPACKER.name);
        keep(&unpacker, &path)?;
        compressed = Some(image_of(&unpacker)?);
    }
    Ok(Kernel {
        path,
        symbols: symbols.clone(),
        variant: variant.name(),
        image_bytes: image.bytes,
        compressed_bytes: compressed.as_ref().map(|unpacker| unpacker.bytes),
        image_end: compressed.map_or(image.end, |unpacker| unpacker.end),
        is_users: false,
        _lock: Some(Arc::new(lock)),
        _folder: None,
    })
}

/// Keeps what cargo has built where the next build, of another variant, does not replace it. Who has the old file open, or a
/// link to it, keeps that one.
fn keep(bytes: &[u8], path: &Path) -> Result<(), Error> {
    if !fs::read(path).is_ok_and(|present| present == bytes) {
        output::write(path, bytes).map_err(Error::file("write", path))?;
    }
    Ok(())
}

/// What a loader makes of a file.
struct Image {
    /// What it copies: the file's bytes in its loadable segments.
    bytes: u64,
    /// The physical address behind the last segment.
    end: u64,
}

impl Image {
    fn of(elf: &[u8]) -> Result<Image, object::Error> {
        let bytes = object::File::parse(elf)?.segments().map(|segment| segment.file_range().1).sum();
        let end = ElfFile64::<Endianness>::parse(elf).map_or(0, |file| {
            let endian = file.endian();
            let loaded = file.elf_program_headers().iter().filter(|part| part.p_type(endian) == PT_LOAD);
            let ends = loaded.map(|part| part.p_paddr(endian).saturating_add(part.p_memsz(endian)));
            ends.max().unwrap_or_default()
        });
        Ok(Image { bytes, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_do_not_share_a_file() {
        let name = |debug, fault: Option<&str>, compressed| {
            let fault = fault.map(|name| name.parse().unwrap());
            Variant::of(&Options { debug, fault, compressed, ..Options::default() }).name()
        };
        let told = |words: &str| {
            let append = vec![words.parse().unwrap()];
            variant(&Options { append, ..Options::default() })
        };
        assert_eq!([told("work=selftest"), told("work=selftest work=boot")], ["kernel-selftest", "kernel"]);
        assert_eq!(told("work=shell"), "kernel-shell");
        let example = Options { example: Some("hello".parse().unwrap()), ..Options::default() };
        assert_eq!(variant(&example), "kernel-hello");
        assert_eq!([name(false, None, false), name(true, None, false)], ["kernel", "dev"]);
        assert_eq!(
            [name(false, Some("x"), false), name(true, Some("x"), false)],
            ["kernel-faults", "dev-faults"]
        );
        assert_eq!(
            [name(false, None, true), name(true, Some("x"), true)],
            ["kernel-compressed", "dev-faults-compressed"]
        );
    }

    #[test]
    fn a_checkout_that_no_kernel_can_be_built_in_is_refused_with_the_reason() {
        let refused = |root: &str, target: &str| {
            let workspace = Workspace { root: root.into(), target: target.into() };
            check(&Options::default(), &workspace).err().map(|error| error.to_string())
        };
        for fine in ["/a b", "/it's \"x\"", "/a,b", "/\u{e4}\u{4e2d}"] {
            assert_eq!(refused(fine, fine), None);
        }
        assert_eq!(refused("/100%", "/target"), None);
        let reason = refused("/100%", "/100%/target").unwrap();
        assert!(reason.contains("/100%/target") && reason.contains("percent sign"), "{reason}");
        assert!(refused("/a\nb", "/target").unwrap().contains("control characters"));
    }

    #[test]
    fn a_file_that_is_no_elf_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        fs::write(&path, "not a kernel").unwrap();
        let options = Options { kernel: Some(path), ..Options::default() };
        let error =
            provide(&options, &Workspace::find().unwrap(), &mut crate::base::message::Silent).unwrap_err();
        assert!(error.to_string().contains("notes.txt is not a kernel that can be booted"), "{error}");
    }
}
