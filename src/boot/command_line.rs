//! The kernel's command line: words parted by white space, each `key=value`, the value in double quotes where it holds
//! white space. [`Options::parse`] turns it into typed [`Options`], or into an [`OptionError`] that names the option,
//! the value and what is allowed, for a word that nobody reads is a test that tests nothing. Of an option given twice
//! the last one counts, so that a launcher can append a user's words to its own; of `reserve=` each.
//!
//! The bytes are whatever the loader found; nothing here trusts them, needs a heap, or can panic.

use core::time::Duration;

use ap_trampoline::Stage;

use super::memory_map::PhysRange;
use crate::config::MAX_CPUS;
use crate::console::filter::Filter;
use crate::wire::Nonce;

mod error;
mod list;
mod names;
#[cfg(test)]
mod tests;

pub use error::{MAX_MESSAGE_BYTES, OptionError, ValueFault};
pub use list::List;
pub use names::{Allocator, ClockChoice, Fault, Key, Part, Switch, TraceLevel, Work, Workload};

use names::Named;

/// The shortest total time for the stress.
const MIN_STRESS_MS: u32 = 1;
/// The longest total time for the stress: a day.
const MAX_STRESS_MS: u32 = 86_400_000;
/// The most rounds of a part of the self-test.
const MAX_ROUNDS: u32 = 1_000_000_000;

/// How many ranges `reserve=` may name.
pub const MAX_RESERVED: usize = 8;

/// How many numbers of CPUs may be asked for.
pub const MAX_CPU_COUNTS: usize = 8;

/// What the kernel is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// `work=`: what to do once all CPUs are up.
    pub work: Work,
    /// `stress.seconds=`: the time for all workloads together; `None` leaves it to the kernel.
    pub stress_time: Option<Duration>,
    /// `stress.allocators=`: what to stress, in this order.
    pub stress_allocators: AllocatorList,
    /// `stress.cpus=`: on how many CPUs, one after the other; 0 stands for none. All 0: the kernel chooses.
    pub stress_cpus: [u32; MAX_CPU_COUNTS],
    /// `stress.workloads=`: what to run, in this order.
    pub stress_workloads: WorkloadList,
    /// `stress.seed=`: where the workloads' randomness starts; `None` leaves the kernel to draw one.
    pub stress_seed: Option<u64>,
    /// `selftest.parts=`: what to run, in this order.
    pub selftest_parts: PartList,
    /// `selftest.rounds=`: how many rounds a part takes that goes in rounds, all CPUs together.
    pub selftest_rounds: u32,
    /// `log=`: which lines of the log are shown.
    pub log: Filter,
    /// `clock=`: what the time is read from.
    pub clock: ClockChoice,
    /// `trace=`: how much is traced; `None` leaves that to [`trace`](Self::trace).
    pub trace: Option<TraceLevel>,
    /// `kaslr=`: whether the direct map's base is drawn at random. rt0 has looked for it long before.
    pub kaslr: Switch,
    /// `x2apic=`: whether the local APICs are used in x2APIC mode where the processor has it. Off, a CPU whose APIC ID is
    /// above 254 cannot be reached.
    pub x2apic: Switch,
    /// `max_cpus=`: the most CPUs to start, the boot processor among them; `None` leaves it to the kernel's own limit. Those
    /// that firmware lists beyond them are left out.
    pub max_cpus: Option<u32>,
    /// `allow_missing_cpus=`: whether a listed CPU that does not start is a warning and not a failure.
    pub allow_missing_cpus: Switch,
    /// `acpi_rsdp=`: where the RSDP lies, physical, instead of where the loader says.
    pub acpi_rsdp: Option<u64>,
    /// `reserve=START-END`: physical memory that the kernel leaves alone, from START to just before END. May be given
    /// [`MAX_RESERVED`] times: each range counts. Empty ranges stand for none.
    pub reserve: [PhysRange; MAX_RESERVED],
    /// `record_nonce=`: the number that the run's records bear. The launcher draws it.
    pub record_nonce: Option<Nonce>,
    /// `fault=`: the deliberate fault that the tests want to see caught.
    pub fault: Option<Fault>,
    /// `fault.stage=`: where a fault of bring-up strikes.
    pub fault_stage: Stage,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            work: Work::Stress,
            stress_time: None,
            stress_allocators: AllocatorList::of(Allocator::Octopod),
            stress_cpus: [0; MAX_CPU_COUNTS],
            stress_workloads: WorkloadList::all_but(Workload::Replay),
            stress_seed: None,
            selftest_parts: PartList::all(),
            selftest_rounds: 1000,
            log: Filter::default(),
            clock: ClockChoice::Auto,
            trace: None,
            kaslr: Switch::On,
            x2apic: Switch::On,
            max_cpus: None,
            allow_missing_cpus: Switch::Off,
            acpi_rsdp: None,
            reserve: [PhysRange::new(0, 0); MAX_RESERVED],
            record_nonce: None,
            fault: None,
            fault_stage: Stage::LongMode,
        }
    }
}

