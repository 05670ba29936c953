//! The modules: files that the boot loader has put into memory beside the kernel.

use spin::Once;

use super::direct_map;
use super::memory_map::PhysRange;
use super::module_archive::{Archive, NAME_BYTES};
use crate::console::LineBuffer;

/// A module as the loader lists it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadedModule {
    /// Its physical range; empty if its address is invalid.
    pub range: PhysRange,
    /// The name.
    pub name: LineBuffer<NAME_BYTES>,
}

/// A file that was handed to the kernel: the launcher's `--module FILE[=NAME]`.
#[derive(Clone, Copy, Debug)]
pub struct Module {
    /// Its name: NAME, or the name of the file without folders.
    pub name: &'static str,
    /// Its contents. The launcher's modules begin at a multiple of 4 KiB. This memory is reserved and mapped read-only for the life of the kernel.
    pub bytes: &'static [u8],
}

static MODULES: Once<&'static [LoadedModule]> = Once::new();

/// Returns the modules, in the order of the command line.
///
/// **Context:** any. Empty before the final page tables are in use.
pub fn modules() -> impl Iterator<Item = Module> + Clone {
    MODULES.get().copied().unwrap_or_default().iter().flat_map(|module| {
        let bytes = contents(&module.range);
        let archive = Archive::parse(bytes);
        let single = archive.is_none().then(|| Module { name: module.name.as_str(), bytes });
        let files = archive.into_iter().flat_map(Archive::files);
        files.map(|(name, bytes)| Module { name, bytes }).chain(single)
    })
}

/// Returns the contents of the first module of this name; `None` if there is none.
///
/// **Context:** any.
pub fn module(name: &str) -> Option<&'static [u8]> {
    modules().find(|module| module.name == name).map(|module| module.bytes)
}

/// Makes [`modules`] return these.
///
/// # Safety
/// The final page tables are in use. Each range lies in memory, is reserved permanently, and nothing writes to it.
pub(super) unsafe fn publish(modules: &'static [LoadedModule]) {
    MODULES.call_once(|| modules);
}

fn contents(range: &PhysRange) -> &'static [u8] {
    if range.is_empty() {
        return &[];
    }
    // SAFETY: the range must be readable memory that is never written. `publish`, which alone stores the ranges, requires it.
    unsafe { core::slice::from_raw_parts(direct_map::pointer(range.start), range.len() as usize) }
}
