//! Names for addresses, from the kernel's own symbols and debug information.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use addr2line::Loader;
use object::Endianness;
use object::elf::PT_LOAD;
use object::read::elf::{ElfFile64, ProgramHeader};
use serde::{Deserialize, Serialize};

/// A call on a CPU's stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackFrame {
    /// The address as the CPU had it, in hexadecimal; JSON's numbers would round it.
    pub address: String,
    /// The function, if the symbols know it.
    pub function: Option<String>,
    /// `file:line`, if they know that.
    pub location: Option<String>,
    /// True if the compiler put this function's body into its caller's.
    pub inlined: bool,
    /// True if the source is that of a package from a registry, or of the standard library; not in reports.
    #[serde(skip)]
    pub is_library: bool,
}

/// The symbols of one kernel. Without symbols only addresses are shown.
pub struct Symbols {
    loader: Option<Loader>,
    loaded: Vec<Loaded>,
    root: PathBuf,
}

/// The place at which a loader puts a part of the kernel. Until paging is on, that is where its code runs.
struct Loaded {
    physical: Range<u64>,
    linked: u64,
}

impl Symbols {
    /// Reads the symbols of `kernel`; source paths are shown relative to `root`.
    pub fn read(kernel: &Path, root: &Path) -> Symbols {
        let loaded = fs::read(kernel).ok().and_then(|bytes| loaded(&bytes)).unwrap_or_default();
        Symbols { loader: Loader::new(kernel).ok(), loaded, root: root.to_owned() }
    }

    /// Names each return address, innermost first. A return address is the instruction behind the call, which may
    /// belong to the next line or even the next function: the byte before it is looked up.
    pub fn backtrace(&self, return_addresses: &[u64], slide: u64) -> Vec<StackFrame> {
        return_addresses
            .iter()
            .flat_map(|&address| self.frames(address, address.wrapping_sub(slide).wrapping_sub(1)))
            .collect()
    }

    /// Names the function of the instruction at `address`, into which others may have been inlined: by the table of symbols, which needs none
    /// of the debug information.
    pub fn function(&self, address: u64, slide: u64) -> Option<String> {
        let name = self.loader.as_ref()?.find_symbol(self.linked(address, slide))?;
        Some(addr2line::demangle_auto(name.into(), None).into_owned())
    }

    /// Names the instruction at `address`.
    pub fn instruction(&self, address: u64, slide: u64) -> Vec<StackFrame> {
        self.frames(address, self.linked(address, slide))
    }

    /// Returns the address at which the instruction at `address` was linked.
    fn linked(&self, address: u64, slide: u64) -> u64 {
        let before_paging = self.loaded.iter().find(|part| part.physical.contains(&address));
        let linked = before_paging.map(|part| part.linked.wrapping_add(address - part.physical.start));
        linked.unwrap_or(address.wrapping_sub(slide))
    }

    /// The frames of the code at `probe`, shown as `address`: the functions that were inlined there, then the one
    /// that holds them.
    fn frames(&self, address: u64, probe: u64) -> Vec<StackFrame> {
        let shown = format!("{address:#018x}");
        let mut found = Vec::new();
        if let Some(loader) = &self.loader
            && let Ok(mut frames) = loader.find_frames(probe)
        {
            while let Ok(Some(frame)) = frames.next() {
                let function =
                    frame.function.and_then(|name| name.demangle().ok().map(|name| name.into_owned()));
                let place =
                    frame.location.and_then(|at| Some((self.shorten(at.file?), at.line.unwrap_or(0))));
                let is_library = place.as_ref().is_some_and(|(source, _)| source.is_library);
                let location = place.map(|(source, line)| format!("{}:{line}", source.path));
                found.push(StackFrame {
                    address: shown.clone(),
                    function,
                    location,
                    inlined: true,
                    is_library,
                });
            }
            if found.iter().all(|frame| frame.function.is_none()) {
                let function = loader
                    .find_symbol(probe)
                    .map(|name| addr2line::demangle_auto(name.into(), None).into_owned());
                let (location, is_library) =
                    found.pop().map_or((None, false), |frame| (frame.location, frame.is_library));
                let address = shown.clone();
                found = vec![StackFrame { address, function, location, inlined: true, is_library }];
            }
        }
        match found.last_mut() {
            Some(outermost) => outermost.inlined = false,
            None => found.push(StackFrame {
                address: shown,
                function: None,
                location: None,
                inlined: false,
                is_library: false,
            }),
        }
        found
    }

