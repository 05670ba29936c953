//! The panic record: a block that a panic writes to memory, for memory dumps. Its address is a multiple of its size. All
//! numbers are little-endian.
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 16 | the magic, written last |
//! | 16 | 4 | the version of this format, 1 |
//! | 20 | 4 | the CPU that panicked first |
//! | 24 | 4 | how many CPUs are known to have panicked |
//! | 28 | 4 | the number of return addresses |
//! | 32 | 8 | RIP |
//! | 40 | 8 | RSP |
//! | 48 | 8 | the TSC |
//! | 56 | 8 | the KASLR slide: an address minus this is that in the ELF file |
//! | 64 | 16 | the stage of the boot, padded with zeroes |
//! | 80 | 80 | the source location, padded |
//! | 160 | 224 | the message, padded |
//! | 384 | 128 | up to 16 return addresses, innermost first |

use core::ops::Range;

use super::little_endian::{read_u32, read_u64};

/// The size and alignment of the block, in bytes.
pub const PANIC_RECORD_BYTES: usize = 512;

const VERSION: u32 = 1;
const MAX_FRAMES: usize = PanicRecord::<&str>::MAX_FRAMES;
const STAGE: Range<usize> = 64..80;
const LOCATION: Range<usize> = 80..160;
const MESSAGE: Range<usize> = 160..384;

/// The magic at the start of the block. Decoded at run time, so that the kernel image does not contain it.
pub fn panic_record_magic() -> [u8; 16] {
    let hidden = core::hint::black_box(*b"nbunqne;q`ohbsdb");
    hidden.map(|byte| byte ^ 1)
}

/// The fields of the block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PanicRecord<S> {
    /// The CPU that panicked first.
    pub cpu: u32,
    /// How many CPUs panicked.
    pub panics: u32,
    /// That CPU's RIP.
    pub rip: u64,
    /// That CPU's RSP.
    pub rsp: u64,
    /// The TSC at the panic.
    pub tsc: u64,
    /// The KASLR slide: an address minus this is that in the ELF file.
    pub slide: u64,
    /// The stage of the boot.
    pub stage: S,
    /// The source location; empty for an exception.
    pub location: S,
    /// The panic message.
    pub message: S,
    /// Return addresses, innermost first.
    pub frames: heapless::Vec<u64, 16>,
}

impl<S> PanicRecord<S> {
    /// The most return addresses.
    pub const MAX_FRAMES: usize = 16;
}

impl<S: AsRef<str>> PanicRecord<S> {
    /// Encodes all but the magic, so that no other copy in memory is found. Text that does not fit is truncated.
    pub fn encode(&self, block: &mut [u8; PANIC_RECORD_BYTES]) {
        block.fill(0);
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(16, &VERSION.to_le_bytes());
        put(20, &self.cpu.to_le_bytes());
        put(28, &(self.frames.len() as u32).to_le_bytes());
        for (at, number) in [(32, self.rip), (40, self.rsp), (48, self.tsc), (56, self.slide)] {
            put(at, &number.to_le_bytes());
        }
        for (field, text) in [(STAGE, &self.stage), (LOCATION, &self.location)] {
            let text = text.as_ref();
            put(field.start, &text.as_bytes()[..text.floor_char_boundary(field.len())]);
        }
        for (index, address) in self.frames.iter().enumerate() {
            put(MESSAGE.end + 8 * index, &address.to_le_bytes());
        }
        complete_panic_record(block, self.message.as_ref(), self.panics);
    }
}

/// Adds the message, truncated to what fits, and the number of CPUs that panicked.
pub fn complete_panic_record(block: &mut [u8; PANIC_RECORD_BYTES], message: &str, panics: u32) {
    block[24..28].copy_from_slice(&panics.to_le_bytes());
    let fits = message.floor_char_boundary(MESSAGE.len());
    block[MESSAGE].fill(0);
    block[MESSAGE][..fits].copy_from_slice(&message.as_bytes()[..fits]);
}

impl<'a> PanicRecord<&'a str> {
    /// Decodes a block; `None` if the magic or the version does not match, or a field is invalid.
    pub fn decode(block: &'a [u8]) -> Option<PanicRecord<&'a str>> {
        let u32_at = |at| read_u32(block, at);
        let u64_at = |at| read_u64(block, at);
        let text = |field| {
            core::str::from_utf8(block.get::<Range<usize>>(field)?)
                .ok()
                .map(|text| text.trim_end_matches('\0'))
        };
        if block.len() < PANIC_RECORD_BYTES || block[..16] != panic_record_magic() || u32_at(16)? != VERSION {
            return None;
        }
        let frames = (0..(u32_at(28)? as usize).min(MAX_FRAMES)).map(|index| u64_at(MESSAGE.end + 8 * index));
        Some(PanicRecord {
            cpu: u32_at(20)?,
            panics: u32_at(24)?,
            rip: u64_at(32)?,
            rsp: u64_at(40)?,
            tsc: u64_at(48)?,
            slide: u64_at(56)?,
            stage: text(STAGE)?,
            location: text(LOCATION)?,
            message: text(MESSAGE)?,
            frames: frames.collect::<Option<_>>()?,
        })
    }

    /// Finds the record in a memory dump. Returns its offset and its fields.
    pub fn find(memory: &'a [u8]) -> Option<(usize, PanicRecord<&'a str>)> {
        let blocks = memory.chunks(PANIC_RECORD_BYTES).enumerate();
        blocks
            .filter_map(|(index, block)| Some((index * PANIC_RECORD_BYTES, PanicRecord::decode(block)?)))
            .next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> PanicRecord<&'static str> {
        PanicRecord {
            cpu: 3,
            panics: 2,
            rip: u64::MAX,
            rsp: 0x1234_5678_9abc_def0,
            tsc: 7,
            slide: 0x1000,
            stage: "aps",
            location: "src/a.rs:7",
            message: "oh",
            frames: [1, 2, 3].into_iter().collect(),
        }
    }

    fn block(record: &PanicRecord<&str>) -> [u8; PANIC_RECORD_BYTES] {
        let mut block = [0xa5; PANIC_RECORD_BYTES];
        record.encode(&mut block);
        assert_eq!(PanicRecord::decode(&block), None);
        block[..16].copy_from_slice(&panic_record_magic());
        block
    }

    #[test]
    fn encoded_record_is_decoded_and_found_in_a_dump() {
        let mut dump = vec![0xa5; 16 * PANIC_RECORD_BYTES];
        dump[7 * PANIC_RECORD_BYTES..][..PANIC_RECORD_BYTES].copy_from_slice(&block(&record()));
        assert_eq!(PanicRecord::find(&dump), Some((7 * PANIC_RECORD_BYTES, record())));
        assert_eq!(PanicRecord::find(&dump[..7 * PANIC_RECORD_BYTES]), None);
        for length in 0..PANIC_RECORD_BYTES {
            assert_eq!(PanicRecord::decode(&block(&record())[..length]), None);
        }
    }

    #[test]
    fn text_that_does_not_fit_is_truncated_at_a_character() {
        let long = "é".repeat(500);
        let long = PanicRecord { message: &*long, location: &long, stage: &long, ..record() };
        let block = block(&long);
        let read = PanicRecord::decode(&block).unwrap();
        assert_eq!((read.stage.len(), read.location.len(), read.message.len()), (16, 80, 224));
        assert_eq!(read.frames, long.frames);
    }

    #[test]
    fn magic_is_ascii_text() {
        assert_eq!(&panic_record_magic(), b"octopod:panicrec");
    }
}
