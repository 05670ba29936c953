//! The surface shows the written text.

use proptest::prelude::*;

use super::font::{Font, HEIGHT, WIDTH};
use super::pixels::{Memory, PixelLayout, Pixels};
use super::*;

/// Records the characters that are shown.
struct Fake {
    cells: Vec<Vec<u8>>,
    puts: usize,
}

impl Fake {
    fn new() -> Fake {
        Fake { cells: vec![vec![b' '; MAX_COLUMNS]; MAX_ROWS], puts: 0 }
    }

    fn rows(&self, text: &Text) -> Vec<String> {
        let (columns, rows) = text.size();
        let row =
            |cells: &Vec<u8>| String::from_utf8(cells[..columns].to_vec()).unwrap().trim_end().to_owned();
        self.cells[..rows].iter().map(row).collect()
    }
}

impl Surface for Fake {
    fn put(&mut self, column: usize, row: usize, character: u8) {
        self.cells[row][column] = character;
        self.puts += 1;
    }
}

fn written(pieces: &[&str]) -> (Text, Fake) {
    let (mut text, mut fake) = (Text::new(), Fake::new());
    for piece in pieces {
        text.write(piece);
        text.draw(&mut fake);
    }
    (text, fake)
}

#[test]
fn last_line_is_on_the_bottom_row() {
    let lines: Vec<_> = (0..40).map(|line| format!("line {line}\n")).collect();
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    let (text, fake) = written(&lines);
    let expected: Vec<_> = (40 - TEXT_ROWS..40).map(|line| format!("line {line}")).collect();
    assert_eq!(fake.rows(&text), expected);
}

#[test]
fn line_of_the_full_width_takes_one_row() {
    let full = "x".repeat(TEXT_COLUMNS);
    let (text, fake) = written(&[&full, "\nnext\n", &full, "y"]);
    assert_eq!(fake.rows(&text)[..4], [full.clone(), "next".into(), full, "y".into()]);
}

#[test]
fn other_characters_than_ascii_are_question_marks() {
    let (text, fake) = written(&["a\u{7f}é\u{1b}\tb\rc"]);
    assert_eq!(fake.rows(&text)[0], "c????b");
}

#[test]
fn scrolling_draws_only_changed_cells() {
    let (mut text, mut fake) = written(&["same\n".repeat(TEXT_ROWS).as_str()]);
    fake.puts = 0;
    text.write("same\n");
    text.draw(&mut fake);
    // The bottom row is unchanged.
    assert_eq!(fake.puts, 0);
}

#[test]
fn writing_draws_nothing_and_sections_are_bounded() {
    let (mut text, mut fake) = written(&["early\n"]);
    let lines: String = (0..100).map(|line| format!("line {line} of a hundred\n")).collect();
    fake.puts = 0;
    text.write(&lines);
    assert_eq!(fake.puts, 0);
    let mut sections = 0;
    loop {
        let before = fake.puts;
        let is_left = text.draw_section(&mut fake, 16);
        sections += 1;
        assert!(fake.puts - before <= 16);
        if !is_left {
            break;
        }
    }
    // A hundred lines scroll the surface once: 25 rows of 22 or 23 characters, and what "early" does not share with them.
    assert!(sections <= 2 * TEXT_ROWS + 1, "{sections} sections");
    let expected: Vec<_> = (100 - TEXT_ROWS..100).map(|line| format!("line {line} of a hundred")).collect();
    assert_eq!(fake.rows(&text), expected);
    assert!(!text.draw_section(&mut fake, 16));
}

#[test]
fn text_written_between_sections_is_drawn() {
    let (mut text, mut fake) = (Text::new(), Fake::new());
    for line in 0..200 {
        text.write(&format!("line {line}\n"));
        text.draw_section(&mut fake, 7);
    }
    text.draw(&mut fake);
    let expected: Vec<_> = (200 - TEXT_ROWS..200).map(|line| format!("line {line}")).collect();
    assert_eq!(fake.rows(&text), expected);
}

#[test]
fn screen_that_grows_after_scrolling_is_empty_below_the_text() {
    let (mut text, _) = written(&[&(0..300).map(|line| format!("line {line}\n")).collect::<String>()]);
    text.grow(100, MAX_ROWS);
    let mut fake = Fake::new();
    text.show(&mut fake);
    let rows = fake.rows(&text);
    assert_eq!((rows[0].as_str(), rows[TEXT_ROWS - 1].as_str()), ("line 275", "line 299"));
    assert!(rows[TEXT_ROWS..].iter().all(String::is_empty), "{rows:?}");
}

#[test]
fn larger_screen_keeps_earlier_text() {
    let (mut text, _) = written(&["early\nlines\n"]);
    text.grow(1, 1);
    assert_eq!(text.size(), (TEXT_COLUMNS, TEXT_ROWS));
    text.grow(100, 1000);
    assert_eq!(text.size(), (100, MAX_ROWS));
    let mut fake = Fake::new();
    text.show(&mut fake);
    text.write(&"x".repeat(101));
    text.draw(&mut fake);
    assert_eq!(fake.rows(&text)[..4], ["early".into(), "lines".into(), "x".repeat(100), "x".into()]);
}

