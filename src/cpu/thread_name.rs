//! The name of a thread, of a fixed size.

/// The longest name of a thread, in bytes.
pub(crate) const NAME_BYTES: usize = 24;

/// The name of a thread, cut off after [`NAME_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ThreadName {
    bytes: [u8; NAME_BYTES],
    length: u8,
}

impl ThreadName {
    pub(crate) fn new(name: &str) -> ThreadName {
        let mut bytes = [0; NAME_BYTES];
        let cut = name.floor_char_boundary(NAME_BYTES);
        bytes[..cut].copy_from_slice(&name.as_bytes()[..cut]);
        ThreadName { bytes, length: cut as u8 }
    }

    pub(crate) fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or("?")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_off_between_two_characters() {
        assert_eq!(ThreadName::new("poller").as_str(), "poller");
        assert_eq!(ThreadName::new("").as_str(), "");
        assert_eq!(ThreadName::new("an octopus has eight armsé").as_str(), "an octopus has eight arm");
        assert_eq!(ThreadName::new("12345678901234567890123é").as_str(), "12345678901234567890123");
    }
}
