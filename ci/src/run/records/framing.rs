//! Separates records from text on the serial line, by the frames of `octopod::wire`.
//!
//! The launcher draws a nonce for each run. A kernel that accepts it frames every record by it. So the first such record shows
//! the framing of all records of the run; earlier and later lines without the nonce are text. A kernel that does not accept the
//! nonce, such as one from another checkout or a recorded log, has one framing: that of its first record.

use octopod::wire::{MARKER, Nonce, Record, RecordFrame};

use crate::base::text;
use crate::run::records::plausible;

/// The parts of a line of the serial port.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The text: the whole line, or the part before a record. It may be empty.
    pub text: String,
    /// The record.
    pub record: Option<Result<Box<Record<String>>, Unreadable>>,
    /// The conclusion from the line about the records before it.
    pub order: Order,
    /// Records before it on the same line, cut off by it.
    pub cut: u64,
}

/// The conclusion from a record's frame about the records before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// It is the next one.
    #[default]
    Next,
    /// So many are missing.
    Gap(u32),
    /// It came before.
    Again,
    /// The kernel has booted again.
    SecondBoot,
    /// It is the first with the run's nonce: all that was taken for a record before it was text.
    First,
}

/// A record that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The line, cleaned.
    pub line: String,
    /// The defect.
    pub problem: String,
}

/// The result of a comparison of bytes with the frame of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// They are text.
    No,
    /// They are, if the right ones follow.
    Maybe,
    /// They are.
    Yes,
}

/// The frames of the records of a run.
#[derive(Clone, Debug)]
pub struct Framing {
    nonce: Nonce,
    /// The framing of the first record; a nonce other than the run's is that of a kernel which did not take it.
    found: Option<Option<Nonce>>,
    /// The number of the next record.
    next: u32,
}

impl Framing {
    /// Of a run whose kernel is given this nonce.
    pub fn new(nonce: Nonce) -> Framing {
        Framing { nonce, found: None, next: 0 }
    }

    /// Returns whether the kernel has taken the nonce.
    pub fn is_own(&self) -> bool {
        self.found == Some(Some(self.nonce))
    }

    fn takes(&self, frame: RecordFrame) -> bool {
        let nonce = frame.tag.map(|(nonce, _)| nonce);
        nonce == Some(self.nonce) || self.found.is_none_or(|found| found == nonce)
    }

    /// Decodes `bytes`, which end with the last byte of a frame.
    pub fn matches(&self, bytes: &[u8]) -> Match {
        if let Some((frame, length)) = RecordFrame::read(bytes) {
            return if length == bytes.len() && self.takes(frame) { Match::Yes } else { Match::No };
        }
        // As soon as it is known which frames are records, text is not held back for others.
        let own = format!("{MARKER}:{}:", self.nonce);
        let shared = bytes.len().min(own.len());
        if !RecordFrame::may_begin(bytes) || self.is_own() && bytes[..shared] != own.as_bytes()[..shared] {
            return Match::No;
        }
        Match::Maybe
    }

    /// Tells what a line is. A record may begin in mid-line: another CPU's text or record may have been cut short by a panic.
    /// It ends with the line.
    pub fn read(&mut self, line: &str) -> Reading {
        let line = line.trim_end_matches(['\r', '\n']);
        let frames = line.match_indices(MARKER).filter_map(|(at, _)| {
            let (frame, length) = RecordFrame::read(&line.as_bytes()[at..])?;
            self.takes(frame).then_some((at, frame, length))
        });
        let frames: Vec<_> = frames.collect();
        let Some((first, ..)) = frames.first().copied() else {
            return Reading { text: line.to_owned(), record: None, order: Order::Next, cut: 0 };
        };
        let parsed = frames.iter().enumerate().find_map(|(place, (at, frame, length))| {
            let json = &line[at + length..];
            Some((place, *frame, parse(json).ok()?))
        });
        let text = line[..first].to_owned();
        let unreadable =
            |problem: String| Unreadable { line: text::line(line).chars().take(200).collect(), problem };
        let (cut, frame, record) = match parsed {
            Some((place, frame, record)) => (place, frame, plausible::check(record).map_err(unreadable)),
            None => {
                // The result for a line with several frames is that for the last frame.
                let (place, (at, frame, length)) = (frames.len() - 1, frames[frames.len() - 1]);
                let problem = parse(&line[at + length..]).err().unwrap_or_default();
                (place, frame, Err(unreadable(problem)))
            }
        };
        // Numbers of those that were cut off are not missing.
        let numbers = frames[..=cut].iter().filter_map(|(_, frame, _)| Some(frame.tag?.1));
        let order = self.enter(frame, numbers.min());
        Reading { text, record: Some(record), order, cut: cut as u64 }
    }

