//! The entries that a program registers with octopod, as its file has them: they are listed without a boot.

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::path::Path;
use std::time::Duration;

use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSection, ObjectSegment};
use octopod::bench::BenchName;
use octopod::boot::command_line::Named;
use octopod::faults::Fault;
use octopod::options::Options;
use octopod::registry::{Header, Place, Text, duplicate};
use octopod::sched::policies::Policy;
use octopod::selftest::{self, Part};
use octopod::stress::allocators::{self, Allocator};
use octopod::stress::heap::{self, Heap};
use octopod::stress::workloads::{self, Workload};
use octopod::testing::Test;

use crate::base::Error;

/// The type of a relocation that adds the slide to its addend (x86-64 psABI).
const R_X86_64_RELATIVE: u32 = 8;

/// The bytes of an entry of `.rela.dyn`.
const RELA_BYTES: usize = 24;

/// An entry's name and place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its purpose.
    pub summary: String,
    /// The file of its registration.
    pub file: String,
    /// The line in it.
    pub line: u32,
}

impl Entry {
    /// `file:line` of its registration.
    pub fn place(&self) -> Place<'_> {
        Place { file: &self.file, line: self.line }
    }
}

/// A test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestEntry {
    /// Its number, as the kernel counts.
    pub number: u16,
    /// Its name and place.
    pub entry: Entry,
    /// On how many CPUs it runs at once; 0 for all.
    pub cpus: u32,
    /// Its time limit.
    pub timeout: Duration,
    /// True if it has to panic.
    pub should_panic: bool,
    /// True if it runs only by request.
    pub ignore: bool,
    /// Text that the panic's message has to contain.
    pub expected: String,
    /// The machine that it needs.
    pub machine: Option<String>,
}

impl TestEntry {
    /// Its name, as libtest would show it: without the crate.
    pub fn name(&self) -> &str {
        self.entry.name.split_once("::").map_or(&self.entry.name, |(_, name)| name)
    }
}

/// The reason why the entries of a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It is no ELF file for x86-64.
    #[error("{0}")]
    NotElf(#[from] object::Error),
    /// A list is not a number of whole entries.
    #[error(
        "the list {0} has {1} bytes, which are not entries of {2}: the kernel and the launcher are of different versions"
    )]
    Size(&'static str, usize, usize),
    /// An entry refers to bytes that the file does not have.
    #[error("an entry of the list {0} refers to the address {1:#x}, which is not in the file")]
    Address(&'static str, u64),
    /// Two entries of a list have one name, or one has the name of an entry of octopod's own; with their places.
    #[error("{0}")]
    Duplicate(String),
    /// A list has more entries than the kernel has room for.
    #[error("the program registers {count} {kind}; there is room for {most}")]
    TooMany {
        /// The kind, in the plural.
        kind: &'static str,
        /// Their number.
        count: usize,
        /// The most.
        most: usize,
    },
}

impl RegistryError {
    /// The error of a command that reads this file.
    pub fn of_file(self, path: &Path) -> Error {
        match self {
            // The file is a kernel; what is wrong is the program.
            wrong @ (RegistryError::Duplicate(_) | RegistryError::TooMany { .. }) => {
                Error::Usage(wrong.to_string())
            }
            other => Error::NotAKernel { path: path.to_owned(), reason: other.to_string() },
        }
    }
}

/// The tests of a kernel's file, in the kernel's order.
///
/// # Errors
/// See [`RegistryError`].
pub fn tests(elf: &[u8]) -> Result<Vec<TestEntry>, RegistryError> {
    let image = Image::of(elf)?;
    let mut tests = Vec::new();
    for (number, entry) in (0..).zip(image.entries(TESTS, size_of::<Test>())?) {
        let text = |offset| entry.text(offset);
        let header = offset_of!(Test, header);
        let machine = text(offset_of!(Test, machine))?;
        tests.push(TestEntry {
            number,
            entry: entry.header(header)?,
            cpus: entry.u32(offset_of!(Test, cpus)),
            timeout: Duration::from_millis(entry.u64(offset_of!(Test, timeout_ms))),
            should_panic: entry.byte(offset_of!(Test, should_panic)) != 0,
            ignore: entry.byte(offset_of!(Test, ignore)) != 0,
            expected: text(offset_of!(Test, expected))?,
            machine: Some(machine).filter(|machine| !machine.is_empty()),
        });
    }
    Ok(tests)
}

/// The lists of a kernel's file whose entries have names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameList {
    /// Allocators.
    Allocators,
    /// Heaps.
    Heaps,
    /// Workloads of frame allocators.
    Workloads,
    /// Workloads of heaps.
    HeapWorkloads,
    /// Benchmarks.
    Benches,
    /// Parts of the self-test.
    SelfTests,
    /// Tests.
    Tests,
    /// Faults.
    Faults,
    /// Scheduling policies.
    Schedulers,
    /// Trace events, one for each place that records it.
    Events,
    /// Parameters.
    Parameters,
    /// Lines of the panic report.
    PanicContexts,
}

