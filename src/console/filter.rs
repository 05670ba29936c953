//! The log filter: `log=smp=debug,info`. Pure: the launcher parses `--log` by this code, the kernel its command line.

use core::fmt;

use log::{Level, LevelFilter};

use super::truncated::TruncatedText;

/// The most rules in a filter.
pub const MAX_RULES: usize = 8;

/// The longest target of a rule, in bytes.
pub const MAX_TARGET_BYTES: usize = 40;

/// The prefix of this crate's targets, omitted in lines and filters.
const OWN: &str = "octopod::";

/// The default level.
const DEFAULT: LevelFilter = LevelFilter::Info;

/// Levels for some targets, and one for all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Rules from index `count` on are empty, so that equal filters have equal bytes.
    rules: [Rule; MAX_RULES],
    count: usize,
    rest: LevelFilter,
}

/// The level of a module and its submodules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    bytes: [u8; MAX_TARGET_BYTES],
    length: usize,
    level: LevelFilter,
}

/// Why a filter is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterError<'a> {
    /// This text is not a level.
    NotALevel(&'a str),
    /// This text is not a path of module names, or is too long.
    NotATarget(&'a str),
    /// This target, or the level for all others, is given twice.
    GivenTwice(&'a str),
    /// More than [`MAX_RULES`] targets.
    TooManyRules,
}

impl fmt::Display for FilterError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FilterError::NotALevel(word) => write!(f, "\"{}\" is not a level", TruncatedText(word)),
            FilterError::NotATarget(word) => {
                write!(
                    f,
                    "\"{}\" is not a module's path of at most {MAX_TARGET_BYTES} bytes",
                    TruncatedText(word)
                )
            }
            FilterError::GivenTwice(word) => write!(f, "\"{}\" is given twice", TruncatedText(word)),
            FilterError::TooManyRules => write!(f, "more than {MAX_RULES} targets"),
        }
    }
}

impl core::error::Error for FilterError<'_> {}

/// As [`Filter::parse`] reads it.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for rule in self.rules() {
            write!(f, "{}={},", rule.target(), name_of(rule.level))?;
        }
        f.write_str(name_of(self.rest))
    }
}

impl Default for Filter {
    fn default() -> Filter {
        Filter::only(DEFAULT)
    }
}

impl Filter {
    /// Creates a filter with one level for all targets.
    pub const fn only(rest: LevelFilter) -> Filter {
        let none = Rule { bytes: [0; MAX_TARGET_BYTES], length: 0, level: LevelFilter::Off };
        Filter { rules: [none; MAX_RULES], count: 0, rest }
    }

    /// Parses `LEVEL` and `TARGET=LEVEL`, separated by commas, each target at most once.
    ///
    /// # Errors
    /// [`FilterError`] for the first invalid word.
    pub fn parse(text: &str) -> Result<Filter, FilterError<'_>> {
        let mut filter = Filter::default();
        let mut has_rest = false;
        for word in text.split(',') {
            let Some((target, level)) = word.split_once('=') else {
                filter.rest = level_of(word)?;
                if core::mem::replace(&mut has_rest, true) {
                    return Err(FilterError::GivenTwice(word));
                }
                continue;
            };
            let rule = Rule::new(target, level_of(level)?).ok_or(FilterError::NotATarget(target))?;
            if filter.rules().any(|known| known.target() == rule.target()) {
                return Err(FilterError::GivenTwice(target));
            }
            *filter.rules.get_mut(filter.count).ok_or(FilterError::TooManyRules)? = rule;
            filter.count += 1;
        }
        Ok(filter)
    }

    /// The level of a target: that of the longest rule that names the target or a module that contains it.
    pub fn level_for(&self, target: &str) -> LevelFilter {
        let target = short(target);
        let matching = self.rules().filter(|rule| rule.covers(target));
        matching.max_by_key(|rule| rule.length).map_or(self.rest, |rule| rule.level)
    }

    /// Whether a line of this level and target is shown.
    pub fn shows(&self, level: Level, target: &str) -> bool {
        level <= self.level_for(target)
    }

    /// The most verbose level of all targets.
    pub fn most(&self) -> LevelFilter {
        self.rules().map(|rule| rule.level).fold(self.rest, Ord::max)
    }

    /// The targets of the rules.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        self.rules().map(Rule::target)
    }

    fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules[..self.count].iter()
    }
}