/// Some of the workloads, in the order asked for.
pub type WorkloadList = List<Workload, { Workload::ALL.len() }>;
/// Some of the allocators, in the order asked for.
pub type AllocatorList = List<Allocator, { Allocator::ALL.len() }>;
/// Some of the self-test's parts, in the order asked for.
pub type PartList = List<Part, { Part::ALL.len() }>;

/// What a kernel can do by the features that it was built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuiltIn {
    /// What `fault=` asks for.
    pub faults: bool,
    /// `work=selftest`.
    pub selftest: bool,
    /// `work=shell`.
    pub shell: bool,
}

impl BuiltIn {
    /// By this very build's features.
    pub const HERE: BuiltIn = BuiltIn {
        faults: cfg!(feature = "faults"),
        selftest: cfg!(feature = "selftest"),
        shell: cfg!(feature = "shell"),
    };
    /// Everything.
    pub const ALL: BuiltIn = BuiltIn { faults: true, selftest: true, shell: true };
    /// Nothing.
    pub const NONE: BuiltIn = BuiltIn { faults: false, selftest: false, shell: false };
}

impl Options {
    /// How much is traced: what a panic is to tell of, and in the shell, where somebody may ask, everything.
    pub fn trace(&self) -> TraceLevel {
        let unsaid = if self.work == Work::Shell { TraceLevel::All } else { TraceLevel::Panic };
        self.trace.unwrap_or(unsaid)
    }