/// The place of an entry's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeaderAt {
    /// At the begin of the entry, which has so many bytes.
    Begin(usize),
    /// Behind the pointer that the entry is.
    Pointer,
}

impl NameList {
    fn section(self) -> &'static str {
        match self {
            NameList::Allocators => "linkme_ALLOCATOR_NAMES",
            NameList::Heaps => "linkme_HEAP_NAMES",
            NameList::Workloads => "linkme_WORKLOAD_NAMES",
            NameList::HeapWorkloads => "linkme_HEAP_WORKLOAD_NAMES",
            NameList::Benches => "linkme_BENCH_NAMES",
            NameList::SelfTests => "linkme_SELF_TEST_NAMES",
            NameList::Tests => TESTS,
            NameList::Faults => "linkme_PROGRAM_FAULT_NAMES",
            NameList::Schedulers => "linkme_SCHEDULER_NAMES",
            NameList::Events => EVENTS,
            NameList::Parameters => "linkme_PARAMETER_NAMES",
            NameList::PanicContexts => "linkme_PANIC_CONTEXTS",
        }
    }

    fn header(self) -> HeaderAt {
        match self {
            NameList::Benches => HeaderAt::Pointer,
            NameList::Tests => HeaderAt::Begin(size_of::<Test>()),
            NameList::Events => HeaderAt::Begin(EVENT_BYTES),
            NameList::PanicContexts => HeaderAt::Begin(size_of::<(Header, u64)>()),
            _ => HeaderAt::Begin(size_of::<Header>()),
        }
    }
}

/// The entries of a list of names, in the kernel's order.
///
/// # Errors
/// See [`RegistryError`].
pub fn names(elf: &[u8], list: NameList) -> Result<Vec<Entry>, RegistryError> {
    let image = Image::of(elf)?;
    let section = list.section();
    let header = list.header();
    let bytes = match header {
        HeaderAt::Begin(bytes) => bytes,
        HeaderAt::Pointer => size_of::<u64>(),
    };
    let entries = image.entries(section, bytes)?;
    let name = |entry: Fields<'_>| match header {
        HeaderAt::Begin(_) => entry.header(0),
        HeaderAt::Pointer => Fields { address: entry.address(0), ..entry }.header(0),
    };
    entries.into_iter().map(name).collect()
}

/// An event that the program records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventEntry {
    /// Its name.
    pub name: String,
    /// The names of its fields; empty for one that it does not have.
    pub fields: [String; 2],
}

/// The events that the program records, in the order of their numbers.
///
/// # Errors
/// See [`RegistryError`].
pub fn events(elf: &[u8]) -> Result<Vec<EventEntry>, RegistryError> {
    let image = Image::of(elf)?;
    let entries = image.entries(EVENTS, EVENT_BYTES)?.into_iter().map(|entry| {
        let name = entry.header(0)?.name;
        let fields = [entry.text(size_of::<Header>())?, entry.text(size_of::<Header>() + size_of::<Text>())?];
        Ok(EventEntry { name, fields })
    });
    entries.collect()
}

/// The section of the tests.
const TESTS: &str = "linkme_TESTS";

/// The section of the events.
const EVENTS: &str = "linkme_PROGRAM_EVENTS";

/// The size of `octopod::trace::ProgramEvent`, which only the kernel has: a header and two texts.
const EVENT_BYTES: usize = size_of::<(Header, [Text; 2])>();

