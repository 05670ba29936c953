//! A page table entry's bits (SDM Vol. 3A, tables 4-15 to 4-20).

pub const PRESENT: u64 = 1 << 0;
pub const WRITABLE: u64 = 1 << 1;
pub const USER: u64 = 1 << 2;
pub const WRITE_THROUGH: u64 = 1 << 3;
pub const NO_CACHE: u64 = 1 << 4;
pub const GLOBAL: u64 = 1 << 8;
pub const LARGE: u64 = 1 << 7;
pub const SMALL_PAT: u64 = 1 << 7;
pub const LARGE_PAT: u64 = 1 << 12;
pub const NO_EXECUTE: u64 = 1 << 63;
pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
