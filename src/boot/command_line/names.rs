//! Values that are chosen by name.

use core::fmt;
use core::marker::PhantomData;

use crate::registry::by_name;

/// A type of which some values have names.
pub trait Named: Copy + PartialEq + 'static {
    /// All values that have a name, in the order in which they are listed.
    fn all() -> &'static [Self];

    /// The values that the program registers, after [`all`](Self::all).
    fn registered() -> &'static [Self] {
        &[]
    }

    /// The value's name on the command line.
    fn name(&self) -> &'static str;

    /// The value of that name.
    fn from_name(name: &str) -> Option<Self> {
        Self::all().iter().chain(Self::registered()).copied().find(|known| known.name() == name)
    }
}

/// Displays the names of all values, separated by commas; those that the program registers come last, in the order of the alphabet.
pub struct Names<T>(pub PhantomData<T>);

impl<T: Named> fmt::Display for Names<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let registered = by_name(T::registered(), |value| value.name());
        for (index, value) in T::all().iter().chain(registered).enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}", value.name())?;
        }
        Ok(())
    }
}

/// Implements [`Display`](core::fmt::Display) and [`FromText`](crate::boot::command_line::FromText) for a [`Named`] type.
#[doc(hidden)]
#[macro_export]
macro_rules! named_values {
    ($type:ty) => {
        impl ::core::fmt::Display for $type {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.pad($crate::boot::command_line::Named::name(self))
            }
        }

        impl $crate::boot::command_line::FromText for $type {
            fn from_text(
                text: &str,
            ) -> ::core::result::Result<Self, $crate::boot::command_line::ValueError<'_>> {
                let value = <$type as $crate::boot::command_line::Named>::from_name(text);
                value.ok_or($crate::boot::command_line::ValueError::UnknownName(text))
            }

            fn write(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                ::core::fmt::Display::fmt(self, f)
            }

            fn describe(f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                let names = $crate::boot::command_line::Names::<$type>(::core::marker::PhantomData);
                ::core::fmt::Display::fmt(&names, f)
            }
        }
    };
}

/// Declares an enum whose values are chosen by name, so that names, parser, the list of allowed names and the documentation
/// cannot disagree.
#[doc(hidden)]
#[macro_export]
macro_rules! named {
    ($(#[$about:meta])* $vis:vis enum $type:ident { $($(#[doc = $doc:literal])* $variant:ident = $name:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $type {
            $($(#[doc = $doc])* $variant,)+
        }

        impl $type {
            /// The value's name on the command line.
            $vis const fn name(self) -> &'static str {
                match self {
                    $($type::$variant => $name,)+
                }
            }

            /// What the value means: its documentation.
            #[allow(dead_code, reason = "a list that only tests select from shows no meanings")]
            $vis const fn summary(self) -> &'static str {
                match self {
                    $($type::$variant => concat!($($doc),*),)+
                }
            }
        }

        impl $crate::boot::command_line::Named for $type {
            fn all() -> &'static [$type] {
                &[$($type::$variant,)+]
            }

            fn name(&self) -> &'static str {
                (*self).name()
            }
        }

        $crate::named_values!($type);
    };
}

named! {
    /// Whether a feature is used.
    pub enum Switch {
        /// It is used.
        On = "on",
        /// It is not used.
        Off = "off",
    }
}
