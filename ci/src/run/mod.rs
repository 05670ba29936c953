//! One run: the supervised emulator, the serial channel and its records, the console, the deadline, and the run's folder.

pub mod alloc_trace;
pub mod clock;
pub mod command_line;
pub mod console;
pub mod debugger;
pub mod end;
pub mod folder;
pub mod llfree;
pub mod records;
pub mod replay;
pub mod session;
mod transcript;

pub use command_line::CommandLine;
pub use end::{End, TimeLimit};
pub use records::Seen;
pub use session::RunConfig;
