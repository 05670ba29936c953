//! Little-endian integers in byte slices of untrusted length.

/// Returns the 32-bit integer at `offset`; `None` if the slice ends before its last byte.
pub fn read_u32(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// Returns the 64-bit integer at `offset`; `None` if the slice ends before its last byte.
pub fn read_u64(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_at_any_offset_and_never_past_the_end() {
        let bytes = [0, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(read_u32(&bytes, 1), Some(0x0403_0201));
        assert_eq!(read_u32(&bytes, 5), Some(0x0807_0605));
        assert_eq!(read_u64(&bytes, 1), Some(0x0807_0605_0403_0201));
        assert_eq!((read_u32(&bytes, 6), read_u64(&bytes, 2)), (None, None));
        assert_eq!((read_u32(&bytes, usize::MAX), read_u64(&[], 0)), (None, None));
    }
}
