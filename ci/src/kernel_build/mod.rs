//! Builds the kernel for its own target, one launcher at a time, and keeps each variant's file apart.
//!
//! `variant` says what is built, `cargo` has it built, `lock` lets one launcher at a time do so.

mod cargo;
mod lock;
mod variant;

use std::path::{Path, PathBuf};
use std::{fs, io};

use object::{Object, ObjectSegment};

use crate::cli::Options;
use crate::error::Error;
use crate::files;
use crate::notice::Observer;
use crate::pack;
use crate::rundir::Workspace;
use crate::seal;

pub(crate) use cargo::forget_outer_cargo;
pub use variant::Variant;
use variant::{KERNEL, UNPACKER};

/// The target that the kernel is built for.
pub const TARGET: &str = "x86_64-unknown-none";

/// A kernel with all its symbols is a tenth of this.
const MAX_KERNEL_BYTES: u64 = 256 << 20;

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
}

/// The name of the kernel that `options` ask for. Options of the same variant boot the same file.
pub fn variant(options: &Options) -> String {
    Variant::of(options).name()
}

/// Builds what `options` ask for, or takes the file that they name.
pub fn provide(
    options: &Options,
    workspace: &Workspace,
    observer: &mut dyn Observer,
) -> Result<Kernel, Error> {
    if let Some(path) = &options.kernel {
        let bytes = files::read(path, MAX_KERNEL_BYTES)?;
        let image_bytes = image_bytes(&bytes)
            .map_err(|error| Error::NotAKernel { path: path.clone(), reason: error.to_string() })?;
        let path = std::path::absolute(path).map_err(Error::file("find", path))?;
        let (symbols, variant) = (path.clone(), "given".to_owned());
        return Ok(Kernel { path, symbols, variant, image_bytes, compressed_bytes: None });
    }
    let variant = Variant::of(options);
    let folder = workspace.own().join("kernels").join(variant.name());
    fs::create_dir_all(&folder).map_err(Error::file("make the folder", &folder))?;
    let _lock = lock::take(&workspace.shared().join("build.lock"), observer)?;
    let built = cargo::build(&variant.program(), variant, None, workspace, observer)?;
    let symbols = folder.join(KERNEL.name);
    let not_a_kernel = |reason: String| Error::NotAKernel { path: symbols.clone(), reason };
    let kernel = seal::sealed(fs::read(&built).map_err(Error::file("read", &built))?);
    let kernel = kernel.map_err(|error| not_a_kernel(error.to_string()))?;
    keep(&kernel, &symbols)?;
    let size = |elf: &[u8]| image_bytes(elf).map_err(|error| not_a_kernel(error.to_string()));
    let image_bytes = size(&kernel)?;
    let (mut path, mut compressed_bytes) = (symbols.clone(), None);
    if variant.compressed {
        let payload = pack::payload(&kernel).map_err(|error| not_a_kernel(error.to_string()))?;
        let payload_path = folder.join("payload");
        keep(&payload, &payload_path)?;
        let built = cargo::build(&UNPACKER, variant, Some(&payload_path), workspace, observer)?;
        let unpacker = fs::read(&built).map_err(Error::file("read", &built))?;
        path = folder.join(UNPACKER.name);
        keep(&unpacker, &path)?;
        compressed_bytes = Some(size(&unpacker)?);
    }
    Ok(Kernel { path, symbols, variant: variant.name(), image_bytes, compressed_bytes })
}

/// Keeps what cargo has built where the next build, of another variant, does not replace it.
fn keep(bytes: &[u8], path: &Path) -> Result<(), Error> {
    if !fs::read(path).is_ok_and(|present| present == bytes) {
        replace(path, bytes).map_err(Error::file("write", path))?;
    }
    Ok(())
}

/// Puts `bytes` at `path` in one step: who has the old file open keeps it.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, bytes)?;
    fs::rename(&new, path)
}

/// What a loader copies: the file's bytes in its loadable segments.
fn image_bytes(elf: &[u8]) -> Result<u64, object::Error> {
    Ok(object::File::parse(elf)?.segments().map(|segment| segment.file_range().1).sum())
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
    fn a_file_that_is_no_elf_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        fs::write(&path, "not a kernel").unwrap();
        let options = Options { kernel: Some(path), ..Options::default() };
        let error = provide(&options, &Workspace::find().unwrap(), &mut crate::notice::Silent).unwrap_err();
        assert!(error.to_string().contains("notes.txt is not a kernel that can be booted"), "{error}");
    }
}
