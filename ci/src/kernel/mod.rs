//! The kernel's ELF file: built or found, checked, packed, and its symbols.

pub mod build;
mod cargo;
pub mod checksum;
pub mod config;
mod example;
pub mod image;
mod isolation;
mod lock;
pub mod pack;
pub mod registry;
pub mod symbols;

pub use config::{KernelConfig, KernelSource};
pub use image::Kernel;
pub use symbols::{StackFrame, Symbols};
