//! Compresses a kernel: the image as a loader would lay it out, as one LZ4 block after the head that the unpacker reads.

use object::{Object, ObjectSegment};
use octopod_payload::Head;

/// The reason why a kernel cannot be compressed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The file is no ELF file that can be read.
    #[error("{0}")]
    Elf(#[from] object::Error),
    /// It has nothing to load.
    #[error("it has no loadable segment")]
    Empty,
    /// It is larger than 32 bits tell.
    #[error("it takes {0} bytes")]
    TooLarge(u64),
}

/// Returns the payload for the unpacker.
///
/// # Errors
/// The file is not an ELF file that can be loaded.
pub fn payload(elf: &[u8]) -> Result<Vec<u8>, PackError> {
    let (image, memory_bytes) = flatten(elf)?;
    let packed = lz4_flex::block::compress(&image);
    let word = |bytes: u64| u32::try_from(bytes).map_err(|_| PackError::TooLarge(bytes));
    let head = Head {
        packed_bytes: word(packed.len() as u64)?,
        packed_checksum: adler2::adler32_slice(&packed),
        unpacked_bytes: word(image.len() as u64)?,
        unpacked_checksum: adler2::adler32_slice(&image),
        memory_bytes: word(memory_bytes)?,
    };
    let mut payload = head.to_bytes().to_vec();
    payload.extend(packed);
    Ok(payload)
}

/// The image from its first byte to its last initialised one, and how many bytes it takes in memory.
fn flatten(elf: &[u8]) -> Result<(Vec<u8>, u64), PackError> {
    let file = object::File::parse(elf)?;
    let start = file.segments().map(|segment| segment.address()).min().ok_or(PackError::Empty)?;
    let mut image = Vec::new();
    let mut end = start;
    for segment in file.segments() {
        let at =
            usize::try_from(segment.address() - start).map_err(|_| PackError::TooLarge(segment.address()))?;
        let data = segment.data()?;
        if image.len() < at + data.len() {
            image.resize(at + data.len(), 0);
        }
        image[at..at + data.len()].copy_from_slice(data);
        end = end.max(segment.address() + segment.size());
    }
    Ok((image, end - start))
}

#[cfg(test)]
mod tests {
    use octopod_payload::HEAD_BYTES;

    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        // Any ELF file will do: this program's own.
        let elf = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let (image, memory_bytes) = flatten(&elf).unwrap();
        assert!(memory_bytes >= image.len() as u64);
        let payload = payload(&elf).unwrap();
        let head = Head::from_bytes(&payload).unwrap();
        let packed = &payload[HEAD_BYTES..];
        assert_eq!(head.packed_bytes as usize, packed.len());
        assert_eq!(head.packed_checksum, adler2::adler32_slice(packed));
        let unpacked = lz4_flex::block::decompress(packed, head.unpacked_bytes as usize).unwrap();
        assert!(unpacked == image);
        assert_eq!(head.unpacked_checksum, adler2::adler32_slice(&unpacked));
    }

    #[test]
    fn what_is_no_elf_is_refused() {
        assert!(matches!(payload(b"octopod"), Err(PackError::Elf(_))));
    }
}
