//! The values of options. Each is checked where it is parsed; its error states what is allowed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use octopod::boot::module_archive::NAME_BYTES;
use octopod::console::filter::Filter;

/// The reason why a value was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not a CPU count and QEMU properties.
    #[error("allowed: a number from 1 to {MAX_CPUS}, and QEMU's {} as KEY=NUMBER, as in 6,sockets=2,cores=3,threads=1", SMP_KEYS.join(", "))]
    Smp,
    /// Not a size.
    #[error("allowed: a whole number with K, M (the default), G or T, as in 128M")]
    MemSize,
    /// Not a time.
    #[error("allowed: from 0.001 to 86400 seconds, with up to three decimals")]
    Seconds,
    /// Not a seed.
    #[error("allowed: a whole number up to 64 bits, decimal or as 0x1f")]
    Seed,
    /// Not a machine that octopod knows.
    #[error("allowed: {}, and QEMU's machine properties behind a comma, as in microvm,acpi=off", MACHINES.join(", "))]
    Machine,
    /// Would not stay one word on the kernel's command line.
    #[error("allowed: letters, digits, '-', '_' and '.'")]
    Word,
    /// Would be refused by the kernel.
    #[error(
        "{0}; allowed: LEVEL and TARGET=LEVEL, as in smp=debug,info, the levels off, error, warn, info, debug, trace"
    )]
    LogFilter(String),
    /// Not a module.
    #[error(
        "allowed: FILE or FILE=NAME; a NAME, which is the file's own by default, has up to {NAME_BYTES} letters, digits, '-', '_' and '.'"
    )]
    Module,
    /// Would not stay one line.
    #[error("allowed: printable characters on one line")]
    Line,
}

/// The highest CPU count that a QEMU machine takes today (q35 in QEMU 10).
const MAX_CPUS: u32 = 4096;
/// A day.
const MAX_SECONDS: Duration = Duration::from_secs(86_400);
const SMP_KEYS: [&str; 9] =
    ["cpus", "maxcpus", "sockets", "dies", "clusters", "modules", "cores", "threads", "drawers"];
const MACHINES: [&str; 3] = ["pc", "q35", "microvm"];

/// The value of QEMU's `-smp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smp(String);

impl Smp {
    /// Returns the number of CPUs that the machine can have: those that it starts with, and those that can be plugged in.
    pub fn cpus(&self) -> u32 {
        let of = |wanted: &str| {
            let pairs = self.0.split(',').filter_map(|part| part.split_once('='));
            pairs.filter(|(key, _)| *key == wanted).find_map(|(_, number)| number.parse::<u32>().ok())
        };
        let plain = self.0.split(',').next().and_then(|part| part.parse().ok());
        let topology = SMP_KEYS.iter().filter(|key| !["cpus", "maxcpus"].contains(key));
        let product = topology.filter_map(|key| of(key)).fold(1, u32::saturating_mul);
        let first = plain.or_else(|| of("cpus")).unwrap_or(product);
        of("maxcpus").unwrap_or(first).max(first)
    }
}

impl Default for Smp {
    fn default() -> Smp {
        Smp("8".to_owned())
    }
}

impl FromStr for Smp {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Smp, ValueError> {
        for (place, part) in text.split(',').enumerate() {
            let number = match part.split_once('=') {
                Some((key, number)) if SMP_KEYS.contains(&key) => number,
                None if place == 0 => part,
                _ => return Err(ValueError::Smp),
            };
            match number.parse() {
                Ok(1..=MAX_CPUS) => {}
                _ => return Err(ValueError::Smp),
            }
        }
        Ok(Smp(text.to_owned()))
    }
}

/// The value of QEMU's `-m`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemSize {
    text: String,
    bytes: u64,
}

impl MemSize {
    /// The size in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Default for MemSize {
    fn default() -> MemSize {
        MemSize { text: "128M".to_owned(), bytes: 128 << 20 }
    }
}

impl FromStr for MemSize {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<MemSize, ValueError> {
        let (digits, shift) = match text.char_indices().next_back() {
            Some((at, 'K' | 'k')) => (&text[..at], 10),
            Some((at, 'M' | 'm')) => (&text[..at], 20),
            Some((at, 'G' | 'g')) => (&text[..at], 30),
            Some((at, 'T' | 't')) => (&text[..at], 40),
            _ => (text, 20),
        };
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ValueError::MemSize);
        }
        let number: u64 = digits.parse().map_err(|_| ValueError::MemSize)?;
        match number.checked_mul(1 << shift) {
            Some(bytes) if bytes > 0 && bytes <= i64::MAX as u64 => {
                Ok(MemSize { text: text.to_owned(), bytes })
            }
            _ => Err(ValueError::MemSize),
        }
    }
}