    /// Enters a record's frame; `first` is the number of the first on its line.
    fn enter(&mut self, frame: RecordFrame, first: Option<u32>) -> Order {
        let nonce = frame.tag.map(|(nonce, _)| nonce);
        let is_first_own = nonce == Some(self.nonce) && !self.is_own();
        let discards = is_first_own && self.found.is_some();
        let is_first = self.found.is_none() || is_first_own;
        self.found = Some(nonce);
        let (Some((_, number)), Some(first)) = (frame.tag, first) else { return Order::Next };
        let expected = if is_first { 0 } else { self.next };
        let next = number.saturating_add(1);
        if discards {
            self.next = next;
            return Order::First;
        }
        if !is_first && number == 0 {
            self.next = next;
            return Order::SecondBoot;
        }
        match first.checked_sub(expected) {
            None => Order::Again,
            Some(missing) => {
                self.next = next;
                if missing == 0 { Order::Next } else { Order::Gap(missing) }
            }
        }
    }
}

/// Reads a record's JSON, and cleans its strings.
fn parse(json: &str) -> Result<Record<String>, String> {
    let record: Record<String> = serde_json::from_str(json).map_err(|error| error.to_string())?;
    // Only an escape or what is no ASCII can be anything but plain.
    if json.is_ascii() && !json.contains('\\') && !text::is_unclean(json) {
        return Ok(record);
    }
    text::cleaned(record).map_err(|error| error.to_string())
}

/// A nonce for a run, from the standard library's own source of randomness.
pub fn draw_nonce() -> Nonce {
    use std::hash::{BuildHasher, RandomState};
    loop {
        if let Some(nonce) = Nonce::new(RandomState::new().hash_one(0)) {
            return nonce;
        }
    }
}

#[cfg(test)]
mod tests {
    use octopod::wire::{BacktraceFrame, ExitReason};

    use super::*;

    const OWN: u64 = 0x5f3a_9c0e_1b2d_4f68;

    fn framing() -> Framing {
        Framing::new(Nonce::new(OWN).unwrap())
    }

    fn record(address: u64) -> Record<String> {
        Record::BacktraceFrame(BacktraceFrame { address })
    }

    fn json(record: &Record<String>) -> String {
        serde_json::to_string(record).unwrap()
    }

    fn own(number: u32, record: &Record<String>) -> String {
        format!("{MARKER}:{OWN:016x}:{number} {}\r", json(record))
    }

    fn plain(record: &Record<String>) -> String {
        format!("{MARKER} {}\r", json(record))
    }

    fn taken(reading: &Reading) -> Option<&Record<String>> {
        reading.record.as_ref().and_then(|record| record.as_ref().ok()).map(|record| &**record)
    }

    #[test]
    fn a_record_comes_back_as_it_was_sent() {
        let mut framing = framing();
        let sent = record(0xffff_8000_0010_0000);
        let reading = framing.read(&own(0, &sent));
        assert_eq!((taken(&reading), reading.text.as_str(), reading.order), (Some(&sent), "", Order::Next));
        let reading = framing.read(&format!("cpu 3: half a sent{}", own(1, &sent)));
        assert_eq!((taken(&reading), reading.text.as_str()), (Some(&sent), "cpu 3: half a sent"));
        assert_eq!((reading.order, reading.cut), (Order::Next, 0));
    }

    #[test]
    fn without_the_nonce_nothing_is_a_record_once_one_has_come_with_it() {
        let mut framing = framing();
        framing.read(&own(0, &record(1)));
        let refused = plain(&Record::Refused(ExitReason { reason: "x".to_owned() }));
        for line in [
            refused.clone(),
            format!("octopod> help {refused}"),
            refused.replace(MARKER, &format!("{MARKER}:{:016x}:1", OWN + 1)),
            format!("{MARKER}:{OWN:016x} {{}}"),
        ] {
            let reading = framing.read(&line);
            assert_eq!((&reading.record, reading.text.as_str()), (&None, line.trim_end()));
        }
        assert_eq!(framing.read(&own(1, &record(2))).order, Order::Next);
    }

