//! Gives the unpacker its payload and its linker script.
//!
//! The launcher names the payload by `OCTOPOD_PAYLOAD`. Without one the unpacker is built around nothing, which it refuses
//! at run time: enough for the compiler to have a look at it.

use std::path::PathBuf;
use std::{env, fs, process};

#[path = "payload.rs"]
#[allow(dead_code, unused_attributes)]
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
        // Cargo adapts the path of its folder for this script, and no other, in a clone that is copied or moved.
        println!("cargo::rerun-if-changed=../linker/unpacker.ld");
        let script = folder.join("../linker/unpacker.ld");
        let copy = out_dir.join("unpacker.ld");
        fs::copy(&script, &copy).map_err(|error| format!("{}: {error}", script.display()))?;
        println!("cargo::rustc-link-arg-bins=-T{}", copy.display());
        // It finds its own data by distances; a loader that moves it need relocate nothing.
        println!("cargo::rustc-link-arg-bins=--no-pie");
        println!("cargo::rustc-link-arg-bins=--defsym=kernel_memory_bytes={}", head.memory_bytes);
    }
    Ok(())
}