/// Makes the allocators, heaps, workloads, faults, parts of the self-test, scheduling policies and benchmarks of a kernel's file known to
/// this process, which then takes their names. A name that two entries have would stand for one of them, so it is refused; parameters and
/// lines of the panic report are checked as well, so that no machine is booted for the kernel to refuse them.
///
/// # Errors
/// See [`RegistryError`].
pub fn learn(elf: &[u8]) -> Result<(), RegistryError> {
    let list = |list| match names(elf, list) {
        // Another format than octopod's has no such list.
        Err(RegistryError::NotElf(_)) => Ok(Vec::new()),
        entries => entries,
    };
    let pairs = |entries: Vec<Entry>| -> Vec<(String, String)> {
        entries.into_iter().map(|entry| (entry.name, entry.summary)).collect()
    };
    let allocators = list(NameList::Allocators)?;
    refuse_duplicates::<&Allocator>("allocators", &[&allocators])?;
    let heaps = list(NameList::Heaps)?;
    refuse_duplicates::<&Heap>("heaps", &[&heaps])?;
    let (of_frames, of_heaps) = (list(NameList::Workloads)?, list(NameList::HeapWorkloads)?);
    refuse_duplicates::<&Workload>("workloads", &[&of_frames, &of_heaps])?;
    let faults = list(NameList::Faults)?;
    refuse_duplicates::<Fault>("faults", &[&faults])?;
    let self_tests = list(NameList::SelfTests)?;
    refuse_duplicates::<&Part>("parts of the self-test", &[&self_tests])?;
    let schedulers = list(NameList::Schedulers)?;
    refuse_duplicates::<&Policy>("scheduling policies", &[&schedulers])?;
    let benches = list(NameList::Benches)?;
    refuse_duplicates::<BenchName>("benchmarks", &[&benches])?;
    let parameters = list(NameList::Parameters)?;
    let is_own = |name: &str| Options::parameters().any(|parameter| parameter.name == name);
    refuse("parameters", is_own, &[&parameters])?;
    // octopod's own are in the list.
    refuse("panic contexts", |_| false, &[&list(NameList::PanicContexts)?])?;
    let counts = [
        ("frame allocators", allocators.len(), allocators::MAX_REGISTERED),
        ("heaps", heaps.len(), heap::MAX_REGISTERED),
        ("workloads", of_frames.len() + of_heaps.len(), workloads::MAX_REGISTERED),
        ("parts of the self-test", self_tests.len(), selftest::MAX_REGISTERED),
    ];
    if let Some((kind, count, most)) = counts.into_iter().find(|(_, count, most)| count > most) {
        return Err(RegistryError::TooMany { kind, count, most });
    }
    let with = |is_of_heaps| move |(name, summary)| (name, summary, is_of_heaps);
    let of_frames = pairs(of_frames).into_iter().map(with(false));
    let workloads: Vec<_> = of_frames.chain(pairs(of_heaps).into_iter().map(with(true))).collect();
    let (allocators, heaps, faults) = (pairs(allocators), pairs(heaps), pairs(faults));
    let (self_tests, schedulers) = (pairs(self_tests), pairs(schedulers));
    if !allocators.is_empty() {
        octopod::stress::allocators::learn(allocators);
    }
    if !heaps.is_empty() {
        octopod::stress::heap::learn(heaps);
    }
    if !workloads.is_empty() {
        octopod::stress::workloads::learn(workloads);
    }
    if !faults.is_empty() {
        octopod::faults::learn(faults);
    }
    if !self_tests.is_empty() {
        octopod::selftest::learn(self_tests);
    }
    if !schedulers.is_empty() {
        octopod::sched::policies::learn(schedulers);
    }
    if !benches.is_empty() {
        octopod::bench::learn(benches.into_iter().map(|entry| entry.name));
    }
    Ok(())
}

/// Refuses entries of one kind with the same name, or with one of octopod's own.
fn refuse_duplicates<T: Named>(kind: &'static str, lists: &[&[Entry]]) -> Result<(), RegistryError> {
    refuse(kind, |name| T::all().iter().any(|own| own.name() == name), lists)
}

/// The same, where `is_own` knows the names of octopod's own.
fn refuse(
    kind: &'static str,
    is_own: impl Fn(&str) -> bool,
    lists: &[&[Entry]],
) -> Result<(), RegistryError> {
    let entries = lists.iter().copied().flatten().map(|entry| (entry.name.as_str(), entry.place()));
    match duplicate(kind, is_own, entries) {
        Some(duplicate) => Err(RegistryError::Duplicate(duplicate.to_string())),
        None => Ok(()),
    }
}

/// A file, with the words that its relocations set.
struct Image<'a> {
    file: ElfFile64<'a, Endianness>,
    /// Link-time values of words whose relocation has them, by address. Words of packed relocations are in place.
    relocated: BTreeMap<u64, u64>,
}

impl<'a> Image<'a> {
    fn of(elf: &'a [u8]) -> Result<Image<'a>, RegistryError> {
        let file = ElfFile64::<Endianness>::parse(elf)?;
        let entries =
            file.section_by_name(".rela.dyn").and_then(|section| section.data().ok()).unwrap_or_default();
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        let relocated = entries.chunks_exact(RELA_BYTES).filter_map(|entry| {
            let is_relative = word(&entry[8..16]) as u32 == R_X86_64_RELATIVE;
            is_relative.then(|| (word(&entry[..8]), word(&entry[16..])))
        });
        Ok(Image { relocated: relocated.collect(), file })
    }

    /// The entries of a list, each of so many bytes. Without the section there are none.
    fn entries(&'a self, list: &'static str, bytes: usize) -> Result<Vec<Fields<'a>>, RegistryError> {
        let Some(section) = self.file.section_by_name(list) else { return Ok(Vec::new()) };
        let all = section.size() as usize;
        if !all.is_multiple_of(bytes) {
            return Err(RegistryError::Size(list, all, bytes));
        }
        let begin = section.address();
        // A section's size may be anything; what a loader puts there is a part of the file.
        if all > 0 && self.bytes(begin, all).is_none() {
            return Err(RegistryError::Address(list, begin));
        }
        let offsets = (0..all).step_by(bytes);
        Ok(offsets.map(|at| Fields { image: self, list, address: begin.wrapping_add(at as u64) }).collect())
    }

