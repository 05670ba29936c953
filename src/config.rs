//! The kernel's limits, as `config/kernel.toml` sets them: change them there. `config/build.rs` checks each value and
//! writes the constants. They are the lowest layer, so that any module may use them.

include!(concat!(env!("OUT_DIR"), "/config.rs"));
