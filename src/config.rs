//! The kernel's limits and timeouts. `config/kernel.toml` sets them; `config/build.rs` checks the values and generates these
//! constants. This is layer 0, so every module can use them.

include!(concat!(env!("OUT_DIR"), "/config.rs"));