    /// The bytes that a loader puts at an address.
    fn bytes(&self, address: u64, count: usize) -> Option<&'a [u8]> {
        self.file.segments().find_map(|segment| segment.data_range(address, count as u64).ok().flatten())
    }
}

/// The fields of one entry.
#[derive(Clone, Copy)]
struct Fields<'a> {
    image: &'a Image<'a>,
    list: &'static str,
    /// Its address, as a loader lays it out.
    address: u64,
}

impl Fields<'_> {
    fn raw<const N: usize>(&self, offset: usize) -> [u8; N] {
        let found = self.image.bytes(self.address.wrapping_add(offset as u64), N);
        found.and_then(|bytes| bytes.first_chunk()).copied().unwrap_or([0; N])
    }

    fn byte(&self, offset: usize) -> u8 {
        self.raw::<1>(offset)[0]
    }

    fn u32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.raw(offset))
    }

    fn u64(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.raw(offset))
    }

    /// A word that holds an address.
    fn address(&self, offset: usize) -> u64 {
        let place = self.address.wrapping_add(offset as u64);
        self.image.relocated.get(&place).copied().unwrap_or_else(|| self.u64(offset))
    }

    fn text(&self, offset: usize) -> Result<String, RegistryError> {
        let (start, bytes) = (self.address(offset), self.u64(offset + size_of::<u64>()));
        if bytes == 0 {
            return Ok(String::new());
        }
        let found = usize::try_from(bytes).ok().and_then(|bytes| self.image.bytes(start, bytes));
        let found = found.ok_or(RegistryError::Address(self.list, start))?;
        Ok(String::from_utf8_lossy(found).into_owned())
    }

    fn header(&self, offset: usize) -> Result<Entry, RegistryError> {
        // A pointer to a header may be invalid.
        let start = self.address.wrapping_add(offset as u64);
        self.image.bytes(start, size_of::<Header>()).ok_or(RegistryError::Address(self.list, start))?;
        let file = self.text(offset + offset_of!(Header, file))?;
        let line = self.u32(offset + offset_of!(Header, line));
        Ok(Entry {
            name: self.text(offset + offset_of!(Header, name))?,
            summary: self.text(offset + offset_of!(Header, summary))?,
            file,
            line,
        })
    }
}

/// An entry's addresses take a word, as those of the kernel's target do.
const _: () = assert!(size_of::<Text>() == 2 * size_of::<u64>());

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: usize = 64;
    const SECTION: usize = 64;
    const NAMES: &[u8] = b"\0.shstrtab\0linkme_LIST\0";
    const LIST: &str = "linkme_LIST";

    /// An ELF file without segments, whose list claims to have so many bytes.
    fn file_with_list(bytes: u64) -> Vec<u8> {
        let section = |name: u32, kind: u32, offset: u64, size: u64| {
            let words = [0, 0, offset, size, 0, 1, 0].map(u64::to_le_bytes).concat();
            [&name.to_le_bytes()[..], &kind.to_le_bytes(), &words].concat()
        };
        let sections = (HEADER + NAMES.len()) as u64;
        let start = [&b"\x7fELF\x02\x01\x01"[..], &[0; 9], &[2, 0, 62, 0, 1, 0, 0, 0]].concat();
        let places = [0, 0, sections].map(u64::to_le_bytes).concat();
        let sizes = [0, 0, HEADER as u16, 0, 0, SECTION as u16, 3, 1].map(u16::to_le_bytes).concat();
        let header = [start, places, sizes].concat();
        let table = [
            section(0, 0, 0, 0),
            section(1, 3, HEADER as u64, NAMES.len() as u64),
            section(11, 1, u64::MAX - 7, bytes),
        ];
        [header, NAMES.to_vec(), table.concat()].concat()
    }

    /// The size of a section may be anything in a damaged file.
    #[test]
    fn a_list_is_no_longer_than_the_file() {
        for bytes in [16, 1 << 40, 1 << 60] {
            let file = file_with_list(bytes);
            let image = Image::of(&file).unwrap();
            assert!(matches!(image.entries(LIST, 16), Err(RegistryError::Address(LIST, _))), "{bytes:#x}");
        }
        let file = file_with_list(0);
        assert!(Image::of(&file).unwrap().entries(LIST, 16).unwrap().is_empty());
    }
}
