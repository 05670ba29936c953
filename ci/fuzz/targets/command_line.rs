//! The kernel's command line.

#![no_main]

use libfuzzer_sys::fuzz_target;
use octopod::boot::command_line::MAX_MESSAGE_BYTES;
use octopod::options::{BuiltIn, Options};

fuzz_target!(|bytes: &[u8]| {
    for built_in in [BuiltIn::NONE, BuiltIn::ALL] {
        if let Err(error) = Options::parse(bytes, built_in) {
            // The error message fits on a line, and contains no terminal commands.
            let text = error.to_string();
            assert!(
                text.len() <= MAX_MESSAGE_BYTES
                    && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
            );
        }
    }
});
