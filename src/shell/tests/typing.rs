//! Tests of the editor with a terminal: the shown line is the executed line.

use proptest::prelude::*;

use super::super::editor::{Editor, EditorEvent, HISTORY, MAX_LINE, PROMPT, Terminal};
use super::super::keys::Keys;
use super::VOCABULARY;

/// A terminal that is wide enough, with the functions that the editor needs.
#[derive(Default)]
struct Row {
    cells: Vec<u8>,
    cursor: usize,
    saved: usize,
    /// The rows above the current one.
    above: Vec<String>,
    pending: Vec<u8>,
}

impl Terminal for Row {
    fn show(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.pending.push(byte);
            match *self.pending {
                [0x1b] | [0x1b, b'['] => continue,
                [0x1b, b'[', b'K'] => self.cells.truncate(self.cursor),
                [0x1b, b'[', b'C'] => self.cursor += 1,
                [0x1b, b'[', b'D'] => self.cursor -= 1,
                [0x1b, b'[', b's'] => self.saved = self.cursor,
                [0x1b, b'[', b'u'] => self.cursor = self.saved,
                [0x1b, b'[', b'0'..=b'9', ..] if !byte.is_ascii_alphabetic() => continue,
                [0x1b, b'[', ref digits @ .., b'D'] => {
                    self.cursor -= str::from_utf8(digits).unwrap().parse::<usize>().unwrap();
                }
                [0x08] => self.cursor -= 1,
                [0x07] => {}
                [b'\r'] => self.cursor = 0,
                [b'\n'] => {
                    self.above.push(String::from_utf8(std::mem::take(&mut self.cells)).unwrap());
                    assert_eq!(self.cursor, 0, "a line feed without a carriage return");
                }
                [b' '..=b'~'] => {
                    if self.cursor == self.cells.len() {
                        self.cells.push(byte);
                    } else {
                        self.cells[self.cursor] = byte;
                    }
                    self.cursor += 1;
                }
                ref other => panic!("the editor sends {other:?}"),
            }
            self.pending.clear();
        }
    }
}

struct Desk {
    editor: Editor<Row>,
    keys: Keys,
    events: Vec<EditorEvent>,
}

impl Desk {
    fn new() -> Desk {
        let mut editor = Editor::new(Row::default(), VOCABULARY);
        editor.draw();
        Desk { editor, keys: Keys::new(), events: Vec::new() }
    }

    fn type_in(&mut self, bytes: &[u8]) -> &mut Desk {
        for &byte in bytes {
            let Some(key) = self.keys.push(byte) else { continue };
            if let Some(event) = self.editor.press(key) {
                self.events.push(event);
                self.editor.draw();
            }
        }
        self
    }

    fn line(&mut self) -> String {
        self.editor.contents().0.as_str().to_owned()
    }

    /// The text of the terminal's current row without trailing blanks, and the column of the cursor.
    fn shown(&mut self) -> (String, usize) {
        let row = self.editor.terminal();
        (String::from_utf8(row.cells.clone()).unwrap().trim_end().to_owned(), row.cursor)
    }

    fn assert_shown(&mut self) {
        let (line, cursor) = self.editor.contents();
        let expected = (format!("{PROMPT}{line}").trim_end().to_owned(), PROMPT.len() + cursor);
        assert_eq!(self.shown(), expected);
    }
}

fn ran(line: &str) -> EditorEvent {
    EditorEvent::Line(line.try_into().unwrap())
}

#[test]
fn a_line_is_typed_edited_and_executed() {
    let mut desk = Desk::new();
    desk.type_in(b"cpsu").type_in(b"\x7f\x7fus").assert_shown();
    assert_eq!(desk.type_in(b"\r").events, [ran("cpus")]);
    assert_eq!(desk.line(), "");
    // Edits in the middle, at both ends, and under the cursor.
    desk.type_in(b"xem mp\x1b[Da\x01\x1b[3~m\x05 ").assert_shown();
    assert_eq!(desk.line(), "mem map ");
    desk.type_in(b"\x02\x02\x15").assert_shown();
    assert_eq!(desk.line(), "p ");
}

