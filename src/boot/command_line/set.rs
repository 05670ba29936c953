//! Sets of parameters, and the parser.

use super::error::CommandLineError;
use super::line::{as_text, next_word};
use super::parameter::{MAX_SETS, ParameterList};
use super::registered::registered;
use super::value_error::ValueError;

/// Parameters and their values. [`parameters!`](crate::parameters!) implements it for a structure.
pub trait ParameterSet {
    /// The parameters of this set. Behind a thin pointer, so that an error can hold those of all sets.
    fn parameters(&self) -> &'static ParameterList;

    /// Sets the parameter of this name. A name that is not in [`parameters`](Self::parameters) is ignored.
    ///
    /// # Errors
    /// The parameter does not take this value.
    fn set<'a>(&mut self, name: &str, value: &'a str) -> Result<(), ValueError<'a>>;
}

const NONE: ParameterList = &[];

/// What to do with a parameter that no set declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Refuse the line.
    Refuse,
    /// Skip it: another program may have registered it.
    Skip,
}

/// Parses a command line, without its final zero byte, into the sets that declare its parameters.
///
/// **Context:** any; neither allocates nor locks.
///
/// # Errors
/// The first word that is wrong. The parameters before it have been set.
///
/// # Panics
/// With more than [`MAX_SETS`] sets.
pub fn parse<'a>(
    line: &'a [u8],
    sets: &mut [&mut dyn ParameterSet],
    unknown: Unknown,
) -> Result<(), CommandLineError<'a>> {
    let mut known: [&'static ParameterList; MAX_SETS] = [&NONE; MAX_SETS];
    for (slot, set) in known[..sets.len()].iter_mut().zip(sets.iter()) {
        *slot = set.parameters();
    }
    let find = |name: &str| {
        let of_sets = known.iter().enumerate().flat_map(|(set, list)| list.iter().map(move |one| (set, one)));
        let mut all = of_sets.chain(registered().iter().map(|one| (MAX_SETS, one)));
        all.find(|(_, parameter)| parameter.name == name)
    };
    let mut rest = as_text(line)?;
    while let Some((word, after)) = next_word(rest)? {
        rest = after;
        let Some((set, parameter)) = find(word.name) else {
            if unknown == Unknown::Skip {
                continue;
            }
            return Err(CommandLineError::UnknownParameter { name: word.name, known });
        };
        let Some(value) = word.value else {
            return Err(CommandLineError::MissingValue { parameter });
        };
        let outcome = match (value.is_empty(), parameter.set) {
            (true, _) => Err(ValueError::Empty),
            (false, Some(set)) => set(value),
            (false, None) => sets[set].set(parameter.name, value),
        };
        outcome.map_err(|error| CommandLineError::BadValue { parameter, value, error })?;
    }
    Ok(())
}

/// Declares a structure whose fields are parameters of the kernel command line: each has a type that implements
/// [`ParameterValue`](crate::boot::command_line::ParameterValue), a default and a name.
///
/// ```
/// octopod::parameters! {
///     /// Parameters of the scheduler.
///     pub struct SchedParameters {
///         /// The base time slice, in microseconds.
///         pub slice_us: Option<u64> = None, "sched.slice_us";
///     }
/// }
///
/// use octopod::boot::command_line;
/// let mut sched = SchedParameters::default();
/// command_line::parse(b"sched.slice_us=700", &mut [&mut sched], command_line::Unknown::Refuse).unwrap();
/// assert_eq!(sched.slice_us, Some(700));
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! parameters {
    ($(#[$about:meta])* $vis:vis struct $set:ident {
        $($(#[doc = $doc:literal])* $field_vis:vis $field:ident: $type:ty = $default:expr, $name:literal;)*
    }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis struct $set {
            $(
                #[doc = concat!("`", $name, "=`:")]
                $(#[doc = $doc])*
                $field_vis $field: $type,
            )*
        }

        impl ::core::default::Default for $set {
            fn default() -> $set {
                $set { $($field: $default,)* }
            }
        }

        impl $crate::boot::command_line::ParameterSet for $set {
            fn parameters(&self) -> &'static $crate::boot::command_line::ParameterList {
                const PARAMETERS: $crate::boot::command_line::ParameterList = &[$(
                    $crate::boot::command_line::Parameter {
                        name: $name,
                        summary: concat!($($doc),*),
                        allowed: <$type as $crate::boot::command_line::ParameterValue>::describe,
                        default: |f| {
                            let value: $type = $default;
                            $crate::boot::command_line::ParameterValue::write(&value, f)
                        },
                        set: ::core::option::Option::None,
                        place: ::core::option::Option::None,
                    },
                )*];
                &PARAMETERS
            }

            fn set<'a>(
                &mut self,
                name: &str,
                value: &'a str,
            ) -> ::core::result::Result<(), $crate::boot::command_line::ValueError<'a>> {
                match name {
                    $($name => $crate::boot::command_line::ParameterValue::assign(&mut self.$field, value),)*
                    _ => Ok(()),
                }
            }
        }
    };
}
