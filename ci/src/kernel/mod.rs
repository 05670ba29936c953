//! The kernel's ELF file: built or found, checked, packed, and its symbols.

pub mod build;
pub mod checksum;
pub mod pack;
pub mod symbols;
