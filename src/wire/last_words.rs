//! The block that a panic leaves in memory, for whoever has nothing but a dump: it is found by its magic, and its fields
//! lie at fixed places. All numbers are little-endian.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 16 | the magic, written last |
//! | 16 | 4 | this format's version, 1 |
//! | 20 | 4 | the CPU that panicked first |
//! | 24 | 4 | how many CPUs panicked, as far as is known |
//! | 28 | 4 | how many return addresses follow |
//! | 32 | 8 | RIP |
//! | 40 | 8 | RSP |
//! | 48 | 8 | the TSC |
//! | 56 | 8 | what to subtract from an address to find it in the kernel's ELF file |
//! | 64 | 16 | the boot's stage, zeroes behind it |
//! | 80 | 80 | where in the source, likewise |
//! | 160 | 224 | the message, likewise |
//! | 384 | 128 | up to 16 return addresses, innermost first |

use core::ops::Range;

/// The size of the block, and what its address is a multiple of.
pub const LAST_WORDS_BYTES: usize = 512;

const VERSION: u32 = 1;
const MAX_CALLS: usize = LastWords::<&str>::MAX_CALLS;
const STAGE: Range<usize> = 64..80;
const LOCATION: Range<usize> = 80..160;
const MESSAGE: Range<usize> = 160..384;

/// What the block begins with. Made when it is needed, so that neither the image nor a copy of it holds it.
pub fn last_words_magic() -> [u8; 16] {
    let hidden = core::hint::black_box(*b"nbunqne;m`ru!ve ");
    hidden.map(|byte| byte ^ 1)
}

/// The block's fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastWords<S> {
    /// The CPU that panicked first.
    pub cpu: u32,
    /// How many CPUs panicked.
    pub panics: u32,
    /// Its instruction pointer.
    pub rip: u64,
    /// Its stack pointer.
    pub rsp: u64,
    /// When.
    pub tsc: u64,
    /// What to subtract from an address to find it in the kernel's ELF file.
    pub slide: u64,
    /// How far the boot had come.
    pub stage: S,
    /// Where in the source; empty for an exception.
    pub location: S,
    /// What it said.
    pub message: S,
    /// Return addresses, innermost first.
    pub calls: heapless::Vec<u64, 16>,
}

impl<S> LastWords<S> {
    /// The most return addresses.
    pub const MAX_CALLS: usize = 16;
}

impl<S: AsRef<str>> LastWords<S> {
    /// The block, but for its magic: a copy that is left lying about shall not be found. What does not fit is cut.
    pub fn encode(&self, block: &mut [u8; LAST_WORDS_BYTES]) {
        block.fill(0);
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(16, &VERSION.to_le_bytes());
        put(20, &self.cpu.to_le_bytes());
        put(28, &(self.calls.len() as u32).to_le_bytes());
        for (at, number) in [(32, self.rip), (40, self.rsp), (48, self.tsc), (56, self.slide)] {
            put(at, &number.to_le_bytes());
        }
        for (field, text) in [(STAGE, &self.stage), (LOCATION, &self.location)] {
            let text = text.as_ref();
            put(field.start, &text.as_bytes()[..text.floor_char_boundary(field.len())]);
        }
        for (index, call) in self.calls.iter().enumerate() {
            put(MESSAGE.end + 8 * index, &call.to_le_bytes());
        }
        complete_last_words(block, self.message.as_ref(), self.panics);
    }
}

/// Puts a message, cut to what fits, and the number of CPUs that panicked into a block that has all but that.
pub fn complete_last_words(block: &mut [u8; LAST_WORDS_BYTES], message: &str, panics: u32) {
    block[24..28].copy_from_slice(&panics.to_le_bytes());
    let fits = message.floor_char_boundary(MESSAGE.len());
    block[MESSAGE].fill(0);
    block[MESSAGE][..fits].copy_from_slice(&message.as_bytes()[..fits]);
}

impl<'a> LastWords<&'a str> {
    /// Reads a block; `None` if it is none.
    pub fn decode(block: &'a [u8]) -> Option<LastWords<&'a str>> {
        let u32_at = |at| block.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let u64_at = |at| block.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let text = |field| {
            core::str::from_utf8(block.get::<Range<usize>>(field)?)
                .ok()
                .map(|text| text.trim_end_matches('\0'))
        };
        if block.len() < LAST_WORDS_BYTES || block[..16] != last_words_magic() || u32_at(16)? != VERSION {
            return None;
        }
        let calls = (0..(u32_at(28)? as usize).min(MAX_CALLS)).map(|index| u64_at(MESSAGE.end + 8 * index));
        Some(LastWords {
            cpu: u32_at(20)?,
            panics: u32_at(24)?,
            rip: u64_at(32)?,
            rsp: u64_at(40)?,
            tsc: u64_at(48)?,
            slide: u64_at(56)?,
            stage: text(STAGE)?,
            location: text(LOCATION)?,
            message: text(MESSAGE)?,
            calls: calls.collect::<Option<_>>()?,
        })
    }

    /// Finds the block in a dump of memory, and where it lies there.
    pub fn find(memory: &'a [u8]) -> Option<(usize, LastWords<&'a str>)> {
        let blocks = memory.chunks(LAST_WORDS_BYTES).enumerate();
        blocks.filter_map(|(index, block)| Some((index * LAST_WORDS_BYTES, LastWords::decode(block)?))).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> LastWords<&'static str> {
        LastWords {
            cpu: 3,
            panics: 2,
            rip: u64::MAX,
            rsp: 0x1234_5678_9abc_def0,
            tsc: 7,
            slide: 0x1000,
            stage: "other_cpus",
            location: "src/a.rs:7",
            message: "oh",
            calls: [1, 2, 3].into_iter().collect(),
        }
    }

    fn block(words: &LastWords<&str>) -> [u8; LAST_WORDS_BYTES] {
        let mut block = [0xa5; LAST_WORDS_BYTES];
        words.encode(&mut block);
        assert_eq!(LastWords::decode(&block), None);
        block[..16].copy_from_slice(&last_words_magic());
        block
    }

    #[test]
    fn a_block_comes_back_as_it_was_written_and_is_found_in_a_dump() {
        let mut dump = vec![0xa5; 16 * LAST_WORDS_BYTES];
        dump[7 * LAST_WORDS_BYTES..][..LAST_WORDS_BYTES].copy_from_slice(&block(&words()));
        assert_eq!(LastWords::find(&dump), Some((7 * LAST_WORDS_BYTES, words())));
        assert_eq!(LastWords::find(&dump[..7 * LAST_WORDS_BYTES]), None);
        for length in 0..LAST_WORDS_BYTES {
            assert_eq!(LastWords::decode(&block(&words())[..length]), None);
        }
    }

    #[test]
    fn what_does_not_fit_is_cut_at_a_character() {
        let long = "é".repeat(500);
        let long = LastWords { message: &*long, location: &long, stage: &long, ..words() };
        let block = block(&long);
        let read = LastWords::decode(&block).unwrap();
        assert_eq!((read.stage.len(), read.location.len(), read.message.len()), (16, 80, 224));
        assert_eq!(read.calls, long.calls);
    }

    #[test]
    fn the_magic_is_readable() {
        assert_eq!(&last_words_magic(), b"octopod:last wd!");
    }
}
