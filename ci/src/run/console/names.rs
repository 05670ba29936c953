//! Names for code addresses in the kernel's console output. The kernel itself has no symbols.

use std::path::{Path, PathBuf};

use crate::base::text;
use crate::kernel::{StackFrame, Symbols};

/// The text before an address on a console line, and whether it is a return address.
const BEFORE: [(&str, bool); 3] = [("  at 0x", false), ("  by 0x", true), ("    calls 0x", false)];

/// The beginning of a traced event, and the text before an address of code in it.
const EVENT: &str = "    [";
const IN_EVENT: [&str; 3] = [" function 0x", " callback 0x", " rip 0x"];

/// Digits of an address.
const DIGITS: usize = 16;

/// Longer lines hold no address.
const MAX_LINE_BYTES: usize = 120;

/// Puts names behind addresses. What the kernel writes goes through as it comes.
pub struct Names {
    kernel: PathBuf,
    root: PathBuf,
    /// Read when the first address comes.
    symbols: Option<Symbols>,
    /// The line so far.
    line: Vec<u8>,
}

impl Names {
    /// From the symbols of `kernel`; source paths are shown relative to `root`.
    pub fn of(kernel: &Path, root: &Path) -> Names {
        Names { kernel: kernel.to_owned(), root: root.to_owned(), symbols: None, line: Vec::new() }
    }

    /// The same text, with a name before the end of each line that has an address.
    pub fn put_into(&mut self, text: &[u8], slide: u64) -> Vec<u8> {
        let mut named = Vec::with_capacity(text.len());
        for &byte in text {
            match byte {
                b'\r' => {
                    if let Some((address, returns)) = address_in(&self.line) {
                        named.extend(self.name_of(address, returns, slide).bytes());
                    }
                    self.line.clear();
                }
                b'\n' => self.line.clear(),
                _ if self.line.len() < MAX_LINE_BYTES => self.line.push(byte),
                _ => {}
            }
            named.push(byte);
        }
        named
    }

    fn name_of(&mut self, address: u64, returns: bool, slide: u64) -> String {
        let symbols = self.symbols.get_or_insert_with(|| Symbols::read(&self.kernel, &self.root));
        let frames = match returns {
            true => symbols.backtrace(&[address], slide),
            false => symbols.instruction(address, slide),
        };
        let frame = |frame: &StackFrame| {
            let function = frame.function.as_deref()?;
            let place = frame.location.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
            Some(format!("{function}{place}"))
        };
        let frames: Vec<_> = frames.iter().filter_map(frame).collect();
        if frames.is_empty() { String::new() } else { text::line(&format!("  {}", frames.join(" in "))) }
    }
}

/// The address on a line, if it is one that has one.
fn address_in(line: &[u8]) -> Option<(u64, bool)> {
    let line = str::from_utf8(line).ok()?;
    let number = |text: &str| u64::from_str_radix(text.get(..DIGITS)?, 16).ok();
    if line.starts_with(EVENT) {
        let address = IN_EVENT.iter().find_map(|before| number(line.split_once(before)?.1))?;
        return Some((address, false));
    }
    BEFORE.iter().find_map(|(before, returns)| Some((number(line.strip_prefix(before)?)?, *returns)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_of_the_consoles_form_hold_addresses() {
        let address = 0xffff_8000_0010_0000;
        assert_eq!(address_in(b"  at 0xffff800000100000"), Some((address, false)));
        assert_eq!(address_in(b"  by 0xffff800000100000"), Some((address, true)));
        assert_eq!(address_in(b"    calls 0xffff800000100000 in 7 us"), Some((address, false)));
        assert_eq!(
            address_in(b"    [  0.1] call function 0xffff800000100000 data 0x1"),
            Some((address, false))
        );
        for line in [
            "  at 0xffff8000",
            "    [  0.1] frame refill order 0xffff800000100000",
            "call function 0xffff800000100000",
            "at 0xffff800000100000",
            "octopod>   at 0xffff800000100000",
            "  by 0x12345678zzzzzzzz",
        ] {
            assert_eq!(address_in(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn what_has_no_name_goes_through_as_it_is() {
        let mut names = Names::of(Path::new("/nonexistent"), Path::new("/"));
        let text = b"octopod> backtrace\r\n  at 0xffff800000100000\r\n\xff".as_slice();
        let whole = names.put_into(text, 0);
        assert_eq!(whole, text);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_name_is_put_before_the_lines_end_however_it_is_cut() {
        let (program, function) = crate::kernel::symbols::own_function(&["console", "names", "address_in"]);
        // Past all addresses at which the program is linked.
        const SLIDE: u64 = 1 << 46;
        let text = format!("a\r\n  at {:#018x}\r\nb", function.start + SLIDE);
        for size in [1, 7, 100] {
            let mut names = Names::of(&program, Path::new("/"));
            let named: Vec<u8> =
                text.as_bytes().chunks(size).flat_map(|part| names.put_into(part, SLIDE)).collect();
            let named = String::from_utf8(named).unwrap();
            assert!(named.starts_with("a\r\n  at 0x") && named.ends_with("\r\nb"), "{named}");
            assert!(named.contains("address_in"), "{named}");
        }
    }
}
