//! Builds the kernel for its target, one launcher at a time, and keeps the file of each variant; or takes the file that the
//! user names.

use std::borrow::Cow;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::files::{input, output};
use crate::base::project::Project;
use crate::base::{Error, Observer, Workspace, WorkspaceKind};
use crate::kernel::config::{KERNEL, UNPACKER};
use crate::kernel::image::Image;
use crate::kernel::isolation::{self, Settings};
use crate::kernel::{Kernel, KernelConfig, KernelSource, cargo, checksum, example, lock, pack, registry};

/// No kernel is larger.
pub(crate) const MOST_BYTES: u64 = 256 << 20;

/// Refuses a kernel that cannot be had, before anything is installed or built.
///
/// # Errors
/// The defect.
pub fn check(config: &KernelConfig, workspace: &Workspace) -> Result<(), Error> {
    match &config.source {
        KernelSource::Built(_) => return Ok(()),
        KernelSource::File(path) => return input::open(path, MOST_BYTES).map(drop),
        KernelSource::Example(name) if workspace.project().is_some() => {
            let name = shlex::try_quote(name).unwrap_or(Cow::Borrowed("NAME"));
            return Err(Error::Usage(format!(
                "--example names an example of octopod's checkout; cargo runs those of a project: cargo run --example {name}"
            )));
        }
        KernelSource::Example(name) => drop(example::source(&workspace.root, name)?),
        KernelSource::Workspace => match &workspace.kind {
            WorkspaceKind::Checkout => {}
            WorkspaceKind::Project(project) => project.kernel().map(drop)?,
            WorkspaceKind::Folder => return Err(Error::NoWorkspace { folder: workspace.root.clone() }),
        },
    }
    if workspace.project().is_some() && config.compressed {
        return Err(Error::Usage("--compressed needs a checkout of octopod".to_owned()));
    }
    for (path, is_written) in [(&workspace.root, false), (&workspace.target, true)] {
        if let Some(reason) = unusable(path, is_written) {
            return Err(Error::Usage(format!("{} cannot be used: {reason}", path.display())));
        }
    }
    Ok(())
}

/// Returns the reason why the kernel cannot be built from or to a folder.
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

/// Builds the kernel that is wanted, or takes the file that is named.
///
/// # Errors
/// It does not build, or is none.
pub fn provide(
    config: &KernelConfig,
    workspace: &Workspace,
    observer: &mut dyn Observer,
) -> Result<Kernel, Error> {
    match &config.source {
        KernelSource::Built(kernel) => return Ok((**kernel).clone()),
        KernelSource::File(path) => return given(path),
        KernelSource::Example(_) | KernelSource::Workspace => {}
    }
    if let Some(project) = workspace.project() {
        return of_project(project, config, workspace, observer);
    }
    let settings = Settings::read(&workspace.root, config.profile())?;
    build(config, &settings, workspace, observer).map_err(|error| {
        // The user's settings for all builds may be the cause of the failure.
        let foreign = isolation::foreign(&workspace.root, &settings);
        match foreign.is_empty() {
            true => error,
            false => error.with_settings(&foreign),
        }
    })
}

/// The kernel in a file that the user names.
fn given(path: &Path) -> Result<Kernel, Error> {
    let not_a_kernel = |reason: String| Error::NotAKernel { path: path.to_owned(), reason };
    let elf = input::read(path, MOST_BYTES)?;
    let image = Image::of(&elf).map_err(|error| not_a_kernel(error.to_string()))?;
    let path = std::path::absolute(path).map_err(Error::file("find", path))?;
    Ok(Kernel {
        symbols: path.clone(),
        path,
        variant: "given".to_owned(),
        image_bytes: image.bytes,
        compressed_bytes: None,
        image_end: image.end,
        is_users: true,
        _lock: None,
        _folder: None,
    })
}

/// Builds the kernel of a project.
fn of_project(
    project: &Project,
    config: &KernelConfig,
    workspace: &Workspace,
    observer: &mut dyn Observer,
) -> Result<Kernel, Error> {
    let profile = if config.debug { "dev" } else { project.profile.as_str() };
    let variant = [&[project.kernel()?, profile], config.features().as_slice()].concat().join("-");
    let folder = workspace.own().join("kernels").join(&variant);
    fs::create_dir_all(&folder).map_err(Error::file("make the folder", &folder))?;
    let lock = lock::take(&workspace.shared().join("build.lock"), observer)?;
    let built = cargo::build_project(project, config, observer)?;
    let path = folder.join(KERNEL.name);
    let not_a_kernel = |reason: String| Error::NotAKernel { path: built.clone(), reason };
    let elf = input::read(&built, MOST_BYTES)?;
    let kernel = checksum::with_checksum(elf).map_err(|error| not_a_kernel(error.to_string()))?;
    keep(&kernel, &path)?;
    let image = Image::of(&kernel).map_err(|error| not_a_kernel(error.to_string()))?;
    Ok(Kernel {
        symbols: path.clone(),
        path,
        variant,
        image_bytes: image.bytes,
        compressed_bytes: None,
        image_end: image.end,
        is_users: true,
        _lock: Some(Arc::new(lock)),
        _folder: None,
    })
}

