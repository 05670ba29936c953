//! The SLIT (System Locality Distance Information Table): the distances between proximity domains. Layout: ACPI 6.5
//! §5.2.17.

use core::fmt;

use ::acpi::sdt::{SdtHeader, Signature};

use super::entries::u64_at;
use super::layout::zero_extended;

/// Bytes before the first distance: the header common to all tables (36), and the number of domains.
pub const HEADER_BYTES: usize = size_of::<SdtHeader>() + 8;

/// The distance of a domain from itself. Smaller values are reserved.
pub const LOCAL: u8 = 10;

/// The default distance of another domain.
pub const REMOTE: u8 = 20;

/// A SLIT whose distances have been checked.
#[derive(Clone, Copy, Debug)]
pub struct Slit<'a> {
    domains: usize,
    /// Row by row.
    distances: &'a [u8],
}

/// The reason why the table is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlitError {
    /// The table is no SLIT, or its length is invalid.
    BadHeader {
        /// The length in the header, or 0 without a header.
        stated: u32,
        /// The available bytes.
        found: usize,
    },
    /// The matrix does not fit into the table.
    TooShort {
        /// The number of domains.
        domains: u64,
        /// The available bytes.
        left: usize,
    },
    /// A distance of a domain from itself that is not 10, or a distance below 10.
    BadDistance {
        /// From this domain.
        from: usize,
        /// To this one.
        to: usize,
        /// The distance in the table.
        distance: u8,
    },
}

impl fmt::Display for SlitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            SlitError::BadHeader { stated, found } => {
                write!(f, "invalid length {stated}: {found} bytes available, header {HEADER_BYTES} bytes")
            }
            SlitError::TooShort { domains, left } => {
                write!(f, "{left} bytes are too few for {domains} domains")
            }
            SlitError::BadDistance { from, to, distance } => {
                write!(f, "invalid distance {distance} from domain {from} to {to}")
            }
        }
    }
}

impl core::error::Error for SlitError {}

impl<'a> Slit<'a> {
    /// Checks the table. `bytes` may be longer than the table.
    ///
    /// # Errors
    /// [`SlitError`]
    pub fn parse(bytes: &'a [u8]) -> Result<Slit<'a>, SlitError> {
        let found = bytes.len();
        let SdtHeader { signature, length: stated, .. } = zero_extended(bytes);
        let table = bytes.get(..stated as usize).filter(|_| signature == Signature::SLIT);
        let Some((_, rest)) = table.and_then(|table| table.split_at_checked(HEADER_BYTES)) else {
            return Err(SlitError::BadHeader { stated, found });
        };
        let domains = u64_at(bytes, HEADER_BYTES - 8);
        let matrix = usize::try_from(domains).ok().and_then(|count| rest.get(..count.checked_mul(count)?));
        let Some(distances) = matrix else {
            return Err(SlitError::TooShort { domains, left: rest.len() });
        };
        // It fits into `usize`, because its square does.
        let domains = domains as usize;
        for (from, row) in distances.chunks(domains.max(1)).enumerate() {
            for (to, &distance) in row.iter().enumerate() {
                if distance < LOCAL || from == to && distance != LOCAL {
                    return Err(SlitError::BadDistance { from, to, distance });
                }
            }
        }
        Ok(Slit { domains, distances })
    }

    /// Returns the distance of memory in domain `to` from CPUs in domain `from`; `None` for a domain that the table does
    /// not have.
    pub fn distance(&self, from: u32, to: u32) -> Option<u8> {
        let (from, to) = (from as usize, to as usize);
        if from >= self.domains || to >= self.domains {
            return None;
        }
        self.distances.get(from * self.domains + to).copied()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A complete table with these distances.
    pub fn table(domains: u64, distances: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[..4].copy_from_slice(b"SLIT");
        bytes[4..8].copy_from_slice(&((HEADER_BYTES + distances.len()) as u32).to_le_bytes());
        bytes[36..44].copy_from_slice(&domains.to_le_bytes());
        bytes.extend(distances);
        bytes
    }

    #[test]
    fn distances_are_read_row_by_row() {
        let bytes = table(2, &[10, 21, 31, 10]);
        let slit = Slit::parse(&bytes).unwrap();
        assert_eq!(
            (slit.distance(0, 1), slit.distance(1, 0), slit.distance(1, 1)),
            (Some(21), Some(31), Some(10))
        );
        assert_eq!(
            (slit.distance(0, 2), slit.distance(2, 0), slit.distance(u32::MAX, 0)),
            (None, None, None)
        );
    }

    #[test]
    fn invalid_tables_are_rejected() {
        let error = |bytes: &[u8]| Slit::parse(bytes).err();
        assert_eq!(error(&[]), Some(SlitError::BadHeader { stated: 0, found: 0 }));
        assert_eq!(error(&table(2, &[10, 20, 20])), Some(SlitError::TooShort { domains: 2, left: 3 }));
        for domains in [1 << 32, u64::MAX] {
            assert_eq!(error(&table(domains, &[10])), Some(SlitError::TooShort { domains, left: 1 }));
        }
        let bad = |from, to, distance| Some(SlitError::BadDistance { from, to, distance });
        assert_eq!(error(&table(2, &[10, 9, 20, 10])), bad(0, 1, 9));
        assert_eq!(error(&table(2, &[10, 20, 20, 11])), bad(1, 1, 11));
        assert!(Slit::parse(&table(0, &[])).unwrap().distance(0, 0).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), domains in 0..9u64) {
            let _ = Slit::parse(&bytes).map(|slit| slit.distance(0, 1));
            let nearly: Vec<u8> = bytes.iter().map(|byte| byte % 4 + 10).collect();
            for bytes in [table(domains, &bytes), table(domains, &nearly)] {
                if let Ok(slit) = Slit::parse(&bytes) {
                    for at in 0..domains as u32 {
                        prop_assert_eq!(slit.distance(at, at), Some(LOCAL));
                        prop_assert!(slit.distance(0, at) >= Some(LOCAL));
                    }
                }
            }
        }
    }
}