    #[test]
    fn a_kernel_without_the_nonce_is_read_until_one_with_it_speaks() {
        let mut framing = framing();
        for line in [plain(&record(1)), format!("x{}", plain(&record(2)))] {
            let reading = framing.read(&line);
            assert!(taken(&reading).is_some() && reading.order == Order::Next, "{reading:?}");
        }
        let foreign = own(0, &record(3)).replace("5f3a", "0001");
        assert_eq!(framing.read(&foreign).record, None);
        assert_eq!(framing.read(&own(0, &record(4))).order, Order::First);
        assert_eq!(framing.read(&plain(&record(5))).record, None);
        // A recorded log has another run's nonce.
        let mut framing = Framing::new(Nonce::new(7).unwrap());
        assert!(taken(&framing.read(&own(0, &record(1)))).is_some());
        assert_eq!(framing.read(&own(3, &record(1))).order, Order::Gap(2));
        assert_eq!(framing.read(&plain(&record(5))).record, None);
    }

    #[test]
    fn numbers_tell_what_is_lost_what_came_twice_and_a_second_boot() {
        let mut framing = framing();
        let mut order = |number| framing.read(&own(number, &record(1))).order;
        assert_eq!([0, 1, 4].map(&mut order), [Order::Next, Order::Next, Order::Gap(2)]);
        assert_eq!([1, 4, 5].map(&mut order), [Order::Again, Order::Again, Order::Next]);
        assert_eq!([0, 1].map(&mut order), [Order::SecondBoot, Order::Next]);
        assert_eq!(Framing::new(Nonce::new(OWN).unwrap()).read(&own(2, &record(1))).order, Order::Gap(2));
    }

    #[test]
    fn a_record_that_another_cuts_off_is_counted() {
        let mut framing = framing();
        let (first, second) = (own(0, &record(1)), own(1, &record(2)));
        let reading = framing.read(&format!("text {}{second}", &first[..40]));
        assert_eq!((taken(&reading), reading.text.as_str()), (Some(&record(2)), "text "));
        assert_eq!((reading.cut, reading.order), (1, Order::Next));
        // A record within a record is not a record.
        let quoting = Record::Refused(ExitReason { reason: own(9, &record(3)) });
        let reading = framing.read(&own(2, &quoting));
        assert!(matches!(taken(&reading), Some(Record::Refused(_))) && reading.cut == 0, "{reading:?}");
    }

    #[test]
    fn what_is_cut_or_unknown_is_unreadable() {
        let whole = own(0, &Record::Refused(ExitReason { reason: "no NX".to_owned() }));
        let json_at = whole.find('{').unwrap();
        for end in json_at..whole.len() - 2 {
            let reading = framing().read(&whole[..end]);
            assert!(matches!(reading.record, Some(Err(_))), "{:?}", &whole[..end]);
        }
        for unknown in ["@octopod {\"tentacles\":8}", "@octopod {\"frame\":{\"address\":1}} x", "@octopod "] {
            assert!(matches!(framing().read(unknown).record, Some(Err(_))), "{unknown}");
        }
        assert_eq!(framing().read("octopod: hello").record, None);
    }

    #[test]
    fn strings_of_records_command_no_terminal() {
        let reason = "a\u{9b}2J\u{202e}b\r\nPASS\u{1b}[1m".to_owned();
        let reading = framing().read(&own(0, &Record::Refused(ExitReason { reason })));
        assert_eq!(taken(&reading), Some(&Record::Refused(ExitReason { reason: "a2Jb\nPASS".to_owned() })));
    }

    #[test]
    fn text_is_held_back_only_while_it_may_be_a_frame() {
        let mut framing = framing();
        let own_frame = format!("{MARKER}:{OWN:016x}:17 ");
        let others = ["@octopod ", "@octopod:0000000000000001:0 "];
        for frame in others.iter().copied().chain([own_frame.as_str()]) {
            assert_eq!(framing.matches(frame.as_bytes()), Match::Yes, "{frame}");
            assert_eq!(framing.matches(&frame.as_bytes()[..frame.len() - 1]), Match::Maybe, "{frame}");
        }
        framing.read(&own(0, &record(1)));
        assert_eq!(framing.matches(own_frame.as_bytes()), Match::Yes);
        for text in ["@octopod ", "@octopod:0", "@octopus", "x"] {
            assert_eq!(framing.matches(text.as_bytes()), Match::No, "{text}");
        }
        assert_eq!(framing.matches(b"@octopod"), Match::Maybe);
    }
}