/// A time in seconds, as the kernel reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seconds {
    text: String,
    time: Duration,
}

impl Seconds {
    /// The time.
    pub fn time(&self) -> Duration {
        self.time
    }
}

impl FromStr for Seconds {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Seconds, ValueError> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || decimals.len() > 3 {
            return Err(ValueError::Seconds);
        }
        let time = Duration::try_from_secs_f64(text.parse().map_err(|_| ValueError::Seconds)?);
        match time.map_err(|_| ValueError::Seconds)? {
            time if time >= Duration::from_millis(1) && time <= MAX_SECONDS => {
                Ok(Seconds { text: text.to_owned(), time })
            }
            _ => Err(ValueError::Seconds),
        }
    }
}

/// The seed of random choices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed(String);

impl FromStr for Seed {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Seed, ValueError> {
        let (digits, radix) = text.strip_prefix("0x").map_or((text, 10), |digits| (digits, 16));
        // The library's parser takes a sign.
        match u64::from_str_radix(digits, radix) {
            Ok(_) if !digits.starts_with('+') => Ok(Seed(text.to_owned())),
            _ => Err(ValueError::Seed),
        }
    }
}

/// The value of QEMU's `-M`: a machine that octopod supports, and properties that the user adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineType {
    text: String,
    name: &'static str,
}

impl MachineType {
    /// `pc`, `q35` or `microvm`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The user's properties after the name, with the comma.
    pub fn properties(&self) -> &str {
        &self.text[self.name.len()..]
    }
}

impl Default for MachineType {
    fn default() -> MachineType {
        MachineType { text: "q35".to_owned(), name: "q35" }
    }
}

impl FromStr for MachineType {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<MachineType, ValueError> {
        let (name, properties) = text.split_once(',').unwrap_or((text, "a=b"));
        let name = MACHINES.into_iter().find(|known| *known == name).ok_or(ValueError::Machine)?;
        let well_formed =
            properties.split(',').all(|pair| pair.split_once('=').is_some_and(|(key, _)| !key.is_empty()));
        if !well_formed {
            return Err(ValueError::Machine);
        }
        Ok(MachineType { text: text.to_owned(), name })
    }
}

/// One word of the kernel's command line: a workload, a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word(String);

impl Word {
    /// The word.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Word {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Word, ValueError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if text.is_empty() || !text.chars().all(plain) {
            return Err(ValueError::Word);
        }
        Ok(Word(text.to_owned()))
    }
}

/// The filter of the kernel's log: read here by the kernel's own code, so that a wrong one costs no boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl FromStr for LogFilter {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<LogFilter, ValueError> {
        match Filter::parse(text) {
            Ok(_) => Ok(LogFilter(text.to_owned())),
            Err(error) => Err(ValueError::LogFilter(error.to_string())),
        }
    }
}

/// The largest module.
pub const MAX_MODULE_BYTES: u64 = 1 << 30;

/// A file for the kernel: `FILE[=NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleFile {
    /// The file.
    pub path: PathBuf,
    /// The name by which the kernel finds it.
    pub name: String,
}

impl FromStr for ModuleFile {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<ModuleFile, ValueError> {
        let (path, name) = match text.rsplit_once('=') {
            Some((path, name)) => (path, Some(name)),
            None => (text, None),
        };
        let name = name.or(Path::new(path).file_name().and_then(|name| name.to_str()));
        let name = name.and_then(|name| name.parse::<Word>().ok()).ok_or(ValueError::Module)?.0;
        match path.is_empty() || name.len() > NAME_BYTES {
            true => Err(ValueError::Module),
            false => Ok(ModuleFile { path: path.into(), name }),
        }
    }
}

/// Any one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line(String);

impl FromStr for Line {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Line, ValueError> {
        if text.chars().any(char::is_control) {
            return Err(ValueError::Line);
        }
        Ok(Line(text.to_owned()))
    }
}

