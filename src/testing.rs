//! Tests that run in the kernel: [`octopod::test`](macro@crate::test) registers them, `cargo test` runs them.
//!
//! The launcher lists the tests of a kernel's file, boots the machine with the parameter `test.run`, and follows the records: one
//! when a test begins, one when it has passed or takes too long. A test that panics ends the machine, as every panic does; the launcher then boots
//! it again for the rest.

use core::fmt;
#[cfg(target_os = "none")]
use core::time::Duration;

use crate::boot::command_line::{FromText, ValueError};
#[cfg(target_os = "none")]
use crate::console;
use crate::registry::{Header, Text};
#[cfg(target_os = "none")]
use crate::smp::{self, WorkError};
#[cfg(target_os = "none")]
use crate::time::{
    self,
    timer::{self, TimerError},
};
#[cfg(target_os = "none")]
use crate::wire::{Record, TestPhase, TestStep};

/// A registered test.
#[doc(hidden)]
#[repr(C)]
#[derive(Debug)]
pub struct Test {
    /// Its name, with the path of its module, and its place.
    pub header: Header,
    /// Runs it. Returns if it has passed; otherwise panics.
    pub run: fn(),
    /// On how many CPUs it runs at once; 0 for all.
    pub cpus: u32,
    /// The longest time, in milliseconds.
    pub timeout_ms: u64,
    /// Whether it has to panic.
    pub should_panic: bool,
    /// Whether it runs only if it is asked for.
    pub ignore: bool,
    /// What the panic's message has to contain.
    pub expected: Text,
    /// The machine that it needs; empty for any.
    pub machine: Text,
}

/// All tests of the program, in the order in which the linker lays them out.
#[cfg(target_os = "none")]
#[linkme::distributed_slice]
#[doc(hidden)]
pub static TESTS: [Test];

/// What a test function returns.
pub trait Outcome {
    /// Returns if the test has passed.
    ///
    /// # Panics
    /// If it has failed.
    fn check(self);
}

impl Outcome for () {
    fn check(self) {}
}

impl<E: fmt::Debug> Outcome for Result<(), E> {
    #[track_caller]
    fn check(self) {
        if let Err(error) = self {
            panic!("the test returned an error: {error:?}");
        }
    }
}

/// Checks by the error's `Display`.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct ByDisplay;

impl ByDisplay {
    /// Returns if the test has passed.
    ///
    /// # Panics
    /// If it has failed.
    #[track_caller]
    pub fn check<E: fmt::Display>(self, returned: Result<(), E>) {
        if let Err(error) = returned {
            panic!("the test returned an error: {error}");
        }
    }
}

/// Checks by [`Outcome`].
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct ByOutcome;

impl ByOutcome {
    /// Returns if the test has passed.
    ///
    /// # Panics
    /// If it has failed.
    #[track_caller]
    pub fn check<T: Outcome>(self, returned: T) {
        returned.check();
    }
}

/// The way to check a `Result` whose error implements `Display`. For `(&returned).way()` the compiler looks for a method of this trait
/// first, as it takes the reference as it is; [`WayOfOutcome`] takes a reference to the reference.
#[doc(hidden)]
pub trait WayOfDisplay {
    /// The way.
    fn way(&self) -> ByDisplay {
        ByDisplay
    }
}

impl<E: fmt::Display> WayOfDisplay for Result<(), E> {}

/// The way to check any other result of a test.
#[doc(hidden)]
pub trait WayOfOutcome {
    /// The way.
    fn way(&self) -> ByOutcome {
        ByOutcome
    }
}

impl<T: Outcome> WayOfOutcome for &T {}

/// The most ranges of a [`TestList`].
#[doc(hidden)]
pub const MAX_RANGES: usize = 16;

/// Numbers of tests, as ranges in ascending order: `0-3,7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(hidden)]
pub struct TestList {
    /// First and last of each range; the first `count` count.
    ranges: [(u16, u16); MAX_RANGES],
    count: usize,
}

impl TestList {
    /// The list of these numbers, which ascend, as far as they fit: the numbers that are left do not.
    pub fn of(numbers: &[u16]) -> (TestList, &[u16]) {
        let mut list = TestList { ranges: [(0, 0); MAX_RANGES], count: 0 };
        for (index, &number) in numbers.iter().enumerate() {
            match list.ranges[..list.count].last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
                _ if list.count < MAX_RANGES => {
                    list.ranges[list.count] = (number, number);
                    list.count += 1;
                }
                _ => return (list, &numbers[index..]),
            }
        }
        (list, &[])
    }

    /// The numbers, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.ranges[..self.count].iter().flat_map(|&(first, last)| first..=last)
    }
}

impl FromText for TestList {
    fn from_text(text: &str) -> Result<TestList, ValueError<'_>> {
        let mut list = TestList { ranges: [(0, 0); MAX_RANGES], count: 0 };
        for range in text.split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let number = |text: &str| text.parse::<u16>().map_err(|_| ValueError::OutOfRange);
            let (first, last) = (number(first)?, number(last)?);
            let previous = list.ranges[..list.count].last().map(|(_, last)| *last);
            if last < first || previous.is_some_and(|previous| first <= previous) || list.count == MAX_RANGES
            {
                return Err(ValueError::OutOfRange);
            }
            list.ranges[list.count] = (first, last);
            list.count += 1;
        }
        Ok(list)
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.ranges[..self.count].iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }

    fn describe(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "up to {MAX_RANGES} numbers and ranges of them from 0 to 65535, ascending, as in 0-3,7")
    }
}

