//! Passes the payload and the linker script to the build of the unpacker.
//!
//! The launcher sets `OCTOPOD_PAYLOAD` to the path of the payload. Without it, the unpacker is built with an empty payload, which
//! it refuses at run time: enough for `cargo check`.

use std::path::PathBuf;
use std::{env, fs, process};

#[path = "payload.rs"]
// The file is also the root of the library, where its items are public.
#[allow(dead_code, unreachable_pub, unused_attributes)]
mod payload;

use payload::Head;

fn main() {
    if let Err(problem) = run() {
        println!("cargo::error={problem}");
        process::exit(1);
    }
}

fn run() -> Result<(), String> {
    let variable = |name: &str| env::var(name).map_err(|error| format!("{name}: {error}"));
    let folder = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    println!("cargo::rerun-if-env-changed=OCTOPOD_PAYLOAD");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=payload.rs");
    let payload = match env::var("OCTOPOD_PAYLOAD") {
        Ok(path) => {
            println!("cargo::rerun-if-changed={path}");
            fs::read(&path).map_err(|error| format!("{path}: {error}"))?
        }
        Err(_) => Head::default().to_bytes().to_vec(),
    };
    let head = Head::from_bytes(&payload).ok_or("OCTOPOD_PAYLOAD names a file that is no payload")?;
    let out_dir = PathBuf::from(variable("OUT_DIR")?);
    let copy = out_dir.join("payload");
    fs::write(&copy, payload).map_err(|error| format!("{}: {error}", copy.display()))?;
    println!("cargo::rustc-env=OCTOPOD_PAYLOAD_COPY={}", copy.display());
    if variable("CARGO_CFG_TARGET_OS")? == "none" {
        // The script is copied to OUT_DIR: in a clone that is copied or moved, cargo adapts only that path.
        println!("cargo::rerun-if-changed=shared/unpacker.ld");
        let script = folder.join("shared/unpacker.ld");
        let copy = out_dir.join("unpacker.ld");
        fs::copy(&script, &copy).map_err(|error| format!("{}: {error}", script.display()))?;
        println!("cargo::rustc-link-arg-bins=-T{}", copy.display());
        // The code is position-independent, so that it needs no relocations wherever it is loaded.
        println!("cargo::rustc-link-arg-bins=--no-pie");
        println!("cargo::rustc-link-arg-bins=--defsym=kernel_memory_bytes={}", head.memory_bytes);
    }
    Ok(())
}