macro_rules! displayed_as {
    ($($name:ident . $field:tt),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.$field)
            }
        }
    )*};
}
displayed_as!(Smp.0, MemSize.text, Seconds.text, Seed.0, MachineType.text, Word.0, LogFilter.0, Line.0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_what_the_kernel_takes() {
        assert_eq!("smp=debug,info".parse::<LogFilter>().unwrap().to_string(), "smp=debug,info");
        for bad in ["", "smp=", "loud", "smp=info,smp=off", "smp=info memory=info"] {
            assert!(matches!(bad.parse::<LogFilter>(), Err(ValueError::LogFilter(_))), "{bad:?}");
        }
    }

    #[test]
    fn a_module_has_the_name_of_its_file_or_another() {
        for (text, path, name) in
            [("a/b.bin", "a/b.bin", "b.bin"), ("a b=c", "a b", "c"), ("a=b=c", "a=b", "c"), ("/a", "/a", "a")]
        {
            let module = text.parse::<ModuleFile>().unwrap();
            assert_eq!((module.path.to_str().unwrap(), &*module.name), (path, name), "{text}");
        }
        let long = format!("a={}", "x".repeat(NAME_BYTES + 1));
        for bad in ["", "=a", "a=", "a b", "a=b c", "..", "\u{e4}", &long] {
            assert_eq!(bad.parse::<ModuleFile>(), Err(ValueError::Module), "{bad:?}");
        }
    }

    #[test]
    fn smp_takes_a_number_and_qemus_keys() {
        for valid in ["1", "8", "4096", "6,sockets=2,cores=3,threads=1", "2,maxcpus=4", "cpus=3"] {
            assert_eq!(valid.parse::<Smp>().unwrap().to_string(), valid);
        }
        for bad in ["", "0", "4097", "-1", "eight", "4,", "4,8", "4,sockets", "4,sockets=", "4,legs=8", "1 "]
        {
            assert_eq!(bad.parse::<Smp>(), Err(ValueError::Smp), "{bad:?}");
        }
    }

    #[test]
    fn the_cpus_of_a_topology_are_counted() {
        for (text, cpus) in [
            ("8", 8),
            ("6,sockets=2,cores=3,threads=1", 6),
            ("2,maxcpus=4", 4),
            ("cpus=3", 3),
            ("sockets=2,cores=3,threads=2", 12),
        ] {
            assert_eq!(text.parse::<Smp>().unwrap().cpus(), cpus, "{text}");
        }
    }

    #[test]
    fn mem_sizes_are_mebibytes_without_a_suffix() {
        for (good, bytes) in [("64", 64 << 20), ("8192K", 8 << 20), ("128M", 128 << 20), ("16T", 16 << 40)] {
            assert_eq!(good.parse::<MemSize>().unwrap().bytes(), bytes);
        }
        for bad in ["", "M", "0", "0M", "-1M", "+1M", "1.5G", "128MB", "128Mi", "99999999999T", "é"] {
            assert_eq!(bad.parse::<MemSize>(), Err(ValueError::MemSize), "{bad:?}");
        }
    }

    #[test]
    fn seconds_have_three_decimals_at_most() {
        for (good, millis) in [("1", 1_000), ("0.25", 250), ("0.001", 1), ("86400", 86_400_000)] {
            assert_eq!(good.parse::<Seconds>().unwrap().time(), Duration::from_millis(millis));
        }
        for bad in ["", "0", "0.0001", "1.", ".5", "-1", "+1", "1e3", "86400.001", "86401", "inf"] {
            assert_eq!(bad.parse::<Seconds>(), Err(ValueError::Seconds), "{bad:?}");
        }
    }

    #[test]
    fn seeds_are_decimal_or_hexadecimal() {
        for valid in ["0", "7", "0xFf", "18446744073709551615"] {
            assert_eq!(valid.parse::<Seed>().unwrap().to_string(), valid);
        }
        for bad in ["", "0x", "+7", "0x+7", "-1", "ff", "18446744073709551616"] {
            assert_eq!(bad.parse::<Seed>(), Err(ValueError::Seed), "{bad:?}");
        }
    }

    #[test]
    fn a_machine_may_have_properties() {
        let machine: MachineType = "microvm,acpi=off,pit=on".parse().unwrap();
        assert_eq!((machine.name(), machine.properties()), ("microvm", ",acpi=off,pit=on"));
        assert_eq!("q35".parse::<MachineType>().unwrap().properties(), "");
        for bad in ["", "isapc", "q35,", "q35,acpi", "Q35", "q35 ", "q35,=on"] {
            assert_eq!(bad.parse::<MachineType>(), Err(ValueError::Machine), "{bad:?}");
        }
    }

    #[test]
    fn words_and_lines_stay_one() {
        assert!("no_tlb-flush.2".parse::<Word>().is_ok());
        for bad in ["", "a b", "a=b", "a,b", "ä"] {
            assert!(bad.parse::<Word>().is_err(), "{bad:?}");
        }
        assert!("log=debug acpi_rsdp=0x6000000".parse::<Line>().is_ok());
        assert!("a\nb".parse::<Line>().is_err());
    }
}