proptest! {
    #[test]
    fn surface_shows_the_text(pieces in prop::collection::vec("[ -~\n]{0,200}", 0..40)) {
        let pieces: Vec<_> = pieces.iter().map(String::as_str).collect();
        let (text, fake) = written(&pieces);
        for row in 0..TEXT_ROWS {
            prop_assert!(text.row(row).eq(fake.cells[row][..TEXT_COLUMNS].iter().copied()));
        }
        // The reference: split all lines into rows, and show the last ones.
        let all = pieces.concat();
        let mut rows: Vec<String> = Vec::new();
        for line in all.split('\n') {
            let cells: Vec<char> = line.chars().collect();
            let chunks = cells.chunks(TEXT_COLUMNS).map(|chunk| chunk.iter().collect());
            rows.extend(if cells.is_empty() { vec![String::new()] } else { chunks.collect() });
        }
        // A row begins with its first character.
        while rows.last().is_some_and(String::is_empty) {
            rows.pop();
        }
        let expected = rows.iter().skip(rows.len().saturating_sub(TEXT_ROWS)).map(|row| row.trim_end().to_owned());
        let mut shown = fake.rows(&text);
        shown.truncate(rows.len());
        prop_assert_eq!(shown, expected.collect::<Vec<_>>());
    }
}

struct Bytes(Vec<u8>);

impl Memory for Bytes {
    fn set(&mut self, byte: usize, pixel_bytes: usize, value: u32) {
        self.0[byte..byte + pixel_bytes].copy_from_slice(&value.to_le_bytes()[..pixel_bytes]);
    }
}

#[test]
fn glyphs_are_drawn_in_their_cells_and_nowhere_else() {
    let mut font = Font::blank();
    font.read();
    for pixel_bytes in 2..=4 {
        let layout =
            PixelLayout { width: 20, height: 40, pitch_bytes: 90, pixel_bytes, foreground: 0x8765_4321 };
        assert!(layout.is_sound());
        assert_eq!(layout.cells(), (2, 3));
        let mut memory = Bytes(vec![0x55; layout.bytes()]);
        Pixels { layout, font: &font, memory: &mut memory }.put(1, 2, b'A');
        for (at, byte) in memory.0.iter().enumerate() {
            let (line, column) = (at / 90, at % 90 / pixel_bytes);
            let within = (2 * HEIGHT..3 * HEIGHT).contains(&line) && (WIDTH..2 * WIDTH).contains(&column);
            let expected = match within {
                false => 0x55,
                true if font.glyph(b'A')[line - 2 * HEIGHT] & 0x80 >> (column - WIDTH) == 0 => 0,
                true => layout.foreground.to_le_bytes()[at % 90 % pixel_bytes],
            };
            assert_eq!(*byte, expected, "{pixel_bytes} bytes, byte {at}");
        }
    }
}

#[test]
fn every_character_has_a_distinct_glyph() {
    let mut font = Font::blank();
    font.read();
    let mut glyphs: Vec<_> = (b' '..=b'~').map(|character| *font.glyph(character)).collect();
    assert_eq!(font.glyph(b' '), &[0; HEIGHT]);
    assert_eq!(font.glyph(0xe9), font.glyph(b'?'));
    glyphs.sort_unstable();
    glyphs.dedup();
    assert_eq!(glyphs.len(), usize::from(b'~' - b' ' + 1));
}

#[test]
fn invalid_layouts_are_detected() {
    let layout = PixelLayout { width: 640, height: 480, pitch_bytes: 2560, pixel_bytes: 4, foreground: 1 };
    assert!(layout.is_sound());
    for wrong in [
        PixelLayout { pixel_bytes: 1, ..layout },
        PixelLayout { pixel_bytes: 5, ..layout },
        PixelLayout { pitch_bytes: 2559, ..layout },
        PixelLayout { width: usize::MAX, ..layout },
        PixelLayout { height: usize::MAX, ..layout },
    ] {
        assert!(!wrong.is_sound(), "{wrong:?}");
    }
}

#[test]
fn pixel_is_written_at_any_address_and_changes_only_its_bytes() {
    for bytes in 2..=4 {
        for misalignment in 0..4 {
            let mut memory = [0xeeeeeeeeu32; 3];
            let start = core::ptr::NonNull::from(&mut memory).cast::<u8>();
            // SAFETY: `misalignment` is less than 4, and the array has 12 bytes.
            let pixel = unsafe { start.add(misalignment) };
            // SAFETY: the eight bytes from there on lie in the array, which nothing else uses.
            unsafe { super::pixels::write_pixel(pixel, bytes, 0x4433_2211) };
            let mut expected = [0xee; 12];
            expected[misalignment..misalignment + bytes].copy_from_slice(&[0x11, 0x22, 0x33, 0x44][..bytes]);
            let found: Vec<u8> = memory.into_iter().flat_map(u32::to_ne_bytes).collect();
            assert_eq!(found, expected, "{bytes} bytes, {misalignment} past a word");
        }
    }
}
