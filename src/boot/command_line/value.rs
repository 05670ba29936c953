//! The types that a parameter's value can have.

use core::fmt;
use core::time::Duration;

use super::ValueError;
use crate::boot::memory_map::PhysRange;
use crate::console::filter::Filter;
use crate::wire::Nonce;

/// The shortest time that a parameter takes, in milliseconds.
const MIN_MS: u32 = 1;
/// The longest time that a parameter takes, in milliseconds: a day.
const MAX_MS: u32 = 86_400_000;

/// A type whose values are parsed from text.
pub trait FromText: Sized {
    /// Parses the text, which is not empty.
    ///
    /// # Errors
    /// The text is no valid value.
    fn from_text(text: &str) -> Result<Self, ValueError<'_>>;

    /// Writes the value as text that [`from_text`](Self::from_text) parses.
    ///
    /// # Errors
    /// Those of the formatter.
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;

    /// Writes which texts are allowed.
    ///
    /// # Errors
    /// The errors of the formatter.
    fn describe(f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// A type that a parameter can have: each [`FromText`], and `Option` of one, which is `None` until the parameter is given.
pub trait ParameterValue {
    /// Takes the text, which is not empty, as the parameter's value.
    ///
    /// # Errors
    /// The text is no valid value; the old value remains.
    fn assign<'a>(&mut self, text: &'a str) -> Result<(), ValueError<'a>>;

    /// Writes the value as text that [`assign`](Self::assign) takes; nothing if there is no value.
    ///
    /// # Errors
    /// Those of the formatter.
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;

    /// Writes which texts are allowed.
    ///
    /// # Errors
    /// The errors of the formatter.
    fn describe(f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

impl<T: FromText> ParameterValue for T {
    fn assign<'a>(&mut self, text: &'a str) -> Result<(), ValueError<'a>> {
        *self = T::from_text(text)?;
        Ok(())
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::write(self, f)
    }

    fn describe(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::describe(f)
    }
}

impl<T: FromText> ParameterValue for Option<T> {
    fn assign<'a>(&mut self, text: &'a str) -> Result<(), ValueError<'a>> {
        *self = Some(T::from_text(text)?);
        Ok(())
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().map_or(Ok(()), |value| value.write(f))
    }

    fn describe(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::describe(f)
    }
}

/// Decimal, or hexadecimal after `0x`.
impl FromText for u64 {
    fn from_text(text: &str) -> Result<u64, ValueError<'_>> {
        parse_u64(text)
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }

    fn describe(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0 to 18446744073709551615, or 0x0 to 0xffffffffffffffff")
    }
}

/// Seconds with up to three decimals, from a millisecond to a day. Parsed as milliseconds: the kernel has no floating point.
impl FromText for Duration {
    fn from_text(text: &str) -> Result<Duration, ValueError<'_>> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(decimals) {
            return Err(ValueError::NotSeconds);
        }
        if decimals.len() > 3 {
            return Err(ValueError::TooManyDecimals);
        }
        // A number that does not fit into the integer is out of range as well.
        let seconds: u32 = whole.parse().map_err(|_| ValueError::OutOfRange)?;
        let digits: u32 = decimals.parse().map_err(|_| ValueError::OutOfRange)?;
        let thousandths = [100, 10, 1][decimals.len() - 1] * digits;
        let total = seconds.checked_mul(1000).and_then(|ms| ms.checked_add(thousandths));
        match total {
            Some(ms @ MIN_MS..=MAX_MS) => Ok(Duration::from_millis(ms.into())),
            _ => Err(ValueError::OutOfRange),
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.as_secs(), self.subsec_millis())
    }

    fn describe(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0.001 to 86400")
    }
}

/// A number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounded<const MIN: u32, const MAX: u32>(u32);

impl<const MIN: u32, const MAX: u32> Bounded<MIN, MAX> {
    /// Returns the number; `None` if it is out of bounds.
    pub const fn new(number: u32) -> Option<Self> {
        if MIN <= number && number <= MAX { Some(Bounded(number)) } else { None }
    }

    /// Returns the number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl<const MIN: u32, const MAX: u32> FromText for Bounded<MIN, MAX> {
    fn from_text(text: &str) -> Result<Self, ValueError<'_>> {
        let number = u32::try_from(parse_u64(text)?).map_err(|_| ValueError::OutOfRange)?;
        Bounded::new(number).ok_or(ValueError::OutOfRange)
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }

    fn describe(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MIN} to {MAX}")
    }
}

impl FromText for Filter {
    fn from_text(text: &str) -> Result<Filter, ValueError<'_>> {
        Filter::parse(text).map_err(ValueError::Filter)
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }

    fn describe(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a list of LEVEL and TARGET=LEVEL, as in smp=debug,info; levels off, error, warn, info, debug, trace",
        )
    }
}

impl FromText for Nonce {
    fn from_text(text: &str) -> Result<Nonce, ValueError<'_>> {
        Nonce::from_digits(text.as_bytes()).ok_or(ValueError::NotANonce)
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }

    fn describe(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("16 hexadecimal digits, not all 0")
    }
}

/// Up to `N` ranges of physical addresses. The parameter may be given several times, and each range counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranges<const N: usize> {
    /// Unused entries are empty ranges.
    ranges: [PhysRange; N],
}

impl<const N: usize> Ranges<N> {
    /// No ranges.
    pub const NONE: Ranges<N> = Ranges { ranges: [PhysRange::new(0, 0); N] };

    /// The ranges, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = &PhysRange> {
        self.ranges.iter().filter(|range| !range.is_empty())
    }
}

impl<const N: usize> ParameterValue for Ranges<N> {
    fn assign<'a>(&mut self, text: &'a str) -> Result<(), ValueError<'a>> {
        let (start, end) = text.split_once('-').ok_or(ValueError::NotARange)?;
        let range = PhysRange::new(parse_u64(start)?, parse_u64(end)?);
        if range.is_empty() {
            return Err(ValueError::NotARange);
        }
        let free = self.ranges.iter_mut().find(|slot| slot.is_empty());
        *free.ok_or(ValueError::TooManyRanges { most: N })? = range;
        Ok(())
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The parameter takes one range; more are given by repeating it.
        self.iter().next().map_or(Ok(()), |range| write!(f, "{:#x}-{:#x}", range.start, range.end))
    }

    fn describe(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("START-END, as in 0x8000-0x9000")
    }
}

/// Parses a number, decimal or hexadecimal after `0x`.
///
/// # Errors
/// [`ValueError::NotANumber`] or [`ValueError::OutOfRange`].
pub fn parse_u64(text: &str) -> Result<u64, ValueError<'_>> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    // `from_str_radix` would take a sign.
    if digits.is_empty() || !digits.bytes().all(|byte| char::from(byte).is_digit(radix)) {
        return Err(ValueError::NotANumber);
    }
    u64::from_str_radix(digits, radix).map_err(|_| ValueError::OutOfRange)
}
