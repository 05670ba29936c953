//! `bench`.
pub mod boots;
