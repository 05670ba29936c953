//! A machine that stops at the end of its run, so that its screen can be read.

use octopod::console::screen::{TEXT_COLUMNS, TEXT_ROWS, Text};

use super::picture::Picture;
use crate::guest::Guest;

/// A character and its colours for each cell.
const CELL_BYTES: usize = 2;

pub(crate) struct Watched {
    pub guest: Guest,
}

impl Watched {
    /// Boots the kernel by the launcher's `arguments`, but without the device that ends the run, and hears it out until
    /// `enough` holds.
    pub(crate) fn boot_until(arguments: &[&str], what: &str, enough: impl Fn(&Guest) -> bool) -> Watched {
        let mut guest = Guest::boot_without_end(arguments);
        guest.hear_until(what, enough);
        Watched { guest }
    }

    /// The same until the kernel has given its verdict.
    pub(crate) fn boot(arguments: &[&str]) -> Watched {
        Watched::boot_until(arguments, "the verdict", |guest| guest.seen.verdict.is_some())
    }

    /// The rows that the lines so far must have left on the screen; of a text screen, or of one of pixels with so many
    /// columns and rows, from where the kernel says that there is one.
    pub(crate) fn expected(&self, cells: Option<(usize, usize)>) -> Vec<String> {
        let mut text = Text::new();
        for line in self.guest.lines.iter().skip_while(|line| !line.contains("stages: octopod ")) {
            if let Some((columns, rows)) = cells.filter(|_| line.contains("stages: console: framebuffer ")) {
                assert!(line.ends_with(&format!("console: framebuffer {columns}x{rows}")), "{line}");
                text.grow(columns, rows);
            }
            text.write(line);
            text.write("\n");
        }
        let row = |row| text.row(row).map(char::from).collect::<String>().trim_end().to_owned();
        (0..text.size().1).map(row).collect()
    }

    /// The contents of the text screen's memory.
    pub(crate) fn display_memory(&self) -> Vec<u8> {
        let bytes = TEXT_COLUMNS * TEXT_ROWS * CELL_BYTES;
        let dump = self.guest.monitor(&format!("xp /{bytes}xb 0xb8000"));
        let bytes = dump.lines().filter_map(|line| line.split_once(':'));
        let bytes = bytes.flat_map(|(_, bytes)| bytes.split_whitespace());
        bytes.map(|byte| u8::from_str_radix(byte.trim_start_matches("0x"), 16).unwrap()).collect()
    }

    /// The rows of the text screen.
    pub(crate) fn text_screen(&self) -> Vec<String> {
        let memory = self.display_memory();
        let rows = memory.chunks(TEXT_COLUMNS * CELL_BYTES);
        let row =
            |row: &[u8]| row.iter().step_by(CELL_BYTES).map(|byte| char::from(*byte)).collect::<String>();
        rows.map(|cells| row(cells).trim_end().to_owned()).collect()
    }

    /// A picture of the screen.
    pub(crate) fn picture(&self) -> Picture {
        let file = self.guest.folder.path().join("screen.ppm");
        assert_eq!(self.guest.monitor(&format!("screendump {}", file.display())).trim(), "");
        Picture::parse(&std::fs::read(file).unwrap())
    }
}