    /// Reads a command line, without its final zero byte, for a kernel that can do what `built_in` says.
    pub fn parse(line: &[u8], built_in: BuiltIn) -> Result<Options, OptionError<'_>> {
        let mut options = Options::default();
        let mut rest = as_text(line)?;
        while let Some((word, after)) = next_word(rest)? {
            rest = after;
            let Some(key) = Key::from_name(word.key) else {
                return Err(OptionError::UnknownOption { key: word.key });
            };
            let Some(value) = word.value else {
                return Err(OptionError::MissingValue { key });
            };
            options.set(key, value, built_in).map_err(|fault| OptionError::BadValue { key, value, fault })?;
        }
        Ok(options)
    }

    fn set<'a>(&mut self, key: Key, value: &'a str, built_in: BuiltIn) -> Result<(), ValueFault<'a>> {
        if value.is_empty() {
            return Err(ValueFault::Empty);
        }
        match key {
            Key::Work => {
                let work = parse_name(value, Work::from_name)?;
                if work == Work::SelfTest && !built_in.selftest {
                    return Err(ValueFault::NotBuiltIn { what: "its self-test", feature: "selftest" });
                }
                if work == Work::Shell && !built_in.shell {
                    return Err(ValueFault::NotBuiltIn { what: "its console", feature: "shell" });
                }
                self.work = work;
            }
            Key::StressSeconds => self.stress_time = Some(parse_seconds(value)?),
            Key::StressAllocators => self.stress_allocators = parse_list(value, Allocator::from_name)?,
            Key::StressCpus => self.stress_cpus = parse_cpu_counts(value)?,
            Key::StressWorkloads => self.stress_workloads = parse_list(value, Workload::from_name)?,
            Key::SelfTestParts => self.selftest_parts = parse_list(value, Part::from_name)?,
            Key::SelfTestRounds => self.selftest_rounds = parse_rounds(value)?,
            Key::StressSeed => self.stress_seed = Some(parse_u64(value)?),
            Key::Log => self.log = Filter::parse(value).map_err(ValueFault::Filter)?,
            Key::Clock => self.clock = parse_name(value, ClockChoice::from_name)?,
            Key::Trace => self.trace = Some(parse_name(value, TraceLevel::from_name)?),
            Key::Kaslr => self.kaslr = parse_name(value, Switch::from_name)?,
            Key::X2Apic => self.x2apic = parse_name(value, Switch::from_name)?,
            Key::MaxCpus => self.max_cpus = Some(parse_cpus(value)?),
            Key::AllowMissingCpus => self.allow_missing_cpus = parse_name(value, Switch::from_name)?,
            Key::AcpiRsdp => self.acpi_rsdp = Some(parse_u64(value)?),
            Key::Reserve => {
                let range = parse_range(value)?;
                let free = self.reserve.iter_mut().find(|slot| slot.is_empty());
                *free.ok_or(ValueFault::TooManyRanges)? = range;
            }
            Key::RecordNonce => {
                self.record_nonce = Some(Nonce::from_digits(value.as_bytes()).ok_or(ValueFault::NotANonce)?);
            }
            Key::FaultStage => self.fault_stage = parse_name(value, stage_from_name)?,
            Key::Fault => {
                let fault = parse_name(value, Fault::from_name)?;
                if !built_in.faults {
                    return Err(ValueFault::NotBuiltIn { what: "deliberate faults", feature: "faults" });
                }
                self.fault = Some(fault);
            }
        }
        Ok(())
    }
}

/// A word of the line.
struct Word<'a> {
    key: &'a str,
    /// What follows the first `=`; `None` where there is no `=`.
    value: Option<&'a str>,
}

/// The line as text: printable ASCII and white space, and nothing else, since a value is echoed on a terminal.
fn as_text(line: &[u8]) -> Result<&str, OptionError<'_>> {
    let is_text = |byte: u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    if let Some(offset) = line.iter().position(|byte| !is_text(*byte)) {
        return Err(OptionError::BadByte { offset, byte: line[offset] });
    }
    // All of it is ASCII by now, so this cannot fail.
    Ok(str::from_utf8(line).unwrap_or_default())
}