impl Rule {
    fn new(target: &str, level: LevelFilter) -> Option<Rule> {
        let target = short(target);
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        if target.len() > MAX_TARGET_BYTES || !target.split("::").all(is_name) {
            return None;
        }
        let mut bytes = [0; MAX_TARGET_BYTES];
        bytes[..target.len()].copy_from_slice(target.as_bytes());
        Some(Rule { bytes, length: target.len(), level })
    }

    fn target(&self) -> &str {
        // `new` copies whole strings, so the bytes are UTF-8.
        str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }

    fn covers(&self, target: &str) -> bool {
        let below = target.strip_prefix(self.target());
        below.is_some_and(|below| below.is_empty() || below.starts_with("::"))
    }
}

/// Removes this crate's name from a target.
pub fn short(target: &str) -> &str {
    target.strip_prefix(OWN).unwrap_or(target)
}

/// The top-level module of a target, which log lines show.
pub fn top(target: &str) -> &str {
    let target = short(target);
    target.split_once("::").map_or(target, |(top, _)| top)
}

/// The name of a level, as filters have it.
fn name_of(level: LevelFilter) -> &'static str {
    ["off", "error", "warn", "info", "debug", "trace"][level as usize]
}

fn level_of(name: &str) -> Result<LevelFilter, FilterError<'_>> {
    name.parse().map_err(|_| FilterError::NotALevel(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rule_covers_its_module_and_submodules() {
        let filter = Filter::parse("smp=debug,smp::nmi=off,warn").unwrap();
        for (target, level) in [
            ("octopod::smp", LevelFilter::Debug),
            ("octopod::smp::bring_up::rounds", LevelFilter::Debug),
            ("smp", LevelFilter::Debug),
            ("octopod::smp::nmi", LevelFilter::Off),
            ("octopod::smp::nmi::deep", LevelFilter::Off),
            ("octopod::smp::nmis", LevelFilter::Debug),
            ("octopod::smpx", LevelFilter::Warn),
            ("octopod", LevelFilter::Warn),
            ("hello", LevelFilter::Warn),
        ] {
            assert_eq!(filter.level_for(target), level, "{target}");
        }
        assert!(filter.shows(Level::Debug, "octopod::smp") && !filter.shows(Level::Trace, "octopod::smp"));
        assert!(!filter.shows(Level::Error, "octopod::smp::nmi"));
    }

    #[test]
    fn order_of_rules_does_not_matter() {
        let one = Filter::parse("smp::nmi=trace,smp=error").unwrap();
        let other = Filter::parse("smp=error,smp::nmi=trace").unwrap();
        for target in ["smp", "smp::nmi", "smp::call", "time"] {
            assert_eq!(one.level_for(target), other.level_for(target));
        }
        assert_eq!(one.level_for("time"), LevelFilter::Info);
        assert_eq!(one.most(), LevelFilter::Trace);
        assert_eq!(Filter::parse("OFF").unwrap().most(), LevelFilter::Off);
        assert_eq!(Filter::default(), Filter::parse("info").unwrap());
    }

    #[test]
    fn invalid_filters_are_rejected() {
        for (text, error) in [
            ("", FilterError::NotALevel("")),
            ("debgu", FilterError::NotALevel("debgu")),
            ("smp=", FilterError::NotALevel("")),
            ("smp=info=debug", FilterError::NotALevel("info=debug")),
            ("info,", FilterError::NotALevel("")),
            ("=info", FilterError::NotATarget("")),
            ("smp:nmi=info", FilterError::NotATarget("smp:nmi")),
            ("smp::=info", FilterError::NotATarget("smp::")),
            ("info,debug", FilterError::GivenTwice("debug")),
            ("smp=info,octopod::smp=debug", FilterError::GivenTwice("octopod::smp")),
            ("a=off,b=off,c=off,d=off,e=off,f=off,g=off,h=off,i=off", FilterError::TooManyRules),
        ] {
            assert_eq!(Filter::parse(text), Err(error), "{text}");
        }
        let longest = "m".repeat(MAX_TARGET_BYTES);
        assert!(Filter::parse(&format!("{longest}=info")).is_ok());
        assert!(Filter::parse(&format!("{longest}m=info")).is_err());
    }

    #[test]
    fn line_shows_the_top_level_module() {
        for (target, shown) in
            [("octopod::smp::nmi", "smp"), ("octopod", "octopod"), ("hello::deep", "hello"), ("", "")]
        {
            assert_eq!(top(target), shown);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_rejected(text in "[a-z:=,_ é]{0,60}", target in "[a-z:]{0,20}") {
            if let Ok(filter) = Filter::parse(&text) {
                prop_assert!(filter.level_for(&target) <= filter.most());
            }
        }
    }
}