    /// A source path without what is this machine's own in it.
    fn shorten(&self, file: &str) -> SourcePath {
        let of_program = |path: String| SourcePath { path, is_library: false };
        if let Ok(own) = Path::new(file).strip_prefix(&self.root) {
            return of_program(own.display().to_string());
        }
        // A registry's folder is named after its host; the standard library's after its commit.
        for (before, skipped) in [("/registry/src/", 1), ("/rustc/", 1), ("/lib/rustlib/src/rust/", 0)] {
            if let Some((_, rest)) = file.split_once(before) {
                let path = rest.splitn(skipped + 1, '/').last().unwrap_or(rest).to_owned();
                return SourcePath { path, is_library: true };
            }
        }
        of_program(file.to_owned())
    }
}

/// The path of a source, as it is shown.
#[derive(Debug, PartialEq, Eq)]
struct SourcePath {
    path: String,
    /// True if it is that of a package from a registry, or of the standard library.
    is_library: bool,
}

fn loaded(elf: &[u8]) -> Option<Vec<Loaded>> {
    let file = ElfFile64::<Endianness>::parse(elf).ok()?;
    let endian = file.endian();
    let parts = file.elf_program_headers().iter().filter(|header| header.p_type(endian) == PT_LOAD);
    let parts = parts.map(|header| {
        let start = header.p_paddr(endian);
        let physical = start..start.saturating_add(header.p_memsz(endian));
        Loaded { physical, linked: header.p_vaddr(endian) }
    });
    Some(parts.collect())
}

/// The test's own program, and where a function of it is linked whose name has all these parts.
#[cfg(all(test, target_os = "linux"))]
pub(crate) fn own_function(parts: &[&str]) -> (PathBuf, Range<u64>) {
    use object::{Object, ObjectSymbol};

    let program = std::env::current_exe().unwrap();
    let bytes = fs::read(&program).unwrap();
    let elf = object::File::parse(&*bytes).unwrap();
    let is_it = |name: &str| parts.iter().all(|part| name.contains(part));
    let function = elf
        .symbols()
        .find(|symbol| symbol.name().is_ok_and(is_it) && symbol.size() > 1)
        .expect("the test's own program names its functions");
    let range = function.address()..function.address() + function.size();
    (program, range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_paths_lose_what_is_this_machines() {
        let symbols = Symbols { loader: None, loaded: Vec::new(), root: "/home/me/octopod".into() };
        for (long, short, is_library) in [
            ("/home/me/octopod/src/main.rs", "src/main.rs", false),
            // A member of a workspace, whose folder looks like a package of a registry.
            ("/home/me/octopod/queue-2/src/lib.rs", "queue-2/src/lib.rs", false),
            (
                "/home/me/.cargo/registry/src/index-0123/spin-0.10.0/src/once.rs",
                "spin-0.10.0/src/once.rs",
                true,
            ),
            ("/rustc/0123abcd/library/core/src/panicking.rs", "library/core/src/panicking.rs", true),
            ("/x/lib/rustlib/src/rust/library/core/src/fmt.rs", "library/core/src/fmt.rs", true),
            ("src/lib.rs", "src/lib.rs", false),
        ] {
            assert_eq!(symbols.shorten(long), SourcePath { path: short.to_owned(), is_library });
        }
    }

    #[test]
    fn without_symbols_the_address_remains() {
        let symbols = Symbols::read(Path::new("/nonexistent"), Path::new("/"));
        let frames = symbols.backtrace(&[0xffff_8000_0010_0000], 0);
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].address, "0xffff800000100000");
        assert_eq!(frames[0].function, None);
    }

    /// This test's own program has symbols: a return address in the middle of a function names it.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_function_is_found_by_an_address_in_it() {
        let (program, function) = own_function(&["symbols", "backtrace"]);
        let slide = 0x1000_0000;
        let symbols = Symbols::read(&program, Path::new("/"));
        // The address behind the function's last instruction: only the byte before it is still inside.
        let frames = symbols.backtrace(&[function.end + slide], slide);
        let outermost = frames.last().unwrap();
        assert!(outermost.function.as_ref().unwrap().contains("symbols::Symbols::backtrace"), "{frames:?}");
        assert!(!outermost.inlined);
    }
}
