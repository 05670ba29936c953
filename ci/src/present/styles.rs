//! The colours of the terminal.

use anstyle::{AnsiColor, Style};

/// All is well.
pub const GOOD: Style = AnsiColor::Green.on_default().bold();
/// A failure.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// A warning.
pub const WARN: Style = AnsiColor::Yellow.on_default().bold();
/// Less important text.
pub const FAINT: Style = Style::new().dimmed();