#[test]
fn the_history_goes_back_and_forth() {
    let mut desk = Desk::new();
    desk.type_in(b"one\rtwo\rtwo\r\rthree\r");
    let mut seen = Vec::new();
    for key in
        [b"\x1b[A", b"\x1b[A", b"\x1b[A", b"\x1b[A", b"\x1b[B", b"\x1b[A", b"\x1b[B", b"\x1b[B", b"\x1b[B"]
    {
        desk.type_in(key).assert_shown();
        seen.push(desk.line());
    }
    assert_eq!(seen, ["three", "two", "one", "one", "two", "one", "two", "three", ""]);
    for number in 0..HISTORY + 3 {
        desk.type_in(format!("line {number}\r").as_bytes());
    }
    for _ in 0..HISTORY + 3 {
        desk.type_in(b"\x1b[A");
    }
    assert_eq!(desk.line(), "line 3");
}

#[test]
fn tab_completes_or_lists() {
    let mut desk = Desk::new();
    desk.type_in(b"of\t").assert_shown();
    assert_eq!(desk.line(), "offline ");
    desk.type_in(b"\x03bench fr\t").assert_shown();
    assert_eq!(desk.line(), "bench frame_pair_order");
    desk.type_in(b"\t").assert_shown();
    assert_eq!(desk.editor.terminal().above.last().unwrap(), "frame_pair_order0  frame_pair_order3  ");
    // Characters after the cursor are kept.
    desk.type_in(b"\x03cpus\x01\t").assert_shown();
    assert_eq!(desk.line(), "cpus");
    // A completion does not exceed the longest line.
    let blanks = " ".repeat(MAX_LINE - 3);
    desk.type_in(format!("\x03{blanks}of\t").as_bytes()).assert_shown();
    assert_eq!(desk.line(), format!("{blanks}of"));
}

#[test]
fn control_c_discards_the_line_and_control_d_ends_an_empty_one() {
    let mut desk = Desk::new();
    desk.type_in(b"panic\x03");
    assert_eq!((&*desk.events, &*desk.editor.contents().0), ([EditorEvent::Dropped].as_slice(), ""));
    // On a line with text, Ctrl-D deletes a character, or nothing.
    desk.type_in(b"ab\x04\x01\x04").assert_shown();
    assert_eq!((desk.line(), desk.events.len()), ("b".to_owned(), 1));
    desk.type_in(b"\x04\x04");
    assert_eq!(desk.events, [EditorEvent::Dropped, EditorEvent::End]);
}

#[test]
fn a_line_that_is_too_long_is_not_executed() {
    let mut desk = Desk::new();
    let full = "x".repeat(MAX_LINE);
    desk.type_in(full.as_bytes()).assert_shown();
    assert_eq!(desk.type_in(b"\r").events, [ran(&full)]);
    desk.type_in(full.as_bytes()).type_in(b"y").assert_shown();
    assert_eq!(desk.type_in(b"\rcpus\r").events[1..], [EditorEvent::TooLong, ran("cpus")]);
    // Typing in the middle of a full line overwrites nothing.
    desk.type_in(full.as_bytes()).type_in(b"\x01y").assert_shown();
    assert_eq!(desk.line(), full);
    assert_eq!(desk.type_in(b"\x03").type_in(b"cpus\r").events[3..], [EditorEvent::Dropped, ran("cpus")]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn the_shown_line_is_the_executed_line(
        pieces in prop::collection::vec(
            prop_oneof![
                4 => "[ -~]{1,9}".prop_map(String::into_bytes),
                1 => "[a-z ]{50,70}".prop_map(String::into_bytes),
                4 => prop::sample::select(vec![
                    b"\x1b[A".to_vec(), b"\x1b[B".to_vec(), b"\x1b[C".to_vec(), b"\x1b[D".to_vec(), b"\x1b[3~".to_vec(),
                    b"\x7f".to_vec(), b"\t".to_vec(), b"\x01".to_vec(), b"\x05".to_vec(), b"\x15".to_vec(),
                    b"\x03".to_vec(), b"\r".to_vec(), b"\x0c".to_vec(), b"mem ".to_vec(), b"stress ".to_vec(),
                ]),
                1 => prop::collection::vec(any::<u8>(), 1..6),
            ],
            0..24,
        )
    ) {
        let mut desk = Desk::new();
        for piece in pieces {
            desk.type_in(&piece);
            desk.assert_shown();
        }
        let line = desk.line().trim_end().to_owned();
        let before = desk.events.len();
        desk.type_in(b"\x1b\r");
        let event = desk.events.get(before).cloned();
        prop_assert!(event == Some(EditorEvent::TooLong) || event == Some(ran(&line)), "{:?} after {:?}", event, line);
    }
}