/// Splits off the next word; `None` at the end of the line.
fn next_word(line: &str) -> Result<Option<(Word<'_>, &str)>, OptionError<'_>> {
    let line = line.trim_ascii_start();
    if line.is_empty() {
        return Ok(None);
    }
    let bare_end = line.find(|c: char| c.is_ascii_whitespace()).unwrap_or(line.len());
    let (bare, after) = line.split_at(bare_end);
    let Some((key, value)) = bare.split_once('=') else {
        return if bare.contains('"') {
            Err(OptionError::StrayQuote { word: bare })
        } else {
            Ok(Some((Word { key: bare, value: None }, after)))
        };
    };
    let is_quoted = value.starts_with('"');
    if key.contains('"') || !is_quoted && value.contains('"') {
        return Err(OptionError::StrayQuote { word: bare });
    }
    if !is_quoted {
        return Ok(Some((Word { key, value: Some(value) }, after)));
    }
    // The quoted value may hold white space, so it is looked for in the line and not in the bare word.
    let quoted = &line[key.len() + 2..];
    let Some((value, after)) = quoted.split_once('"') else {
        return Err(OptionError::UnclosedQuote { word: line });
    };
    if after.starts_with(|c: char| !c.is_ascii_whitespace()) {
        return Err(OptionError::StrayQuote { word: &line[..key.len() + value.len() + 3] });
    }
    Ok(Some((Word { key, value: Some(value) }, after)))
}

/// Seconds with up to three decimals, counted in milliseconds: no floating point in a kernel without vector registers.
fn parse_seconds(value: &str) -> Result<Duration, ValueFault<'_>> {
    let (whole, decimals) = value.split_once('.').unwrap_or((value, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(decimals) {
        return Err(ValueFault::NotSeconds);
    }
    if decimals.len() > 3 {
        return Err(ValueFault::TooFine);
    }
    // What does not fit into the integer is out of range as well.
    let seconds: u32 = whole.parse().map_err(|_| ValueFault::OutOfRange)?;
    let digits: u32 = decimals.parse().map_err(|_| ValueFault::OutOfRange)?;
    let thousandths = [100, 10, 1][decimals.len() - 1] * digits;
    let total = seconds.checked_mul(1000).and_then(|ms| ms.checked_add(thousandths));
    match total {
        Some(ms @ MIN_STRESS_MS..=MAX_STRESS_MS) => Ok(Duration::from_millis(ms.into())),
        _ => Err(ValueFault::OutOfRange),
    }
}

fn parse_name<T>(value: &str, from_name: fn(&str) -> Option<T>) -> Result<T, ValueFault<'_>> {
    from_name(value).ok_or(ValueFault::UnknownName(value))
}

/// The stages at whose end a CPU can be held: not the first, in which it does not run yet.
pub const FAULT_STAGES: &[Stage] = Stage::ALL.split_at(1).1;

fn stage_from_name(name: &str) -> Option<Stage> {
    FAULT_STAGES.iter().copied().find(|stage| stage.name() == name)
}

fn parse_cpus(value: &str) -> Result<u32, ValueFault<'_>> {
    let cpus = u32::try_from(parse_u64(value)?).map_err(|_| ValueFault::OutOfRange)?;
    if (1..=MAX_CPUS).contains(&cpus) { Ok(cpus) } else { Err(ValueFault::OutOfRange) }
}

/// Two addresses, the second one past the last byte.
fn parse_range(value: &str) -> Result<PhysRange, ValueFault<'_>> {
    let (start, end) = value.split_once('-').ok_or(ValueFault::NotARange)?;
    let range = PhysRange::new(parse_u64(start)?, parse_u64(end)?);
    if range.start < range.end { Ok(range) } else { Err(ValueFault::NotARange) }
}

fn parse_list<T: Named, const N: usize>(
    value: &str,
    from_name: fn(&str) -> Option<T>,
) -> Result<List<T, N>, ValueFault<'_>> {
    let mut list = List::none();
    for name in value.split(',') {
        let item = from_name(name).ok_or(ValueFault::UnknownName(name))?;
        if !list.push(item) {
            return Err(ValueFault::GivenTwice(name));
        }
    }
    Ok(list)
}

fn parse_cpu_counts(value: &str) -> Result<[u32; MAX_CPU_COUNTS], ValueFault<'_>> {
    let mut counts = [0; MAX_CPU_COUNTS];
    let mut last = 0;
    for (index, word) in value.split(',').enumerate() {
        let slot = counts.get_mut(index).ok_or(ValueFault::NotAscending)?;
        let number = parse_u64(word)?;
        *slot = u32::try_from(number).map_err(|_| ValueFault::OutOfRange)?;
        if *slot <= last {
            return Err(ValueFault::NotAscending);
        }
        last = *slot;
    }
    Ok(counts)
}

fn parse_rounds(value: &str) -> Result<u32, ValueFault<'_>> {
    let rounds = parse_u64(value)?;
    u32::try_from(rounds)
        .ok()
        .filter(|rounds| (1..=MAX_ROUNDS).contains(rounds))
        .ok_or(ValueFault::OutOfRange)
}

/// A number, decimal or behind `0x`.
pub(crate) fn parse_u64(value: &str) -> Result<u64, ValueFault<'_>> {
    let (digits, radix) = match value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (value, 10),
    };
    // The library's parser takes a sign, which has no meaning here.
    if digits.is_empty() || !digits.bytes().all(|byte| char::from(byte).is_digit(radix)) {
        return Err(ValueFault::NotANumber);
    }
    u64::from_str_radix(digits, radix).map_err(|_| ValueFault::OutOfRange)
}
