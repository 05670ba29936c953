//! The format of a compressed kernel: a head, then one LZ4 block. The launcher writes it, `unpacker.S` reads it.

#![cfg_attr(not(test), no_std)]

/// The first word of the head.
pub const MAGIC: u32 = u32::from_le_bytes(*b"8LZ4");

/// The size of the head in bytes. All fields are 32-bit little-endian integers.
pub const HEAD_BYTES: usize = 24;

/// Offset of the size of the LZ4 block, in bytes.
pub const PACKED_BYTES_AT: usize = 4;
/// Offset of the checksum of the LZ4 block.
pub const PACKED_CHECKSUM_AT: usize = 8;
/// Offset of the size of the unpacked image up to its last initialised byte, in bytes.
pub const UNPACKED_BYTES_AT: usize = 12;
/// Offset of the checksum of the unpacked image.
pub const UNPACKED_CHECKSUM_AT: usize = 16;
/// Offset of the size of the image in memory, in bytes.
pub const MEMORY_BYTES_AT: usize = 20;

/// The head of a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// See [`PACKED_BYTES_AT`].
    pub packed_bytes: u32,
    /// See [`PACKED_CHECKSUM_AT`].
    pub packed_checksum: u32,
    /// See [`UNPACKED_BYTES_AT`].
    pub unpacked_bytes: u32,
    /// See [`UNPACKED_CHECKSUM_AT`].
    pub unpacked_checksum: u32,
    /// See [`MEMORY_BYTES_AT`].
    pub memory_bytes: u32,
}

impl Head {
    /// Returns the encoded head.
    pub fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        let fields = [
            (0, MAGIC),
            (PACKED_BYTES_AT, self.packed_bytes),
            (PACKED_CHECKSUM_AT, self.packed_checksum),
            (UNPACKED_BYTES_AT, self.unpacked_bytes),
            (UNPACKED_CHECKSUM_AT, self.unpacked_checksum),
            (MEMORY_BYTES_AT, self.memory_bytes),
        ];
        for (at, value) in fields {
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    /// Decodes the head at the start of a payload; `None` if the magic is wrong or the slice too short.
    pub fn from_bytes(bytes: &[u8]) -> Option<Head> {
        let word = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        if word(0)? != MAGIC {
            return None;
        }
        Some(Head {
            packed_bytes: word(PACKED_BYTES_AT)?,
            packed_checksum: word(PACKED_CHECKSUM_AT)?,
            unpacked_bytes: word(UNPACKED_BYTES_AT)?,
            unpacked_checksum: word(UNPACKED_CHECKSUM_AT)?,
            memory_bytes: word(MEMORY_BYTES_AT)?,
        })
    }
}

/// The constants of `multiboot_entry.S`. They are copies: the kernel's crate cannot be linked with the unpacker, because both
/// define the entry point. A test compares them with the kernel's.
pub mod entry {
    #![allow(missing_docs)]

    pub const PROTOCOL_PVH: u32 = 0;
    pub const PROTOCOL_MULTIBOOT1: u32 = 1;
    pub const PROTOCOL_MULTIBOOT2: u32 = 2;
    pub const PVH_MAGIC: u32 = 0x336e_c578;
    pub const MULTIBOOT1_MAGIC: u32 = 0x2bad_b002;
    pub const MULTIBOOT1_HEADER_FLAGS: u32 = 1 << 1 | 1 << 16;
    pub const MULTIBOOT2_MAGIC: u32 = 0x36d7_6289;
    pub const MULTIBOOT2_HEADER_MAGIC: u32 = 0xe852_50d6;
    pub const UNPACKED_ENTRY: u32 = 8;
    pub const EXIT_PORT: u16 = 0xf4;
    pub const EXIT_REFUSED: u32 = 0x13;
    pub const SHUTDOWN_PORT: u16 = 0x8900;
    pub const SHUTDOWN: u64 = u64::from_le_bytes(*b"Shutdown");
}

#[cfg(test)]
mod tests {
    use octopod::boot::{self, multiboot1, multiboot2, pvh};
    use octopod::wire::{self, ExitCode};

    use super::*;

    #[test]
    fn entry_constants_are_those_of_the_kernel() {
        assert_eq!(entry::PROTOCOL_PVH, boot::PROTOCOL_PVH);
        assert_eq!(entry::PROTOCOL_MULTIBOOT1, boot::PROTOCOL_MULTIBOOT1);
        assert_eq!(entry::PROTOCOL_MULTIBOOT2, boot::PROTOCOL_MULTIBOOT2);
        assert_eq!(entry::PVH_MAGIC, pvh::MAGIC);
        assert_eq!(entry::MULTIBOOT1_MAGIC, multiboot1::LOADER_MAGIC);
        let flags = multiboot1::HEADER_MEMORY_INFO | multiboot1::HEADER_ADDRESSES;
        assert_eq!(entry::MULTIBOOT1_HEADER_FLAGS, flags);
        assert_eq!(entry::MULTIBOOT2_MAGIC, multiboot2::LOADER_MAGIC);
        assert_eq!(entry::MULTIBOOT2_HEADER_MAGIC, multiboot2::HEADER_MAGIC);
        assert_eq!(entry::UNPACKED_ENTRY, boot::UNPACKED_ENTRY);
        assert_eq!(entry::EXIT_PORT, wire::EXIT_PORT);
        assert_eq!(entry::EXIT_REFUSED, ExitCode::Refused as u32);
        assert_eq!(entry::SHUTDOWN_PORT, wire::SHUTDOWN_PORT);
        assert_eq!(entry::SHUTDOWN, u64::from_le_bytes(*wire::SHUTDOWN));
    }

    #[test]
    fn an_encoded_head_is_decoded() {
        let head = Head {
            packed_bytes: 1,
            packed_checksum: 0x8000_0002,
            unpacked_bytes: 3,
            unpacked_checksum: 4,
            memory_bytes: 5,
        };
        let bytes = head.to_bytes();
        assert_eq!(Head::from_bytes(&bytes), Some(head));
        assert_eq!(Head::from_bytes(&bytes[..HEAD_BYTES - 1]), None);
        assert_eq!(Head::from_bytes(&[0; HEAD_BYTES]), None);
    }
}
