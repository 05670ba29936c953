//! Parts of the self-test that a program registers: [`self_test!`](crate::self_test!).

use super::part::Part;
use crate::registry::Header;

#[cfg(not(target_os = "none"))]
extern crate std;

/// The most parts that a program can register.
pub const MAX_REGISTERED: usize = 16;

/// The parts that the program registers.
#[linkme::distributed_slice]
pub static SELF_TESTS: [&'static Part];

/// Their names, for the launcher.
#[linkme::distributed_slice]
pub static SELF_TEST_NAMES: [Header];

/// The parts of a kernel's file, whose names the launcher has read.
#[cfg(not(target_os = "none"))]
static LEARNED: std::sync::OnceLock<std::vec::Vec<&'static Part>> = std::sync::OnceLock::new();

/// Makes the parts of a kernel's file known, each by name and purpose, so that command lines can name them. Only the first call has
/// an effect.
#[cfg(not(target_os = "none"))]
pub fn learn(names: impl IntoIterator<Item = (std::string::String, std::string::String)>) {
    let part = |(name, summary): (std::string::String, std::string::String)| -> &'static Part {
        std::boxed::Box::leak(std::boxed::Box::new(Part { name: name.leak(), summary: summary.leak() }))
    };
    LEARNED.get_or_init(|| names.into_iter().map(part).collect());
}

/// The parts that the program registers.
#[cfg(target_os = "none")]
pub(super) fn registered() -> &'static [&'static Part] {
    &SELF_TESTS
}

/// The parts that the program registers: those of the kernel's file, once they are known.
#[cfg(not(target_os = "none"))]
pub(super) fn registered() -> &'static [&'static Part] {
    // Miri has no linker, which makes the list.
    let own: &[_] = if cfg!(miri) { &[] } else { &SELF_TESTS };
    LEARNED.get().map_or(own, |learned| learned)
}

/// Registers a part of the self-test, in any crate of the program. `work=selftest` runs it after those of octopod, and
/// `selftest.parts=NAME` alone.
///
/// ```ignore
/// use octopod::selftest::failed;
///
/// octopod::self_test! {
///     /// Each CPU's queue counts what was put into it.
///     QUEUES = "queues", |rounds| {
///         for round in 0..rounds {
///             queue::push(round);
///             if queue::pop() != Some(round) {
///                 return Err(failed(format_args!("round {round}: another item came back")));
///             }
///         }
///         Ok(())
///     }
/// }
/// ```
///
/// The function gets the number of `selftest.rounds=`, and returns [`CheckResult`](crate::selftest::CheckResult); `?` turns any error
/// that can be displayed into a failed check. Interrupt handlers that it replaces must be restored. `octopod boot --append work=selftest`
/// builds the kernel with octopod's feature `selftest`; without it the command line cannot select the self-test.
///
/// A self-test and a [`test`](macro@crate::test) differ in what they are for. A test is built by `cargo test` alone, and each may
/// have a machine of its own. A self-test is in the kernel itself, and a row of the boot matrix runs it together with octopod's on each
/// machine.
///
/// **Context:** the thread of the BSP, interrupts on, while all APs wait for work.
#[macro_export]
macro_rules! self_test {
    ($(#[doc = $doc:literal])* $vis:vis $item:ident = $name:literal, $run:expr $(,)?) => {
        $(#[doc = $doc])*
        $vis static $item: $crate::selftest::Part =
            $crate::selftest::Part { name: $name, summary: $crate::summary!($($doc)*), run: $run };

        const _: () = {
            #[$crate::registry::linkme::distributed_slice($crate::selftest::SELF_TESTS)]
            #[linkme(crate = $crate::registry::linkme)]
            static REGISTERED: &'static $crate::selftest::Part = &$item;

            #[$crate::registry::linkme::distributed_slice($crate::selftest::SELF_TEST_NAMES)]
            #[linkme(crate = $crate::registry::linkme)]
            static HEADER: $crate::registry::Header =
                $crate::registry::Header::new($name, $crate::summary!($($doc)*), ::core::file!(), ::core::line!());
        };
    };
}
