//! Parameters that a program registers: [`option!`](crate::option!).

use super::parameter::Parameter;
use super::value::ParameterValue;
use super::value_error::ValueError;
use crate::registry::Header;
#[cfg(target_os = "none")]
use crate::sync::SpinLockIrq as Lock;
#[cfg(not(target_os = "none"))]
use spin::Mutex as Lock;

/// The parameters that the program registers.
#[linkme::distributed_slice]
#[doc(hidden)]
pub static PARAMETERS: [Parameter];

/// Their names and purposes, for the launcher.
#[linkme::distributed_slice]
#[doc(hidden)]
pub static PARAMETER_NAMES: [Header];

/// The value of a parameter that a program registers. The command line sets it before the program runs.
pub struct Setting<T>(Lock<T>);

impl<T: ParameterValue + Copy> Setting<T> {
    /// A setting with its default.
    pub const fn new(default: T) -> Setting<T> {
        Setting(Lock::new(default))
    }

    /// Returns the value.
    ///
    /// **Context:** any but NMI.
    pub fn get(&self) -> T {
        *self.0.lock()
    }

    /// Takes a text of the command line as the value.
    ///
    /// **Context:** any but NMI.
    ///
    /// # Errors
    /// The text is no valid value; the old value remains.
    pub fn assign<'a>(&self, text: &'a str) -> Result<(), ValueError<'a>> {
        self.0.lock().assign(text)
    }
}

/// The parameters that the program registers. Miri has no linker, which makes the list.
pub fn registered() -> &'static [Parameter] {
    if cfg!(miri) { &[] } else { &PARAMETERS }
}

/// Registers parameters of the kernel command line, in any crate of the program: each is a static whose `get` returns the value. Its
/// type implements [`FromText`](crate::boot::command_line::FromText) or is an `Option` of one that does.
///
/// ```
/// octopod::option! {
///     /// How many items each CPU makes.
///     pub static COUNT: u64 = 1000, "count";
/// }
/// assert_eq!(COUNT.get(), 1000);
/// ```
///
/// `octopod run --append count=5` sets it, and `octopod list` shows the comment as its purpose. The kernel refuses a value that the type does not take, and a name that is registered
/// twice.
#[macro_export]
macro_rules! option {
    ($($(#[doc = $doc:literal])* $vis:vis static $item:ident: $type:ty = $default:expr, $name:literal;)*) => {$(
        $(#[doc = $doc])*
        $vis static $item: $crate::boot::command_line::Setting<$type> =
            $crate::boot::command_line::Setting::new($default);

        const _: () = {
            #[$crate::registry::linkme::distributed_slice($crate::boot::command_line::PARAMETERS)]
            #[linkme(crate = $crate::registry::linkme)]
            static PARAMETER: $crate::boot::command_line::Parameter = $crate::boot::command_line::Parameter {
                name: $name,
                summary: $crate::summary!($($doc)*),
                allowed: <$type as $crate::boot::command_line::ParameterValue>::describe,
                default: |f| {
                    let value: $type = $default;
                    $crate::boot::command_line::ParameterValue::write(&value, f)
                },
                set: ::core::option::Option::Some(|text| $item.assign(text)),
                place: ::core::option::Option::Some($crate::registry::Place {
                    file: ::core::file!(),
                    line: ::core::line!(),
                }),
            };

            #[$crate::registry::linkme::distributed_slice($crate::boot::command_line::PARAMETER_NAMES)]
            #[linkme(crate = $crate::registry::linkme)]
            static HEADER: $crate::registry::Header =
                $crate::registry::Header::new($name, $crate::summary!($($doc)*), ::core::file!(), ::core::line!());
        };
    )*};
}
