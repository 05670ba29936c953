//! The kernel command line: `name=value` parameters, separated by white space. A value that contains white space is enclosed
//! in double quotes. The last value of a parameter counts, unless its type collects several.
//!
//! The parser itself knows no parameter. Each layer declares a [`ParameterSet`] with [`parameters!`](crate::parameters!), and
//! `octopod::options` passes the sets of all layers to [`parse`]. An unknown parameter is an error: a misspelt one would
//! otherwise make a test that tests nothing.
//!
//! The bytes come from the boot loader and are not trusted. The parser neither allocates nor panics.

#[cfg(feature = "faults")]
mod armed;
mod error;
mod kernel;
mod line;
mod list;
mod names;
mod parameter;
mod registered;
mod set;
mod value;
mod value_error;

#[cfg(feature = "faults")]
pub(crate) use armed::Armed;
#[doc(hidden)]
pub use error::{CommandLineError, MAX_MESSAGE_BYTES};
#[doc(hidden)]
pub use kernel::{KernelParameters, MAX_RESERVED, TraceLevel};
pub use list::NameList;
pub use names::{Named, Names, Switch};
#[doc(hidden)]
pub use parameter::{MAX_SETS, Parameter, ParameterList, SetParameter};
pub use registered::Setting;
#[doc(hidden)]
pub use registered::{PARAMETER_NAMES, PARAMETERS, registered};
#[doc(hidden)]
pub use set::{ParameterSet, Unknown, parse};
pub use value::{Bounded, FromText, ParameterValue, Ranges, parse_u64};
pub use value_error::ValueError;
