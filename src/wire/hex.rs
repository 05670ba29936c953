//! Serialises addresses as hexadecimal strings: many JSON readers keep only 53 bits of a number.

use core::fmt;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{value:#x}"))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Hex;
    impl Visitor<'_> for Hex {
        type Value = u64;
        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a hexadecimal number as a string, with 0x before it")
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
            let digits = text.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
            digits.ok_or(E::invalid_value(Unexpected::Str(text), &self))
        }
    }
    deserializer.deserialize_str(Hex)
}