crate::parameters! {
    /// Parameters of the tests.
    #[doc(hidden)]
    pub struct TestParameters {
        /// The numbers of the tests to run, in the order of the kernel's file; all without it.
        pub run: Option<TestList> = None, "test.run";
    }
}

/// Why tests did not run to their end, other than by a panic.
#[cfg(target_os = "none")]
#[derive(Clone, Copy, Debug)]
pub enum TestError {
    /// The parameter names a test that the program does not have.
    NoSuchTest {
        /// The number.
        number: u16,
        /// How many there are.
        tests: usize,
    },
    /// A test needs more CPUs than are online.
    TooFewCpus {
        /// The test's name.
        name: &'static str,
        /// How many it needs.
        needs: usize,
        /// How many are online.
        online: usize,
    },
    /// A test did not run on all its CPUs.
    Work(WorkError),
    /// There is no memory for the timer of a test's limit.
    Timer(TimerError),
}

#[cfg(target_os = "none")]
impl fmt::Display for TestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TestError::NoSuchTest { number, tests } => {
                write!(f, "test.run: there is no test {number}, of {tests}")
            }
            TestError::TooFewCpus { name, needs, online } => {
                write!(f, "the test {name} needs {needs} CPUs, and {online} are online")
            }
            TestError::Work(error) => error.fmt(f),
            TestError::Timer(error) => error.fmt(f),
        }
    }
}

/// Runs the tests of the list, or all, one after the other.
///
/// **Context:** the thread of the BSP, interrupts on.
///
/// # Errors
/// See [`TestError`].
///
/// # Panics
/// If a test fails.
#[cfg(target_os = "none")]
pub(crate) fn run(list: Option<&TestList>) -> Result<(), TestError> {
    match list {
        Some(list) => list.iter().try_for_each(run_one),
        None => (0..=u16::MAX).take(TESTS.len()).try_for_each(run_one),
    }
}

#[cfg(target_os = "none")]
fn run_one(number: u16) -> Result<(), TestError> {
    let Some(test) = TESTS.get(usize::from(number)) else {
        return Err(TestError::NoSuchTest { number, tests: TESTS.len() });
    };
    let online = smp::online().count();
    let needs = if test.cpus == 0 { online } else { test.cpus as usize };
    if needs > online {
        return Err(TestError::TooFewCpus { name: test.header.name.as_str(), needs, online });
    }
    send_step(number, TestPhase::Begun);
    log::info!("test {}", test.header.name.as_str());
    // The panic is in the interrupt, so its backtrace goes on in the code that hangs. Where interrupts are off, the launcher's
    // limit ends the run.
    let timer = timer::after(Duration::from_millis(test.timeout_ms), give_up, number.into());
    let timer = timer.map_err(TestError::Timer)?;
    if needs == 1 {
        (test.run)();
    } else {
        // The timer ends a test that hangs: a panic of `on_each_cpu` would be taken for the test's own.
        smp::on_each_cpu(test.timeout_ms.saturating_mul(2), &|cpu| {
            if cpu.rank().is_some_and(|rank| rank < needs) {
                (test.run)();
            }
        })
        .map_err(TestError::Work)?;
    }
    timer::cancel(timer);
    send_step(number, TestPhase::Passed);
    Ok(())
}

/// Sends the record of a step.
#[cfg(target_os = "none")]
fn send_step(number: u16, phase: TestPhase) {
    console::send(&Record::Test(TestStep { number: number.into(), phase, us: time::now_us() }));
}

/// Ends a test that takes too long.
#[cfg(target_os = "none")]
fn give_up(expiry: &timer::Expiry) {
    if let Some(test) = TESTS.get(expiry.data) {
        let Header { name, file, line, .. } = &test.header;
        let (name, file) = (name.as_str(), file.as_str());
        // A test that should panic does not pass by this panic.
        send_step(expiry.data as u16, TestPhase::TimedOut);
        panic!("the test {name} at {file}:{line} has not ended within {} ms", test.timeout_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    extern crate std;
    use std::string::ToString;
    use std::vec::Vec;

    fn text(list: &TestList) -> std::string::String {
        fmt::from_fn(|f| FromText::write(list, f)).to_string()
    }

    #[test]
    fn numbers_are_ranges_and_back() {
        for (numbers, ranges) in [(&[0u16, 1, 2, 3, 7][..], "0-3,7"), (&[5], "5"), (&[1, 3, 4], "1,3-4")] {
            let (list, rest) = TestList::of(numbers);
            assert!(rest.is_empty());
            assert_eq!(text(&list), ranges);
            assert_eq!(TestList::from_text(ranges), Ok(list));
            assert_eq!(list.iter().collect::<Vec<_>>(), numbers);
        }
        let every_second: Vec<u16> = (0..50).map(|number| number * 2).collect();
        let (list, rest) = TestList::of(&every_second);
        assert_eq!((list.iter().count(), rest.len()), (MAX_RANGES, 50 - MAX_RANGES));
    }

    #[test]
    fn other_lists_are_refused() {
        let too_many = (0..=MAX_RANGES).map(|number| (number * 2).to_string()).collect::<Vec<_>>().join(",");
        for wrong in ["3-1", "1,1", "2,1", "a", "", "1-", "70000", too_many.as_str()] {
            assert!(TestList::from_text(wrong).is_err(), "{wrong}");
        }
    }
}