/// The program of a project, built for the host.
#[derive(Clone, Debug)]
pub struct HostProgram {
    /// Its file.
    pub path: PathBuf,
    /// The file that cargo has made must not change before the run has ended.
    _lock: Arc<File>,
}

#[cfg(test)]
impl HostProgram {
    /// A program that is there already.
    pub(crate) fn of(path: PathBuf) -> HostProgram {
        let lock = File::open(&path).expect("the program is a file");
        HostProgram { path, _lock: Arc::new(lock) }
    }
}

/// Builds the program of a project for the host, and makes its allocators and workloads known to this process.
///
/// # Errors
/// It does not build; its lists cannot be read.
pub fn for_host(
    project: &Project,
    workspace: &Workspace,
    observer: &mut dyn Observer,
) -> Result<HostProgram, Error> {
    let folder = workspace.own();
    fs::create_dir_all(&folder).map_err(Error::file("make the folder", &folder))?;
    let lock = lock::take(&workspace.shared().join("build.lock"), observer)?;
    let path = cargo::build_for_host(project, observer).map_err(|error| match error {
        Error::KernelBuild { status, diagnostics } => Error::HostBuild { status, diagnostics },
        error => error,
    })?;
    let elf = input::read(&path, MOST_BYTES)?;
    registry::learn(&elf).map_err(|error| error.of_file(&path))?;
    Ok(HostProgram { path, _lock: Arc::new(lock) })
}

fn build(
    config: &KernelConfig,
    settings: &Settings,
    workspace: &Workspace,
    observer: &mut dyn Observer,
) -> Result<Kernel, Error> {
    let folder = workspace.own().join("kernels").join(config.variant());
    fs::create_dir_all(&folder).map_err(Error::file("make the folder", &folder))?;
    // Cargo puts what it builds of two checkouts with one target folder into the same files.
    let lock = lock::take(&workspace.shared().join("build.lock"), observer)?;
    let built = cargo::build(&config.program(), config, settings, None, workspace, observer)?;
    let symbols = folder.join(KERNEL.name);
    let not_a_kernel = |reason: String| Error::NotAKernel { path: symbols.clone(), reason };
    let kernel = checksum::with_checksum(input::read(&built, MOST_BYTES)?);
    let kernel = kernel.map_err(|error| not_a_kernel(error.to_string()))?;
    keep(&kernel, &symbols)?;
    let image_of = |elf: &[u8]| Image::of(elf).map_err(|error| not_a_kernel(error.to_string()));
    let image = image_of(&kernel)?;
    let (mut path, mut compressed) = (symbols.clone(), None);
    if config.compressed {
        let payload = pack::payload(&kernel).map_err(|error| not_a_kernel(error.to_string()))?;
        let payload_path = folder.join("payload");
        keep(&payload, &payload_path)?;
        let built = cargo::build(&UNPACKER, config, settings, Some(&payload_path), workspace, observer)?;
        let unpacker = input::read(&built, MOST_BYTES)?;
        path = folder.join(UNPACKER.name);
        keep(&unpacker, &path)?;
        compressed = Some(image_of(&unpacker)?);
    }
    Ok(Kernel {
        path,
        symbols: symbols.clone(),
        variant: config.variant(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Silent;

    #[test]
    fn a_checkout_that_no_kernel_can_be_built_in_is_refused_with_the_reason() {
        let refused = |root: &str, target: &str| {
            let workspace =
                Workspace { root: root.into(), target: target.into(), kind: WorkspaceKind::Checkout };
            check(&KernelConfig::default(), &workspace).err().map(|error| error.to_string())
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
        let config = KernelConfig { source: KernelSource::File(path), ..KernelConfig::default() };
        let error = provide(&config, &Workspace::find().unwrap(), &mut Silent).unwrap_err();
        assert!(error.to_string().contains("notes.txt is not a kernel that can be booted"), "{error}");
    }
}
